//! What the steps did: counts read from the test harness, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Tests that may be skipped under `CI=true`: the start of their name, and what the machine lacks.
/// `docs/architecture.md` has the table of what runs where.
const MAY_SKIP: [(&str, &str); 0] = [];

/// A reason that starts so is a matter of the chosen set of steps, not of the machine.
const OTHER_SET: &str = "only in ";

/// How many lines of a failed test's panic, or of the end of a failed command's output, stand in the table.
const SHOWN_LINES: usize = 8;

/// What begins a line of a command that ran once more.
const REPEATED: &str = "ci: run once more: ";

/// The end of `output`, whose command runs once more, for the output of the step.
pub(super) fn repeated(output: &str) -> String {
    let lines: Vec<&str> = output.trim_end().lines().collect();
    let end = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    let test = unfinished(output).map(|test| format!("in the test {test}"));
    test.as_deref()
        .into_iter()
        .chain(end.iter().map(|line| line.trim()))
        .fold(String::new(), |all, line| all + REPEATED + line + "\n")
}

/// How many tests passed, which failed and which were skipped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    passed: usize,
    failed: usize,
    /// The tests that failed, each with the end of what it said.
    failures: Vec<String>,
    /// The test that ran when its harness ended without a result.
    unfinished: Option<String>,
    /// What was said last by commands that had to run once more.
    repeated: Vec<String>,
    /// By reason.
    skipped: BTreeMap<String, Vec<String>>,
}

impl Counts {
    /// Reads the output of test harnesses.
    pub(super) fn read(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                counts.passed += number_before(result, " passed");
                counts.failed += number_before(result, " failed");
            } else if let Some(what) = line.strip_prefix(REPEATED) {
                counts.repeated.push(what.to_owned());
            } else if let Some((test, reason)) = line
                .strip_prefix("SKIPPED: ")
                .and_then(|rest| rest.split_once(": "))
            {
                counts
                    .skipped
                    .entry(reason.to_owned())
                    .or_default()
                    .push(test.to_owned());
            }
        }
        counts.failures = failures(output);
        counts.unfinished = unfinished(output).map(str::to_owned);
        // The harness counts a test that returned early among the passed ones.
        counts.passed = counts.passed.saturating_sub(counts.skipped_total());
        counts
    }

    fn skipped_total(&self) -> usize {
        self.skipped.values().map(Vec::len).sum()
    }

    /// Fails under `CI=true` when a test was skipped that can run there.
    pub(super) fn judge(&self) -> Result<(), String> {
        self.forbidden(strict(), &MAY_SKIP)
    }

    fn forbidden(&self, strict: bool, may_skip: &[(&str, &str)]) -> Result<(), String> {
        let allowed = |test: &str| may_skip.iter().any(|(name, _)| test.starts_with(name));
        let reasons = self
            .skipped
            .iter()
            .filter(|(reason, _)| !reason.starts_with(OTHER_SET));
        let bad: Vec<&str> = reasons
            .flat_map(|(_, tests)| tests)
            .map(String::as_str)
            .filter(|test| !allowed(test))
            .collect();
        if strict && !bad.is_empty() {
            return Err(format!(
                "skipped under CI=true, and not listed in MAY_SKIP of xtask's ci: {}\n",
                bad.join(", ")
            ));
        }
        Ok(())
    }
}

/// Whether this run is a CI service's, where nothing may be skipped that can run.
pub(super) fn strict() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// The failed tests in the output of harnesses, each with what its own thread said as it panicked.
fn failures(output: &str) -> Vec<String> {
    let mut failures = Vec::new();
    let mut lines = output.lines();
    while lines.by_ref().any(|line| line == "failures:") {
        let names = lines.by_ref().take_while(|line| line.starts_with("    "));
        let named = names.map(|name| with_panic(name.trim(), output));
        failures.extend(named);
    }
    failures
}

/// The last test that began in a harness that gave no result.
fn unfinished(output: &str) -> Option<&str> {
    let (_, last) = output.rsplit_once("\nrunning ")?;
    if last.contains("\ntest result: ") {
        return None;
    }
    let mut begun = last
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    begun.next_back().map(|(test, _)| test)
}

