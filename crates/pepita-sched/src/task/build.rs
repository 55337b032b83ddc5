//! [`TaskBuilder`]: collects the settings of a task and checks them together.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{
    CpuAffinity, FunctionOutput, GRACE, Limits, Output, Payload, Priority, Program, Programs,
    Settings, Stdin, Task, TaskBuildError, TaskFunction, TaskId, Work,
};
use crate::executor::{Backend, TaskContext};
use crate::fault::RetryPolicy;

/// The most CPUs that a Linux kernel can be built for (`NR_CPUS` of x86-64).
pub(crate) const CPU_MAX: u32 = 8191;

/// Collects what a [`Task`] is; setters never fail, [`build`](Self::build) checks everything.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct TaskBuilder {
    work: Vec<RawWork>,
    /// Changes to every program: (name, value or removal).
    env: Vec<(OsString, Option<OsString>)>,
    env_clear: bool,
    args: Vec<OsString>,
    working_dir: Option<PathBuf>,
    stdin: Option<Stdin>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    limits: Limits,
    affinity: CpuAffinity,
    grace: Option<Duration>,
    settings: Settings,
}

#[derive(Debug)]
enum RawWork {
    Binary(Program),
    Pipeline(Vec<Program>),
    Other(Work),
}

impl TaskBuilder {
    pub(super) fn new() -> Self {
        Self {
            work: Vec::with_capacity(1),
            env: Vec::new(),
            env_clear: false,
            args: Vec::new(),
            working_dir: None,
            stdin: None,
            stdout: None,
            stderr: None,
            limits: Limits::default(),
            affinity: CpuAffinity::any(),
            grace: None,
            settings: Settings {
                backend: Backend::Any,
                priority: Priority::Normal,
                timeout: None,
                retry: None,
                metadata: BTreeMap::new(),
            },
        }
    }

