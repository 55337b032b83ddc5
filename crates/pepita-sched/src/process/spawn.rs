#![expect(
    unsafe_code,
    reason = "makes a child that shares this process's memory until it calls execve, which the \
              standard library cannot do together with a pidfd, a cgroup and resource limits"
)]
//! [`spawn`]: a child by `clone3(CLONE_VM | CLONE_VFORK)`.
//!
//! The child runs on a stack of its own in the parent's memory, and the calling thread stands
//! still until the child has called `execve` or has exited. So nothing is copied, however large
//! the parent is, and the child can say why it failed by writing to [`Failure`].
//!
//! # Invariants
//! * **child-code**: between `clone3` and `execve` the child runs [`child_main`] and nothing
//!   else: no allocation, no lock, no panic, no drop; it only reads [`Plan`], writes
//!   [`Failure`] and makes system calls. Another thread may hold any lock at that time.
//! * **plan-lives**: every pointer in [`Plan`] points into values that the caller of [`spawn`]
//!   borrows until it returns, which is after the child has left this memory (`CLONE_VFORK`).
//! * **own-stack**: the child's stack is [`ChildStack`], which only the calling thread uses, and
//!   which no one reads while the child runs. Its lowest page is not accessible.
//! * **no-handler**: no signal handler of the parent runs in the child: `CLONE_CLEAR_SIGHAND`
//!   resets them, or all signals are blocked until the child has reset them itself.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use super::cgroup::Cgroups;
use super::image::Image;

/// What a child is given beside its [`Image`].
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// What becomes descriptors 0, 1 and 2.
    pub(super) streams: [BorrowedFd<'a>; 3],
    /// `setrlimit` calls.
    pub(super) limits: &'a [(c_int, libc::rlimit64)],
    /// A mask for `sched_setaffinity`; empty for none.
    pub(super) cpu_mask: &'a [u64],
    /// The cgroup it starts in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
}

/// A child that nobody has waited for yet.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
}

/// Why there is no child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

/// A step on the way to the new program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Stack = 1,
    Clone,
    Session,
    DeathSignal,
    Stream,
    WorkingDir,
    Limit,
    Affinity,
    Exec,
}

impl Step {
    /// The system call of the step.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Stack => "mmap",
            Self::Clone => "clone3",
            Self::Session => "setsid",
            Self::DeathSignal => "prctl(PR_SET_PDEATHSIG)",
            Self::Stream => "dup2",
            Self::WorkingDir => "fchdir",
            Self::Limit => "setrlimit",
            Self::Affinity => "sched_setaffinity",
            Self::Exec => "execve",
        }
    }
}

/// What the child writes when it fails: the first of the two is 0 as long as it has not.
#[derive(Debug, Default)]
struct Failure {
    step: UnsafeCell<u32>,
    errno: UnsafeCell<c_int>,
}

/// What the child reads.
struct Plan<'a> {
    path: *const c_char,
    args: *const *const c_char,
    environment: *const *const c_char,
    streams: [RawFd; 3],
    dir: RawFd,
    limits: &'a [(c_int, libc::rlimit64)],
    cpu_mask: &'a [u64],
    parent: libc::pid_t,
    /// Whether the child still has the parent's signal handlers.
    reset_handlers: bool,
    failure: &'a Failure,
}

