//! The tasks of a file, each after those that it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::mem;
use std::path::Path;
use std::time::SystemTime;

use crossbeam_channel::{Receiver, never, select, tick};
use pepita::pool::PoolEvent;
use pepita::task::{Captured, ExecutionResult};

use super::brake::{Brake, Unstartable};
use super::console::{Console, Format, OutputClosed, TICK};
use super::engine::{Done, Engine, Keys, Notice};
use super::halt::Halt;
use super::joblog::{Entry, JobLog, JobLogError, Mode};
use super::json::{self, Line, Ran, Summary, Text};
use super::outcome::{Outcome, Status};
use super::setback::Setback;
use super::signals::{self, StopRequest};
use super::{FAILURE, RunError, SUCCESS, default_jobs};
use crate::cli::RunArgs;
use crate::plan::{Plan, PlannedTask};
use crate::units::show_duration;

/// Lines of standard error that the summary shows of a task that failed.
const TAIL_LINES: usize = 10;

/// Runs the plan in the file at `path`.
pub(super) fn run(args: &RunArgs, path: &Path, format: Format) -> Result<u8, RunError> {
    if let Some((option, key)) = args.over.first_set() {
        let instead = match key {
            Some(key) => format!("in a file each task says it for itself, by its key `{key}`"),
            None => "a file of tasks has nothing like it".to_owned(),
        };
        return Err(RunError::Usage(format!(
            "`{option}` is for a command over arguments; {instead} \
             (to run a command, put `--` before it)"
        )));
    }
    if !args.command.is_empty() {
        let message = "both a file and a command are given; expected one of them";
        return Err(RunError::Usage(message.into()));
    }
    let plan = Plan::load(path)?;
    if args.dry_run {
        return dry_run(&plan, format);
    }
    let workers = args.jobs.or(plan.jobs).unwrap_or_else(default_jobs);
    let workers = workers.min(plan.tasks.len()).max(1);
    let brake = Brake::new(Halt::Never, Unstartable::Fails);
    let engine = Engine::new(workers, brake, Notice::Each).map_err(RunError::usage)?;
    for task in &plan.tasks {
        engine.check(&task.task).map_err(|error| {
            let (path, line, name) = (path.display(), task.line, &task.name);
            RunError::Usage(format!("{path}:{line}: task `{name}`: {error}"))
        })?;
    }
    let joblog = args
        .joblog
        .as_deref()
        .map(|path| JobLog::open(path, Mode::Fresh))
        .transpose();
    let is_json = format == Format::Json;
    let show_progress = !args.no_progress && !is_json;
    let run = FileRun {
        joblog: joblog.map_err(RunError::usage)?,
        events: if is_json { engine.events() } else { never() },
        signals: signals::listen().map_err(RunError::usage)?,
        console: Console::new(format, show_progress),
        ticks: if show_progress { tick(TICK) } else { never() },
        keys: Keys::new(),
        states: plan
            .tasks
            .iter()
            .map(|task| State::Waiting(task.after.len()))
            .collect(),
        ready: (0..plan.tasks.len())
            .filter(|&at| plan.tasks[at].after.is_empty())
            .collect(),
        dependents: dependents(&plan.tasks),
        summary: Summary::default(),
        begin: SystemTime::now(),
        stop: None,
        setback: Setback::default(),
        engine,
        plan,
    };
    run.finish()
}

fn dry_run(plan: &Plan, format: Format) -> Result<u8, RunError> {
    let mut console = Console::new(format, false);
    for (at, task) in plan.tasks.iter().enumerate() {
        let names = task.after.iter().map(|&at| &*plan.tasks[at].name);
        let after: Vec<_> = names.collect();
        if format == Format::Json {
            console.json(&Line::Planned {
                seq: at as u64 + 1,
                name: Some(&task.name),
                command: &task.command,
                after: Some(after),
            })?;
            continue;
        }
        let mut line = format!("{}: {}", task.name, task.command);
        if !after.is_empty() {
            line = line + "  # after " + &after.join(", ");
        }
        console.print(line.as_bytes())?;
    }
    Ok(SUCCESS)
}

fn dependents(tasks: &[PlannedTask]) -> Vec<Vec<usize>> {
    let mut dependents = vec![Vec::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        for &before in &task.after {
            dependents[before].push(at);
        }
    }
    dependents
}

