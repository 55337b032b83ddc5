//! The tests, built with coverage, and the floor below which coverage may not fall.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::step::{Cargo, Step};
use super::tools::CARGO_LLVM_COV;
use crate::debian::{self, Tool};

/// Line coverage of what ships, in percent. A change may raise it, never lower it.
const FLOOR_PERCENT: f64 = 91.5;

/// Raise the floor when coverage exceeds it by this much.
const SLACK_PERCENT: f64 = 2.0;

/// LLVM's own tools in the version that the pinned compiler was built with.
const LLVM_COV: Tool = Tool {
    program: "llvm-cov-22",
    package: "llvm-22",
};
const LLVM_PROFDATA: Tool = Tool {
    program: "llvm-profdata-22",
    package: "llvm-22",
};

/// What is not shipped, tests, and what serves ublk: the lab's kernel alone runs that, where nothing is counted.
const IGNORED: &str = r"(^|/)xtask/|/tests/|/tests\.rs$|/pepita-(cli|io)/src/ublk/";

fn llvm_cov(arguments: &[&str]) -> Result<Cargo> {
    debian::ensure_tools(&[LLVM_COV, LLVM_PROFDATA])?;
    let program = CARGO_LLVM_COV.ensure()?;
    let cargo = Cargo::program(program, &["llvm-cov"]).args(arguments);
    Ok(cargo
        .env("LLVM_COV", LLVM_COV.program)
        .env("LLVM_PROFDATA", LLVM_PROFDATA.program))
}

/// Unit, property and integration tests.
pub(super) fn tests() -> Result<Step> {
    let run = [
        "--no-report",
        "--workspace",
        "--all-features",
        "--no-fail-fast",
    ];
    let clean = llvm_cov(&["clean", "--workspace", "--profraw-only"])?;
    Ok(Step::of(clean).then(llvm_cov(&run)?.env("PEPITA_TEST_SET", "ci").tests()))
}

/// Compares what the tests covered with the floor.
pub(super) fn floor() -> Result<Step> {
    let report = llvm_cov(&[
        "report",
        "--summary-only",
        "--json",
        // A program that a test kills while it writes its profile leaves half of one.
        "--failure-mode",
        "all",
        "--ignore-filename-regex",
        IGNORED,
    ])?;
    Ok(Step::of(report).judged_by(|printed| {
        let percent = lines_percent(printed)?;
        eprintln!("ci: line coverage {percent:.2} %, floor {FLOOR_PERCENT} %");
        judge(percent, FLOOR_PERCENT)
    }))
}

fn judge(percent: f64, floor: f64) -> Result<()> {
    ensure!(
        percent >= floor,
        "line coverage is {percent:.2} %, below the floor of {floor} %: add tests"
    );
    if percent > floor + SLACK_PERCENT {
        eprintln!(
            "ci: raise FLOOR_PERCENT in xtask's ci to {:.0}",
            percent.floor()
        );
    }
    Ok(())
}

/// The share of covered lines in a report of `llvm-cov export`.
fn lines_percent(printed: &str) -> Result<f64> {
    #[derive(Deserialize)]
    struct Report {
        data: Vec<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        totals: Totals,
    }
    #[derive(Deserialize)]
    struct Totals {
        lines: Lines,
    }
    #[derive(Deserialize)]
    struct Lines {
        percent: f64,
    }
    let json = printed
        .lines()
        .find(|line| line.starts_with('{'))
        .context("no coverage report")?;
    let report: Report = serde_json::from_str(json)?;
    report
        .data
        .first()
        .map(|data| data.totals.lines.percent)
        .context("an empty coverage report")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_lines_is_read_from_the_report() {
        let printed =
            "info: x\n{\"data\":[{\"totals\":{\"lines\":{\"count\":4,\"percent\":75.0}}}]}\n";
        assert!((lines_percent(printed).expect("a report") - 75.0).abs() < f64::EPSILON);
        assert!(lines_percent("").is_err());
    }

    #[test]
    fn coverage_below_the_floor_fails() {
        assert!(judge(79.9, 80.0).is_err());
        assert!(judge(80.0, 80.0).is_ok());
    }
}