    /// Runs one program; see [`Program::new`] for how it is found.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.work.push(RawWork::Binary(Program::new(path)));
        self
    }

    /// Runs programs joined by pipes; see [`Task::pipeline`].
    pub fn pipeline(mut self, stages: impl IntoIterator<Item = Program>) -> Self {
        self.work
            .push(RawWork::Pipeline(stages.into_iter().collect()));
        self
    }

    /// Runs a function on a worker thread, once for each attempt.
    ///
    /// A thread cannot be killed: at a timeout or a cancellation the function is asked to stop
    /// by [`TaskContext::should_stop`], and the result says so when it returns. A panic in it
    /// fails the attempt and nothing else.
    pub fn function<F, R>(mut self, function: F) -> Self
    where
        F: Fn(&TaskContext) -> R + Send + Sync + 'static,
        R: FunctionOutput,
    {
        self.work
            .push(RawWork::Other(Work::Function(TaskFunction::new(function))));
        self
    }

    /// Carries what an executor of another crate understands.
    pub fn payload(mut self, payload: impl Payload) -> Self {
        self.work
            .push(RawWork::Other(Work::Payload(Arc::new(payload))));
        self
    }

    /// Adds one argument to the binary.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments to the binary.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable of every program, unless the [`Program`] itself sets it.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Removes an environment variable of every program, unless the [`Program`] itself sets it.
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), None));
        self
    }

    /// Inherits no environment variable.
    pub fn env_clear(mut self) -> Self {
        self.env_clear = true;
        self
    }

    /// Runs every program in `dir`, unless the [`Program`] itself has another one.
    pub fn working_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.working_dir = Some(dir.into());
        self
    }

    /// Sets what the first program reads; [`Stdin::Null`] when left out.
    pub fn stdin(mut self, stdin: impl Into<Stdin>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Sets where the last program's standard output goes; captured when left out.
    pub fn stdout(mut self, output: Output) -> Self {
        self.stdout = Some(output);
        self
    }

    /// Sets where the programs' standard error goes; captured when left out.
    pub fn stderr(mut self, output: Output) -> Self {
        self.stderr = Some(output);
        self
    }

    /// Sets how long one attempt may run. At the limit the task gets SIGTERM, then, after
    /// [`grace`](Self::grace), SIGKILL.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets the time between SIGTERM and SIGKILL ([`GRACE`] when left out); zero kills at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Sets what the task and its processes may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the CPUs that the programs may run on.
    pub fn affinity(mut self, affinity: CpuAffinity) -> Self {
        self.affinity = affinity;
        self
    }

    /// Sets how the task stands against others that wait.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.settings.priority = priority;
        self
    }

    /// Sets which backend must run it; any that can, when left out.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.settings.backend = backend;
        self
    }

    /// Sets when it is tried again, instead of the pool's policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = Some(policy);
        self
    }

    /// Notes something about the task, for events and reports.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.metadata.insert(key.into(), value.into());
        self
    }

    /// Checks the settings and gives the task its id.
    ///
    /// # Errors
    /// [`TaskBuildError`] names the first setting that cannot hold.
    pub fn build(mut self) -> Result<Task, TaskBuildError> {
        if self.settings.timeout == Some(Duration::ZERO) {
            return Err(TaskBuildError::ZeroDuration {
                what: "the timeout",
            });
        }
        let work = match (self.work.pop(), self.work.is_empty()) {
            (None, _) => return Err(TaskBuildError::NothingToRun),
            (Some(_), false) => return Err(TaskBuildError::TwoThingsToRun),
            (Some(RawWork::Other(work)), true) => self.check_no_program_settings(work)?,
            (Some(RawWork::Binary(mut program)), true) => {
                program.args = std::mem::take(&mut self.args);
                self.programs(vec![program])?
            }
            (Some(RawWork::Pipeline(stages)), true) => {
                if !self.args.is_empty() {
                    return Err(TaskBuildError::NotForThisKind {
                        setting: "args",
                        only: "one binary (give each stage its own)",
                        kind: "a pipeline",
                    });
                }
                self.programs(stages)?
            }
        };
        Ok(Task {
            id: TaskId::new(),
            work,
            settings: self.settings,
        })
    }

    fn programs(&mut self, mut stages: Vec<Program>) -> Result<Work, TaskBuildError> {
        if stages.is_empty() {
            return Err(TaskBuildError::NothingToRun);
        }
        for (limit, value) in self.limits.named() {
            if value == 0 {
                return Err(TaskBuildError::ZeroLimit { limit });
            }
        }
        if let Some(&cpu) = self
            .affinity
            .as_slice()
            .last()
            .filter(|&&cpu| cpu > CPU_MAX)
        {
            return Err(TaskBuildError::Cpu { cpu, max: CPU_MAX });
        }
        for stage in &mut stages {
            let own = std::mem::replace(&mut stage.env, self.env.clone());
            stage.env.extend(own);
            stage.env_clear |= self.env_clear;
            if stage.working_dir.is_none() {
                stage.working_dir.clone_from(&self.working_dir);
            }
            check_program(stage)?;
        }
        Ok(Work::Programs(Arc::new(Programs {
            stages,
            stdin: self.stdin.take().unwrap_or_default(),
            stdout: self.stdout.take().unwrap_or_default(),
            stderr: self.stderr.take().unwrap_or_default(),
            limits: self.limits,
            affinity: std::mem::take(&mut self.affinity),
            grace: self.grace.unwrap_or(GRACE),
        })))
    }

    /// Refuses settings that only programs have, which would be lost in silence.
    fn check_no_program_settings(&self, work: Work) -> Result<Work, TaskBuildError> {
        let settings = [
            ("args", !self.args.is_empty()),
            ("env", !self.env.is_empty() || self.env_clear),
            ("working_dir", self.working_dir.is_some()),
            ("stdin", self.stdin.is_some()),
            ("stdout", self.stdout.is_some()),
            ("stderr", self.stderr.is_some()),
            ("limits", self.limits != Limits::default()),
            ("affinity", !self.affinity.is_any()),
            ("grace", self.grace.is_some()),
        ];
        match settings.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(TaskBuildError::NotForThisKind {
                setting,
                only: "programs",
                kind: work.kind(),
            }),
            None => Ok(work),
        }
    }
}

fn check_program(program: &Program) -> Result<(), TaskBuildError> {
    if program.path.as_os_str().is_empty() {
        return Err(TaskBuildError::EmptyProgram);
    }
    check_no_nul("program", program.path.as_os_str())?;
    for arg in &program.args {
        check_no_nul("argument", arg)?;
    }
    for (name, value) in &program.env {
        if name.is_empty() || name.as_bytes().contains(&b'=') {
            return Err(TaskBuildError::VariableName(name.clone()));
        }
        check_no_nul("environment variable", name)?;
        check_no_nul("environment variable", value.as_deref().unwrap_or_default())?;
    }
    match &program.working_dir {
        Some(dir) => check_no_nul("working directory", dir.as_os_str()),
        None => Ok(()),
    }
}