/// How far a task is.
#[derive(Debug)]
enum State {
    /// So many tasks must succeed before it can begin.
    Waiting(usize),
    Submitted,
    Ended(Box<Ended>),
    /// This task failed, which it comes after.
    Skipped(usize),
}

#[derive(Debug)]
struct Ended {
    outcome: Outcome,
    /// The end of what it printed on standard error, if it failed.
    tail: String,
}

/// A run in progress.
#[derive(Debug)]
struct FileRun {
    plan: Plan,
    engine: Engine,
    console: Console,
    joblog: Option<JobLog>,
    signals: Receiver<StopRequest>,
    events: Receiver<PoolEvent>,
    ticks: Receiver<std::time::Instant>,
    keys: Keys,
    states: Vec<State>,
    /// Tasks that can begin.
    ready: BTreeSet<usize>,
    dependents: Vec<Vec<usize>>,
    summary: Summary,
    begin: SystemTime,
    stop: Option<(StopRequest, u32)>,
    setback: Setback,
}

impl FileRun {
    fn finish(mut self) -> Result<u8, RunError> {
        loop {
            self.submit_ready();
            if self.engine.is_idle() {
                break;
            }
            select! {
                recv(self.engine.done()) -> done => {
                    if let Ok(done) = done {
                        self.take(done)?;
                    }
                }
                recv(self.signals) -> request => {
                    if let Ok(request) = request {
                        let (request, count) =
                            self.stop.map_or((request, 1), |(first, count)| (first, count + 1));
                        self.stop = Some((request, count));
                        signals::obey(count, &self.engine, &mut self.console);
                    }
                }
                recv(self.events) -> event => {
                    if let Ok(event) = event {
                        self.report(event)?;
                    }
                }
                recv(self.ticks) -> _ => {}
            }
            self.console
                .advance(&self.summary, Some(self.plan.tasks.len() as u64));
        }
        self.close()
    }

    /// Goes on after what fails on the way; says whether it went well.
    fn bear<T>(&mut self, done: Result<T, impl Into<RunError>>) -> Result<bool, RunError> {
        self.setback
            .bear(done, self.stop.is_some(), &self.engine, &mut self.console)
    }

    fn submit_ready(&mut self) {
        while self.stop.is_none() && !self.setback.is_there() && self.engine.has_room() {
            let Some(at) = self.ready.pop_first() else {
                return;
            };
            let task = self.plan.tasks[at].task.clone();
            self.keys.insert(task.id(), at as u64);
            self.states[at] = State::Submitted;
            self.engine.submit(at as u64, task);
        }
    }

    fn take(&mut self, done: Done) -> Result<(), RunError> {
        while let Ok(event) = self.events.try_recv() {
            self.report(event)?;
        }
        self.engine.retire(done.key);
        let Ok(at) = usize::try_from(done.key) else {
            return Ok(());
        };
        let outcome = Outcome::new(&done.result, done.ended);
        self.summary.count(outcome.status);
        if self.plan.tasks[at].allow_failure && outcome.status.is_failure() {
            self.summary.failed_allowed += 1;
        }
        outcome.trace(done.key + 1, Some(&self.plan.tasks[at].name));
        let result = done.result.as_ref().ok();
        let shown = self.show(at, &outcome, result);
        // What could not be shown is not noted as done.
        if self.bear(shown)? {
            let logged = self.log(at, &outcome, result);
            self.bear(logged)?;
        }
        let goes_on = outcome.is_success()
            || (self.plan.tasks[at].allow_failure && outcome.status != Status::Cancelled);
        let tail = match (outcome.is_success(), &done.result) {
            (false, Ok(result)) => tail(&result.stderr),
            _ => String::new(),
        };
        self.states[at] = State::Ended(Box::new(Ended { outcome, tail }));
        match goes_on {
            true => self.release(at),
            false => self.skip_after(at)?,
        }
        Ok(())
    }

    fn log(
        &mut self,
        at: usize,
        outcome: &Outcome,
        result: Option<&ExecutionResult>,
    ) -> Result<(), JobLogError> {
        let Some(log) = self
            .joblog
            .as_mut()
            .filter(|_| outcome.status != Status::Cancelled)
        else {
            return Ok(());
        };
        let entry = Entry {
            sequence: at as u64 + 1,
            started: outcome.started,
            runtime: outcome.wall,
            received: result.map_or(0, |result| result.stdout.total_bytes),
            exit_value: outcome.exit_value,
            signal: outcome.signal,
            command: self.plan.tasks[at].command.as_ref(),
        };
        log.append(&entry)
    }