/// `test` with the panic in its section of `output`, as far as the backtrace.
fn with_panic(test: &str, output: &str) -> String {
    let heading = format!("---- {test} stdout ----\n");
    let section = output.split_once(&heading).map_or("", |(_, after)| after);
    let section = section.split("\n---- ").next().unwrap_or_default();
    let thread = format!("thread '{test}' ");
    let panic = section.rfind(&thread).map_or("", |at| &section[at..]);
    let mut text = test.to_owned();
    for line in panic.lines().take(SHOWN_LINES) {
        if line.is_empty() || line.starts_with("stack backtrace:") || line.starts_with("note: ") {
            break;
        }
        let _ = write!(text, "\n        {line}");
    }
    text
}

/// The number that stands before `word` in a harness's result line, else 0.
fn number_before(result: &str, word: &str) -> usize {
    let before = result
        .split_once(word)
        .and_then(|(before, _)| before.rsplit(' ').next());
    before.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Why a step failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What it printed.
    pub(super) output: String,
    /// The command that shows it again.
    pub(super) again: String,
}

impl Failure {
    pub(super) fn new(output: String, again: String) -> Self {
        Self { output, again }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}\n"), "cargo xtask ci".to_owned())
    }
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    time: Duration,
    counts: Counts,
    note: Option<String>,
    pub(super) failure: Option<Failure>,
}

impl Row {
    /// The row of a step that took `time`.
    pub(super) fn new(
        name: String,
        time: Duration,
        done: Result<(Counts, Option<String>), Failure>,
    ) -> Self {
        let row = Self {
            name,
            time,
            counts: Counts::default(),
            note: None,
            failure: None,
        };
        match done {
            Ok((counts, note)) => Self {
                counts,
                note,
                ..row
            },
            Err(failure) => Self {
                counts: Counts::read(&failure.output),
                failure: Some(failure),
                ..row
            },
        }
    }

    /// Failed tests; a step that failed in another way counts as one.
    fn failed(&self) -> usize {
        self.failure
            .as_ref()
            .map_or(0, |_| self.counts.failed.max(1))
    }

    fn result(&self) -> &'static str {
        match (&self.failure, &self.note) {
            (Some(_), _) => "FAILED",
            (None, Some(_)) => "skipped",
            (None, None) => "ok",
        }
    }

    /// The row in one line; a failure's output before it.
    pub(super) fn line(&self) -> String {
        let mut line = String::new();
        if let Some(failure) = &self.failure {
            let _ = writeln!(line, "{} failed:\n{}", self.name, failure.output.trim_end());
            let _ = writeln!(line, "ci: to run it again: {}", failure.again);
            line.push_str("ci: ");
        }
        let _ = write!(
            line,
            "{} {} in {:.0} s",
            self.name,
            self.result(),
            self.time.as_secs_f64()
        );
        line
    }
}

