//! [`MatrixOps`].

use std::cell::RefCell;

use super::fits;
use crate::matrix::Gemm;
use crate::{Element, MatMut, MatRef, ShapeError, SimdCapabilities, SimdOps};

/// Operations on matrices, with scratch memory that each thread keeps: it grows to what the largest product on the
/// thread took, about 5 MiB for 1024 x 1024 of `f32`, and goes with the thread.
///
/// ```
/// let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
/// let mut c = [0.0; 4];
/// pepita_simd::MatrixOps::new().matmul_f32(&a, &b, &mut c, 2, 3, 2); // 2 x 3 by 3 x 2
/// assert_eq!(c, [4.0, 5.0, 10.0, 11.0]);
/// ```
///
/// It runs on the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct MatrixOps {
    ops: SimdOps,
}

thread_local! {
    static SCRATCH_F32: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static SCRATCH_F64: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

impl MatrixOps {
    /// With the best that this CPU has.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With what is both in `caps` and in this CPU.
    #[must_use]
    pub fn with_caps(caps: SimdCapabilities) -> Self {
        Self {
            ops: SimdOps::with_caps(caps),
        }
    }

    /// What is used.
    #[must_use]
    pub fn caps(&self) -> &SimdCapabilities {
        self.ops.caps()
    }

    /// `c = alpha * a * b + beta * c`; see [`SimdOps::try_gemm_with`].
    ///
    /// # Errors
    /// [`ShapeError::Product`] when the shapes do not fit.
    pub fn try_gemm_f32(
        &self,
        alpha: f32,
        a: MatRef<'_, f32>,
        b: MatRef<'_, f32>,
        beta: f32,
        c: MatMut<'_, f32>,
    ) -> Result<(), ShapeError> {
        let gemm = Gemm::new(alpha, a, b, beta, c)?;
        SCRATCH_F32.with_borrow_mut(|scratch| self.run(gemm, scratch))
    }

    /// `c = alpha * a * b + beta * c`; see [`SimdOps::try_gemm_with`].
    ///
    /// # Errors
    /// [`ShapeError::Product`] when the shapes do not fit.
    pub fn try_gemm_f64(
        &self,
        alpha: f64,
        a: MatRef<'_, f64>,
        b: MatRef<'_, f64>,
        beta: f64,
        c: MatMut<'_, f64>,
    ) -> Result<(), ShapeError> {
        let gemm = Gemm::new(alpha, a, b, beta, c)?;
        SCRATCH_F64.with_borrow_mut(|scratch| self.run(gemm, scratch))
    }

    /// `c = a * b`: `a` is `m` x `k`, `b` is `k` x `n`, `c` is `m` x `n`, all row-major. What else stands in the slices
    /// is left alone. Accuracy as of [`SimdOps::try_gemm_with`].
    ///
    /// # Errors
    /// [`ShapeError::Short`] when a slice has fewer numbers than its matrix.
    pub fn try_matmul_f32(
        &self,
        a: &[f32],
        b: &[f32],
        c: &mut [f32],
        m: usize,
        k: usize,
        n: usize,
    ) -> Result<(), ShapeError> {
        let a = MatRef::row_major(a, m, k)?;
        let b = MatRef::row_major(b, k, n)?;
        self.try_gemm_f32(1.0, a, b, 0.0, MatMut::row_major(c, m, n)?)
    }

    /// `c = a * b`, as [`try_matmul_f32`](Self::try_matmul_f32).
    ///
    /// # Panics
    /// When a slice has fewer numbers than its matrix.
    #[track_caller]
    pub fn matmul_f32(&self, a: &[f32], b: &[f32], c: &mut [f32], m: usize, k: usize, n: usize) {
        fits(self.try_matmul_f32(a, b, c, m, k, n));
    }

    /// `c = a * b` of `f64`, as [`try_matmul_f32`](Self::try_matmul_f32).
    ///
    /// # Errors
    /// [`ShapeError::Short`] when a slice has fewer numbers than its matrix.
    pub fn try_matmul_f64(
        &self,
        a: &[f64],
        b: &[f64],
        c: &mut [f64],
        m: usize,
        k: usize,
        n: usize,
    ) -> Result<(), ShapeError> {
        let a = MatRef::row_major(a, m, k)?;
        let b = MatRef::row_major(b, k, n)?;
        self.try_gemm_f64(1.0, a, b, 0.0, MatMut::row_major(c, m, n)?)
    }

    /// `c = a * b` of `f64`, as [`try_matmul_f64`](Self::try_matmul_f64).
    ///
    /// # Panics
    /// When a slice has fewer numbers than its matrix.
    #[track_caller]
    pub fn matmul_f64(&self, a: &[f64], b: &[f64], c: &mut [f64], m: usize, k: usize, n: usize) {
        fits(self.try_matmul_f64(a, b, c, m, k, n));
    }

    /// `dst = srcᵀ`: `src` is `rows` x `cols`, `dst` is `cols` x `rows`, both row-major. Copies bits.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when a slice has fewer numbers than its matrix.
    pub fn try_transpose_f32(
        &self,
        src: &[f32],
        dst: &mut [f32],
        rows: usize,
        cols: usize,
    ) -> Result<(), ShapeError> {
        let src = MatRef::row_major(src, rows, cols)?;
        self.ops
            .try_transpose(src, MatMut::row_major(dst, cols, rows)?)
    }

    /// [`try_transpose_f32`](Self::try_transpose_f32).
    ///
    /// # Panics
    /// When a slice has fewer numbers than its matrix.
    #[track_caller]
    pub fn transpose_f32(&self, src: &[f32], dst: &mut [f32], rows: usize, cols: usize) {
        fits(self.try_transpose_f32(src, dst, rows, cols));
    }

    fn run<T: Element>(&self, gemm: Gemm<'_, T>, scratch: &mut Vec<T>) -> Result<(), ShapeError> {
        let want = gemm.scratch_len();
        if scratch.len() < want {
            scratch.resize(want, T::ZERO);
        }
        T::dispatch(self.ops.tier(), gemm.with(scratch)?);
        Ok(())
    }
}
