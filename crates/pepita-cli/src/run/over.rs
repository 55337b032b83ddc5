//! One command over many arguments, as `xargs` and GNU parallel run it.

mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, never, select, tick};
use pepita::fault::RetryPolicy;
use pepita::pool::PoolEvent;
use pepita::task::{Limits, Output, Task, TaskBuildError};

use super::console::{Console, Format, TICK, complain};
use super::engine::{Done, Engine, Keys, Notice};
use super::halt::{Halt, Reason};
use super::input::{Batch, Delimiter, Input};
use super::joblog::{Entry, Finished, JobLog, Mode, Skip};
use super::json::{self, Line, Ran, Summary, Text};
use super::outcome::{Outcome, Status, in_full};
use super::signals::{self, StopRequest};
use super::spool::Outputs;
use super::template::{Shell, Template};
use super::{FAILURE, RunError, SUCCESS, as_text, default_jobs};
use crate::cli::RunArgs;
use crate::plan::RETRY_DELAY;
use crate::quote;
use pace::Held;

/// Runs the command of `args`.
pub(super) fn run(args: &RunArgs, format: Format) -> Result<u8, RunError> {
    if format == Format::Json && args.over.ungroup {
        return Err(RunError::Usage(
            "`--ungroup` lets jobs write among the lines of `--json`; expected one of them".into(),
        ));
    }
    let (template, input) = read_command(args)?;
    let finished = match (&args.joblog, args.over.resume, args.over.resume_failed) {
        (Some(path), true, _) => Finished::read(path, Skip::All),
        (Some(path), _, true) => Finished::read(path, Skip::Succeeded),
        _ => Ok(Finished::default()),
    };
    let finished = finished.map_err(RunError::usage)?;
    let recipe = Recipe::new(args, template)?;
    if args.dry_run {
        return dry_run(&recipe, &input, &finished);
    }
    // A log is to be whole at any time, events are to be told as they come, and a halt is to be
    // heard at once.
    let hears_each =
        args.joblog.is_some() || format == Format::Json || args.over.halt != Halt::Never;
    let notice = if hears_each {
        Notice::Each
    } else {
        Notice::Batched
    };
    let jobs = args.jobs.unwrap_or_else(default_jobs);
    let engine = Engine::new(jobs, args.over.halt, notice).map_err(RunError::usage)?;
    if let Ok(task) = recipe.task(&["true".into()]) {
        engine.check(&task).map_err(RunError::usage)?;
    }
    let mode = if args.over.resume || args.over.resume_failed {
        Mode::Continued
    } else {
        Mode::Fresh
    };
    let joblog = args
        .joblog
        .as_deref()
        .map(|path| JobLog::open(path, mode))
        .transpose();
    let joblog = joblog.map_err(RunError::usage)?;
    let is_json = format == Format::Json;
    let show_progress = !args.no_progress && !is_json && !args.over.ungroup;
    let run = Over {
        events: if is_json { engine.events() } else { never() },
        signals: signals::listen().map_err(RunError::usage)?,
        console: Console::new(format, show_progress, input.total),
        ticks: if show_progress { tick(TICK) } else { never() },
        total: input.total,
        held: args.over.keep_order.then(Held::default),
        halt: args.over.halt,
        waiting: VecDeque::new(),
        jobs: BTreeMap::new(),
        keys: Keys::new(),
        summary: Summary::default(),
        begin: SystemTime::now(),
        sequence: 0,
        is_accepting: true,
        stop: None,
        engine,
        recipe,
        joblog,
        finished,
    };
    run.finish(&input)
}

