//! Runs the programs of one attempt: starts them, feeds and drains them, and waits.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::cgroup::{Group, refuse_limits};
use super::child::{Refused, Step};
use super::descendants::MARK;
use super::image::{Image, Inherited};
use super::spawn::{self, Child, Setup};
use super::stream::{self, Feed, Given, Sink, Wake, Which};
use super::tree::{Tree, TreeKiller};
use crate::executor::{Backend, TaskContext};
use crate::task::{
    ExecutionResult, Exit, Limits, Programs, SpawnError, Stop, TaskError, TaskId, TreeKill,
    Unsupported, Usage,
};

/// What an executor keeps from one attempt to the next.
#[derive(Debug)]
pub(crate) struct Runner {
    killer: TreeKiller,
    null: OwnedFd,
    terminal: Option<OwnedFd>,
    inherited: Inherited,
    /// One for each attempt that ran at the same time as others.
    benches: Mutex<Vec<Bench>>,
}

/// What one attempt works with.
#[derive(Debug)]
struct Bench {
    scratch: Vec<u8>,
    wake: Arc<Wake>,
    /// The group of tasks without limits.
    group: Option<Group>,
}

/// As much as a pipe holds by default.
const SCRATCH_BYTES: usize = 64 << 10;

impl Runner {
    pub(crate) fn new(killer: TreeKiller) -> io::Result<Self> {
        Ok(Self {
            killer,
            null: stream::open_null()?,
            terminal: stream::open_terminal(),
            inherited: Inherited::take(MARK),
            benches: Mutex::default(),
        })
    }

    pub(crate) fn level(&self) -> TreeKill {
        self.killer.level()
    }

    /// Whether this host can hold `limits`.
    pub(crate) fn check_limits(&self, limits: &Limits) -> Result<(), Unsupported> {
        if !limits.need_cgroup() {
            return Ok(());
        }
        match self.killer.cgroups() {
            Ok(groups) => groups.check_limits(),
            Err(reason) => Err(refuse_limits(reason.clone())),
        }
    }

    fn take_bench(&self) -> Result<Bench, TaskError> {
        let system = |operation| move |source| TaskError::System { operation, source };
        let spare = self
            .benches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut bench = match spare {
            Some(bench) => bench,
            None => Bench {
                scratch: vec![0; SCRATCH_BYTES],
                wake: Arc::new(Wake::new().map_err(system("eventfd"))?),
                group: None,
            },
        };
        if let (TreeKill::Cgroup, None, Ok(groups)) =
            (self.level(), &bench.group, self.killer.cgroups())
        {
            bench.group = Some(groups.group().map_err(system("making a cgroup"))?);
        }
        Ok(bench)
    }

    fn return_bench(&self, mut bench: Bench, is_clean: bool) {
        // After an error, or with a process in it that cannot be killed now, the group is not for
        // a later task.
        if !is_clean {
            bench.group = None;
        }
        self.benches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bench);
    }

    /// The group of a task with limits.
    fn limited_group(&self, limits: &Limits) -> Result<Option<Group>, TaskError> {
        if !limits.need_cgroup() {
            return Ok(None);
        }
        self.check_limits(limits)?;
        let Ok(groups) = self.killer.cgroups() else {
            return Ok(None);
        };
        let made = groups.limited(limits);
        let system = |source| TaskError::System {
            operation: "making a cgroup",
            source,
        };
        made.map(Some).map_err(system)
    }
}

/// Runs one attempt of `programs` to its end.
pub(crate) fn run(
    runner: &Runner,
    id: TaskId,
    programs: &Programs,
    context: &TaskContext,
) -> Result<ExecutionResult, TaskError> {
    let limited = runner.limited_group(&programs.limits)?;
    let mut bench = runner.take_bench()?;
    let group = limited.as_ref().or(bench.group.as_ref());
    let tree = Tree::new(id, runner.level(), group);
    let wake: Arc<Wake> = bench.wake.clone();
    let registration = context.cancel_token().on_cancel(wake.clone());
    let begin = Instant::now();
    let outcome = Attempt::start(runner, id, programs, tree).and_then(|mut attempt| {
        if let (Some(group), Some(_)) = (&limited, programs.limits.memory_bytes) {
            group.die_together().map_err(|source| TaskError::System {
                operation: "limiting memory",
                source,
            })?;
        }
        let stopped = attempt.serve(&wake, &mut bench.scratch, context, programs.grace)?;
        attempt.finish(id, stopped, &mut bench.scratch)
    });
    drop(registration);
    let outcome = outcome.map(|mut result| {
        result.wall = begin.elapsed();
        if let Some(group) = &limited {
            result.usage.peak_memory_bytes = group.peak_bytes();
            if result.stopped.is_none() && group.was_out_of_memory() {
                result.stopped = Some(Stop::MemoryLimit);
            }
        }
        result
    });
    let was_left = outcome
        .as_ref()
        .map_or(true, |result| result.tree_kill.is_some());
    runner.return_bench(bench, !was_left);
    outcome
}

