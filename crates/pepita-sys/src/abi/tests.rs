//! Compares every definition with the tables in `abi/`.

use std::collections::HashSet;

use crate::{error, io_uring, syscall, time};

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

/// The constants of every module.
fn constants() -> impl Iterator<Item = &'static Constant> {
    [error::CONSTANTS, syscall::CONSTANTS, syscall::nr::CONSTANTS]
        .into_iter()
        .chain(io_uring::tables::CONSTANTS)
        .flatten()
}

/// The structures of every module.
fn structs() -> impl Iterator<Item = &'static Struct> {
    [time::STRUCTS]
        .into_iter()
        .chain(io_uring::tables::STRUCTS)
        .flatten()
}

#[test]
fn a_name_is_defined_once() {
    let mut seen = HashSet::new();
    for constant in constants() {
        assert!(seen.insert(constant.name), "{}", constant.name);
        assert!(constant.value >= -100, "{constant:?}");
    }
    for layout in structs() {
        assert!(seen.insert(layout.name), "{}", layout.name);
        for field in layout.fields {
            assert!(field.offset + field.size <= layout.size, "{field:?}");
            assert!(!field.aliases.contains(&field.name), "{field:?}");
        }
    }
}
