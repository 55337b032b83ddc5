#![expect(
    unsafe_code,
    reason = "runs in a child that shares this process's memory, and only makes system calls there"
)]
//! What a child does between its birth and `execve`.
//!
//! # Invariants
//! * **child-code**: what runs in the child is [`child_main`] and what it calls here: no
//!   allocation, no lock, no panic, no drop, no C library. Another thread of the parent may hold
//!   any lock at that time.
//! * **plan-lives**: every pointer and reference in a [`Plan`] is valid as long as the child is
//!   in this memory, that is, until it calls `execve` or exits.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int, c_long, c_void};
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;

use super::raw;
use super::signals::set_mask;

#[expect(clippy::cast_possible_truncation, reason = "a number of 16 bits")]
const TIOCNOTTY: usize = libc::TIOCNOTTY as usize;

/// What the child is to do.
pub(super) struct Plan<'a> {
    pub(super) path: *const c_char,
    /// Arguments and environment, each ended by NULL.
    pub(super) args: *const *const c_char,
    pub(super) environment: *const *const c_char,
    /// What becomes 0, 1 and 2: each above 2, or in its place already.
    pub(super) streams: [RawFd; 3],
    /// The working directory; negative for the parent's.
    pub(super) dir: RawFd,
    pub(super) limits: &'a [(c_int, libc::rlimit64)],
    /// A mask for `sched_setaffinity`; empty for none.
    pub(super) cpu_mask: &'a [u64],
    /// Whether it leads a session of its own; else it leads a process group.
    pub(super) leads_session: bool,
    /// The terminal that it leaves as the leader of a process group; negative for none.
    pub(super) terminal: RawFd,
    /// Its parent's process id, as it sees it.
    pub(super) parent: libc::pid_t,
    /// Whether it still has its parent's signal handlers.
    pub(super) reset_handlers: bool,
    pub(super) failure: &'a Failure,
}

/// A step on the way to the new program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Stack = 1,
    Clone,
    Session,
    ProcessGroup,
    DeathSignal,
    Stream,
    WorkingDir,
    Limit,
    Affinity,
    Exec,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Stack,
        Self::Clone,
        Self::Session,
        Self::ProcessGroup,
        Self::DeathSignal,
        Self::Stream,
        Self::WorkingDir,
        Self::Limit,
        Self::Affinity,
        Self::Exec,
    ];

    /// The system call of the step.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::Stack => "mmap",
            Self::Clone => "clone3",
            Self::Session => "setsid",
            Self::ProcessGroup => "setpgid",
            Self::DeathSignal => "prctl(PR_SET_PDEATHSIG)",
            Self::Stream => "dup3",
            Self::WorkingDir => "fchdir",
            Self::Limit => "prlimit64",
            Self::Affinity => "sched_setaffinity",
            Self::Exec => "execve",
        }
    }
}

/// Why there is no child, or no new program in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

/// Where a child writes why it failed, for its parent to read when it is gone.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// 0 as long as nothing failed.
    step: UnsafeCell<u32>,
    errno: UnsafeCell<c_int>,
}

impl Failure {
    /// In the child.
    pub(super) fn write(&self, refused: Refused) {
        // SAFETY: a live cell (plan-lives), which the parent reads when the child is gone.
        unsafe { ptr::write_volatile(self.errno.get(), refused.errno.raw_os_error()) };
        // SAFETY: as above.
        unsafe { ptr::write_volatile(self.step.get(), refused.step as u32) };
    }

    /// In the parent, when the child has left this memory.
    pub(super) fn read(&self) -> Option<Refused> {
        // SAFETY: the only one who wrote here is gone: callers see to it.
        let step = unsafe { ptr::read_volatile(self.step.get()) };
        // SAFETY: as above.
        let errno = unsafe { ptr::read_volatile(self.errno.get()) };
        let step = Step::ALL.into_iter().find(|&known| known as u32 == step)?;
        Some(Refused {
            step,
            errno: Errno::from_raw_os_error(errno),
        })
    }
}