    /// Shows what a task printed, and that it ended.
    fn show(
        &mut self,
        at: usize,
        outcome: &Outcome,
        result: Option<&ExecutionResult>,
    ) -> Result<(), OutputClosed> {
        let task = &self.plan.tasks[at];
        if self.console.format() == Format::Json {
            let text = |pick: fn(&ExecutionResult) -> &Captured| match result {
                Some(result) => Text::of_captured(pick(result)),
                None => Text::of_captured(&Captured::default()),
            };
            let (stdout, stderr) = (text(|result| &result.stdout), text(|result| &result.stderr));
            let finished = json::Finished {
                seq: at as u64 + 1,
                name: Some(&task.name),
                command: &task.command,
                status: outcome.status,
                reason: outcome.reason.as_deref(),
                metadata: Some(metadata(task)),
                run: Ran::new(result, outcome, stdout, stderr),
            };
            return self.console.json(&Line::Finished(Box::new(finished)));
        }
        let Some(result) = result else { return Ok(()) };
        // The summary shows the standard error of what failed, if it is short.
        let stderr = match outcome.is_success() || is_cut(&result.stderr) {
            true => &*result.stderr.bytes,
            false => &[],
        };
        let stdout = &*result.stdout.bytes;
        // On standard error, for standard output is what the tasks printed and no more.
        if self.plan.tasks.len() > 1 && !(stdout.is_empty() && stderr.is_empty()) {
            self.console.note(&format!("== {} ==", task.name));
        }
        self.console.bytes(stdout, stderr)?;
        for (stream, captured) in [("output", &result.stdout), ("error", &result.stderr)] {
            if captured.is_truncated() {
                let (kept, all) = (captured.bytes.len(), captured.total_bytes);
                self.console.note(&format!(
                    "pepita: {}: only the first {kept} of {all} bytes of standard {stream} were kept \
                     (`{{ file = \"…\" }}` keeps all)",
                    task.name
                ));
            }
        }
        Ok(())
    }

    fn report(&mut self, event: PoolEvent) -> Result<(), RunError> {
        let Some(&at) = self.keys.get(&event.id) else {
            return Ok(());
        };
        let task = usize::try_from(at)
            .ok()
            .and_then(|at| self.plan.tasks.get(at));
        if let Some(line) = Line::of_event(event, at + 1, task.map(|task| &*task.name)) {
            let told = self.console.json(&line);
            self.bear(told)?;
        }
        Ok(())
    }

    /// Lets those begin that waited for nothing else.
    fn release(&mut self, at: usize) {
        for &dependent in &self.dependents[at] {
            if let State::Waiting(count) = &mut self.states[dependent] {
                *count -= 1;
                if *count == 0 {
                    self.ready.insert(dependent);
                }
            }
        }
    }

    /// Gives up everything that comes after a task that failed.
    fn skip_after(&mut self, failed: usize) -> Result<(), RunError> {
        let mut failures = vec![failed];
        while let Some(failed) = failures.pop() {
            for dependent in mem::take(&mut self.dependents[failed]) {
                if !matches!(self.states[dependent], State::Waiting(_)) {
                    continue;
                }
                self.states[dependent] = State::Skipped(failed);
                failures.push(dependent);
                let reason = format!(
                    "after `{}`, which did not succeed",
                    self.plan.tasks[failed].name
                );
                self.leave_out(dependent, Status::Skipped, &reason)?;
            }
        }
        Ok(())
    }

    /// Counts and tells a task that does not begin.
    fn leave_out(&mut self, at: usize, status: Status, reason: &str) -> Result<(), RunError> {
        self.summary.count(status);
        let task = &self.plan.tasks[at];
        let finished = json::Finished {
            name: Some(&task.name),
            command: &task.command,
            reason: Some(reason),
            metadata: Some(metadata(task)),
            ..json::Finished::never_began(at as u64 + 1, status)
        };
        let told = self.console.json(&Line::Finished(Box::new(finished)));
        self.bear(told)?;
        Ok(())
    }