/// The table, the reasons for what was skipped, and the sums.
pub(super) fn table(rows: &[Row], total: Duration) -> String {
    let mut text = format!(
        "{:<16} {:<8} {:>7} {:>7} {:>8}\n",
        "step", "result", "time", "passed", "skipped"
    );
    let dash = |count: usize| {
        if count == 0 {
            "-".to_owned()
        } else {
            count.to_string()
        }
    };
    for row in rows {
        let (passed, skipped) = (dash(row.counts.passed), dash(row.counts.skipped_total()));
        let time = format!("{:.0} s", row.time.as_secs_f64());
        let _ = writeln!(
            text,
            "{:<16} {:<8} {time:>7} {passed:>7} {skipped:>8}",
            row.name,
            row.result()
        );
        if let Some(note) = &row.note {
            let _ = writeln!(text, "    {note}");
        }
        for line in &row.counts.repeated {
            let _ = writeln!(text, "    run once more: {line}");
        }
        for (reason, tests) in &row.counts.skipped {
            let _ = writeln!(
                text,
                "    {} skipped, {reason}: {}",
                tests.len(),
                tests.join(", ")
            );
        }
        if let Some(failure) = &row.failure {
            for test in &row.counts.failures {
                let _ = writeln!(text, "    FAILED: {test}");
            }
            if let Some(test) = &row.counts.unfinished {
                let _ = writeln!(text, "    UNFINISHED: {test}");
            }
            if row.counts.failures.is_empty() {
                let lines: Vec<&str> = failure.output.trim_end().lines().collect();
                for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
                    let _ = writeln!(text, "    {line}");
                }
            }
            let _ = writeln!(text, "    again: {}", failure.again);
        }
    }
    let steps_failed = rows.iter().filter(|row| row.failure.is_some()).count();
    let failed: usize = rows.iter().map(Row::failed).sum();
    let passed: usize = rows.iter().map(|row| row.counts.passed).sum();
    let skipped: usize = rows.iter().map(|row| row.counts.skipped_total()).sum();
    let _ = writeln!(
        text,
        "\n{} steps, {steps_failed} failed, in {:.0} s",
        rows.len(),
        total.as_secs_f64()
    );
    let _ = write!(text, "{passed} passed, {failed} failed, {skipped} skipped");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "test a ... ok\nSKIPPED: b: no /dev/kvm\nSKIPPED: c: only in ci --full\n\
                          test result: ok. 3 passed; 0 failed; 0 ignored\ntest result: ok. 2 passed; 0 failed\n";

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let counts = Counts::read(OUTPUT);
        assert_eq!((counts.passed, counts.skipped_total()), (3, 2));
        assert_eq!(counts.skipped["no /dev/kvm"], ["b"]);
        let failed = Counts::read("test result: FAILED. 4 passed; 2 failed; 0 ignored\n");
        assert_eq!((failed.passed, failed.failed), (4, 2));
    }

    #[test]
    fn a_failed_test_stands_in_the_table_with_its_own_panic() {
        let output = "test a ... FAILED\n\nsuccesses:\n\n---- b stdout ----\nSKIPPED\n\nsuccesses:\n    b\n\nfailures:\n\n\
                      ---- a stdout ----\n\nthread 'worker' (7) panicked at a.rs:1:1:\na job\nstack backtrace:\n   0: f\n\n\
                      thread 'a' (6) panicked at a.rs:2:1:\nleft: 1\nright: 2\nstack backtrace:\n   0: g\n\n\n\
                      failures:\n    a\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n\n\
                      failures:\n    of another binary\n\n";
        let panic =
            "a\n        thread 'a' (6) panicked at a.rs:2:1:\n        left: 1\n        right: 2";
        assert_eq!(Counts::read(output).failures, [panic, "of another binary"]);
        let failure = Failure::new(output.into(), "cargo test".into());
        let row = Row::new("tests".into(), Duration::ZERO, Err(failure));
        let text = table(&[row], Duration::ZERO);
        assert!(text.contains(&format!("    FAILED: {panic}\n")), "{text}");
    }

    #[test]
    fn a_test_whose_harness_was_cut_off_stands_in_the_table() {
        let output = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed\n\n\
                      \nrunning 3 tests\ntest b ... ok\ntest c ... lab: the kernel panicked\n    at d\n";
        let failure = Failure::new(output.into(), "cargo test".into());
        let row = Row::new("lab".into(), Duration::ZERO, Err(failure));
        let text = table(&[row], Duration::ZERO);
        assert!(text.contains("    UNFINISHED: c\n"), "{text}");
        assert_eq!(Counts::read(OUTPUT).unfinished, None);
        let counts = Counts::read(&(repeated(output) + OUTPUT));
        let again = Row::new("lab".into(), Duration::ZERO, Ok((counts, None)));
        let text = table(&[again], Duration::ZERO);
        assert!(
            text.contains("    run once more: in the test c\n"),
            "{text}"
        );
        assert!(text.contains("    run once more: at d\n"), "{text}");
        assert!(text.ends_with("\n3 passed, 0 failed, 2 skipped"), "{text}");
    }

    #[test]
    fn under_ci_only_listed_tests_and_those_of_other_sets_may_be_skipped() {
        let counts = Counts::read(OUTPUT);
        assert_eq!(counts.forbidden(false, &[]), Ok(()));
        let error = counts.forbidden(true, &[]).expect_err("b can run there");
        assert!(error.contains(": b\n"), "{error}");
        assert_eq!(counts.forbidden(true, &[("b", "KVM")]), Ok(()));
    }

    #[test]
    fn the_table_ends_with_the_sums_and_tells_how_to_repeat_a_failure() {
        let second = Duration::from_secs(1);
        let rows = [
            Row::new("tests".into(), second, Ok((Counts::read(OUTPUT), None))),
            Row::new(
                "docs".into(),
                second,
                Err(Failure::new("boom\n".into(), "cargo doc".into())),
            ),
        ];
        let text = table(&rows, second);
        assert!(text.contains("    boom\n    again: cargo doc\n"), "{text}");
        assert!(text.contains("1 skipped, no /dev/kvm: b\n"), "{text}");
        assert!(text.ends_with("\n3 passed, 1 failed, 2 skipped"), "{text}");
        assert!(
            rows[1]
                .line()
                .starts_with("docs failed:\nboom\nci: to run it again: cargo doc\n")
        );
    }
}
