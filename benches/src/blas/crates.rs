//! Products by crates that take pointers.
#![expect(unsafe_code, reason = "the peers take pointers")]

use super::libraries::Shape;

/// `c = a * b` by the crate `matrixmultiply`.
pub(super) fn matrixmultiply_f32(s: Shape, a: &[f32], b: &[f32], c: &mut [f32]) {
    check(s, a, b, c);
    let [m, k, n] = [s.m, s.k, s.n];
    let [rsa, rsb] = [k, n].map(usize::cast_signed);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are as long as the matrices.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, rsa, 1, b, rsb, 1, 0.0, c, rsb, 1) };
}

/// `c = a * b` by the crate `matrixmultiply`.
pub(super) fn matrixmultiply_f64(s: Shape, a: &[f64], b: &[f64], c: &mut [f64]) {
    check(s, a, b, c);
    let [m, k, n] = [s.m, s.k, s.n];
    let [rsa, rsb] = [k, n].map(usize::cast_signed);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    // SAFETY: the slices are as long as the matrices.
    unsafe { matrixmultiply::dgemm(m, k, n, 1.0, a, rsa, 1, b, rsb, 1, 0.0, c, rsb, 1) };
}

/// `c = a * b` by the crate `gemm`; `zero` and `one` are what they say.
pub(super) fn gemm<T: Copy + 'static>(s: Shape, zero: T, one: T, a: &[T], b: &[T], c: &mut [T]) {
    check(s, a, b, c);
    let Shape { m, k, n } = s;
    let [rsa, rsb] = [k, n].map(usize::cast_signed);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let serial = gemm::Parallelism::None;
    // SAFETY: the slices are as long as the matrices. Strides are of columns, then of rows; `zero` is the factor of
    // what is in `c`, and of `a * b` the other.
    unsafe {
        gemm::gemm(
            m, n, k, c, 1, rsb, false, a, 1, rsa, b, 1, rsb, zero, one, false, false, false, serial,
        );
    }
}

fn check<T>(s: Shape, a: &[T], b: &[T], c: &[T]) {
    assert!(a.len() >= s.m * s.k && b.len() >= s.k * s.n && c.len() >= s.m * s.n);
}
