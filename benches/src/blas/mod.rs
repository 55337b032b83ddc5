//! Products of matrices and operations on vectors, against MKL, OpenBLAS and crates. All on one thread.

mod crates;
mod libraries;
mod product;
mod roof;
mod vector;

use crate::case::Suite;

/// `cargo xtask bench sgemm`.
pub const SGEMM: Suite = Suite {
    name: "sgemm",
    about: "products of f32 matrices: squares, tall, wide and odd ones, on one thread",
    cases: product::of_f32,
};

/// `cargo xtask bench dgemm`.
pub const DGEMM: Suite = Suite {
    name: "dgemm",
    about: "products of f64 matrices, on one thread",
    cases: product::of_f64,
};

/// `cargo xtask bench vector`.
pub const VECTOR: Suite = Suite {
    name: "vector",
    about: "operations on f32 vectors in each cache and in memory, on one thread",
    cases: vector::cases,
};

/// Numbers between -1 and 1 that are eighths, so that sums of a few thousand products are exact in `f32` in any order.
fn eighths(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u8::try_from(state >> 28).expect("4 bits")) / 8.0 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