/// Starts `image` as the leader of a session of its own; it dies with the calling thread.
///
/// Descriptors above 2 and the signal mask are not passed on, and SIGPIPE has its default action.
pub(super) fn spawn(image: &Image, setup: &Setup<'_>) -> Result<Child, Refused> {
    let args = pointers(&image.args);
    let environment = pointers(&image.environment);
    let failure = Failure::default();
    let mut plan = Plan {
        path: image.path.as_ptr(),
        args: args.as_ptr(),
        environment: environment.as_ptr(),
        streams: setup.streams.map(|fd| fd.as_raw_fd()),
        dir: image.dir.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        limits: setup.limits,
        cpu_mask: setup.cpu_mask,
        parent: rustix::process::getpid().as_raw_nonzero().get(),
        reset_handlers: false,
        failure: &failure,
    };
    let (pid, pidfd) = with_stack(|stack| clone_child(stack, &mut plan, setup.cgroup))?;
    let child = Child { pid, pidfd };
    // SAFETY: the child no longer uses this memory (`CLONE_VFORK`), so nobody else does.
    let step = unsafe { ptr::read_volatile(failure.step.get()) };
    if step == 0 {
        return Ok(child);
    }
    // SAFETY: as above.
    let errno = unsafe { ptr::read_volatile(failure.errno.get()) };
    // It has exited: this takes the zombie away at once.
    let _ = wait(&child);
    let steps = [
        Step::Session,
        Step::DeathSignal,
        Step::Stream,
        Step::WorkingDir,
        Step::Limit,
        Step::Affinity,
    ];
    let step = steps
        .into_iter()
        .find(|&known| known as u32 == step)
        .unwrap_or(Step::Exec);
    Err(Refused {
        step,
        errno: Errno::from_raw_os_error(errno),
    })
}

/// Takes the exit status of a child that has exited, and what it used; blocks until it has.
pub(super) fn wait(child: &Child) -> Result<(c_int, libc::rusage), Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live values of the types that wait4(2) fills.
        let got = unsafe {
            libc::wait4(
                child.pid.as_raw_nonzero().get(),
                &mut status,
                libc::__WALL,
                usage.as_mut_ptr(),
            )
        };
        if got > 0 {
            // SAFETY: all-zero bytes are a valid `rusage`, and the kernel wrote over them.
            return Ok((status, unsafe { usage.assume_init() }));
        }
        let errno = last_errno();
        if errno != Errno::INTR {
            return Err(errno);
        }
    }
}

/// Whether children can be made in the groups of `cgroups`, by making one whose `execve` fails.
pub(super) fn check_cgroup(cgroups: &Cgroups) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let group = cgroups.group().map_err(failed)?;
    let null = super::stream::open_null().map_err(failed)?;
    let streams = [null.as_fd(); 3];
    let setup = Setup {
        streams,
        limits: &[],
        cpu_mask: &[],
        cgroup: Some(group.as_fd()),
    };
    let image = Image {
        path: CString::default(),
        args: vec![],
        environment: vec![],
        dir: None,
    };
    match spawn(&image, &setup) {
        Err(Refused {
            step: Step::Exec, ..
        }) => Ok(()),
        Err(Refused { step, errno }) => Err(format!(
            "a child cannot be made in a cgroup: {}: {errno}",
            step.operation()
        )),
        Ok(child) => Err(format!("execve of nothing made {child:?}")),
    }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Makes the child; by `clone` where a seccomp filter hides `clone3`, as older container engines
