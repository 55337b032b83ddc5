//! `cargo xtask abi`: makes the tables that pepita-sys is tested against, from the kernel's headers.
//!
//! Reading order: [`headers`] gets two sets of headers, [`names`] finds what they define, [`probe`] lets
//! the C compiler say the values. A table holds names and numbers, nothing of the headers' text.

mod headers;
mod names;
mod probe;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};

use crate::debian::{self, Tool};
use crate::workspace_root;
use headers::Headers;
use probe::Row;

/// What compiles probes and unpacks headers.
const TOOLS: [Tool; 5] = [
    Tool {
        program: "gcc",
        package: "gcc",
    },
    Tool {
        program: "aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
    },
    Tool {
        program: "python3",
        package: "python3",
    },
    Tool {
        program: "pip",
        package: "python3-pip",
    },
    Tool {
        program: "dpkg-deb",
        package: "dpkg",
    },
];

/// The architectures, with their compilers.
const ARCHES: [Arch; 2] = [
    Arch {
        name: "x86_64",
        compiler: "gcc",
    },
    Arch {
        name: "aarch64",
        compiler: "aarch64-linux-gnu-gcc",
    },
];

/// An architecture.
#[derive(Debug, Clone, Copy)]
struct Arch {
    /// As Rust's `target_arch`.
    name: &'static str,
    compiler: &'static str,
}

/// Writes `crates/pepita-sys/abi/uapi-VERSION.txt` for both sets of headers.
///
/// # Errors
/// When headers cannot be fetched or a probe does not compile.
pub(crate) fn main() -> Result<()> {
    debian::ensure_tools(&TOOLS)?;
    let cache = workspace_root().join("target/abi");
    fs::create_dir_all(&cache)?;
    for headers in [Headers::debian(&cache)?, Headers::ziglang(&cache)?] {
        let mut rows = Vec::new();
        for arch in ARCHES {
            let rows_of = probe::rows(&headers, arch, &cache)
                .with_context(|| format!("{} for {}", headers.source, arch.name))?;
            rows.push((arch.name, rows_of));
        }
        let file = format!("crates/pepita-sys/abi/uapi-{}.txt", headers.version);
        fs::write(workspace_root().join(&file), table(&headers, &rows)).context(file.clone())?;
        println!("{file}: {} rows, from {}", rows[0].1.len(), headers.source);
    }
    Ok(())
}

/// One line a row; a row that differs between architectures has a line for each.
fn table(headers: &Headers, of_arches: &[(&str, Vec<Row>)]) -> String {
    let mut lines: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (arch, rows) in of_arches {
        for row in rows {
            lines
                .entry(&row.name)
                .or_default()
                .insert(arch, &row.numbers);
        }
    }
    let mut text = format!(
        "# Linux {}: names and numbers as the C compiler has them, from {}.\n\
         # Made by `cargo xtask abi`. const NAME VALUE; struct NAME SIZE; field STRUCT.NAME OFFSET SIZE;\n\
         # what only one architecture has so ends in @ARCHITECTURE.\n",
        headers.version, headers.source
    );
    for (name, values) in &lines {
        let mut numbers = values.values();
        let first = numbers.next().copied().unwrap_or_default();
        if values.len() == of_arches.len() && numbers.all(|other| *other == first) {
            let _ = writeln!(text, "{name} {first}");
        } else {
            for (arch, numbers) in values {
                let _ = writeln!(text, "{name} {numbers} @{arch}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_both_architectures_have_is_one_line() {
        let headers = Headers::bare("1.0", "somewhere");
        let row = |name: &str, numbers: &str| Row {
            name: name.into(),
            numbers: numbers.into(),
        };
        let rows = [
            ("x86_64", vec![row("const A", "1"), row("const B", "2")]),
            ("aarch64", vec![row("const A", "1"), row("const B", "3")]),
        ];
        let text = table(&headers, &rows);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            ["const A 1", "const B 3 @aarch64", "const B 2 @x86_64"]
        );
    }
}