fn check_no_nul(what: &'static str, value: &OsStr) -> Result<(), TaskBuildError> {
    if value.as_bytes().contains(&0) {
        return Err(TaskBuildError::NulByte {
            what,
            value: value.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::task::Exit;

    proptest! {
        #[test]
        fn settings_within_their_limits_are_taken_and_kept(
            limits: Limits, affinity: CpuAffinity, priority: Priority, backend: Backend, retry: RetryPolicy,
        ) {
            let builder = Task::binary("true").limits(limits).affinity(affinity.clone());
            let task = builder.priority(priority).backend(backend).retry(retry.clone()).build();
            let task = task.expect("nothing to refuse");
            prop_assert_eq!((task.priority(), task.backend()), (priority, backend));
            prop_assert_eq!(task.retry().map(RetryPolicy::max_delay), Some(retry.max_delay()));
            let Work::Programs(programs) = task.work() else {
                return Err(TestCaseError::fail("no program"));
            };
            prop_assert_eq!((programs.limits, &programs.affinity), (limits, &affinity));
        }

        #[test]
        fn a_shell_shows_every_exit_in_a_byte(exit: Exit) {
            let code = exit.shell_code();
            prop_assert!((0..=255).contains(&code));
            prop_assert!(matches!(exit, Exit::Code(_)) || code > 128);
        }
    }

    #[track_caller]
    fn check(builder: TaskBuilder, want: &str) {
        let error = builder.build().expect_err("must be refused").to_string();
        assert!(error.contains(want), "{error:?} does not say {want:?}");
    }

    #[test]
    fn every_setting_that_cannot_hold_is_refused_by_name() {
        let one = || Task::binary("true");
        check(Task::builder(), "nothing to run");
        check(Task::pipeline([]), "nothing to run");
        check(one().function(|_| ()), "two things");
        check(Task::binary(""), "name of a program is empty");
        check(Task::binary("a\0b"), "NUL");
        check(one().arg("a\0b"), "argument \"a\\0b\" holds a NUL byte");
        check(one().env("A=B", "1"), "\"A=B\" cannot be the name");
        check(one().env("", "1"), "\"\" cannot be the name");
        check(one().env("A", "1\0"), "NUL");
        check(one().working_dir("a\0"), "working directory");
        check(one().timeout(Duration::ZERO), "the timeout is zero");
        check(
            one().limits(Limits {
                open_files: Some(0),
                ..Limits::default()
            }),
            "`open_files` is 0",
        );
        check(
            one().affinity(CpuAffinity::cpus([0, 9000])),
            "CPU 9000 is beyond the 8191",
        );
        check(
            Task::pipeline([Program::new("cat")]).arg("x"),
            "give each stage its own",
        );
    }

    #[test]
    fn a_setting_of_programs_on_a_function_is_refused_not_lost() {
        let function = || Task::function(|_| ());
        check(
            function().arg("x"),
            "`args` is for programs, and this task is a function",
        );
        check(function().env_clear(), "`env`");
        check(function().working_dir("/"), "`working_dir`");
        check(function().stdin("x"), "`stdin`");
        check(function().stdout(Output::Null), "`stdout`");
        check(function().stderr(Output::Null), "`stderr`");
        check(function().grace(GRACE), "`grace`");
        check(function().affinity(CpuAffinity::cpus([0])), "`affinity`");
        check(
            function().limits(Limits {
                cpu_time_s: Some(1),
                ..Limits::default()
            }),
            "`limits`",
        );
    }

    #[test]
    fn a_stage_keeps_its_own_settings_over_those_of_the_task() {
        let task = Task::pipeline([
            Program::new("a").env("X", "stage").working_dir("/stage"),
            Program::new("b"),
        ])
        .env("X", "task")
        .working_dir("/task")
        .build()
        .unwrap();
        let Work::Programs(programs) = task.work() else {
            panic!("{task:?}")
        };
        let last = |stage: usize| {
            programs.stages[stage]
                .env
                .last()
                .unwrap()
                .1
                .clone()
                .unwrap()
        };
        assert_eq!((last(0), last(1)), ("stage".into(), "task".into()));
        let dir = |stage: usize| programs.stages[stage].working_dir.clone().unwrap();
        assert_eq!((dir(0), dir(1)), ("/stage".into(), "/task".into()));
    }
}