/// The programs of an attempt and our ends of their streams.
#[derive(Debug)]
struct Attempt<'a> {
    tree: Tree<'a>,
    children: Vec<Child>,
    /// Which children have exited; they are waited for at the end, all together.
    exited: Vec<bool>,
    stdin: Option<Feed>,
    stdout: Sink,
    stderr: Sink,
    /// Our copies of what the programs write to. As long as they are open, no pipe reports the
    /// end of file, so that the exit of a program makes one wake-up and not three.
    written: Vec<Given>,
}

impl<'a> Attempt<'a> {
    /// Starts every program; if one cannot be started, those before it are killed.
    fn start(
        runner: &Runner,
        id: TaskId,
        programs: &Programs,
        tree: Tree<'a>,
    ) -> Result<Self, TaskError> {
        let mark = id.to_string();
        let images = programs
            .stages
            .iter()
            .map(|stage| Image::new(stage, &runner.inherited, (MARK, &mark)));
        let images: Vec<Image<'_>> = images.collect::<Result<_, _>>()?;
        let (first_input, stdin) = Feed::new(&programs.stdin)?;
        let (last_output, stdout) = Sink::new(&programs.stdout, Which::Stdout)?;
        let (errors, stderr) = Sink::new(&programs.stderr, Which::Stderr)?;
        let limits = kernel_limits(&programs.limits);
        let cpu_mask = cpu_mask(programs.affinity.as_slice());

        let mut attempt = Self {
            tree,
            children: Vec::new(),
            exited: Vec::new(),
            stdin,
            stdout,
            stderr,
            written: Vec::new(),
        };
        let mut input = first_input;
        let mut last_output = Some(last_output);
        for (index, image) in images.iter().enumerate() {
            let is_last = index + 1 == images.len();
            let (output, next_input) = match last_output.take_if(|_| is_last) {
                Some(output) => (output, Given::Null),
                None => {
                    let (read, write) = stream::pipe()?;
                    (Given::Own(write), Given::Own(read))
                }
            };
            let setup = Setup {
                streams: [&input, &output, &errors].map(|given| given.as_fd(&runner.null)),
                limits: &limits,
                cpu_mask: &cpu_mask,
                cgroup: attempt.tree.group().map(Group::as_fd),
                pid_namespace: attempt.tree.level() == TreeKill::PidNamespace,
                session: attempt.tree.needs_session(),
                terminal: runner.terminal.as_ref().map(AsFd::as_fd),
            };
            let child = attempt
                .tree
                .adopt(|| spawn::spawn(image, &setup).map_err(|refused| explain(image, refused)))?;
            attempt.children.push(child);
            attempt.exited.push(false);
            input = next_input;
            if is_last {
                attempt.written.push(output);
            }
        }
        attempt.written.push(errors);
        Ok(attempt)
    }

    /// Feeds, drains and waits until every program has exited. Says why it ended them, if it did.
    fn serve(
        &mut self,
        wake: &Wake,
        scratch: &mut [u8],
        context: &TaskContext,
        grace: Duration,
    ) -> Result<Option<Stop>, TaskError> {
        let mut ending: Option<(Stop, Phase)> = None;
        loop {
            let deadline = match ending {
                None => context.deadline(),
                Some((_, Phase::Asked { kill_at })) => Some(kill_at),
                Some((_, Phase::Killed)) => None,
            };
            self.step(wake, scratch, deadline)?;
            if self.exited.iter().all(|&exited| exited) {
                return Ok(ending.map(|(stop, _)| stop));
            }
            let cancel = context.cancel_token();
            let grace = if cancel.is_killed() {
                Duration::ZERO
            } else {
                grace
            };
            match &mut ending {
                None => {
                    if let Some(stop) = context.stop() {
                        ending = Some((stop, self.ask(grace)?));
                    }
                }
                Some((_, phase @ Phase::Asked { .. })) if phase.is_over() || cancel.is_killed() => {
                    self.kill()?;
                    *phase = Phase::Killed;
                }
                _ => {}
            }
        }
    }

