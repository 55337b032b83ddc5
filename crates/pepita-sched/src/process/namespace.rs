#![expect(
    unsafe_code,
    reason = "runs the first process of a pid namespace in this process's memory, so that it needs \
              no program of its own"
)]
//! A program in a pid namespace of its own, under a small first process.
//!
//! The first process of a namespace is its init: what is orphaned falls to it, it ignores signals
//! from within, and when it exits the kernel kills everything else. Ours is a child that shares
//! this process's memory, as a thread would, but nothing else: it starts the program, waits for
//! it, takes away the zombies of orphans, writes down the program's exit, and exits. It dies with
//! the thread that made it, and with it the namespace.
//!
//! # Invariants
//! * **init-code**: what runs in init keeps child-code for as long as it lives, since the parent's
//!   threads run beside it: no allocation, no lock, no panic, no C library (its errno is that of
//!   a thread of the parent).
//! * **report-lives**: the [`Report`] that init writes to is freed only after init was waited for
//!   ([`Init`] is consumed after that, or leaks it).
//! * **plan-first**: init reads the [`Plan`] only until it has set `started`; the parent waits for
//!   that, or for init's end, before the plan goes out of scope.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::Pid;

use super::child::{Plan, Refused, Step, child_main, exit};
use super::raw;
use super::signals::SignalsBlocked;
use super::spawn::{ChildStack, born};

/// What init tells the parent.
struct Report {
    /// 0, then 1 when the program runs or has failed to.
    started: AtomicU32,
    /// 0, then 1 when the program's exit is written below.
    exited: AtomicU32,
    exit: UnsafeCell<(c_int, libc::rusage)>,
    /// Of init itself.
    stack: ChildStack,
    /// Of the program, until its `execve`.
    program_stack: ChildStack,
    /// Cast from a `Plan` (plan-first).
    plan: *mut c_void,
}

/// An init that was started; after it was waited for, [`into_exit`](Self::into_exit) has the exit
/// of its program. Dropped before that, it leaks its report (report-lives).
#[derive(Debug)]
pub(super) struct Init {
    /// From `Box::into_raw`, which init reads and writes as long as it lives.
    report: NonNull<Report>,
}

// SAFETY: after `spawn` only the thread that waited for init touches the report, and the kernel's
// wait orders that after init's writes; the raw pointers in it are not used any more.
unsafe impl Send for Init {}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("exited", &self.exited)
            .finish_non_exhaustive()
    }
}

impl Init {
    /// How the program exited, if it did before init; init must have been waited for.
    pub(super) fn into_exit(self) -> Option<(c_int, libc::rusage)> {
        // SAFETY: made by `Box::into_raw` in `spawn`; init is gone, so nobody else uses it, and
        // this value, the only one that holds it, is consumed.
        let report = unsafe { Box::from_raw(self.report.as_ptr()) };
        let has_exited = report.exited.load(Ordering::Acquire) == 1;
        has_exited.then(|| report.exit.into_inner())
    }
}

/// Starts the program of `plan` under a new init; returns when it runs or has failed to.
pub(super) fn spawn(plan: &mut Plan<'_>) -> Result<(Pid, OwnedFd, Init), Refused> {
    // The program's parent is init, which is number 1 in its namespace.
    plan.parent = 1;
    // SAFETY: all-zero bytes are a valid `rusage`.
    let no_usage: libc::rusage = unsafe { std::mem::zeroed() };
    let argument: *mut Plan<'_> = plan;
    let report = Box::new(Report {
        started: AtomicU32::new(0),
        exited: AtomicU32::new(0),
        exit: UnsafeCell::new((0, no_usage)),
        stack: ChildStack::new()?,
        program_stack: ChildStack::new()?,
        plan: argument.cast(),
    });
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_NEWPID | libc::CLONE_PIDFD;
    let args = report.stack.clone_args(flags, &mut pidfd);
    let report = Box::into_raw(report);
    let blocked = SignalsBlocked::all();
    // SAFETY: `args` describes a stack that only init uses; `init_main` keeps init-code, and the
    // report is what it takes (report-lives).
    let pid = unsafe { raw::clone3(&args, init_main, report.cast()) };
    drop(blocked);
    let (pid, pidfd) = match born(pid, pidfd) {
        Ok(child) => child,
        Err(refused) => {
            // SAFETY: from `Box::into_raw` above; there is no init, so it is ours alone.
            drop(unsafe { Box::from_raw(report) });
            return Err(refused);
        }
    };
    // SAFETY: a live report (report-lives), of which only an atomic is used here.
    let started = unsafe { &(*report).started };
    while started.load(Ordering::Acquire) == 0 && !has_ended(&pidfd) {
        wait_for_start(started);
    }
    // SAFETY: `Box::into_raw` gives no null pointer.
    let report = unsafe { NonNull::new_unchecked(report) };
    Ok((pid, pidfd, Init { report }))
}

