//! `pepita doctor`: what this host can do, and how to get what is missing.
//!
//! A check tries what it reports wherever that is harmless; what it cannot try it reads from the
//! kernel, and says so. Nothing is guessed from names or versions.

mod compute;
mod io;
mod memory;
mod raw;
mod tasks;
mod vm;

use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// What was checked.
    name: &'static str,
    status: Status,
    /// What is there.
    detail: String,
    /// How to get the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    /// Works.
    Ok,
    /// Works in part.
    Limited,
    /// Does not work here.
    Missing,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            detail: detail.into(),
            remedy: None,
        }
    }

    fn limited(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self {
            name,
            status: Status::Limited,
            detail: detail.into(),
            remedy,
        }
    }

    fn missing(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self {
            name,
            status: Status::Missing,
            detail: detail.into(),
            remedy,
        }
    }
}

/// All checks, in the order in which they are shown.
pub(crate) fn checks() -> Vec<Check> {
    let mut checks = vec![kernel()];
    checks.extend(tasks::checks());
    checks.extend(io::checks());
    checks.push(vm::kvm());
    checks.extend(compute::checks());
    checks.extend(memory::checks());
    checks
}

fn kernel() -> Check {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let machine = name.machine().to_string_lossy();
    let detail = format!("Linux {release} on {machine}");
    match parse_release(&release) {
        Some(version) if version >= (6, 1) => Check::ok("kernel", detail),
        Some(_) => Check::limited("kernel", detail, "Linux 6.1 or later is what is tested"),
        None => Check::limited("kernel", detail, "its version cannot be read"),
    }
}

/// `(6, 18)` of `6.18.44-something`.
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A file of the kernel that holds one short text.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    pepita: &'static str,
    checks: &'a [Check],
}

/// Shows all checks.
pub(crate) fn run(is_json: bool) -> ExitCode {
    let checks = checks();
    let text = if is_json {
        json(&checks)
    } else {
        table(&checks)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn json(checks: &[Check]) -> String {
    let report = Report {
        pepita: env!("CARGO_PKG_VERSION"),
        checks,
    };
    // Strings and words: nothing in it can fail to be JSON.
    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
}

fn table(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Limited => "limited",
            Status::Missing => "missing",
        };
        text += &format!("{status:7}  {:width$}  {}\n", check.name, check.detail);
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text += &format!("{:9}{:width$}  to do: {line}\n", "", "");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_whatever_follows_the_version() {
        assert_eq!(parse_release("6.18.44-fc"), Some((6, 18)));
        assert_eq!(parse_release("6.12+deb"), Some((6, 12)));
        assert_eq!(parse_release("unknown"), None);
    }

    #[test]
    fn everything_is_checked_once_and_what_is_not_ok_says_what_to_do() {
        let checks = checks();
        let mut names: Vec<_> = checks.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checks.len());
        for check in &checks {
            assert_eq!(
                check.remedy.is_none(),
                check.status == Status::Ok,
                "{check:?}"
            );
        }
        let report: serde_json::Value = serde_json::from_str(&json(&checks)).unwrap();
        assert_eq!(report["checks"].as_array().unwrap().len(), checks.len());
    }
}