    fn ask(&mut self, grace: Duration) -> Result<Phase, TaskError> {
        if grace.is_zero() {
            self.kill()?;
            return Ok(Phase::Killed);
        }
        let system = |source| TaskError::System {
            operation: "kill",
            source,
        };
        if !self.tree.terminate().map_err(system)? {
            self.kill()?;
            return Ok(Phase::Killed);
        }
        let now = Instant::now();
        // A grace beyond what the clock can tell is a long one.
        let kill_at = now
            .checked_add(grace)
            .unwrap_or(now + Duration::from_secs(1 << 30));
        Ok(Phase::Asked { kill_at })
    }

    fn kill(&mut self) -> Result<(), TaskError> {
        self.tree.kill().map_err(|source| TaskError::System {
            operation: "kill",
            source,
        })
    }

    /// Waits for one thing to happen, or for `deadline`, and deals with all that has.
    fn step(
        &mut self,
        wake: &Wake,
        scratch: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<(), TaskError> {
        let timeout = deadline.and_then(|deadline| {
            Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
        });
        for source in self.poll(wake, timeout.as_ref())? {
            match source {
                // A call that came too late for the task before ends one wait for nothing.
                Source::Wake => wake.clear(),
                Source::Stdin => {
                    if !self.stdin.as_mut().map_or(Ok(false), Feed::push)? {
                        self.stdin = None;
                    }
                }
                Source::Stdout => self.stdout.pull(scratch)?,
                Source::Stderr => self.stderr.pull(scratch)?,
                Source::Child(index) => self.exited[index] = true,
            }
        }
        Ok(())
    }

    /// Waits for one thing to happen, or for `timeout`, and tells all that has.
    fn poll(&self, wake: &Wake, timeout: Option<&Timespec>) -> Result<Vec<Source>, TaskError> {
        let children = self.children.iter().zip(&self.exited).enumerate();
        let running = children.filter(|(_, (_, exited))| !**exited);
        let (mut sources, mut polled): (Vec<Source>, Vec<PollFd<'_>>) = [
            Some((
                Source::Wake,
                PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN),
            )),
            self.stdin
                .as_ref()
                .map(|feed| (Source::Stdin, PollFd::new(&feed.fd, PollFlags::OUT))),
            self.stdout
                .fd
                .as_ref()
                .map(|fd| (Source::Stdout, PollFd::new(fd, PollFlags::IN))),
            self.stderr
                .fd
                .as_ref()
                .map(|fd| (Source::Stderr, PollFd::new(fd, PollFlags::IN))),
        ]
        .into_iter()
        .flatten()
        .chain(running.map(|(index, (child, _))| {
            (
                Source::Child(index),
                PollFd::new(&child.pidfd, PollFlags::IN),
            )
        }))
        .unzip();
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(TaskError::System {
                    operation: "poll",
                    source: errno.into(),
                });
            }
        }
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        sources.retain(|_| ready.next().unwrap_or(false));
        Ok(sources)
    }

    /// Ends what the programs left behind, takes their exits and reads the rest of their output.
    fn finish(
        mut self,
        id: TaskId,
        stopped: Option<Stop>,
        scratch: &mut [u8],
    ) -> Result<ExecutionResult, TaskError> {
        let swept = self.tree.sweep(stopped.is_some());
        let swept = swept.map_err(|source| TaskError::System {
            operation: "kill",
            source,
        })?;
        // All are waited for before one's failure is told.
        let waited: Vec<_> = self.children.drain(..).map(spawn::wait).collect();
        let mut exits = Vec::with_capacity(waited.len());
        let mut usage = Usage::default();
        for waited in waited {
            let (status, used) = waited.map_err(|errno| TaskError::System {
                operation: "wait4 (does this process ignore SIGCHLD?)",
                source: errno.into(),
            })?;
            exits.push(exit(status));
            usage.user = Some(usage.user.unwrap_or_default() + duration(used.ru_utime));
            usage.system = Some(usage.system.unwrap_or_default() + duration(used.ru_stime));
        }
        let mut result = ExecutionResult::new(id, Backend::Cpu, overall(&exits));
        result.stopped = stopped;
        result.usage = usage;
        result.tree_kill = (swept || stopped.is_some()).then(|| self.tree.level());
        if exits.len() > 1 {
            result.stages = exits;
        }
        self.written.clear();
        stream::drain([&mut self.stdout, &mut self.stderr], scratch)?;
        result.stdout = self.stdout.take_captured();
        result.stderr = self.stderr.take_captured();
        Ok(result)
    }
}