    fn close(mut self) -> Result<u8, RunError> {
        for at in 0..self.states.len() {
            if matches!(self.states[at], State::Waiting(_)) {
                self.leave_out(at, Status::Cancelled, "the run ended before it began")?;
            }
        }
        let is_failure = self.setback.is_there()
            || self
                .states
                .iter()
                .zip(&self.plan.tasks)
                .any(|(state, task)| match state {
                    State::Ended(ended) => !ended.outcome.is_success() && !task.allow_failure,
                    _ => true,
                });
        let code = match self.stop {
            Some((request, _)) => request.exit_code(),
            None if is_failure => FAILURE,
            None => SUCCESS,
        };
        self.summary.close(self.begin, code);
        self.console.finish();
        let told = self.console.json(&Line::Summary(self.summary.clone()));
        let is_told = self.bear(told)?;
        if self.console.format() == Format::Plain {
            self.console.note(self.table().trim_end());
        }
        Ok(if is_told { code } else { code.max(FAILURE) })
    }

    /// One line for each task, the ends of what those that failed printed, and the counts.
    fn table(&self) -> String {
        let names = self.plan.tasks.iter().map(|task| task.name.chars().count());
        let width = names.max().unwrap_or(0).max(4);
        let mut table = format!(
            "\n{:width$}  {:9}  {:>12}  note\n",
            "task", "result", "time"
        );
        let mut tails = String::new();
        for (task, state) in self.plan.tasks.iter().zip(&self.states) {
            let (label, time, note) = match state {
                State::Ended(ended) => {
                    let outcome = &ended.outcome;
                    if !ended.tail.is_empty() {
                        let _ = write!(
                            tails,
                            "\n{} printed on standard error:\n{}",
                            task.name, ended.tail
                        );
                    }
                    (
                        outcome.status.label(),
                        show_duration(outcome.wall),
                        note(task, outcome),
                    )
                }
                State::Skipped(failed) => {
                    let name = &self.plan.tasks[*failed].name;
                    (
                        Status::Skipped.label(),
                        String::new(),
                        format!("after {name}"),
                    )
                }
                _ => (
                    Status::Cancelled.label(),
                    String::new(),
                    "never began".into(),
                ),
            };
            let line = format!("{:width$}  {label:9}  {time:>12}  {note}", task.name);
            table = table + line.trim_end() + "\n";
        }
        format!("{table}{tails}\n{}\n", self.summary)
    }
}

/// What the file notes with a task; its name is there already.
fn metadata(task: &PlannedTask) -> BTreeMap<&str, &str> {
    let all = task.task.metadata().iter();
    all.map(|(key, value)| (&**key, &**value))
        .filter(|(key, _)| *key != "name")
        .collect()
}

fn note(task: &PlannedTask, outcome: &Outcome) -> String {
    let mut notes = Vec::new();
    match &outcome.reason {
        Some(reason) => notes.push(reason.clone()),
        None if outcome.attempts > 1 => notes.push(format!("in {} attempts", outcome.attempts)),
        None => {}
    }
    if task.allow_failure && !outcome.is_success() {
        notes.push("allowed to fail".into());
    }
    notes.join("; ")
}

/// Whether there is more than its [`tail`].
fn is_cut(captured: &Captured) -> bool {
    let lines = captured.bytes.split_inclusive(|&byte| byte == b'\n');
    lines.count() > TAIL_LINES
}

/// The last lines, indented.
fn tail(captured: &Captured) -> String {
    let text = String::from_utf8_lossy(&captured.bytes);
    let lines: Vec<_> = text.lines().collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    let mut tail = String::new();
    if start > 0 {
        let _ = writeln!(tail, "    … {start} lines before");
    }
    for line in &lines[start..] {
        let _ = writeln!(tail, "    {line}");
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_last_lines_and_says_what_is_missing() {
        let captured = |lines: usize| -> Captured {
            (1..=lines)
                .map(|n| format!("line {n}\n"))
                .collect::<String>()
                .into_bytes()
                .into()
        };
        assert_eq!(tail(&captured(0)), "");
        assert_eq!(tail(&captured(2)), "    line 1\n    line 2\n");
        let long = tail(&captured(12));
        assert!(
            long.starts_with("    … 2 lines before\n    line 3\n"),
            "{long}"
        );
        assert!(long.ends_with("    line 12\n"), "{long}");
    }
}
