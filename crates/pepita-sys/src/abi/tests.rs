//! Compares every definition with the tables in `abi/`, which the C compiler made of the kernel's headers
//! (`cargo xtask abi`).

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::{blkzoned, error, io_uring, syscall, ublk};

/// A constant of the crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constant {
    /// As the kernel's header has it.
    pub(crate) name: &'static str,
    pub(crate) value: i128,
}

/// A structure of the crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Struct {
    /// As the kernel's header has it.
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    pub(crate) fields: &'static [Field],
}

/// A field of a structure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// What the kernel's header calls the same bytes, or a part of them.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

/// What the headers have and the crate has not, by the start of its name: with the reason.
const LEFT_OUT: [(&str, &str); 5] = [
    ("const IORING_OP_LAST", "counts what a header has"),
    ("const IORING_REGISTER_LAST", "counts what a header has"),
    ("const IORING_RESTRICTION_LAST", "counts what a header has"),
    ("const UBLK_SHMEM_", "the layout is not settled"),
    ("struct ublk_shmem_buf_reg", "the layout is not settled"),
];

/// Rows in which the headers differ, and why the newer one is followed: always, since what was padding
/// is zero for an older kernel, and what was added it does not read.
const FOLLOW_7_2: [(&str, &str); 5] = [
    ("const IORING_URING_CMD_MASK", "a flag was added"),
    ("field io_uring_clone_buffers.pad", "fields took padding"),
    ("field io_uring_napi.pad", "a field took padding"),
    ("field io_uring_napi.resv", "a field took padding"),
    ("struct ublk_params", "parts were added at the end"),
];

/// A table: `const NAME`, `struct NAME` or `field STRUCT.NAME`, and its numbers on this architecture.
type Table = BTreeMap<String, Vec<i128>>;

fn read(text: &str) -> Table {
    let mut table = Table::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (line, arch) = line
            .split_once(" @")
            .unwrap_or((line, std::env::consts::ARCH));
        if arch != std::env::consts::ARCH {
            continue;
        }
        // The rest of the line says which kernel brought the name.
        let numbers_end = line.find(" +").unwrap_or(line.len());
        let mut words = line[..numbers_end].split(' ');
        let name = [words.next(), words.next()].map(|word| word.expect("a kind and a name"));
        let numbers = words.map(|word| word.parse().expect("a number")).collect();
        let double = table.insert(name.join(" "), numbers);
        assert_eq!(double, None, "{line}");
    }
    assert!(table.len() > 500, "the table is cut short");
    table
}

fn linux_6_12() -> Table {
    read(include_str!("../../abi/uapi-6.12.txt"))
}

fn linux_7_2() -> Table {
    read(include_str!("../../abi/uapi-7.2.txt"))
}

/// The constants of every module, as rows.
fn constants() -> Vec<(String, i128)> {
    let named = [error::CONSTANTS, syscall::CONSTANTS, blkzoned::CONSTANTS]
        .into_iter()
        .chain(io_uring::tables::CONSTANTS)
        .chain(ublk::tables::CONSTANTS)
        .flatten()
        .map(|constant| (format!("const {}", constant.name), constant.value));
    let calls = syscall::nr::CONSTANTS.iter().map(|call| {
        (
            format!("const __NR_{}", call.name.to_lowercase()),
            call.value,
        )
    });
    named.chain(calls).collect()
}

/// The structures of every module.
fn structs() -> impl Iterator<Item = &'static Struct> {
    io_uring::tables::STRUCTS
        .into_iter()
        .chain(ublk::tables::STRUCTS)
        .chain([blkzoned::STRUCTS])
        .flatten()
}

#[test]
fn every_constant_has_the_kernels_value() {
    let table = linux_7_2();
    for (name, value) in constants() {
        let want = table
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is in no header"));
        assert_eq!([value], want[..], "{name}");
    }
}

#[test]
fn every_structure_has_the_kernels_layout() {
    let table = linux_7_2();
    for layout in structs() {
        let size = &table[&format!("struct {}", layout.name)];
        assert_eq!([layout.size as i128], size[..], "{}", layout.name);
        for field in layout.fields {
            check_field(&table, layout.name, *field);
        }
    }
}

/// A field has its own name's or one alias's place exactly; other aliases lie inside it.
#[track_caller]
fn check_field(table: &Table, layout: &str, field: Field) {
    let row = |name: &str| table.get(&format!("field {layout}.{name}"));
    let (start, end) = (field.offset as i128, (field.offset + field.size) as i128);
    let mut exact = row(field.name).is_some();
    if let Some(own) = row(field.name) {
        assert_eq!(
            own[..],
            [start, field.size as i128],
            "{layout}.{}",
            field.name
        );
    }
    for alias in field.aliases {
        let Some(place) = row(alias) else {
            panic!("{layout} has no {alias}");
        };
        let inside = start <= place[0] && place[0] + place[1] <= end;
        let around = place[0] <= start && end <= place[0] + place[1];
        assert!(
            inside || around,
            "{layout}.{alias}: {place:?}, not in {start}..{end}"
        );
        exact |= place[..] == [start, field.size as i128];
    }
    assert!(
        exact,
        "{layout}.{}: no such field in the kernel's header",
        field.name
    );
}

#[test]
fn nothing_of_the_headers_is_missing() {
    let here: BTreeSet<String> = constants()
        .into_iter()
        .map(|(name, _)| name)
        .chain(structs().map(|layout| format!("struct {}", layout.name)))
        .chain(structs().flat_map(|layout| {
            let names = layout
                .fields
                .iter()
                .flat_map(|field| field.aliases.iter().chain([&field.name]));
            names
                .map(|name| format!("field {}.{name}", layout.name))
                .collect::<Vec<_>>()
        }))
        .collect();
    let left_out = |name: &str| {
        let of_struct = name.replacen("field", "struct", 1);
        LEFT_OUT
            .iter()
            .any(|(start, _)| name.starts_with(start) || of_struct.starts_with(start))
    };
    for name in linux_7_2().keys() {
        assert!(
            here.contains(name) != left_out(name),
            "{name} is missing, or listed in vain"
        );
    }
}

#[test]
fn where_the_headers_differ_it_is_said_which_one_is_followed() {
    let newer = linux_7_2();
    let differing: Vec<String> = linux_6_12()
        .into_iter()
        .filter(|(name, numbers)| newer.get(name) != Some(numbers))
        .map(|(name, _)| name)
        .filter(|name| !LEFT_OUT.iter().any(|(start, _)| name.starts_with(start)))
        .collect();
    assert_eq!(differing, FOLLOW_7_2.map(|(name, _)| name.to_string()));
}

#[test]
fn nothing_of_the_kernels_is_defined_past_the_tables() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = std::vec![source.join("blkzoned.rs")];
    for folder in ["io_uring", "io_uring/build", "ublk", "syscall"] {
        let entries = std::fs::read_dir(source.join(folder)).expect("a folder of the crate");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    for path in files.iter().filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(path).expect("a source file");
        for line in text.lines() {
            let name = line.trim_start().strip_prefix("pub const ").unwrap_or("fn");
            assert!(
                name.starts_with("fn") || name.starts_with("unsafe fn"),
                "{}: {line}",
                path.display()
            );
        }
    }
}
