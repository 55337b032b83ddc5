#![expect(
    unsafe_code,
    reason = "shares a page with the kernel and the thread of a virtual CPU"
)]
//! [`Kick`]: gets a virtual CPU out of `KVM_RUN`, wherever its thread is at that moment.
//!
//! A signal ends `KVM_RUN` if the thread is in it. If the thread is on its way in, the signal would be lost, so the
//! field `immediate_exit` is set before: `KVM_RUN` looks at it after the thread can no longer run a handler, and
//! returns at once. Source: Documentation/virt/kvm/api.rst, "struct kvm_run".
//!
//! # Invariants
//! * *mapped*: `page` is the first page of the virtual CPU's `kvm_run`, mapped until the drop.

use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use kvm_bindings::kvm_run;
use kvm_ioctls::VcpuFd;
use libc::{c_int, c_void, siginfo_t};
use pepita_sys::error::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

/// `immediate_exit` is in the first page.
const LEN: usize = 4096;
const _: () = assert!(offset_of!(kvm_run, immediate_exit) < LEN);

/// A mapping of our own of what a virtual CPU shares with the kernel: `kvm-ioctls` makes references into its own.
pub(crate) struct Kick {
    page: NonNull<u8>,
}

// SAFETY: *mapped*, whoever has it; the one byte that is reached is reached by atomic accesses.
unsafe impl Send for Kick {}

// SAFETY: as above.
unsafe impl Sync for Kick {}

impl Kick {
    /// For the virtual CPU of `vcpu`, whose descriptor may be closed before this is dropped.
    pub(crate) fn new(vcpu: &VcpuFd) -> Result<Self, Errno> {
        // SAFETY: the descriptor is open as long as `vcpu` is borrowed.
        let fd = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a mapping at an address of the kernel's choice touches no other memory.
        let page = unsafe { mmap(null_mut(), LEN, access, MapFlags::SHARED, fd, 0) };
        let page = page.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        let page = NonNull::new(page.cast()).ok_or(Errno::EFAULT)?;
        Ok(Self { page })
    }

    /// Makes `KVM_RUN` of the virtual CPU return `EINTR`: the one that goes on, or the next one. `thread` runs it.
    pub(crate) fn kick(&self, thread: &JoinHandle<()>) {
        self.immediate_exit().store(1, Ordering::SeqCst);
        // A thread that has ended needs no kick; the handle keeps its name ours until it is joined.
        let _ = thread.kill(signal());
    }

    /// The virtual CPU has returned; its next `KVM_RUN` runs. What made somebody kick it is seen after this.
    pub(crate) fn settle(&self) {
        self.immediate_exit().store(0, Ordering::SeqCst);
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        let byte = self
            .page
            .as_ptr()
            .wrapping_add(offset_of!(kvm_run, immediate_exit));
        // SAFETY: *mapped*, and the assertion above; the kernel reads it as one byte.
        unsafe { AtomicU8::from_ptr(byte) }
    }
}

impl Drop for Kick {
    fn drop(&mut self) {
        // SAFETY: *mapped*; what borrowed it has ended.
        let _ = unsafe { munmap(self.page.as_ptr().cast::<c_void>(), LEN) };
    }
}

/// The signal: the first that the C library leaves to programs.
fn signal() -> c_int {
    SIGRTMIN()
}

extern "C" fn ignore(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}

/// Sets the process' handler of the signal, once. It does nothing: that a handler runs is what ends `KVM_RUN`.
pub(crate) fn install_handler() -> Result<(), Errno> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        register_signal_handler(signal(), ignore).map_err(|error| Errno::from_raw(error.errno()))
    })
}

/// Lets the signal reach the calling thread, whose maker may have blocked it.
pub(crate) fn accept_signal() {
    // It fails for a number that is no signal.
    let _ = unblock_signal(signal());
}
