//! Rules about Rust sources: their size, where `unsafe` may stand, and that a unit has one home.

use std::collections::HashMap;

use anyhow::{Context, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Finding, Source};

/// A file above this is reported.
const FILE_LINES_SOFT: usize = 600;
/// A file above this is an error.
const FILE_LINES_HARD: usize = 900;
/// A function above this, from `fn` to its closing brace, is an error.
const FUNCTION_LINES: usize = 70;

/// Functions that may be longer because they are one uniform table: file, function.
const TABLES: [(&str, &str); 0] = [];

/// The only files with `unsafe`: file, why it cannot do without.
const UNSAFE_FILES: [(&str, &str); 78] = [
    (
        "benches/src/pages/heap.rs",
        "the peer's heap takes memory by its address",
    ),
    (
        "benches/src/uring/device.rs",
        "plays a front end of a device",
    ),
    (
        "benches/src/uring/reads.rs",
        "raw rings read into raw buffers",
    ),
    ("benches/src/uring/rings.rs", "raw rings take raw entries"),
    (
        "crates/pepita-cli/src/doctor/raw.rs",
        "questions to the kernel that no safe wrapper asks",
    ),
    (
        "crates/pepita-io/examples/copy.rs",
        "a front end vouches for the memory of its requests",
    ),
    (
        "crates/pepita-io/src/buf.rs",
        "implementations promise that memory stays where it is",
    ),
    (
        "crates/pepita-io/src/file/calls.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/file/threads.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/file/uring.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/local/cell.rs",
        "gives out what it holds without keeping count",
    ),
    (
        "crates/pepita-io/src/local/driver.rs",
        "pushes the entries of operations",
    ),
    ("crates/pepita-io/src/local/multi.rs", "starts operations"),
    ("crates/pepita-io/src/local/op.rs", "starts operations"),
    (
        "crates/pepita-io/src/local/park.rs",
        "a waker without a count",
    ),
    (
        "crates/pepita-io/src/ops/files.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/mod.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/net.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/time.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/wait.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ring/buffer_pool/mod.rs",
        "lends its memory to the kernel",
    ),
    (
        "crates/pepita-io/src/ring/buffer_ring.rs",
        "describes buffers in memory that is shared with the kernel",
    ),
    (
        "crates/pepita-io/src/ring/calls.rs",
        "enters the kernel with what was pushed",
    ),
    (
        "crates/pepita-io/src/ring/entry.rs",
        "writes and reads entries in shared memory",
    ),
    (
        "crates/pepita-io/src/ring/mod.rs",
        "pushing an entry is a promise about memory",
    ),
    (
        "crates/pepita-io/src/ring/queue.rs",
        "writes and reads entries in shared memory",
    ),
    (
        "crates/pepita-io/src/ring/region.rs",
        "maps the memory of a ring",
    ),
    (
        "crates/pepita-io/src/ring/register/buffers.rs",
        "registers memory by its addresses",
    ),
    (
        "crates/pepita-io/src/ring/register/files.rs",
        "passes lists of descriptors by their addresses",
    ),
    (
        "crates/pepita-io/src/ring/register/message.rs",
        "a completion that is sent is a promise to who takes it",
    ),
    (
        "crates/pepita-io/src/ring/register/operations.rs",
        "pairs register operations with what they take",
    ),
    (
        "crates/pepita-io/src/ring/register/probe.rs",
        "asks with the address of where the answer goes",
    ),
    (
        "crates/pepita-io/src/ring/register/restrictions.rs",
        "passes a list of restrictions by its address",
    ),
    (
        "crates/pepita-io/src/ring/register/workers.rs",
        "passes a set of CPUs by its address",
    ),
    (
        "crates/pepita-io/src/ring/wait_region.rs",
        "writes wait arguments in memory that is shared with the kernel",
    ),
    (
        "crates/pepita-io/tests/it/file/front.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-io/tests/it/filter.rs",
        "puts a seccomp filter on a thread",
    ),
    (
        "crates/pepita-io/tests/it/local/holes.rs",
        "answers LeakSanitizer by the name of a function",
    ),
    (
        "crates/pepita-io/tests/it/ram.rs",
        "plays a front end of requests without data",
    ),
    (
        "crates/pepita-io/tests/it/ring/buffers.rs",
        "lends buffers to the kernel and takes them back",
    ),
    (
        "crates/pepita-io/tests/it/ring/mod.rs",
        "pushes entries that lead to memory",
    ),
    (
        "crates/pepita-io/tests/it/ring/register/buffers.rs",
        "registers the memory of tests",
    ),
    (
        "crates/pepita-io/tests/it/ring/register/settings.rs",
        "makes eventfds, and sends completions",
    ),
    (
        "crates/pepita-io/tests/it/ring/sizes.rs",
        "pushes entries of all sizes",
    ),
    (
        "crates/pepita-io/tests/it/ring/streams.rs",
        "takes buffers of completions",
    ),
    (
        "crates/pepita-io/tests/it/ring/waits.rs",
        "sends this thread a signal",
    ),
    (
        "crates/pepita-mem/src/dma/coherent.rs",
        "only the driver knows when a device is done",
    ),
    (
        "crates/pepita-mem/src/dma/flight.rs",
        "only the driver knows when a device is done",
    ),
    (
        "crates/pepita-mem/src/dma/list.rs",
        "lets devices at the caller's memory",
    ),
    (
        "crates/pepita-mem/src/dma/platform.rs",
        "implementations vouch for memory and addresses",
    ),
    (
        "crates/pepita-mem/src/dma/region.rs",
        "copies from and to memory that devices share",
    ),
    (
        "crates/pepita-mem/src/host/dma.rs",
        "gives memory of this process to devices",
    ),
    (
        "crates/pepita-mem/src/host/guest.rs",
        "gives memory of a memfd to devices",
    ),
    (
        "crates/pepita-mem/src/host/mapping.rs",
        "maps memory, and reaches it by its address",
    ),
    (
        "crates/pepita-mem/src/host/numa.rs",
        "system calls that rustix lacks",
    ),
    (
        "crates/pepita-mem/src/pages/spin.rs",
        "a lock gives out what it guards",
    ),
    (
        "crates/pepita-mem/tests/it/dma.rs",
        "plays the driver of a device",
    ),
    (
        "crates/pepita-mem/tests/it/host.rs",
        "plays the driver of a device",
    ),
    (
        "crates/pepita-sched/src/process/child.rs",
        "runs in a child that shares memory",
    ),
    (
        "crates/pepita-sched/src/process/namespace.rs",
        "the first process of a pid namespace",
    ),
    (
        "crates/pepita-sched/src/process/raw.rs",
        "system calls that return twice",
    ),
    (
        "crates/pepita-sched/src/process/signals.rs",
        "signal masks by system calls",
    ),
    (
        "crates/pepita-sched/src/process/spawn.rs",
        "makes a child that shares memory",
    ),
    (
        "crates/pepita-sched/tests/lab.rs",
        "maps memory to make a process large",
    ),
    (
        "crates/pepita-sys/src/blk_mq/conformance/front.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-sys/src/blk_mq/conformance/wait.rs",
        "waits for descriptors, which std cannot",
    ),
    (
        "crates/pepita-sys/src/blk_mq/data.rs",
        "copies of a request's data, which its maker vouches for",
    ),
    (
        "crates/pepita-sys/src/blk_mq/request.rs",
        "front ends vouch for memory and completions",
    ),
    (
        "crates/pepita-sys/src/blk_mq/request/tests.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-sys/src/blk_mq/segment.rs",
        "an address may go to any thread",
    ),
    (
        "crates/pepita-sys/src/copy.rs",
        "volatile copies of memory that others write",
    ),
    (
        "crates/pepita-sys/src/syscall/calls.rs",
        "calls the kernel with pointers",
    ),
    (
        "crates/pepita-sys/src/syscall/raw.rs",
        "the instruction that enters the kernel",
    ),
    (
        "crates/pepita-sys/tests/it/blk/ram.rs",
        "a wrong device writes where it should not",
    ),
    (
        "crates/pepita-sys/tests/it/blk/stripe.rs",
        "makes requests of parts of a request's memory",
    ),
    (
        "crates/pepita-sys/tests/it/ops/mod.rs",
        "takes over descriptors that operations made",
    ),
    (
        "crates/pepita-sys/tests/it/ring.rs",
        "maps the rings and reads what the kernel writes",
    ),
    (
        "crates/pepita-sys/tests/it/syscall.rs",
        "maps memory and makes a child",
    ),
];

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
            unsafe_files: &UNSAFE_FILES,
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
        let what = "unsafe outside the listed modules: use a safe wrapper, or add the file to UNSAFE_FILES in xtask's tidy with the reason";
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
