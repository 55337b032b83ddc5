//! Compares every definition with the tables in `abi/`.

use std::collections::HashSet;

use crate::{error, syscall};

/// A constant of the crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constant {
    /// As the kernel's header has it.
    pub(crate) name: &'static str,
    pub(crate) value: i128,
}

/// The constants of every module.
fn constants() -> impl Iterator<Item = &'static Constant> {
    [error::CONSTANTS, syscall::CONSTANTS, syscall::nr::CONSTANTS]
        .into_iter()
        .flatten()
}

#[test]
fn a_name_is_defined_once() {
    let mut seen = HashSet::new();
    for constant in constants() {
        assert!(seen.insert(constant.name), "{}", constant.name);
        assert!(constant.value >= -100, "{constant:?}");
    }
}
