//! The few questions to the kernel that no safe wrapper asks.

#![expect(
    unsafe_code,
    reason = "ioctls of /dev/kvm, io_uring set-up, and a child that unshares"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::io_uring::{IoringRegisterOp, io_uring_params};
use rustix::thread::UnshareFlags;

/// A request to `/dev/kvm` whose argument is a number and that touches no memory of ours.
/// Numbers: include/uapi/linux/kvm.h, v6.12.
#[derive(Debug, Clone, Copy)]
pub(super) enum KvmRequest {
    /// `KVM_GET_API_VERSION`: 12 since Linux 2.6.22.
    ApiVersion,
    /// `KVM_CHECK_EXTENSION` of this number: 0 for no, else yes or how many.
    Extension(i32),
    /// `KVM_CREATE_VM` of the default type: the descriptor of a virtual machine.
    CreateVm,
}

/// Asks `/dev/kvm`.
pub(super) fn kvm(device: impl AsFd, request: KvmRequest) -> io::Result<i32> {
    let (number, argument): (libc::Ioctl, libc::c_long) = match request {
        KvmRequest::ApiVersion => (0xae00, 0),
        KvmRequest::CreateVm => (0xae01, 0),
        KvmRequest::Extension(extension) => (0xae03, extension.into()),
    };
    // SAFETY: the kernel takes the argument of these three requests as a number, not as an
    // address; the descriptor is open for as long as `device` is borrowed.
    let answer = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), number, argument) };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(answer)
    }
}

/// Makes a virtual machine and takes it away again.
pub(super) fn kvm_create_vm(device: impl AsFd) -> io::Result<()> {
    let fd = kvm(device, KvmRequest::CreateVm)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// What an io_uring of this kernel offers.
#[derive(Debug)]
pub(super) struct Ring {
    /// `IORING_FEAT_*` bits.
    pub(super) features: u32,
    /// The operations that the kernel supports, by number.
    pub(super) operations: Vec<u8>,
}

/// Sets up a ring of one entry, asks what it can do, and closes it.
pub(super) fn io_uring() -> io::Result<Ring> {
    let mut params = io_uring_params::default();
    // SAFETY: no ring memory is mapped and no operation submitted, so the kernel touches nothing
    // but `params`; no flag asks for a `wq_fd`.
    let ring = unsafe { rustix::io_uring::io_uring_setup(1, &mut params) }?;
    // `struct io_uring_probe`: 16 bytes (last_op: u8, ops_len: u8, …), then 8 bytes for each
    // operation (op: u8, resv: u8, flags: u16, …), of which 256 have room.
    const HEADER_WORDS: usize = 2;
    let mut probe = [0_u64; HEADER_WORDS + 256];
    let address = probe.as_mut_ptr().cast::<std::ffi::c_void>();
    // SAFETY: `address` points to room for the header and 256 operations, aligned to 8, which the
    // kernel writes before the call returns.
    unsafe {
        rustix::io_uring::io_uring_register(&ring, IoringRegisterOp::RegisterProbe, address, 256)
    }?;
    let [_, ops_len, ..] = probe[0].to_ne_bytes();
    let operations = probe[HEADER_WORDS..].iter().take(ops_len.into());
    let operations = operations.filter_map(|word| {
        let [op, _, low, high, ..] = word.to_ne_bytes();
        const SUPPORTED: u16 = 1; // IO_URING_OP_SUPPORTED
        (u16::from_ne_bytes([low, high]) & SUPPORTED != 0).then_some(op)
    });
    Ok(Ring {
        features: params.features.bits(),
        operations: operations.collect(),
    })
}

/// Whether the kernel knows clone3(2). Nothing is cloned: a size of 0 is refused.
pub(super) fn clone3() -> io::Result<()> {
    let nothing = std::ptr::null::<u8>();
    // SAFETY: the kernel checks the size before it reads the arguments, and refuses 0 (EINVAL).
    unsafe { libc::syscall(libc::SYS_clone3, nothing, 0_usize) };
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        error => Err(error),
    }
}

/// Whether a child of ours may make these namespaces.
pub(super) fn unshare_in_child(flags: UnshareFlags) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let unshare = move || {
        // SAFETY: only memory and descriptors shared with other threads would be at stake, and
        // `flags` splits off neither `FILES` nor `FS` (the callers pass namespaces only).
        unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
    };
    // SAFETY: the closure makes one system call, neither allocates nor locks, and so may run
    // between fork and exec.
    unsafe { command.pre_exec(unshare) };
    match command.status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            "the child failed after it made the namespaces",
        )),
    }
}
