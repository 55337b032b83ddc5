//! `pepita selftest`: tries the parts of this program on this host.
//!
//! An [`Area`] is a list of [`Case`]s and of [`Bench`]es. A case needs nothing but what every host
//! has, or says what is missing; it leaves nothing behind. A bench takes well under a second.

mod reference;
mod tasks;
mod zram;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli;
use crate::doctor;
use crate::run::signals;
use crate::units::show_duration;
use reference::Reference;

/// One part of the program.
struct Area {
    name: &'static str,
    cases: &'static [Case],
    benches: &'static [Bench],
}

/// Something that must hold.
struct Case {
    /// What holds, as a sentence.
    name: &'static str,
    run: fn() -> Finding,
}

/// Something that is measured.
struct Bench {
    name: &'static str,
    unit: &'static str,
    run: fn() -> Result<f64, Unmeasured>,
}

/// Why a bench has no value.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unmeasured {
    #[serde(rename = "error")]
    Failed(String),
    /// What this host lacks.
    NotHere(String),
}

/// What came of a case.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "finding", content = "detail", rename_all = "kebab-case")]
enum Finding {
    Passed,
    /// What was seen instead.
    Failed(String),
    /// What this host lacks.
    NotHere(String),
}

impl Finding {
    /// Passes if `holds`; else fails with what was seen.
    fn check(holds: bool, seen: impl std::fmt::Debug) -> Self {
        match holds {
            true => Self::Passed,
            false => Self::Failed(format!("{seen:?}")),
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Finding {
    fn from(error: E) -> Self {
        Self::Failed(crate::run::in_full(&error))
    }
}

/// The areas that `selection` names; all when it names none.
fn areas(selection: Option<cli::Area>) -> Vec<Area> {
    match selection {
        None => vec![tasks::AREA, zram::AREA],
        Some(cli::Area::Tasks) => vec![tasks::AREA],
        Some(cli::Area::Zram) => vec![zram::AREA],
    }
}

#[derive(Debug, Serialize)]
struct Report {
    pepita: &'static str,
    passed: usize,
    failed: usize,
    not_here: usize,
    /// A signal came before the end: what follows is what was found until then.
    interrupted: bool,
    cases: Vec<CaseReport>,
    benches: Vec<BenchReport>,
    /// The host, as `pepita doctor` sees it.
    host: Vec<doctor::Check>,
}

#[derive(Debug, Serialize)]
struct CaseReport {
    area: &'static str,
    name: &'static str,
    #[serde(flatten)]
    finding: Finding,
    wall_s: f64,
}

#[derive(Debug, Serialize)]
struct BenchReport {
    area: &'static str,
    name: &'static str,
    unit: &'static str,
    value: Option<f64>,
    #[serde(flatten)]
    unmeasured: Option<Unmeasured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'static Reference>,
}

/// Runs the areas, and shows each finding as it comes. A signal to end is heard between two of them, so that nothing is left
/// behind.
pub(crate) fn run(selection: Option<cli::Area>, with_bench: bool, is_json: bool) -> ExitCode {
    let mut report = Report {
        pepita: env!("CARGO_PKG_VERSION"),
        passed: 0,
        failed: 0,
        not_here: 0,
        interrupted: false,
        cases: Vec::new(),
        benches: Vec::new(),
        host: doctor::checks(),
    };
    let show = |line: String| match is_json {
        true => Ok(()),
        false => writeln!(std::io::stdout(), "{line}"),
    };
    let mut is_read = true;
    let requests = signals::listen().ok();
    let requested = || requests.as_ref()?.try_recv().ok();
    let interrupted = 'all: {
        for area in areas(selection) {
            for case in area.cases {
                if let Some(request) = requested() {
                    break 'all Some(request);
                }
                let case = run_case(&area, case, &mut report);
                is_read &= show(case.to_string()).is_ok();
                report.cases.push(case);
            }
            for bench in area.benches.iter().filter(|_| with_bench) {
                if let Some(request) = requested() {
                    break 'all Some(request);
                }
                let bench = run_bench(&area, bench);
                match bench.unmeasured {
                    Some(Unmeasured::Failed(_)) => report.failed += 1,
                    Some(Unmeasured::NotHere(_)) => report.not_here += 1,
                    None => {}
                }
                is_read &= show(bench.to_string()).is_ok();
                report.benches.push(bench);
            }
        }
        None
    };
    report.interrupted = interrupted.is_some();
    let (passed, failed, not_here) = (report.passed, report.failed, report.not_here);
    let until_then = if report.interrupted {
        ", interrupted"
    } else {
        ""
    };
    is_read &= show(format!(
        "{passed} passed, {failed} failed, {not_here} not here{until_then}"
    ))
    .is_ok();
    if is_json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        is_read &= writeln!(std::io::stdout(), "{text}").is_ok();
    }
    match interrupted {
        Some(request) => request.exit_code().into(),
        None if failed == 0 && is_read => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

fn run_case(area: &Area, case: &Case, report: &mut Report) -> CaseReport {
    let begin = Instant::now();
    let finding = (case.run)();
    match finding {
        Finding::Passed => report.passed += 1,
        Finding::Failed(_) => report.failed += 1,
        Finding::NotHere(_) => report.not_here += 1,
    }
    let wall_s = begin.elapsed().as_secs_f64();
    CaseReport {
        area: area.name,
        name: case.name,
        finding,
        wall_s,
    }
}

fn run_bench(area: &Area, bench: &Bench) -> BenchReport {
    let (value, unmeasured) = match (bench.run)() {
        Ok(value) => (Some(value), None),
        Err(why) => (None, Some(why)),
    };
    BenchReport {
        area: area.name,
        name: bench.name,
        unit: bench.unit,
        value,
        unmeasured,
        reference: reference::find(area.name, bench.name),
    }
}

impl std::fmt::Display for CaseReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            area,
            name,
            finding,
            wall_s,
        } = self;
        match finding {
            Finding::Passed => {
                let wall = Duration::try_from_secs_f64(*wall_s).unwrap_or_default();
                write!(f, "passed    {area}: {name} ({})", show_duration(wall))
            }
            Finding::Failed(seen) => write!(f, "FAILED    {area}: {name}\n          {seen}"),
            Finding::NotHere(missing) => {
                write!(f, "not here  {area}: {name}\n          {missing}")
            }
        }
    }
}

impl std::fmt::Display for BenchReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            area, name, unit, ..
        } = self;
        match (self.value, &self.unmeasured, self.reference) {
            (Some(value), _, Some(reference)) => write!(
                f,
                "bench     {area}: {name}: {value:.0} {unit}, {:.2} x the {:.0} of {}",
                value / reference.value,
                reference.value,
                reference::MACHINE
            ),
            (Some(value), ..) => write!(f, "bench     {area}: {name}: {value:.0} {unit}"),
            (None, Some(Unmeasured::NotHere(missing)), _) => {
                write!(f, "not here  {area}: {name}\n          {missing}")
            }
            (None, why, _) => write!(f, "FAILED    {area}: {name}\n          {why:?}"),
        }
    }
}
