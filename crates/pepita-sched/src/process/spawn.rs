#![expect(
    unsafe_code,
    reason = "makes a child that shares this process's memory until it calls execve, which the \
              standard library cannot do together with a pidfd, a cgroup and resource limits"
)]
//! [`spawn`]: a child by `clone3(CLONE_VM | CLONE_VFORK)`.
//!
//! The child runs on a stack of its own in the parent's memory, and the calling thread stands
//! still until the child has called `execve` or has exited. So nothing is copied, however large
//! the parent is, and the child can say why it failed by writing to its [`Failure`].
//!
//! # Invariants
//! * **own-stack**: a child's stack is a [`ChildStack`] that nobody else uses while the child is
//!   in this memory. Its lowest pages are not accessible.
//! * **stands-still**: `CLONE_VFORK` holds the calling thread until the child is out of this
//!   memory, so what it borrows outlives the child (plan-lives).
//! * **no-handler**: no signal handler of the parent runs in the child: `CLONE_CLEAR_SIGHAND`
//!   resets them, or all signals are blocked until the child has reset them itself.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use super::cgroup::Cgroups;
use super::child::{Failure, Plan, Refused, Step, child_main};
use super::image::Image;
use super::namespace::{self, Init};
use super::raw::{self, CloneArgs};
use super::signals::SignalsBlocked;

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
    /// Whether it gets a pid namespace of its own.
    pub(super) pid_namespace: bool,
    /// Whether it leads a session of its own, which costs a scheduling group (sched(7), autogroup);
    /// else it leads a process group.
    pub(super) session: bool,
    /// The terminal of this process, which the leader of a process group is to leave.
    pub(super) terminal: Option<BorrowedFd<'a>>,
}

/// A child that nobody has waited for yet.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    /// If the child is the first process of a pid namespace, what it tells of the program in it.
    init: Option<Init>,
}

/// Starts `image` as the leader of a session or process group; it dies with the calling thread.
///
/// Descriptors above 2 and the signal mask are not passed on, and SIGPIPE has its default action.
pub(super) fn spawn(image: &Image<'_>, setup: &Setup<'_>) -> Result<Child, Refused> {
    let args = pointers(image.args.iter().map(CString::as_c_str));
    let environment = pointers(image.environment());
    let failure = Failure::default();
    let mut plan = Plan {
        path: image.path.as_ptr(),
        args: args.as_ptr(),
        environment: environment.as_ptr(),
        streams: setup.streams.map(|fd| fd.as_raw_fd()),
        dir: image.dir.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        limits: setup.limits,
        cpu_mask: setup.cpu_mask,
        leads_session: setup.session,
        terminal: setup.terminal.map_or(-1, |fd| fd.as_raw_fd()),
        parent: rustix::process::getpid().as_raw_nonzero().get(),
        reset_handlers: false,
        failure: &failure,
    };
    let child = if setup.pid_namespace {
        let (pid, pidfd, init) = namespace::spawn(&mut plan)?;
        Child {
            pid,
            pidfd,
            init: Some(init),
        }
    } else {
        let (pid, pidfd) = with_stack(|stack| clone_child(stack, &mut plan, setup.cgroup))?;
        Child {
            pid,
            pidfd,
            init: None,
        }
    };
    match failure.read() {
        None => Ok(child),
        Some(refused) => {
            // It has exited: this takes the zombie away at once.
            let _ = wait(child);
            Err(refused)
        }
    }
}

/// Takes the exit status of a child that has exited, and what it used; blocks until it has.
pub(super) fn wait(child: Child) -> Result<(c_int, libc::rusage), Errno> {
    let waited = wait_for(child.pid)?;
    Ok(child
        .init
        .and_then(|init| init.into_exit())
        .unwrap_or(waited))
}

fn wait_for(pid: Pid) -> Result<(c_int, libc::rusage), Errno> {
    let pid = pid.as_raw_nonzero().get();
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live values of the types that wait4(2) fills.
        let got = unsafe { libc::wait4(pid, &mut status, libc::__WALL, usage.as_mut_ptr()) };
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
    let group = cgroups.group().map_err(|error| error.to_string())?;
    check(Some(group.as_fd()), false, "in a cgroup")
}

