//! Rules about Rust sources: their size, where `unsafe` may stand, and that a unit has one home.

use std::collections::HashMap;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::unsafe_files::UNSAFE_FILES;
use super::{Finding, Source};

/// A file above this is reported.
const FILE_LINES_SOFT: usize = 600;
/// A file above this is an error.
const FILE_LINES_HARD: usize = 900;
/// A function above this, from `fn` to its closing brace, is an error.
const FUNCTION_LINES: usize = 70;

/// Functions that may be longer because they are one uniform table: file, function.
const TABLES: [(&str, &str); 0] = [];

/// Constants of which each may have one definition in the whole workspace.
const UNITS: [&str; 8] = [
    "PAGE_SIZE",
    "PAGE_SHIFT",
    "SECTOR_SIZE",
    "SECTOR_SHIFT",
    "HUGE_PAGE_SIZE",
    "CACHE_LINE",
    "CACHE_LINE_SIZE",
    "CACHE_LINE_BYTES",
];

/// The lists of exemptions.
#[derive(Debug, Clone, Copy)]
struct Exempt<'a> {
    tables: &'a [(&'a str, &'a str)],
    unsafe_files: &'a [(&'a str, &'a str)],
}

/// Applies all rules of this module to the Rust files among `sources`.
pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    check_with(
        sources,
        Exempt {
            tables: &TABLES,
            unsafe_files: UNSAFE_FILES,
        },
    )
}

fn check_with(sources: &[Source], exempt: Exempt<'_>) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut units = HashMap::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        let file = syn::parse_file(&source.text).with_context(|| source.path.clone())?;
        findings.extend(file_size(source));
        findings.extend(unsafe_code(source, &file, exempt)?);
        let mut items = Items::default();
        items.visit_file(&file);
        findings.extend(
            items
                .functions
                .iter()
                .filter_map(|function| function_size(source, function, exempt)),
        );
        for (name, line) in items.constants {
            let here = format!("{}:{line}", source.path);
            let home = units.entry(name.clone()).or_insert_with(|| here.clone());
            if *home != here {
                let what = format!("a second {name}: use the one at {home}");
                findings.push(Finding::error(&source.path, line, what));
            }
        }
    }
    findings.extend(stale(sources, exempt));
    Ok(findings)
}

fn file_size(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    let what = format!("{lines} lines, the budget is {FILE_LINES_SOFT}: split it by concept");
    if lines <= FILE_LINES_SOFT {
        None
    } else if lines <= FILE_LINES_HARD {
        Some(Finding::warning(&source.path, lines, what))
    } else {
        Some(Finding::error(&source.path, lines, what))
    }
}

/// A function and where it stands.
#[derive(Debug)]
struct Function {
    name: String,
    first: usize,
    last: usize,
}

fn function_size(source: &Source, function: &Function, exempt: Exempt<'_>) -> Option<Finding> {
    let lines = function.last - function.first + 1;
    let name = &function.name;
    if lines <= FUNCTION_LINES
        || exempt
            .tables
            .contains(&(source.path.as_str(), name.as_str()))
    {
        return None;
    }
    let what =
        format!("fn {name} has {lines} lines, the limit is {FUNCTION_LINES}: give its parts names");
    Some(Finding::error(&source.path, function.first, what))
}

