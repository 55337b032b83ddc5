//! `cargo xtask abi`: makes the tables that pepita-sys is tested against, from the kernel's headers.
//!
//! Reading order: [`headers`] gets sets of headers, [`names`] finds what they define, [`probe`] lets
//! the C compiler say the values. A table holds names and numbers, nothing of the headers' text.

mod headers;
mod names;
mod probe;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

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

/// Kernels whose headers are looked at, oldest first: for the first one that has a name.
fn sets(cache: &Path) -> Result<Vec<Headers>> {
    Ok(vec![
        Headers::debian("6.1", cache)?,
        Headers::debian("6.12", cache)?,
        Headers::ziglang("6.13", "0.14.0", cache)?,
        Headers::ziglang("6.19", "0.16.0", cache)?,
        Headers::ziglang("7.2", "0.17.1", cache)?,
    ])
}

/// The kernels of which a table is kept.
const TABLES: [&str; 2] = ["6.12", "7.2"];

/// A row's name, and its numbers on each architecture.
type Rows = BTreeMap<String, BTreeMap<&'static str, String>>;

/// Writes `crates/pepita-sys/abi/uapi-VERSION.txt` for each of [`TABLES`].
///
/// # Errors
/// When headers cannot be fetched or a probe does not compile.
pub(crate) fn main() -> Result<()> {
    debian::ensure_tools(&TOOLS)?;
    let cache = workspace_root().join("target/abi");
    fs::create_dir_all(&cache)?;
    let mut first_seen = BTreeMap::new();
    for headers in sets(&cache)? {
        let mut rows = Rows::new();
        for arch in ARCHES {
            let probed = probe::rows(&headers, arch, &cache)
                .with_context(|| format!("{} for {}", headers.source, arch.name))?;
            for Row { name, numbers } in probed {
                first_seen.entry(name.clone()).or_insert(headers.version);
                rows.entry(name).or_default().insert(arch.name, numbers);
            }
        }
        if TABLES.contains(&headers.version) {
            let file = format!("crates/pepita-sys/abi/uapi-{}.txt", headers.version);
            let text = table(&headers, &rows, &first_seen);
            fs::write(workspace_root().join(&file), text).context(file.clone())?;
            println!("{file}: {} rows, from {}", rows.len(), headers.source);
        }
    }
    Ok(())
}

/// One line a row; a row that differs between architectures has a line for each.
fn table(headers: &Headers, rows: &Rows, first_seen: &BTreeMap<String, &str>) -> String {
    let mut text = format!(
        "# Linux {}: names and numbers as the C compiler has them, from {}.\n\
         # Made by `cargo xtask abi`. const NAME VALUE; struct NAME SIZE; field STRUCT.NAME OFFSET SIZE;\n\
         # +VERSION: the headers of 6.1 have no such name, of 6.12, 6.13, 6.19 and 7.2 this is the first with it;\n\
         # @ARCHITECTURE: the others have it differently.\n",
        headers.version, headers.source
    );
    for (name, of_arches) in rows {
        let since = match first_seen.get(name) {
            None | Some(&"6.1") => String::new(),
            Some(version) => format!(" +{version}"),
        };
        let mut numbers = of_arches.values();
        let first = numbers.next().cloned().unwrap_or_default();
        if of_arches.len() == ARCHES.len() && numbers.all(|other| *other == first) {
            let _ = writeln!(text, "{name} {first}{since}");
        } else {
            for (arch, numbers) in of_arches {
                let _ = writeln!(text, "{name} {numbers}{since} @{arch}");
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
        let row = |name: &str, x86_64: &str, aarch64: &str| {
            let numbers = [
                ("x86_64", x86_64.to_owned()),
                ("aarch64", aarch64.to_owned()),
            ];
            (name.to_owned(), BTreeMap::from(numbers))
        };
        let rows = [row("const A", "1", "1"), row("const B", "2", "3")].into();
        let first_seen = [
            ("const A".to_owned(), "6.13"),
            ("const B".to_owned(), "6.1"),
        ]
        .into();
        let text = table(&headers, &rows, &first_seen);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            ["const A 1 +6.13", "const B 3 @aarch64", "const B 2 @x86_64"]
        );
    }
}
