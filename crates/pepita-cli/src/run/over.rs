//! One command over many arguments, as `xargs` and GNU parallel run it.

mod pace;
mod recipe;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, never, select, tick};
use pepita::pool::PoolEvent;
use pepita::task::TaskBuildError;

use super::brake::{Brake, Unstartable};
use super::console::{Console, Format, OutputClosed, TICK};
use super::engine::{Done, Engine, Keys, Notice};
use super::halt::{Halt, Reason};
use super::input::{Batch, Input};
use super::joblog::{Entry, Finished, JobLog, Mode, Skip};
use super::json::{self, Line, Ran, Summary, Text};
use super::outcome::{Outcome, Status};
use super::setback::Setback;
use super::signals::{self, StopRequest};
use super::{FAILURE, RunError, SUCCESS, as_text, default_jobs};
use crate::cli::RunArgs;
use pace::Held;
use recipe::{Recipe, dry_run, read_command};

/// Runs the command of `args`.
pub(super) fn run(args: &RunArgs, format: Format) -> Result<u8, RunError> {
    if format == Format::Json && args.over.ungroup {
        return Err(RunError::Usage(
            "`--ungroup` lets jobs write among the lines of `--json`; expected one of them".into(),
        ));
    }
    let (template, input) = read_command(args)?;
    let recipe = Recipe::new(args, template)?;
    if args.dry_run {
        return dry_run(&recipe, &input, &read_finished(args)?, format);
    }
    // Where every job is the same program, one that cannot be started is no matter of one job.
    let unstartable = match recipe.template.has_fixed_program() {
        true => Unstartable::EndsRun,
        false => Unstartable::Fails,
    };
    let engine = start_engine(args, input.total, format, &recipe, unstartable)?;
    let joblog = open_joblog(args)?;
    // Once no other run can add to it.
    let finished = read_finished(args)?;
    let is_json = format == Format::Json;
    let show_progress = !args.no_progress && !is_json && !args.over.ungroup;
    let run = Over {
        events: if is_json { engine.events() } else { never() },
        signals: signals::listen().map_err(RunError::usage)?,
        console: Console::new(format, show_progress),
        ticks: if show_progress { tick(TICK) } else { never() },
        total: input.total,
        held: args.over.keep_order.then(Held::default),
        halt: args.over.halt,
        unstartable,
        waiting: VecDeque::new(),
        jobs: BTreeMap::new(),
        keys: Keys::new(),
        summary: Summary::default(),
        begin: SystemTime::now(),
        sequence: 0,
        is_accepting: true,
        stop: None,
        setback: Setback::default(),
        engine,
        recipe,
        joblog,
        finished,
    };
    run.finish(&input)
}

fn start_engine(
    args: &RunArgs,
    total: Option<u64>,
    format: Format,
    recipe: &Recipe,
    unstartable: Unstartable,
) -> Result<Engine, RunError> {
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
    let most = total.and_then(|total| usize::try_from(total).ok());
    let jobs = jobs.min(most.unwrap_or(usize::MAX)).max(1);
    let brake = Brake::new(args.over.halt, unstartable);
    let engine = Engine::new(jobs, brake, notice).map_err(RunError::usage)?;
    if let Ok(task) = recipe.task(&["true".into()]) {
        let checked = engine.check(&task);
        checked.map_err(|error| RunError::Usage(format!("`--memory`: {error}")))?;
    }
    Ok(engine)
}

fn read_finished(args: &RunArgs) -> Result<Finished, RunError> {
    let finished = match (&args.joblog, args.over.resume, args.over.resume_failed) {
        (Some(path), true, _) => Finished::read(path, Skip::All),
        (Some(path), _, true) => Finished::read(path, Skip::Succeeded),
        _ => Ok(Finished::default()),
    };
    finished.map_err(RunError::usage)
}

fn open_joblog(args: &RunArgs) -> Result<Option<JobLog>, RunError> {
    let mode = if args.over.resume || args.over.resume_failed {
        Mode::Continued
    } else {
        Mode::Fresh
    };
    let path = args.joblog.as_deref();
    let opened = path.map(|path| JobLog::open(path, mode)).transpose();
    opened.map_err(RunError::usage)
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
    unstartable: Unstartable,
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
    setback: Setback,
}

/// Why no more jobs begin, before the end of the arguments.
#[derive(Debug, Clone, Copy)]
enum Stopping {
    Signal {
        request: StopRequest,
        count: u32,
    },
    Halt(Reason),
    /// The program cannot be started.
    Unstartable,
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
                !self.accepts() || (batches.same_channel(&nothing) && self.waiting.is_empty());
            if is_fed && self.engine.is_idle() {
                break;
            }
            let wants_more = self.accepts() && self.waiting.is_empty() && !is_paced;
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