/// Sleeps until init sets `started`, or for a moment: an init that is killed sets nothing.
fn wait_for_start(started: &AtomicU32) {
    let moment = libc::timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let wait = raw::word(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
    let arguments = [
        started.as_ptr().expose_provenance(),
        wait,
        0,
        (&raw const moment).expose_provenance(),
        0,
        0,
    ];
    // SAFETY: a live word and a live time.
    let _ = unsafe { raw::syscall(libc::SYS_futex, arguments) };
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut ended = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(&mut ended, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// The life of init; `argument` is a [`Report`] (report-lives).
extern "C" fn init_main(argument: *mut c_void) -> ! {
    // SAFETY: a live report; what init changes in it is atomic, or in a cell that nobody else
    // reads before init is gone.
    let report = unsafe { &*argument.cast::<Report>().cast_const() };
    let set_death_signal = [
        raw::word(libc::PR_SET_PDEATHSIG),
        raw::word(libc::SIGKILL),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: takes no pointer.
    let _ = unsafe { raw::syscall(libc::SYS_prctl, set_death_signal) };
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let args = report.program_stack.clone_args(flags, &mut pidfd);
    // SAFETY: `args` describes a stack that only the program's child uses; `child_main` keeps
    // child-code; the plan is what it takes (plan-first), and init stands still meanwhile.
    let program = unsafe { raw::clone3(&args, child_main, report.plan) };
    if let Err(errno) = program {
        // SAFETY: the parent keeps the plan until `started` is set (plan-first).
        let plan = unsafe { &*report.plan.cast::<Plan<'_>>().cast_const() };
        plan.failure.write(Refused {
            step: Step::Clone,
            errno,
        });
    }
    report.started.store(1, Ordering::Release);
    let wake = raw::word(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);
    // SAFETY: a live word.
    let _ = unsafe {
        raw::syscall(
            libc::SYS_futex,
            [
                report.started.as_ptr().expose_provenance(),
                wake,
                1,
                0,
                0,
                0,
            ],
        )
    };
    // The parent's pipes must not stay open here.
    // SAFETY: takes no pointer, and closes descriptors of init alone.
    let _ = unsafe { raw::syscall(libc::SYS_close_range, [0, u32::MAX as usize, 0, 0, 0, 0]) };
    if let Ok(program) = program {
        while !reap_one(report, program) {}
    }
    exit(0)
}

/// Waits for one child of init; says whether it was the program.
fn reap_one(report: &Report, program: usize) -> bool {
    // SAFETY: all-zero bytes are a valid `rusage`.
    let mut exit: (c_int, libc::rusage) = (0, unsafe { std::mem::zeroed() });
    let any = usize::MAX;
    let (status, usage) = (
        (&raw mut exit.0).expose_provenance(),
        (&raw mut exit.1).expose_provenance(),
    );
    let arguments = [any, status, raw::word(libc::__WALL), usage, 0, 0];
    // SAFETY: both pointers are to live values of the types that wait4(2) fills.
    let pid = unsafe { raw::syscall(libc::SYS_wait4, arguments) };
    if pid == Ok(program) {
        // SAFETY: nobody reads the cell before init is gone.
        unsafe { ptr::write_volatile(report.exit.get(), exit) };
        report.exited.store(1, Ordering::Release);
    }
    // Without children, and so without the program, there is nothing to wait for.
    pid == Ok(program) || pid == Err(Errno::CHILD)
}