/// `unsafe` stands in listed files only, and each opens with the reason.
fn unsafe_code(source: &Source, file: &syn::File, exempt: Exempt<'_>) -> Result<Vec<Finding>> {
    let tokens: TokenStream = source
        .text
        .parse()
        .map_err(|error| anyhow::anyhow!("{}: {error}", source.path))?;
    let mut findings = Vec::new();
    let listed = exempt
        .unsafe_files
        .iter()
        .any(|(path, _)| *path == source.path);
    let first = first_unsafe(tokens);
    let opening = file.attrs.iter().find(|attribute| lifts_deny(attribute));
    if let Some(line) = first.filter(|_| !listed) {
        let what = "unsafe outside the listed modules: use a safe wrapper, or add the file to UNSAFE_FILES (tidy/unsafe_files.rs) with the reason";
        findings.push(Finding::error(&source.path, line, what));
    }
    if first.is_some() && opening.is_none() {
        let what = "a module with unsafe opens with #![expect(unsafe_code, reason = \"…\")]";
        findings.push(Finding::error(&source.path, 1, what));
    }
    let mut inner = Lifts::default();
    inner.visit_file(file);
    for (line, whole_file, reason) in inner.found {
        if !whole_file {
            let what =
                "unsafe_code is lifted for a whole module: move the code to a module of its own";
            findings.push(Finding::error(&source.path, line, what));
        } else if !reason {
            findings.push(Finding::error(
                &source.path,
                line,
                "say why: expect(unsafe_code, reason = \"…\")",
            ));
        }
    }
    Ok(findings)
}

/// Entries of the lists that no longer apply.
fn stale(sources: &[Source], exempt: Exempt<'_>) -> Vec<Finding> {
    let here = "xtask/src/tidy/sources.rs";
    let has_unsafe = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| {
            source
                .text
                .parse()
                .is_ok_and(|tokens| first_unsafe(tokens).is_some())
        })
    };
    let gone = exempt
        .unsafe_files
        .iter()
        .filter(|(path, _)| !has_unsafe(path));
    gone.map(|(path, _)| {
        Finding::error(
            here,
            1,
            format!("{path} has no unsafe: take it off UNSAFE_FILES"),
        )
    })
    .collect()
}

/// The line of the first `unsafe` keyword, also inside macros.
fn first_unsafe(tokens: TokenStream) -> Option<usize> {
    tokens.into_iter().find_map(|tree| match tree {
        TokenTree::Ident(ident) if ident == "unsafe" => Some(ident.span().start().line),
        TokenTree::Group(group) => first_unsafe(group.stream()),
        _ => None,
    })
}

/// Whether `attribute` is `expect` or `allow` of `unsafe_code`.
fn lifts_deny(attribute: &syn::Attribute) -> bool {
    let lifts = attribute.path().is_ident("expect") || attribute.path().is_ident("allow");
    lifts
        && attribute
            .meta
            .require_list()
            .is_ok_and(|list| has_ident(list.tokens.clone(), "unsafe_code"))
}

fn has_ident(tokens: TokenStream, name: &str) -> bool {
    tokens
        .into_iter()
        .any(|tree| matches!(tree, TokenTree::Ident(ident) if ident == name))
}

/// Every attribute that lifts `unsafe_code`: its line, whether it covers the file, whether it says why.
#[derive(Debug, Default)]
struct Lifts {
    found: Vec<(usize, bool, bool)>,
}

impl<'ast> Visit<'ast> for Lifts {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if lifts_deny(attribute) {
            let whole_file = matches!(attribute.style, syn::AttrStyle::Inner(_));
            let reason = attribute
                .meta
                .require_list()
                .is_ok_and(|list| has_ident(list.tokens.clone(), "reason"));
            self.found
                .push((attribute.span().start().line, whole_file, reason));
        }
    }
}

/// The functions and unit constants of a file.
#[derive(Debug, Default)]
struct Items {
    functions: Vec<Function>,
    constants: Vec<(String, usize)>,
}

