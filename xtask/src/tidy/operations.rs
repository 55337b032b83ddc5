//! Every operation that pepita-simd exports stands in its table, with its bound, its tiers, its test and its measured
//! share of the roof; what lacks one of the four is not exported.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use proc_macro2::TokenTree;

use super::{Finding, Source};
use crate::operations::table::{self, Measured};
use crate::operations::{FIGURES, README};

/// Where operations are defined.
const OPERATIONS: &str = "crates/pepita-simd/src/ops/";

/// What has them.
const TYPES: [&str; 2] = ["SimdOps", "MatrixOps"];

/// Methods that are no operations.
const OTHERS: [&str; 3] = ["new", "with_caps", "caps"];

/// Where the tests of operations are.
const TESTED: &str = "crates/pepita-simd/";

/// Compares the operations among `sources` with the table, and the table with `figures`.
pub(super) fn check(sources: &[Source], figures: &str) -> Result<Vec<Finding>> {
    let Some(readme) = sources.iter().find(|source| source.path == README) else {
        return Ok(vec![Finding::error(
            README,
            1,
            "the table of operations is not there",
        )]);
    };
    let exported = exported(sources)?;
    let rows = table::rows(&readme.text);
    let mut findings = Vec::new();
    let named: BTreeSet<_> = rows.iter().flat_map(table::Row::names).collect();
    for name in exported.iter().filter(|name| !named.contains(&***name)) {
        let what = format!("{name} is exported, and not in the table of operations");
        findings.push(Finding::error(README, 1, what));
    }
    for row in &rows {
        let stale = row.names().filter(|name| !exported.contains(*name));
        let stale = stale.map(|name| format!("there is no operation {name}"));
        let untested = row.tests().filter(|test| !is_test(sources, test));
        let untested = untested.map(|test| format!("there is no test {test}"));
        let lacks = row.lacks();
        let first = row.names().next().unwrap_or_default();
        let lacks = (!lacks.is_empty()).then(|| {
            format!(
                "{first} lacks {}: what lacks one is not exported",
                lacks.join(", ")
            )
        });
        let found = stale.chain(untested).chain(lacks);
        findings.extend(found.map(|what| Finding::error(README, row.line, what)));
    }
    let measured = Measured::of(figures).with_context(|| FIGURES)?;
    let wanted = table::with_figures(&readme.text, &measured);
    let mut lines = wanted.lines().zip(readme.text.lines());
    if let Some(index) = lines.position(|(wanted, line)| wanted != line) {
        let what =
            "the figures are not those that were measured: cargo xtask operations --no-bench";
        findings.push(Finding::error(README, index + 1, what));
    }
    Ok(findings)
}

/// The names of the operations, each without `try_`.
fn exported(sources: &[Source]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with(OPERATIONS))
    {
        let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
        for item in file.items {
            match item {
                syn::Item::Impl(item) if is_of_operations(&item) => names.extend(methods(&item)),
                // The call of a macro that makes operations: all words of its rows but types and marks.
                syn::Item::Macro(item) if makes_operations(&item) => {
                    names.extend(words(item.mac.tokens));
                }
                _ => {}
            }
        }
    }
    let plain = names
        .iter()
        .map(|name| name.strip_prefix("try_").unwrap_or(name));
    let plain = plain.filter(|name| !OTHERS.contains(name));
    Ok(plain.map(str::to_owned).collect())
}

/// Whether it is the call of a macro, and not one of the standard library's.
fn makes_operations(item: &syn::ItemMacro) -> bool {
    item.ident.is_none() && !item.mac.path.is_ident("thread_local")
}

fn is_of_operations(item: &syn::ItemImpl) -> bool {
    let syn::Type::Path(path) = &*item.self_ty else {
        return false;
    };
    item.trait_.is_none() && TYPES.iter().any(|name| path.path.is_ident(name))
}

fn methods(item: &syn::ItemImpl) -> Vec<String> {
    let methods = item.items.iter().filter_map(|item| match item {
        syn::ImplItem::Fn(method) if matches!(method.vis, syn::Visibility::Public(_)) => {
            Some(method.sig.ident.to_string())
        }
        _ => None,
    });
    methods.collect()
}

fn words(tokens: proc_macro2::TokenStream) -> Vec<String> {
    let words = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    words
        .filter(|word| word.starts_with(|first: char| first.is_lowercase()))
        .collect()
}