/// Splits the command line into the command and where its arguments come from.
fn read_command(args: &RunArgs) -> Result<(Template, Input), RunError> {
    let over = &args.over;
    let delimiter = if over.null {
        Delimiter::Nul
    } else {
        Delimiter::Newline
    };
    let separator = args.command.iter().position(|word| word == ":::");
    let (command, list) = match separator {
        Some(at) => (&args.command[..at], Some(&args.command[at + 1..])),
        None => (&args.command[..], None),
    };
    if let Some(other) = args
        .command
        .iter()
        .find(|word| *word == "::::" || *word == ":::+")
    {
        let other = other.display();
        return Err(RunError::Usage(format!(
            "`{other}` is not known here; `--arg-file FILE` reads arguments from a file"
        )));
    }
    if list.is_some_and(|list| list.iter().any(|word| word == ":::")) {
        return Err(RunError::Usage(
            "`:::` stands twice; expected one list of arguments".into(),
        ));
    }
    if list.is_some() && over.arg_file.is_some() {
        return Err(RunError::Usage(
            "both `:::` and `--arg-file` give arguments; expected one of them".into(),
        ));
    }
    if command.is_empty() && !over.shell {
        return Err(RunError::Usage(
            "nothing to run; expected `pepita run FILE.toml` or `pepita run -- COMMAND ::: ARGUMENT...` \
             (see `pepita help run`)"
                .into(),
        ));
    }
    let shell = if over.shell { Shell::Sh } else { Shell::No };
    let input = match (list, &over.arg_file) {
        (Some(list), _) => Input::from_list(list.to_vec()),
        (None, Some(path)) => Input::from_file(path, delimiter)
            .map_err(|(path, error)| RunError::Usage(format!("{}: {error}", path.display())))?,
        (None, None) => {
            if io::stdin().is_terminal() {
                complain(
                    "pepita: reads the arguments from this terminal, one a line; ^D ends them",
                );
            }
            Input::from_stdin(delimiter)
        }
    };
    Ok((Template::new(command, shell), input))
}

/// Prints what would run.
fn dry_run(recipe: &Recipe, input: &Input, finished: &Finished) -> Result<u8, RunError> {
    let mut console = Console::new(Format::Plain, false, None);
    let mut sequence = 0;
    for batch in &input.batches {
        let batch = batch.map_err(|error| RunError::Usage(format!("{}: {error}", input.name)))?;
        for argument in batch {
            sequence += 1;
            let line = quote::join(recipe.template.expand(&argument, sequence));
            if !finished
                .contains(sequence, &line)
                .map_err(RunError::usage)?
            {
                console.print(line.as_encoded_bytes())?;
            }
        }
    }
    Ok(SUCCESS)
}

/// How a job is made from an argument.
#[derive(Debug)]
struct Recipe {
    template: Template,
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    limits: Limits,
    stdout: Output,
    stderr: Output,
}

impl Recipe {
    fn new(args: &RunArgs, template: Template) -> Result<Self, RunError> {
        let over = &args.over;
        let retry = match over.retries {
            0 if over.retry_delay.is_some() => {
                return Err(RunError::Usage("`--retry-delay` needs `--retries`".into()));
            }
            0 => None,
            retries => {
                let delay = over.retry_delay.unwrap_or(RETRY_DELAY);
                let policy = RetryPolicy::builder(retries.saturating_add(1), delay).build();
                Some(policy.map_err(RunError::usage)?)
            }
        };
        let (stdout, stderr) = match over.ungroup {
            true => (Output::Inherit, Output::Inherit),
            false => Outputs::collectors(),
        };
        let limits = Limits {
            memory_bytes: over.memory,
            ..Limits::default()
        };
        Ok(Self {
            template,
            timeout: over.timeout,
            retry,
            limits,
            stdout,
            stderr,
        })
    }

    fn task(&self, words: &[OsString]) -> Result<Task, TaskBuildError> {
        let mut builder = Task::binary(&words[0])
            .args(&words[1..])
            .limits(self.limits)
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone());
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(policy) = &self.retry {
            builder = builder.retry(policy.clone());
        }
        builder.build()
    }
}

/// A run in progress.
#[derive(Debug)]
struct Over {
    engine: Engine,
    recipe: Recipe,
    finished: Finished,
    joblog: Option<JobLog>,
    console: Console,
    signals: Receiver<StopRequest>,
    events: Receiver<PoolEvent>,
    ticks: Receiver<std::time::Instant>,
    halt: Halt,
    /// Arguments that were read and have no job yet.
    waiting: VecDeque<OsString>,
    /// The commands of the jobs that were submitted and have not ended.
    jobs: BTreeMap<u64, OsString>,
    keys: Keys,
    /// Jobs that ended and wait to be shown in order.
    held: Option<Held>,
    summary: Summary,
    begin: SystemTime,
    total: Option<u64>,
    /// The number of the last job.
    sequence: u64,
    /// Whether more jobs may begin.
    is_accepting: bool,
    stop: Option<Stopping>,
}

