//! Products of matrices in memory of the caller's.

use super::{SimdOps, fits};
use crate::matrix::{Gemm, Gemv, transpose};
use crate::{Element, MatMut, MatRef, ShapeError};

impl SimdOps {
    /// `c = alpha * a * b + beta * c`, with scratch memory of [`scratch_len`](crate::scratch_len) numbers.
    ///
    /// With `beta` 0 what stands in `c` is not read: NaN there goes away. With no column in `a`, `c` becomes `beta * c`.
    /// Strides are free; those of which one is 1 are the fast ones. NaN and infinity go through as in the sums below.
    ///
    /// # Accuracy
    /// With u the unit roundoff and γ(n) = n·u / (1 − n·u), each element is within
    /// γ(k + 2) · |alpha| · Σ|aᵢ||bᵢ| + γ(2) · |beta · c| of the true one (Higham, "Accuracy and Stability of Numerical
    /// Algorithms", 2nd ed., 3.5), as long as nothing overflows or underflows. The sum is taken in order of k unless a factor is a vector; tiers
    /// with fused multiply-add round once for each step where others round twice, for which the bound holds too.
    ///
    /// # Errors
    /// [`ShapeError::Product`] when the shapes do not fit, [`ShapeError::Scratch`] when the scratch is too small.
    ///
    /// ```
    /// use pepita_simd::{MatMut, MatRef, SimdOps, scratch_len};
    ///
    /// let (a, b, mut c) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [f64::NAN; 4]);
    /// let mut scratch = vec![0.0; scratch_len::<f64>(2, 2, 2)];
    /// let (a, b) = (MatRef::row_major(&a, 2, 2)?, MatRef::row_major(&b, 2, 2)?);
    /// SimdOps::new().try_gemm_with(&mut scratch, 1.0, a, b.transposed(), 0.0, MatMut::row_major(&mut c, 2, 2)?)?;
    /// assert_eq!(c, [17.0, 23.0, 39.0, 53.0]);
    /// # Ok::<(), pepita_simd::ShapeError>(())
    /// ```
    pub fn try_gemm_with<T: Element>(
        &self,
        scratch: &mut [T],
        alpha: T,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        beta: T,
        c: MatMut<'_, T>,
    ) -> Result<(), ShapeError> {
        let product = Gemm::new(alpha, a, b, beta, c)?.with(scratch)?;
        T::dispatch(self.tier(), product);
        Ok(())
    }

    /// [`try_gemm_with`](Self::try_gemm_with) for shapes that are known to fit.
    ///
    /// # Panics
    /// With the message of the error.
    #[track_caller]
    pub fn gemm_with<T: Element>(
        &self,
        scratch: &mut [T],
        alpha: T,
        a: MatRef<'_, T>,
        b: MatRef<'_, T>,
        beta: T,
        c: MatMut<'_, T>,
    ) {
        fits(self.try_gemm_with(scratch, alpha, a, b, beta, c));
    }

    /// `y = alpha * a * x + beta * y`, in one pass over `a`, which is fast where its rows or its columns are contiguous.
    ///
    /// With `beta` 0 what stands in `y` is not read. Accuracy as of [`try_gemm_with`](Self::try_gemm_with).
    ///
    /// # Errors
    /// [`ShapeError::Product`] when `x` is not as long as `a` has columns, or `y` as rows.
    ///
    /// ```
    /// use pepita_simd::{MatRef, SimdOps};
    ///
    /// let (a, mut y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0; 2]);
    /// SimdOps::new().try_gemv(1.0, MatRef::row_major(&a, 2, 3)?, &[1.0, 0.0, 2.0], 0.0, &mut y)?;
    /// assert_eq!(y, [7.0, 16.0]);
    /// # Ok::<(), pepita_simd::ShapeError>(())
    /// ```
    pub fn try_gemv<T: Element>(
        &self,
        alpha: T,
        a: MatRef<'_, T>,
        x: &[T],
        beta: T,
        y: &mut [T],
    ) -> Result<(), ShapeError> {
        if a.shape() != (y.len(), x.len()) {
            let (a, b, c) = (a.shape(), (x.len(), 1), (y.len(), 1));
            return Err(ShapeError::Product { a, b, c });
        }
        let product = Gemv {
            alpha,
            a,
            x,
            beta,
            y,
        };
        T::dispatch(self.tier(), product);
        Ok(())
    }

    /// [`try_gemv`](Self::try_gemv) for shapes that are known to fit.
    ///
    /// # Panics
    /// With the message of the error.
    #[track_caller]
    pub fn gemv<T: Element>(&self, alpha: T, a: MatRef<'_, T>, x: &[T], beta: T, y: &mut [T]) {
        fits(self.try_gemv(alpha, a, x, beta, y));
    }

    /// `to = fromᵀ`, any strides. Copies bits.
    ///
    /// # Errors
    /// [`ShapeError::Different`] when `to` has not as many rows as `from` columns, and as many columns as it rows.
    pub fn try_transpose<T: Element>(
        &self,
        from: MatRef<'_, T>,
        to: MatMut<'_, T>,
    ) -> Result<(), ShapeError> {
        let shapes = (from.shape(), to.shape());
        if shapes.0 != (shapes.1.1, shapes.1.0) {
            let (operation, (from, to)) = ("transpose", shapes);
            return Err(ShapeError::Different {
                operation,
                from,
                to,
            });
        }
        transpose(from, to);
        Ok(())
    }

    /// [`try_transpose`](Self::try_transpose).
    ///
    /// # Panics
    /// With the message of the error.
    #[track_caller]
    pub fn transpose<T: Element>(&self, from: MatRef<'_, T>, to: MatMut<'_, T>) {
        fits(self.try_transpose(from, to));
    }
}