/// Whether children can be made in a pid namespace, likewise.
pub(super) fn check_pid_namespace() -> Result<(), String> {
    check(None, true, "in a pid namespace")
}

fn check(cgroup: Option<BorrowedFd<'_>>, pid_namespace: bool, place: &str) -> Result<(), String> {
    let null = super::stream::open_null().map_err(|error| error.to_string())?;
    let streams = [null.as_fd(); 3];
    let setup = Setup {
        streams,
        limits: &[],
        cpu_mask: &[],
        cgroup,
        pid_namespace,
        session: pid_namespace,
        terminal: None,
    };
    match spawn(&Image::of_nothing(), &setup) {
        Err(Refused {
            step: Step::Exec, ..
        }) => Ok(()),
        Err(Refused { step, errno }) => Err(format!(
            "no child can be made {place}: {}: {errno}",
            step.operation()
        )),
        Ok(child) => Err(format!("execve of nothing made {child:?}")),
    }
}

fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

fn pointers<'s>(strings: impl Iterator<Item = &'s CStr>) -> Vec<*const c_char> {
    strings.map(CStr::as_ptr).chain([ptr::null()]).collect()
}

/// Makes the child; by `clone` where a seccomp filter hides `clone3`, as container engines do
/// because they cannot look into its arguments.
fn clone_child(
    stack: &ChildStack,
    plan: &mut Plan<'_>,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<(Pid, OwnedFd), Refused> {
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let mut args = stack.clone_args(flags, &mut pidfd);
    if let Some(cgroup) = cgroup {
        args.flags |= raw::CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let blocked = SignalsBlocked::all();
    let argument: *mut Plan<'_> = plan;
    // SAFETY: `args` describes `stack` (own-stack); `child_main` keeps child-code, and `plan` is
    // what it takes (stands-still).
    let pid = unsafe { raw::clone3(&args, child_main, argument.cast()) };
    drop(blocked);
    match pid {
        Err(Errno::NOSYS | Errno::PERM) if cgroup.is_none() => clone_child_2(stack, plan),
        pid => born(pid, pidfd),
    }
}

/// [`clone_child`] by the older `clone`, which cannot reset signal handlers: so all signals are
/// blocked until the child has done it.
fn clone_child_2(stack: &ChildStack, plan: &mut Plan<'_>) -> Result<(Pid, OwnedFd), Refused> {
    plan.reset_handlers = true;
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let (flags, top) = (raw::word(flags), stack.top());
    let blocked = SignalsBlocked::all();
    let argument: *mut Plan<'_> = plan;
    // SAFETY: `stack` is the child's alone (own-stack); `child_main` keeps child-code and resets
    // the handlers (no-handler), and `plan` is what it takes (stands-still).
    let pid = unsafe { raw::clone(flags, top, &mut pidfd, child_main, argument.cast()) };
    drop(blocked);
    born(pid, pidfd)
}

/// What `clone3` or `clone` said, with the descriptor that it opened.
pub(super) fn born(pid: Result<usize, Errno>, pidfd: c_int) -> Result<(Pid, OwnedFd), Refused> {
    let refuse = |errno| Refused {
        step: Step::Clone,
        errno,
    };
    let pid = c_int::try_from(pid.map_err(refuse)?)
        .ok()
        .and_then(Pid::from_raw);
    let pid = pid.ok_or(refuse(Errno::CHILD))?;
    // SAFETY: the kernel opened this descriptor for us (`CLONE_PIDFD`); nobody else owns it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Memory for a child's stack, its lowest pages a guard.
///
/// # Invariants
/// * `base .. base + len` is a private mapping that lives until `Drop`, 16-aligned at both ends.
#[derive(Debug)]
pub(super) struct ChildStack {
    base: *mut c_void,
    len: usize,
}

/// Deep enough for `child_main` in a build without optimisation, which takes about 2 KiB.
const STACK_BYTES: usize = 64 << 10;
/// As large as the largest page of arm64.
const GUARD_BYTES: usize = 64 << 10;

impl ChildStack {
    pub(super) fn new() -> Result<Self, Refused> {
        let refuse = || Refused {
            step: Step::Stack,
            errno: last_errno(),
        };
        let len = GUARD_BYTES + STACK_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping touches no other memory.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(refuse());
        }
        let stack = Self { base, len };
        // SAFETY: the first pages of the mapping just made, which nobody uses.
        if unsafe { libc::mprotect(base, GUARD_BYTES, libc::PROT_NONE) } < 0 {
            return Err(refuse());
        }
        Ok(stack)
    }

    fn top(&self) -> usize {
        self.base.expose_provenance() + self.len
    }

    /// Arguments for a child on this stack, with default signal actions, whose end is told by
    /// SIGCHLD.
    pub(super) fn clone_args(&self, flags: c_int, pidfd: &mut c_int) -> CloneArgs {
        CloneArgs {
            flags: u64::from(flags.cast_unsigned()) | raw::CLONE_CLEAR_SIGHAND,
            pidfd: ptr::from_mut(pidfd).expose_provenance() as u64,
            exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
            stack: self.base.expose_provenance() as u64,
            stack_size: self.len as u64,
            ..CloneArgs::default()
        }
    }
}

impl Drop for ChildStack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own (invariant), and no child uses it any more
        // (own-stack).
        unsafe { libc::munmap(self.base, self.len) };
    }
}

