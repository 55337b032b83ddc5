//! Lets the C compiler say values, sizes and offsets: it writes them into assembly, so that nothing has to
//! run, and another architecture's compiler serves as well.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Arch;
use super::headers::Headers;
use super::names::{self, Struct};
use crate::debian;

/// What is included, as far as a set of headers has it.
const INCLUDED: [&str; 16] = [
    "asm/errno.h",
    "asm/fcntl.h",
    "asm/mman.h",
    "asm/unistd.h",
    "linux/blkzoned.h",
    "linux/fcntl.h",
    "linux/futex.h",
    "linux/io_uring.h",
    "linux/io_uring/bpf_filter.h",
    "linux/io_uring/query.h",
    "linux/io_uring/zcrx.h",
    "linux/ioctl.h",
    "linux/mman.h",
    "linux/openat2.h",
    "linux/ublk_cmd.h",
    "linux/uio.h",
];

/// Marks a line of assembly that is ours.
const MARK: &str = "->";

/// A row of a table: `const IORING_OP_NOP` and `0`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) numbers: String,
}

/// All rows for `arch`.
///
/// # Errors
/// When the compiler refuses something, with what it printed.
pub(super) fn rows(headers: &Headers, arch: Arch, cache: &Path) -> Result<Vec<Row>> {
    let includes = INCLUDED
        .iter()
        .filter(|header| headers.has(header, arch))
        .fold(String::new(), |text, header| {
            text + "#include <" + header + ">\n"
        });
    let file = cache.join(format!("probe-{}-{}.c", headers.version, arch.name));
    fs::write(&file, &includes)?;
    let macros = names::macros(&compile(headers, arch, &file, &["-E", "-dM"])?);
    let (enumerators, structs) =
        names::declarations(&compile(headers, arch, &file, &["-E", "-P"])?);
    let constants: BTreeSet<String> = macros.into_iter().chain(enumerators).collect();
    fs::write(&file, includes + &source(&constants, &structs))?;
    parse(&compile(headers, arch, &file, &["-S", "-o", "-"])?)
}

fn compile(headers: &Headers, arch: Arch, file: &Path, mode: &[&str]) -> Result<String> {
    let mut command = Command::new(arch.compiler);
    command.args(["-nostdinc", "-w", "-D__user=", "-D__force="]);
    for folder in headers.folders(arch) {
        command.arg("-isystem").arg(folder);
    }
    debian::output(command.args(mode).arg(file))
}

/// A program that is never run: its assembly has a line for each row.
fn source(constants: &BTreeSet<String>, structs: &[Struct]) -> String {
    let mut body = String::new();
    for name in constants {
        let value = format!("\"i\"((long long)({name})), \"i\"(({name}) < 0)");
        let _ = writeln!(
            body,
            "asm volatile(\"\\n{MARK}const {name} %0 %1\" :: {value});"
        );
    }
    for layout in structs {
        let name = &layout.name;
        let size = format!("\"i\"(sizeof(struct {name}))");
        let _ = writeln!(
            body,
            "asm volatile(\"\\n{MARK}struct {name} %0\" :: {size});"
        );
        for field in &layout.fields {
            let field_name = &field.name;
            let offset = format!("\"i\"(__builtin_offsetof(struct {name}, {field_name}))");
            let size = if field.sized {
                format!("\"i\"(sizeof(((struct {name} *)0)->{field_name}))")
            } else {
                "\"i\"(0)".to_owned()
            };
            let _ = writeln!(
                body,
                "asm volatile(\"\\n{MARK}field {name}.{field_name} %0 %1\" :: {offset}, {size});"
            );
        }
    }
    format!("void probe(void) {{\n{body}}}\n")
}

fn parse(assembly: &str) -> Result<Vec<Row>> {
    let lines = assembly
        .lines()
        .filter_map(|line| line.trim().strip_prefix(MARK));
    lines.map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    // x86-64 marks numbers with a dollar sign.
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| word.trim_start_matches('$'))
        .collect();
    let (kind, name, numbers) = match words[..] {
        // The compiler writes 64 bits with a sign; the second number says whether the constant has one.
        ["const", name, value, "0"] => {
            let value: i64 = value.parse().with_context(|| line.to_owned())?;
            ("const", name, value.cast_unsigned().to_string())
        }
        ["const", name, value, "1"] => ("const", name, value.to_owned()),
        [kind, name, ref numbers @ ..] => (kind, name, numbers.join(" ")),
        _ => anyhow::bail!("not a row: {line}"),
    };
    Ok(Row {
        name: format!("{kind} {name}"),
        numbers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_keeps_its_sign_only_if_it_has_one() {
        let assembly = "\tmovl\n->const A $-2 $1\n->const B -2 0\n->field s.f 8 4\n\t.text";
        let rows = parse(assembly).expect("three rows");
        let shown: Vec<String> = rows
            .iter()
            .map(|row| format!("{} = {}", row.name, row.numbers))
            .collect();
        assert_eq!(
            shown,
            [
                "const A = -2",
                "const B = 18446744073709551614",
                "field s.f = 8 4"
            ]
        );
    }
}