/// Turns into the new program, or writes to the plan's [`Failure`] why not, and exits.
///
/// `argument` is a [`Plan`] (plan-lives).
pub(super) extern "C" fn child_main(argument: *mut c_void) -> ! {
    // SAFETY: a live `Plan`, which nobody changes meanwhile (plan-lives).
    let plan = unsafe { &*argument.cast::<Plan<'_>>().cast_const() };
    if let Err(refused) = become_program(plan) {
        plan.failure.write(refused);
    }
    exit(127)
}

/// Ends the calling process at once.
pub(super) fn exit(code: usize) -> ! {
    loop {
        // SAFETY: takes no pointer.
        let _ = unsafe { raw::syscall(libc::SYS_exit_group, [code, 0, 0, 0, 0, 0]) };
    }
}

/// Every step up to `execve`; comes back only if one failed.
fn become_program(plan: &Plan<'_>) -> Result<(), Refused> {
    let kill = raw::word(libc::SIGKILL);
    let prctl = raw::word(libc::PR_SET_PDEATHSIG);
    if plan.leads_session {
        simple(Step::Session, libc::SYS_setsid, [0, 0, 0])?;
    } else {
        simple(Step::ProcessGroup, libc::SYS_setpgid, [0, 0, 0])?;
        if plan.terminal >= 0 {
            // Leaves the session's other processes their terminal (tty_ioctl(4)). Its descendants
            // have none either: only the leader of a session can get one. It may be no longer ours.
            let arguments = [raw::word(plan.terminal), TIOCNOTTY, 0];
            let _not_ours = simple(Step::ProcessGroup, libc::SYS_ioctl, arguments);
        }
    }
    simple(Step::DeathSignal, libc::SYS_prctl, [prctl, kill, 0])?;
    // The parent may have died before that call: then nobody would end this child.
    if simple(Step::DeathSignal, libc::SYS_getppid, [0, 0, 0])? != raw::word(plan.parent) {
        return Err(Refused {
            step: Step::DeathSignal,
            errno: Errno::SRCH,
        });
    }
    place_streams(plan.streams)?;
    if plan.dir >= 0 {
        simple(
            Step::WorkingDir,
            libc::SYS_fchdir,
            [raw::word(plan.dir), 0, 0],
        )?;
    }
    simple(
        Step::Stream,
        libc::SYS_close_range,
        [3, u32::MAX as usize, 0],
    )?;
    for (resource, limit) in plan.limits {
        let limit = ptr::from_ref(limit).expose_provenance();
        pointer(
            Step::Limit,
            libc::SYS_prlimit64,
            [0, raw::word(*resource), limit, 0],
        )?;
    }
    let mask = plan.cpu_mask;
    if !mask.is_empty() {
        let arguments = [0, size_of_val(mask), mask.as_ptr().expose_provenance(), 0];
        pointer(Step::Affinity, libc::SYS_sched_setaffinity, arguments)?;
    }
    reset_signals(plan.reset_handlers);
    let arguments = [
        plan.path.expose_provenance(),
        plan.args.expose_provenance(),
        plan.environment.expose_provenance(),
        0,
    ];
    pointer(Step::Exec, libc::SYS_execve, arguments).map(drop)
}

/// A call without pointers.
fn simple(step: Step, number: c_long, [a, b, c]: [usize; 3]) -> Result<usize, Refused> {
    // SAFETY: takes no pointer; what it changes is the child's own.
    let result = unsafe { raw::syscall(number, [a, b, c, 0, 0, 0]) };
    result.map_err(|errno| Refused { step, errno })
}

/// A call with pointers out of a [`Plan`].
fn pointer(step: Step, number: c_long, [a, b, c, d]: [usize; 4]) -> Result<usize, Refused> {
    // SAFETY: its pointers are live and of the type that the call reads (plan-lives).
    let result = unsafe { raw::syscall(number, [a, b, c, d, 0, 0]) };
    result.map_err(|errno| Refused { step, errno })
}

/// Puts the three streams at 0, 1 and 2. A source is above 2 or in its place already, so that
/// none is overwritten before it is used; what is in its place must stay open through `execve`.
fn place_streams(streams: [RawFd; 3]) -> Result<(), Refused> {
    for (target, source) in streams.into_iter().enumerate() {
        let source = raw::word(source);
        if source == target {
            let set = raw::word(libc::F_SETFD);
            simple(Step::Stream, libc::SYS_fcntl, [source, set, 0])?;
        } else {
            simple(Step::Stream, libc::SYS_dup3, [source, target, 0])?;
        }
    }
    Ok(())
}

/// The kernel's `struct sigaction`: handler, flags, restorer, mask; the same on x86-64
/// (arch/x86/include/asm/signal.h) and arm64 (include/linux/signal_types.h).
type KernelSigaction = [usize; 4];

/// Default actions for what the parent handles or, as Rust programs do, ignores of SIGPIPE; then
/// an empty mask.
fn reset_signals(handlers: bool) {
    let default: KernelSigaction = [libc::SIG_DFL, 0, 0, 0];
    set_action(raw::word(libc::SIGPIPE), &default);
    for signal in 1..if handlers { 65 } else { 1 } {
        let mut present = default;
        let arguments = [
            signal,
            0,
            (&raw mut present).expose_provenance(),
            size_of::<u64>(),
            0,
            0,
        ];
        // SAFETY: fills a live structure of the kernel's layout.
        let _ = unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
        if present[0] != libc::SIG_IGN {
            set_action(signal, &default);
        }
    }
    set_mask(0);
}

fn set_action(signal: usize, action: &KernelSigaction) {
    let arguments = [
        signal,
        ptr::from_ref(action).expose_provenance(),
        0,
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: reads a live structure of the kernel's layout.
    let _ = unsafe { raw::syscall(libc::SYS_rt_sigaction, arguments) };
}

#[cfg(test)]
mod tests {
    use crate::executor::{CancelToken, CpuExecutor, Executor, TaskContext};
    use crate::task::Task;

    #[test]
    fn blocked_signals_and_an_ignored_sigpipe_are_not_passed_on() {
        let task = Task::binary("grep").args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
        let task = task.build().unwrap();
        let executor = CpuExecutor::builder().slots(1).build().unwrap();
        let context = TaskContext::new(CancelToken::new(), None, 1, 0);
        let before = crate::process::signals::set_mask(u64::MAX);
        let result = executor.execute(&task, &context);
        crate::process::signals::set_mask(before);
        let output = result.unwrap().stdout_string();
        let masks: Vec<u64> = output
            .lines()
            .map(|line| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap())
            .collect();
        let sigpipe = 1 << (libc::SIGPIPE - 1);
        assert_eq!((masks[0], masks[1] & sigpipe), (0, 0), "{output}");
    }
}
