//! `cargo xtask tidy`: the rules of this repository that neither compiler nor clippy knows.
//!
//! Each rule is a function from text to [`Finding`]s and has a test with a snippet that breaks it. What a
//! rule exempts stands in one list beside it, with the reason.

mod graph;
pub(crate) mod manifests;
mod operations;
mod sources;
mod unsafe_files;
mod words;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{debian, workspace_root};

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the workspace's root.
    file: String,
    /// 1-based.
    line: usize,
    /// What is wrong, and what to do about it.
    what: String,
    /// A warning is shown; an error fails the run.
    severity: Severity,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Warning,
    Error,
}

impl Finding {
    fn error(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
            severity: Severity::Error,
        }
    }

    fn warning(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, line, what)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.severity == Severity::Error {
            "error"
        } else {
            "warning"
        };
        write!(f, "{}:{}: {kind}: {}", self.file, self.line, self.what)
    }
}

/// A file of the repository.
#[derive(Debug)]
struct Source {
    /// Relative to the workspace's root.
    path: String,
    text: String,
}

/// What may stand at the top of the repository.
const TOP_LEVEL: [&str; 15] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "crates",
    "deny.toml",
    "docs",
    "rust-toolchain.toml",
    "xtask",
];

/// Prints all findings.
///
/// # Errors
/// When at least one is an error.
pub(crate) fn main() -> Result<()> {
    let findings = check()?;
    for finding in &findings {
        println!("{finding}");
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    if errors > 0 {
        bail!("{errors} broken rule(s)");
    }
    println!("tidy: no broken rule");
    Ok(())
}

/// Applies every rule to the workspace.
fn check() -> Result<Vec<Finding>> {
    let root = workspace_root();
    let files = files(root)?;
    let packages = manifests::packages(root)?;
    let mut findings = top_level(&files);
    findings.extend(manifests::check(root, &packages)?);
    findings.extend(graph::check(root, &packages)?);
    let texts = files
        .iter()
        .filter(|path| words::applies(path) || path.ends_with(".rs"));
    let sources = texts
        .map(|path| read(root, path))
        .collect::<Result<Vec<_>>>()?;
    findings.extend(sources.iter().flat_map(words::check));
    findings.extend(sources::check(&sources)?);
    let figures = read(root, crate::operations::FIGURES)?;
    findings.extend(operations::check(&sources, &figures.text)?);
    Ok(findings)
}

/// The repository's files: those that git tracks or would track.
fn files(root: &Path) -> Result<Vec<String>> {
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ];
    let names = debian::output(Command::new("git").args(list).current_dir(root))?;
    Ok(names
        .split_terminator('\0')
        .filter(|name| root.join(name).is_file())
        .map(str::to_owned)
        .collect())
}

fn read(root: &Path, path: &str) -> Result<Source> {
    let text = std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
    Ok(Source {
        path: path.to_owned(),
        text,
    })
}

fn top_level(files: &[String]) -> Vec<Finding> {
    let mut names: Vec<&str> = files
        .iter()
        .filter_map(|path| path.split('/').next())
        .collect();
    names.dedup();
    let strange = names.into_iter().filter(|name| !TOP_LEVEL.contains(name));
    let what = "does not belong at the top level: move it below crates/, docs/ or xtask/";
    strange.map(|name| Finding::error(name, 1, what)).collect()
}

/// The 1-based line of the first `needle` in `text`, or 1.
fn line_of(text: &str, needle: &str) -> usize {
    text.lines()
        .position(|line| line.contains(needle))
        .map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_breaks_no_rule() {
        let findings = check().expect("the rules can be checked");
        let errors: Vec<String> = findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "\n{}", errors.join("\n"));
    }

    #[test]
    fn a_strange_file_at_the_top_is_named() {
        let found = top_level(&[
            "crates/a/src/lib.rs".into(),
            "notes.txt".into(),
            "fuzz/a.rs".into(),
        ]);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2);
        assert!(
            shown[0].starts_with("notes.txt:1: error: does not belong"),
            "{}",
            shown[0]
        );
    }
}