/// do because they cannot look into its arguments.
fn clone_child(
    stack: &ChildStack,
    plan: &mut Plan<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<(Pid, OwnedFd), Refused> {
    let refuse = |errno| Refused {
        step: Step::Clone,
        errno,
    };
    let mut pidfd: c_int = -1;
    let base_flags = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD).cast_unsigned();
    let mut args = CloneArgs {
        flags: u64::from(base_flags) | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.base.addr() as u64,
        stack_size: stack.len as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let blocked = SignalsBlocked::all();
    let argument: *mut Plan<'_> = plan;
    // SAFETY: `args` describes `stack` (own-stack); `child_main` keeps child-code; `plan` is
    // valid until the child is gone (plan-lives).
    let mut pid = unsafe { clone3(&args, child_main, argument.cast()) };
    if (pid == -i64::from(libc::ENOSYS) || pid == -i64::from(libc::EPERM)) && cgroup.is_none() {
        plan.reset_handlers = true;
        let argument: *mut Plan<'_> = plan;
        // SAFETY: as above; all signals are blocked until the child has reset them (no-handler).
        pid = unsafe {
            clone(
                base_flags,
                stack,
                &raw mut pidfd,
                child_main,
                argument.cast(),
            )
        };
    }
    drop(blocked);
    match c_int::try_from(pid).ok().and_then(Pid::from_raw) {
        // SAFETY: the kernel opened this descriptor for us (`CLONE_PIDFD`); nobody else owns it.
        Some(child) if pid > 0 => Ok((child, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        _ => Err(refuse(Errno::from_raw_os_error(
            i32::try_from(-pid).unwrap_or(0),
        ))),
    }
}

/// `struct clone_args`, include/uapi/linux/sched.h.
#[derive(Debug, Default)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// `clone3(2)`; the child calls `entry(argument)` on the stack that `args` names.
///
/// # Safety
/// * `args` names a stack that nobody else uses until the child has left this memory.
/// * `entry` keeps **child-code**, and `argument` is what it takes.
unsafe fn clone3(
    args: &CloneArgs,
    entry: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let result: i64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's duties; in the parent only `rax`, `rcx` and `r11` change.
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
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's duties; in the parent only `x0` changes.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x20") argument,
            in("x21") entry,
        );
    }
    result
}

/// `clone(2)` with SIGCHLD at the end; the child calls `entry(argument)` on `stack`.
///
/// # Safety
/// As for [`clone3`].
unsafe fn clone(
    flags: u32,
    stack: &ChildStack,
    pidfd: *mut c_int,
    entry: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let result: i64;
    let flags = u64::from(flags) | libc::SIGCHLD as u64;
    let top = stack.base.wrapping_byte_add(stack.len);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's duties; in the parent only `rax`, `rcx` and `r11` change.
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
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") flags,
            in("rsi") top,
            in("rdx") pidfd,
            in("r10") 0_usize,
            in("r8") 0_usize,
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's duties; in the parent only `x0` changes.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags => result,
            in("x1") top,
            in("x2") pidfd,
            in("x3") 0_usize,
            in("x4") 0_usize,
            in("x20") argument,
            in("x21") entry,
        );
    }
    result
}

/// Turns into the new program, or says in the plan's [`Failure`] why not, and exits.
extern "C" fn child_main(argument: *mut c_void) -> ! {
    // SAFETY: `clone_child` passes a `Plan` that outlives this child (plan-lives).
    let plan = unsafe { &*argument.cast::<Plan<'_>>().cast_const() };
    let step = become_program(plan);
    // SAFETY: errno of the thread whose memory this child shares.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: a live cell, at which nobody else looks now: the parent stands still.
    unsafe { ptr::write_volatile(plan.failure.errno.get(), errno) };
    // SAFETY: as above.
    unsafe { ptr::write_volatile(plan.failure.step.get(), step as u32) };
    // SAFETY: ends the child without running anything of the parent's (child-code).
    unsafe { libc::_exit(127) }
}

/// Every step up to `execve`; returns the one that failed, with its reason in errno.
fn become_program(plan: &Plan<'_>) -> Step {
    // SAFETY: makes the child the leader of a session; no memory involved.
    if unsafe { libc::setsid() } < 0 {
        return Step::Session;
    }
    // SAFETY: sets an attribute of the child; no memory involved.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } < 0 {
        return Step::DeathSignal;
    }
    // The parent may have died before the call above: then nobody would end this child.
    // SAFETY: no memory involved.
    if unsafe { libc::getppid() } != plan.parent {
        return Step::DeathSignal;
    }
    if !place_streams(plan) {
        return Step::Stream;
    }
    // SAFETY: no memory involved.
    if plan.dir >= 0 && unsafe { libc::fchdir(plan.dir) } < 0 {
        return Step::WorkingDir;
    }
    // Above the standard streams nothing is passed on. A kernel that can tell of a child that it
    // has no such call is older than those that pepita runs on.
    // SAFETY: closes descriptors of the child's own table; none is used any more.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3 as c_long,
            c_long::from(u32::MAX),
            0 as c_long,
        )
    };
    for (resource, limit) in plan.limits {
        if !set_limit(*resource, limit) {
            return Step::Limit;
        }
    }
    let mask = plan.cpu_mask;
    // SAFETY: a live slice, and its length in bytes.
    if !mask.is_empty()
        && unsafe { libc::sched_setaffinity(0, size_of_val(mask), mask.as_ptr().cast()) } < 0
    {
        return Step::Affinity;
    }
    reset_signals(plan.reset_handlers);
    // SAFETY: all three are NUL-terminated and NULL-terminated as execve(2) wants (plan-lives).
    unsafe { libc::execve(plan.path, plan.args, plan.environment) };
    Step::Exec
}

