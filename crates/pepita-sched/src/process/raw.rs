#![expect(
    unsafe_code,
    reason = "system calls that return twice, or that must not touch the C library's errno"
)]
//! System calls without the C library.
//!
//! A child that shares this process's memory also shares the calling thread's errno, so what runs
//! in it calls the kernel directly. Numbers and structures are those of `libc`.

use std::ffi::{c_int, c_long, c_void};

use rustix::io::Errno;

/// What a new child runs: its argument, on its own stack, never to return.
pub(super) type Entry = extern "C" fn(*mut c_void) -> !;

/// `struct clone_args`, include/uapi/linux/sched.h, v6.12.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct CloneArgs {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

/// `CLONE_CLEAR_SIGHAND`, as above: the child starts with default signal actions.
pub(super) const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
/// `CLONE_INTO_CGROUP`, as above.
pub(super) const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// A C `int` as the kernel takes it in a register.
pub(super) fn word(value: c_int) -> usize {
    (value as isize).cast_unsigned()
}

/// A result from -4095 to -1 is an error number with its sign turned.
fn outcome(result: isize) -> Result<usize, Errno> {
    match c_int::try_from(result) {
        Ok(errno @ -4095..0) => Err(Errno::from_raw_os_error(-errno)),
        _ => Ok(result.cast_unsigned()),
    }
}

/// A system call.
///
/// # Safety
/// * The arguments are what the call `number` takes: pointers are to live memory of the size that
///   it reads or writes.
pub(super) unsafe fn syscall(number: c_long, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's duty; the kernel changes `rax`, `rcx` and `r11`.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's duty; the kernel changes `x0`.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    outcome(result)
}

/// `clone3(2)`; the child calls `entry(argument)` on the stack that `args` names.
///
/// # Safety
/// * `args` names a stack that nobody else uses as long as the child is in this memory.
/// * `entry` may run in a child that shares this memory, and `argument` is what it takes.
pub(super) unsafe fn clone3(
    args: &CloneArgs,
    entry: Entry,
    argument: *mut c_void,
) -> Result<usize, Errno> {
    let arguments = [
        std::ptr::from_ref(args).expose_provenance(),
        size_of::<CloneArgs>(),
        0,
        0,
        0,
    ];
    // SAFETY: the caller's duties are those of `fork_onto_stack`.
    unsafe { fork_onto_stack(libc::SYS_clone3, arguments, entry, argument) }
}

/// `clone(2)`; the child calls `entry(argument)` on the stack that ends at `stack_top`.
///
/// # Safety
/// As for [`clone3`]; `pidfd` is live.
pub(super) unsafe fn clone(
    flags: usize,
    stack_top: usize,
    pidfd: *mut c_int,
    entry: Entry,
    argument: *mut c_void,
) -> Result<usize, Errno> {
    let arguments = [flags, stack_top, pidfd.expose_provenance(), 0, 0];
    // SAFETY: the caller's duties are those of `fork_onto_stack`.
    unsafe { fork_onto_stack(libc::SYS_clone, arguments, entry, argument) }
}

/// The system call `number`, which gives the child a stack of its own.
///
/// # Safety
/// As for [`clone3`].
unsafe fn fork_onto_stack(
    number: c_long,
    arguments: [usize; 5],
    entry: Entry,
    argument: *mut c_void,
) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's duties. In the parent, the kernel changes `rax`, `rcx` and `r11`; the
    // child never comes out of this block.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            in("r12") argument, in("r13") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the kernel changes `x0`.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x20") argument, in("x21") entry,
        );
    }
    outcome(result)
}