/// Why no more jobs begin, before the end of the arguments.
#[derive(Debug, Clone, Copy)]
enum Stopping {
    Signal { request: StopRequest, count: u32 },
    Halt(Reason),
}

impl Over {
    fn finish(mut self, input: &Input) -> Result<u8, RunError> {
        let nothing = never::<Batch>();
        let mut batches = &input.batches;
        loop {
            for done in self.engine.take_quiet() {
                self.take(done)?;
            }
            let is_paced = self.feed()?;
            let is_fed =
                !self.is_accepting || (batches.same_channel(&nothing) && self.waiting.is_empty());
            if is_fed && self.engine.is_idle() {
                break;
            }
            let wants_more = self.is_accepting && self.waiting.is_empty() && !is_paced;
            let source = if wants_more { batches } else { &nothing };
            select! {
                recv(self.engine.done()) -> done => {
                    if let Ok(done) = done {
                        self.take(done)?;
                    }
                }
                recv(source) -> batch => match batch {
                    Ok(Ok(arguments)) => self.waiting.extend(arguments),
                    Ok(Err(error)) => {
                        self.console.note(&format!("pepita: {}: {error}", input.name));
                        self.summary.failed += 1;
                        batches = &nothing;
                    }
                    Err(_) => {
                        batches = &nothing;
                        self.total = Some(self.sequence);
                    }
                },
                recv(self.signals) -> request => {
                    if let Ok(request) = request {
                        self.interrupt(request);
                    }
                }
                recv(self.events) -> event => {
                    if let Ok(event) = event {
                        self.report(event)?;
                    }
                }
                recv(self.ticks) -> _ => {}
            }
            self.console.advance(&self.summary, self.total);
        }
        self.close()
    }

    /// Submits jobs as long as there is room. Says whether it waits for older jobs to be shown.
    fn feed(&mut self) -> Result<bool, RunError> {
        while self.is_accepting && self.engine.has_room() {
            if self.held.as_ref().is_some_and(Held::is_full) {
                return Ok(true);
            }
            let Some(argument) = self.waiting.pop_front() else {
                return Ok(false);
            };
            self.sequence += 1;
            let words = self.recipe.template.expand(&argument, self.sequence);
            let command = quote::join(&words);
            if self.is_finished(&command)? {
                self.summary.count(Status::Skipped);
                continue;
            }
            if let Some(held) = &mut self.held {
                held.expect(self.sequence);
            }
            match self.recipe.task(&words) {
                Ok(task) => {
                    if self.console.format() == Format::Json {
                        self.keys.insert(task.id(), self.sequence);
                    }
                    self.jobs.insert(self.sequence, command);
                    self.engine.submit(self.sequence, task);
                }
                Err(error) => {
                    self.summary.count(Status::Failed);
                    self.console.note(&format!(
                        "pepita: job {}: {}",
                        self.sequence,
                        in_full(&error)
                    ));
                }
            }
        }
        Ok(!self.engine.has_room())
    }

    /// Whether the log of an earlier run has the job that is next.
    fn is_finished(&self, command: &OsStr) -> Result<bool, RunError> {
        let has_run = self.summary.done() > 0 || !self.engine.is_idle();
        let is_finished = self.finished.contains(self.sequence, command);
        is_finished.map_err(|error| match has_run {
            true => RunError::JobLog(error),
            false => RunError::usage(error),
        })
    }