    /// Whether more jobs may begin.
    fn accepts(&self) -> bool {
        self.is_accepting && !self.setback.is_there()
    }

    /// Goes on after what fails on the way; says whether it went well.
    fn bear<T>(&mut self, done: Result<T, impl Into<RunError>>) -> Result<bool, RunError> {
        let is_ending = matches!(self.stop, Some(Stopping::Signal { .. }));
        self.setback
            .bear(done, is_ending, &self.engine, &mut self.console)
    }

    /// Submits jobs as long as there is room. Says whether it waits for older jobs to be shown.
    fn feed(&mut self) -> Result<bool, RunError> {
        while self.accepts() && self.engine.has_room() {
            if self.held.as_ref().is_some_and(Held::is_full) {
                return Ok(true);
            }
            let Some(argument) = self.waiting.pop_front() else {
                return Ok(false);
            };
            self.sequence += 1;
            let words = self.recipe.template.expand(&argument, self.sequence);
            let command = self.recipe.template.line(&words);
            match self.finished.contains(self.sequence, &command) {
                Ok(false) => {}
                Ok(true) => {
                    self.summary.count(Status::AlreadyDone);
                    continue;
                }
                Err(error) if self.summary.done() == 0 && self.engine.is_idle() => {
                    return Err(RunError::usage(error));
                }
                Err(error) => {
                    self.bear(Err::<(), _>(error))?;
                    continue;
                }
            }
            match self.recipe.task(&words) {
                Ok(task) => {
                    if let Some(held) = &mut self.held {
                        held.expect(self.sequence);
                    }
                    if self.console.format() == Format::Json {
                        self.keys.insert(task.id(), self.sequence);
                    }
                    self.jobs.insert(self.sequence, command);
                    self.engine.submit(self.sequence, task);
                }
                Err(error) => self.refuse(&command, &error)?,
            }
        }
        Ok(!self.engine.has_room())
    }

    /// Counts and tells a job that no program can be given.
    fn refuse(&mut self, command: &OsStr, error: &TaskBuildError) -> Result<(), RunError> {
        self.summary.count(Status::Failed);
        let reason = match error {
            TaskBuildError::NulByte { what, value } => {
                let value = cut(&as_text(value));
                format!("{what} {value:?} holds a NUL byte; `-0` splits there")
            }
            _ => error.to_string(),
        };
        if self.console.format() == Format::Plain {
            let message = format!("pepita: job {}: {reason}", self.sequence);
            self.console.note(&message);
        }
        let finished = json::Finished {
            command: &as_text(command),
            reason: Some(&reason),
            ..json::Finished::never_began(self.sequence, Status::Failed)
        };
        let told = self.console.json(&Line::Finished(Box::new(finished)));
        self.bear(told)?;
        self.check_halt();
        Ok(())
    }

    /// Takes note of a job that came back.
    fn take(&mut self, mut done: Done) -> Result<(), RunError> {
        while let Ok(event) = self.events.try_recv() {
            self.report(event)?;
        }
        self.engine.retire(done.key);
        let command = self.jobs.remove(&done.key).unwrap_or_default();
        self.keys.remove(&done.id);
        let lost = done.outputs.take_error();
        let outcome = Outcome::new(&done.result, done.ended).with_lost_output(lost);
        self.summary.count(outcome.status);
        outcome.trace(done.key, None);
        if self.unstartable.ends_run(&done.result) {
            return self.give_up(done.key, &command, &outcome);
        }
        self.check_halt();
        let mut job = Job {
            done,
            command,
            outcome,
            is_logged: false,
        };
        // Of this one no output can be lost, however long it waits for its turn.
        if self.console.format() == Format::Plain && job.done.outputs.is_empty() {
            self.log(&mut job)?;
        }
        let Some(held) = &mut self.held else {
            return self.settle(job);
        };
        held.put(job);
        while let Some(job) = self.held.as_mut().and_then(Held::next) {
            self.settle(job)?;
        }
        Ok(())
    }

    /// Shows a job, and then logs it: what could not be shown is to run again.
    fn settle(&mut self, mut job: Job) -> Result<(), RunError> {
        let shown = self.show(&mut job);
        if self.bear(shown)? {
            self.log(&mut job)?;
        }
        Ok(())
    }

    fn log(&mut self, job: &mut Job) -> Result<(), RunError> {
        let outcome = &job.outcome;
        let Some(log) = &mut self.joblog else {
            return Ok(());
        };
        if outcome.status == Status::Cancelled || std::mem::replace(&mut job.is_logged, true) {
            return Ok(());
        }
        let logged = log.append(&Entry {
            sequence: job.done.key,
            started: outcome.started,
            runtime: outcome.wall,
            received: job.done.outputs.stdout.len(),
            exit_value: outcome.exit_value,
            signal: outcome.signal,
            command: &job.command,
        });
        self.bear(logged)?;
        Ok(())
    }

