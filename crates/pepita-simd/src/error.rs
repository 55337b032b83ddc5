//! [`ShapeError`]: operands whose shapes do not fit.

use core::fmt;

/// Operands whose shapes do not fit together, with the shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShapeError {
    /// A vector that has another length than the first one.
    Length {
        /// The operation.
        operation: &'static str,
        /// Which operand.
        operand: &'static str,
        /// Its length.
        len: usize,
        /// The length of the first one.
        want: usize,
    },
    /// A slice that ends before its matrix does.
    Short {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Numbers from one row to the next.
        row_stride: usize,
        /// Numbers from one column to the next.
        col_stride: usize,
        /// Numbers in the slice.
        len: usize,
    },
    /// A matrix to be written, of which two elements are at one place.
    Overlap {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// Numbers from one row to the next.
        row_stride: usize,
        /// Numbers from one column to the next.
        col_stride: usize,
    },
    /// Matrices that cannot be multiplied into the third: each with rows and columns.
    Product {
        /// The left factor.
        a: (usize, usize),
        /// The right factor.
        b: (usize, usize),
        /// Where the product goes.
        c: (usize, usize),
    },
    /// Matrices of different shapes: each with rows and columns.
    Different {
        /// The operation.
        operation: &'static str,
        /// What is read.
        from: (usize, usize),
        /// What is written.
        to: (usize, usize),
    },
    /// Scratch memory that is too small.
    Scratch {
        /// Numbers in it.
        len: usize,
        /// Numbers needed.
        want: usize,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length {
                operation,
                operand,
                len,
                want,
            } => write!(
                f,
                "{operation}: {operand} has {len} numbers, the first operand {want}"
            ),
            Self::Short {
                rows,
                cols,
                row_stride,
                col_stride,
                len,
            } => write!(
                f,
                "a {rows} x {cols} matrix with strides {row_stride}, {col_stride} does not fit into {len} numbers"
            ),
            Self::Overlap {
                rows,
                cols,
                row_stride,
                col_stride,
            } => write!(
                f,
                "elements of a {rows} x {cols} matrix with strides {row_stride}, {col_stride} share their places"
            ),
            Self::Product { a, b, c } => write!(
                f,
                "a product of {} x {} and {} x {} does not go into {} x {}",
                a.0, a.1, b.0, b.1, c.0, c.1
            ),
            Self::Different {
                operation,
                from,
                to,
            } => write!(
                f,
                "{operation}: {} x {} does not go into {} x {}",
                from.0, from.1, to.0, to.1
            ),
            Self::Scratch { len, want } => {
                write!(f, "scratch of {len} numbers where {want} are needed")
            }
        }
    }
}

impl core::error::Error for ShapeError {}

#[cfg(feature = "std")]
mod kernel {
    use pepita_sys::error::{Errno, KernelError};

    use super::ShapeError;
    use crate::TierError;

    impl From<ShapeError> for KernelError {
        fn from(_: ShapeError) -> Self {
            Self::from_errno("fitting shapes together", Errno::EINVAL)
        }
    }

    impl From<TierError> for KernelError {
        fn from(_: TierError) -> Self {
            Self::from_errno("choosing vector instructions", Errno::EOPNOTSUPP)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::Tier;

        #[test]
        fn errors_become_kernel_errors() {
            let shape = ShapeError::Scratch { len: 1, want: 2 };
            assert_eq!(KernelError::from(shape).to_errno(), Errno::EINVAL);
            let (tier, best) = (Tier::Avx512, Tier::Avx2);
            let error = KernelError::from(TierError { tier, best });
            assert_eq!(error.to_errno(), Errno::EOPNOTSUPP);
        }
    }
}