fn set_limit(resource: c_int, limit: &libc::rlimit64) -> bool {
    let none = ptr::null_mut::<libc::rlimit64>();
    // SAFETY: `limit` is live, and the old one is not asked for.
    unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0 as c_long,
            c_long::from(resource),
            limit,
            none,
        ) == 0
    }
}

/// Puts the three streams at 0, 1 and 2. A source is either above 2 or already in its place, so
/// none is overwritten before it is used.
fn place_streams(plan: &Plan<'_>) -> bool {
    let mut target = 0;
    for source in plan.streams {
        // SAFETY: changes the child's own descriptor table.
        if source != target && unsafe { libc::dup2(source, target) } < 0 {
            return false;
        }
        target += 1;
    }
    true
}

/// Default actions for what the parent handles or, as Rust programs do, ignores of SIGPIPE; then
/// an empty mask.
fn reset_signals(handlers: bool) {
    // SAFETY: all-zero bytes are a valid `sigaction`: default action, empty mask, no flags.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: a live `sigaction`.
    unsafe { libc::sigaction(libc::SIGPIPE, &default, ptr::null_mut()) };
    for signal in 1..=if handlers { 64 } else { 0 } {
        let mut present = default;
        // SAFETY: a live `sigaction` to fill.
        unsafe { libc::sigaction(signal, ptr::null(), &mut present) };
        if present.sa_sigaction != libc::SIG_IGN {
            // SAFETY: a live `sigaction`.
            unsafe { libc::sigaction(signal, &default, ptr::null_mut()) };
        }
    }
    let empty: u64 = 0;
    set_mask(&empty, ptr::null_mut());
}

/// `rt_sigprocmask(SIG_SETMASK)` past the C library, which would spare its own signals.
fn set_mask(mask: &u64, old: *mut u64) {
    // SAFETY: `mask` is live, and `old` is NULL or live: its two callers see to it.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            c_long::from(libc::SIG_SETMASK),
            ptr::from_ref(mask),
            old,
            size_of::<u64>(),
        )
    };
}

/// Every signal of the calling thread is blocked while this lives.
struct SignalsBlocked {
    before: u64,
}

impl SignalsBlocked {
    fn all() -> Self {
        let mut before = 0;
        set_mask(&u64::MAX, &raw mut before);
        Self { before }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        set_mask(&self.before, ptr::null_mut());
    }
}

/// Memory for a child's stack, its lowest page a guard.
///
/// # Invariants
/// * `base .. base + len` is a private mapping that lives until `Drop`, 16-aligned at both ends.
struct ChildStack {
    base: *mut c_void,
    len: usize,
}

/// Deep enough for `child_main` in a build without optimisation, which takes about 2 KiB.
const STACK_BYTES: usize = 64 << 10;
const GUARD_BYTES: usize = 64 << 10;

impl ChildStack {
    fn new() -> Result<Self, Errno> {
        let len = GUARD_BYTES + STACK_BYTES;
        // SAFETY: a new mapping touches no other memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(last_errno());
        }
        let stack = Self { base, len };
        // SAFETY: the first pages of the mapping just made, which nobody uses.
        if unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) } < 0 {
            return Err(last_errno());
        }
        Ok(stack)
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own (invariant), and no child uses it: `spawn`
        // returned.
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// Lends the calling thread's stack for children, made at its first use.
fn with_stack<T>(use_it: impl FnOnce(&ChildStack) -> Result<T, Refused>) -> Result<T, Refused> {
    thread_local! {
        static STACK: std::cell::OnceCell<ChildStack> = const { std::cell::OnceCell::new() };
    }
    STACK.with(|slot| {
        if slot.get().is_none() {
            let stack = ChildStack::new().map_err(|errno| Refused {
                step: Step::Stack,
                errno,
            })?;
            drop(slot.set(stack));
        }
        match slot.get() {
            Some(stack) => use_it(stack),
            None => Err(Refused {
                step: Step::Stack,
                errno: Errno::NOMEM,
            }),
        }
    })
}