    /// Ends the run, for no job of it can be started. The job is not in the log: when the program
    /// is there, `--resume` runs it.
    fn give_up(&mut self, job: u64, command: &OsStr, outcome: &Outcome) -> Result<(), RunError> {
        let reason = outcome.reason.as_deref();
        if self.stop.is_none() {
            self.stop = Some(Stopping::Unstartable);
            self.is_accepting = false;
            self.engine.brake();
            let reason = reason.unwrap_or_default();
            let message = format!("pepita: {reason}; no further job is started");
            self.console.note(&message);
        }
        let finished = json::Finished {
            command: &as_text(command),
            reason,
            ..json::Finished::never_began(job, outcome.status)
        };
        let told = self.console.json(&Line::Finished(Box::new(finished)));
        self.bear(told)?;
        Ok(())
    }

    /// Shows the output of a job, and then what became of it.
    fn show(&mut self, job: &mut Job) -> Result<(), OutputClosed> {
        let outputs = &mut job.done.outputs;
        if self.console.format() == Format::Plain {
            self.console.outputs(outputs)?;
            if let Some(reason) = &job.outcome.reason
                && job.outcome.status != Status::Cancelled
            {
                let command = cut(&as_text(&job.command));
                let message = format!("pepita: job {}: {reason}: {command}", job.done.key);
                self.console.note(&message);
            }
            return Ok(());
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
            metadata: None,
            run: Ran::new(job.done.result.as_ref().ok(), &job.outcome, stdout, stderr),
        };
        self.console.json(&Line::Finished(Box::new(finished)))
    }

    fn report(&mut self, event: PoolEvent) -> Result<(), RunError> {
        let seq = self.keys.get(&event.id);
        if let Some(line) = seq.and_then(|seq| Line::of_event(event, *seq, None)) {
            let told = self.console.json(&line);
            self.bear(told)?;
        }
        Ok(())
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
        signals::obey(count, &self.engine, &mut self.console);
    }

    /// Counts and tells the jobs of arguments that were read and then left, in case of an early end.
    fn leave_out_waiting(&mut self) -> Result<(), RunError> {
        for argument in std::mem::take(&mut self.waiting) {
            self.sequence += 1;
            let words = self.recipe.template.expand(&argument, self.sequence);
            let command = self.recipe.template.line(&words);
            if let Ok(true) = self.finished.contains(self.sequence, &command) {
                self.summary.count(Status::AlreadyDone);
                continue;
            }
            self.summary.count(Status::Cancelled);
            let finished = json::Finished {
                command: &as_text(&command),
                reason: Some("the run ended before it began"),
                ..json::Finished::never_began(self.sequence, Status::Cancelled)
            };
            let told = self.console.json(&Line::Finished(Box::new(finished)));
            self.bear(told)?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<u8, RunError> {
        // A job that was kept from beginning leaves a gap: what ended after it is shown as well.
        for job in self.held.take().into_iter().flat_map(Held::into_rest) {
            self.settle(job)?;
        }
        self.leave_out_waiting()?;
        let is_failure =
            self.summary.failed > 0 || self.summary.cancelled > 0 || self.setback.is_there();
        let code = match self.stop {
            Some(Stopping::Signal { request, .. }) => request.exit_code(),
            Some(Stopping::Halt(Reason::Success)) if !self.setback.is_there() => SUCCESS,
            _ if is_failure => FAILURE,
            _ => SUCCESS,
        };
        self.summary.close(self.begin, code);
        let is_watched = self.console.is_watched();
        self.console.finish();
        let told = self.console.json(&Line::Summary(self.summary.clone()));
        let is_told = self.bear(told)?;
        let is_said =
            matches!(self.stop, Some(Stopping::Unstartable)) && self.summary.succeeded == 0;
        if self.console.format() == Format::Plain && (is_failure || is_watched) && !is_said {
            self.console.note(&self.summary.to_string());
        }
        let settled = self.summary.settled();
        if settled > 0 && settled == self.summary.already_done && !is_failure {
            let message = format!("pepita: nothing to do: the job log has all {settled} jobs");
            self.console.note(&message);
        }
        Ok(if is_told { code } else { code.max(FAILURE) })
    }
}

/// A job that ended.
#[derive(Debug)]
struct Job {
    done: Done,
    command: OsString,
    outcome: Outcome,
    is_logged: bool,
}

/// A command as it is shown in a message, which is to stay a line.
const SHOWN_MAX: usize = 200;

fn cut(command: &str) -> String {
    let mut shown: String = command.chars().take(SHOWN_MAX).collect();
    if shown.len() < command.len() {
        shown.push('…');
    }
    shown
}