/// Whether there is a test of this name, or one that begins so if the name ends in `…`.
fn is_test(sources: &[Source], name: &str) -> bool {
    let needle = match name.strip_suffix('…') {
        Some(begin) => format!("fn {begin}"),
        None => format!("fn {name}("),
    };
    let is_tests =
        |path: &str| path.starts_with(TESTED) && path.contains("/test") && path.ends_with(".rs");
    sources
        .iter()
        .any(|source| is_tests(&source.path) && source.text.contains(&needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: &str = r#"{
        "machine": { "cpu": "CPU", "kernel": "Linux 1", "tier": "AVX2", "levels": [{ "name": "L1", "bytes": 16384 }] },
        "operations": [
            { "name": "add", "type": "f32", "level": "L1", "share": 1.0 },
            { "name": "add", "type": "f64", "level": "L1", "share": 0.5 }] }"#;

    const ROW: &str = "| `add` | u | all | `sums_are_right` | 100 50 |";

    const OPS: &str =
        "impl SimdOps { pub fn new() {} pub fn try_add() {} pub fn add() {} fn hidden() {} }";

    /// What is found with these rows and this source of operations.
    fn found(rows: &str, ops: &str) -> Vec<String> {
        let source = |path: &str, text: String| Source {
            path: path.to_owned(),
            text,
        };
        let head =
            "| operation | error at most | tiers | test | f32 | f64 |\n|---|---|---|---|---|---|\n";
        let sources = [
            source(README, format!("{head}{rows}\n")),
            source("crates/pepita-simd/src/ops/vector.rs", ops.to_owned()),
            source(
                "crates/pepita-simd/tests/it/vector.rs",
                "fn sums_are_right() {}".into(),
            ),
        ];
        let findings = check(&sources, FIGURES).unwrap();
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn an_operation_with_all_four_is_in_order() {
        let row = ROW.replace("100 50", "100 | 50");
        assert_eq!(found(&row, OPS), Vec::<String>::new());
    }

    #[test]
    fn an_operation_without_a_row_is_named_however_it_is_defined() {
        let row = ROW.replace("100 50", "100 | 50");
        let method = format!("{OPS} impl MatrixOps {{ pub fn turn() {{}} }}");
        assert_eq!(
            found(&row, &method),
            ["turn is exported, and not in the table of operations"]
        );
        let rows = format!(
            "{OPS} macro_rules! rows {{ ($a:ident) => {{}} }} rows! {{ /// Doc.\n mul try_mul Mul; }} thread_local! {{ static KEPT: u8 = 0; }}"
        );
        assert_eq!(
            found(&row, &rows),
            ["mul is exported, and not in the table of operations"]
        );
    }

    #[test]
    fn a_row_that_lacks_one_of_the_four_is_named() {
        let row = "| `add` | u | all | `sums_are_right` | 100 | 50 |";
        let lacks = |column| {
            vec![format!(
                "add lacks {column}: what lacks one is not exported"
            )]
        };
        assert_eq!(
            found(&row.replace("| u |", "| |"), OPS)[0],
            lacks("error at most")[0]
        );
        assert_eq!(found(&row.replace("| all |", "|  |"), OPS), lacks("tiers"));
        assert_eq!(
            found(&row.replace("`sums_are_right`", ""), OPS)[0],
            lacks("test")[0]
        );
        assert_eq!(
            found(&row.replace("| 50 |", "|  |"), OPS)[0],
            lacks("f64")[0]
        );
        assert_eq!(
            found(&row.replace("are_right", "are_wrong"), OPS),
            ["there is no test sums_are_wrong"]
        );
    }

    #[test]
    fn figures_that_were_not_measured_are_named() {
        let row = "| `add` | u | all | `sums_are_right` | 100 | 99 |";
        assert!(found(row, OPS)[0].starts_with("the figures are not those"));
        let unknown = "| `add` | u | all | `sums_are_right` | 100 | 50 |\n| `cube` | u | all | `sums_are_right` | 9 | 9 |";
        let found = found(unknown, OPS);
        assert_eq!(found[0], "there is no operation cube");
        assert!(
            found[1].starts_with("the figures are not those"),
            "{found:?}"
        );
    }
}