impl Items {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let (first, last) = (signature.span().start().line, body.span().end().line);
        self.functions.push(Function {
            name: signature.ident.to_string(),
            first,
            last,
        });
    }

    fn constant(&mut self, name: &syn::Ident, value: Option<&syn::Expr>) {
        // A constant that is a path (`PAGE_SIZE = units::PAGE_SIZE`) names the one home.
        if UNITS.iter().any(|unit| name == unit) && !matches!(value, Some(syn::Expr::Path(_))) {
            self.constants
                .push((name.to_string(), name.span().start().line));
        }
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant(&item.ident, Some(&item.expr));
        visit::visit_item_const(self, item);
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(&item.ident, Some(&item.expr));
        visit::visit_impl_item_const(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Exempt<'_> = Exempt {
        tables: &[],
        unsafe_files: &[],
    };

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.into(),
        }
    }

    /// The findings about `files`, one a line.
    fn findings(files: &[(&str, &str)], exempt: Exempt<'_>) -> String {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| source(path, text))
            .collect();
        let found = check_with(&sources, exempt).expect("the snippets parse");
        found.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[track_caller]
    fn one(files: &[(&str, &str)], want: &str) {
        let found = findings(files, NONE);
        assert_eq!(found.lines().count(), 1, "{found}");
        assert!(found.contains(want), "{found}");
    }

    #[test]
    fn a_long_file_is_a_warning_then_an_error() {
        one(
            &[("a.rs", &"//\n".repeat(601))],
            "a.rs:601: warning: 601 lines",
        );
        one(
            &[("a.rs", &"//\n".repeat(901))],
            "a.rs:901: error: 901 lines",
        );
        assert_eq!(findings(&[("a.rs", &"//\n".repeat(600))], NONE), "");
    }

    #[test]
    fn a_long_function_is_an_error_unless_it_is_a_listed_table() {
        let long = format!("impl A {{\nfn long() {{\n{}}}\n}}", "f();\n".repeat(69));
        one(&[("a.rs", &long)], "a.rs:2: error: fn long has 71 lines");
        let exempt = Exempt {
            tables: &[("a.rs", "long")],
            ..NONE
        };
        assert_eq!(findings(&[("a.rs", &long)], exempt), "");
    }

    #[test]
    fn unsafe_needs_a_listed_file_that_opens_with_the_reason() {
        let good = "#![expect(unsafe_code, reason = \"maps memory\")]\nfn f() { unsafe { g() } }";
        let listed = Exempt {
            unsafe_files: &[("a.rs", "maps memory")],
            ..NONE
        };
        assert_eq!(findings(&[("a.rs", good)], listed), "");
        one(
            &[("a.rs", good)],
            "a.rs:2: error: unsafe outside the listed modules",
        );

        let bare = "fn f() { m!(unsafe { g() }) }";
        assert!(
            findings(&[("a.rs", bare)], listed)
                .contains("a.rs:1: error: a module with unsafe opens with")
        );
        let silent = "#![expect(unsafe_code)]\nfn f() { unsafe { g() } }";
        assert!(findings(&[("a.rs", silent)], listed).contains("a.rs:1: error: say why"));
        let local = "#![expect(unsafe_code, reason = \"x\")]\n#[allow(unsafe_code, reason = \"y\")]\nunsafe fn f() {}";
        assert!(
            findings(&[("a.rs", local)], listed)
                .contains("a.rs:2: error: unsafe_code is lifted for a whole")
        );
        assert!(findings(&[("a.rs", "fn f() {}")], listed).contains("take it off UNSAFE_FILES"));
    }

    #[test]
    fn the_word_unsafe_in_text_is_fine() {
        assert_eq!(
            findings(&[("a.rs", "//! unsafe\nconst A: &str = \"unsafe\";")], NONE),
            ""
        );
    }

    #[test]
    fn a_unit_has_one_definition_and_may_be_renamed() {
        let (first, second) = (
            "const PAGE_SIZE: usize = 4096;",
            "fn f() {\nconst PAGE_SIZE: usize = 1 << 12; }",
        );
        one(
            &[("a.rs", first), ("b.rs", second)],
            "b.rs:2: error: a second PAGE_SIZE: use the one at a.rs:1",
        );
        let alias = "const PAGE_SIZE: u64 = units::PAGE_SIZE;";
        assert_eq!(findings(&[("a.rs", first), ("b.rs", alias)], NONE), "");
    }
}