/// Lends the calling thread's stack for children, made at its first use.
fn with_stack<T>(use_it: impl FnOnce(&ChildStack) -> Result<T, Refused>) -> Result<T, Refused> {
    thread_local! {
        static STACK: std::cell::RefCell<Option<ChildStack>> = const { std::cell::RefCell::new(None) };
    }
    STACK.with_borrow_mut(|slot| match slot {
        Some(stack) => use_it(stack),
        None => use_it(slot.insert(ChildStack::new()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::image::Inherited;
    use super::*;
    use crate::task::Program;

    #[test]
    fn the_older_clone_makes_a_child_as_clone3_does() {
        let inherited = Inherited::take("MARK");
        let image = |script: &str| {
            let program = Program::new("/bin/sh").args(["-c", script]);
            Image::new(&program, &inherited, ("MARK", "")).unwrap()
        };
        let null = super::super::stream::open_null().unwrap();
        let failure = Failure::default();
        let start = |image: &Image<'_>| {
            let args = pointers(image.args.iter().map(CString::as_c_str));
            let environment = pointers(image.environment());
            let mut plan = Plan {
                path: image.path.as_ptr(),
                args: args.as_ptr(),
                environment: environment.as_ptr(),
                streams: [null.as_raw_fd(); 3],
                dir: -1,
                limits: &[],
                cpu_mask: &[],
                leads_session: true,
                terminal: -1,
                parent: rustix::process::getpid().as_raw_nonzero().get(),
                reset_handlers: false,
                failure: &failure,
            };
            with_stack(|stack| clone_child_2(stack, &mut plan))
        };
        let script = "exit $(( $(grep -cE '^SigBlk:.0{16}$' /proc/self/status) + 6 ))";
        let (pid, pidfd) = start(&image(script)).unwrap();
        let child = Child {
            pid,
            pidfd,
            init: None,
        };
        assert_eq!(failure.read(), None);
        assert_eq!(libc::WEXITSTATUS(wait(child).unwrap().0), 7);

        let mut missing = image("");
        missing.path = CString::from(c"/no/such/program");
        let (pid, pidfd) = start(&missing).unwrap();
        let refused = Refused {
            step: Step::Exec,
            errno: Errno::NOENT,
        };
        assert_eq!(failure.read(), Some(refused));
        assert!(
            wait(Child {
                pid,
                pidfd,
                init: None
            })
            .is_ok()
        );
    }
}