impl Drop for Attempt<'_> {
    /// After an error half-way: nothing of the attempt goes on.
    fn drop(&mut self) {
        if self.children.is_empty() {
            return;
        }
        let killed = self.kill();
        tracing::debug!(?killed, "an attempt broke off; its processes are ended");
        let swept = self.tree.sweep(true);
        for child in self.children.drain(..) {
            let _ = spawn::wait(child);
        }
        tracing::debug!(?swept, "the rest of a broken attempt is ended");
    }
}

/// How far the end of a task has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// It got SIGTERM and has until then.
    Asked { kill_at: Instant },
    /// It got SIGKILL.
    Killed,
}

impl Phase {
    fn is_over(&self) -> bool {
        matches!(self, Self::Asked { kill_at } if Instant::now() >= *kill_at)
    }
}

/// What an attempt waits for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Wake,
    Stdin,
    Stdout,
    Stderr,
    /// The exit of the child with this index.
    Child(usize),
}

/// The exit of the task: the last stage that failed, else the last one. A stage before the last
/// that died of SIGPIPE had no reader left, which is no failure.
fn overall(exits: &[Exit]) -> Exit {
    let (last, earlier) = match exits.split_last() {
        Some((last, earlier)) => (*last, earlier),
        None => return Exit::Code(0),
    };
    if last != Exit::Code(0) {
        return last;
    }
    let broken_pipe = Exit::Signal(libc::SIGPIPE);
    let failed = earlier
        .iter()
        .rev()
        .find(|&&exit| exit != Exit::Code(0) && exit != broken_pipe);
    failed.copied().unwrap_or(last)
}

fn exit(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn kernel_limits(limits: &Limits) -> Vec<(i32, libc::rlimit64)> {
    let one = |resource: u32, soft: Option<u64>, above: u64| {
        let soft = soft?;
        Some((
            i32::try_from(resource).ok()?,
            libc::rlimit64 {
                rlim_cur: soft,
                rlim_max: soft.saturating_add(above),
            },
        ))
    };
    let seconds_to_kill = limits.cpu_time_s.map_or(0, |soft| {
        let present = getrlimit(Resource::Cpu).maximum;
        above_soft(soft, present.unwrap_or(libc::RLIM_INFINITY))
    });
    let all = [
        one(libc::RLIMIT_AS, limits.address_space_bytes, 0),
        // The soft limit sends SIGXCPU, the hard one SIGKILL.
        one(libc::RLIMIT_CPU, limits.cpu_time_s, seconds_to_kill),
        one(libc::RLIMIT_NOFILE, limits.open_files, 0),
        one(libc::RLIMIT_FSIZE, limits.file_size_bytes, 0),
    ];
    all.into_iter().flatten().collect()
}

/// Seconds from SIGXCPU to SIGKILL. Without privileges nobody may set a hard limit above the
/// `present` one.
fn above_soft(soft: u64, present: u64) -> u64 {
    present.saturating_sub(soft).min(1)
}

fn cpu_mask(cpus: &[u32]) -> Vec<u64> {
    let mut mask = vec![0; cpus.last().map_or(0, |&last| last as usize / 64 + 1)];
    for &cpu in cpus {
        mask[cpu as usize / 64] |= 1 << (cpu % 64);
    }
    mask
}

/// What a failed start means, in the terms of the task.
fn explain(image: &Image<'_>, refused: Refused) -> TaskError {
    let error = match refused.step {
        Step::Exec => image.explain(refused.errno),
        step => SpawnError::System {
            operation: step.operation(),
            program: image.path(),
            source: refused.errno.into(),
        },
    };
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hard_limit_is_never_set_above_the_present_one() {
        let hard = |soft, present| soft + above_soft(soft, present);
        assert_eq!(hard(5, libc::RLIM_INFINITY), 6);
        assert_eq!(hard(5, 6), 6);
        assert_eq!(hard(5, 5), 5);
        // Above what is allowed: the kernel refuses it.
        assert_eq!(hard(5, 4), 5);
    }
}
