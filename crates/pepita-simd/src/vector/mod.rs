//! Algorithms on slices, written once for all instruction sets.

pub(crate) mod exp;
pub(crate) mod map;
pub(crate) mod reduce;