    /// Takes note of a job that came back.
    fn take(&mut self, mut done: Done) -> Result<(), RunError> {
        while let Ok(event) = self.events.try_recv() {
            self.report(event)?;
        }
        self.engine.retire(done.key);
        let command = self.jobs.remove(&done.key).unwrap_or_default();
        self.keys.remove(&done.id);
        let outcome = Outcome::new(&done.result, done.ended);
        self.summary.count(outcome.status);
        outcome.trace(done.key, None);
        if let Some(log) = self
            .joblog
            .as_mut()
            .filter(|_| outcome.status != Status::Cancelled)
        {
            let entry = Entry {
                sequence: done.key,
                started: outcome.started,
                runtime: outcome.wall,
                received: done.outputs.stdout.len(),
                exit_value: outcome.exit_value,
                signal: outcome.signal,
                command: &command,
            };
            log.append(&entry).map_err(RunError::JobLog)?;
        }
        if let Some(reason) = &outcome.reason
            && self.console.format() == Format::Plain
            && outcome.status != Status::Cancelled
        {
            self.console.note(&format!(
                "pepita: job {}: {reason}: {}",
                done.key,
                as_text(&command)
            ));
        }
        for stream in [&mut done.outputs.stdout, &mut done.outputs.stderr] {
            if let Some(error) = stream.take_error() {
                self.console.note(&format!(
                    "pepita: job {}: a part of its output is lost: {error}",
                    done.key
                ));
                self.summary.failed += 1;
            }
        }
        self.check_halt();
        let job = Job {
            done,
            command,
            outcome,
        };
        let Some(held) = &mut self.held else {
            return self.show(job);
        };
        held.put(job);
        while let Some(job) = self.held.as_mut().and_then(Held::next) {
            self.show(job)?;
        }
        Ok(())
    }

    /// Shows the output of a job.
    fn show(&mut self, mut job: Job) -> Result<(), RunError> {
        let outputs = &mut job.done.outputs;
        if self.console.format() == Format::Plain {
            return Ok(self.console.outputs(outputs)?);
        }
        let (stdout, stderr) = (
            Text::of_spool(&mut outputs.stdout),
            Text::of_spool(&mut outputs.stderr),
        );
        let finished = json::Finished {
            seq: job.done.key,
            name: None,
            command: &as_text(&job.command),
            status: job.outcome.status,
            reason: job.outcome.reason.as_deref(),
            run: Ran::new(job.done.result.as_ref().ok(), &job.outcome, stdout, stderr),
        };
        Ok(self.console.json(&Line::Finished(Box::new(finished)))?)
    }

    fn report(&mut self, event: PoolEvent) -> Result<(), RunError> {
        match self
            .keys
            .get(&event.id)
            .and_then(|seq| Line::of_event(event, *seq, None))
        {
            Some(line) => Ok(self.console.json(&line)?),
            None => Ok(()),
        }
    }

    fn check_halt(&mut self) {
        let (limit, is_now) = match self.halt {
            Halt::Never => return,
            Halt::Soon(limit) => (limit, false),
            Halt::Now(limit) => (limit, true),
        };
        if self.stop.is_some() || !limit.is_reached(self.summary.succeeded, self.summary.failed) {
            return;
        }
        self.stop = Some(Stopping::Halt(limit.reason));
        self.is_accepting = false;
        match is_now {
            true => self.engine.cancel_all(),
            false => self.engine.brake(),
        }
    }

    fn interrupt(&mut self, request: StopRequest) {
        self.is_accepting = false;
        let (request, count) = match self.stop {
            Some(Stopping::Signal { request, count }) => (request, count + 1),
            _ => (request, 1),
        };
        self.stop = Some(Stopping::Signal { request, count });
        signals::obey(count, &self.engine, &self.console);
    }

    fn close(mut self) -> Result<u8, RunError> {
        // A job that was kept from beginning leaves a gap: what ended after it is shown as well.
        for job in self.held.take().into_iter().flat_map(Held::into_rest) {
            self.show(job)?;
        }
        let is_failure = self.summary.failed > 0 || self.summary.cancelled > 0;
        let code = match self.stop {
            Some(Stopping::Signal { request, .. }) => request.exit_code(),
            Some(Stopping::Halt(Reason::Success)) => SUCCESS,
            _ if is_failure => FAILURE,
            _ => SUCCESS,
        };
        self.summary.close(self.begin, code);
        let is_watched = self.console.is_watched();
        self.console.finish();
        self.console.json(&Line::Summary(self.summary.clone()))?;
        if self.console.format() == Format::Plain && (is_failure || is_watched) {
            self.console.note(&self.summary.to_string());
        }
        Ok(code)
    }
}

/// A job that ended.
#[derive(Debug)]
struct Job {
    done: Done,
    command: OsString,
    outcome: Outcome,
}
