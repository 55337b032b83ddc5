//! [`MatRef`] and [`MatMut`]: a slice, seen as a matrix.

use crate::ShapeError;

/// A matrix to be read: element (i, j) is `data[i * row_stride + j * col_stride]`.
///
/// ```
/// use pepita_simd::MatRef;
///
/// let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let a = MatRef::row_major(&data, 2, 3)?;
/// assert_eq!(a.transposed().get(2, 1), Some(&6.0));
/// # Ok::<(), pepita_simd::ShapeError>(())
/// ```
///
/// # Invariants
/// * *in-slice*: every element is in `data`.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to be written; as [`MatRef`], and no two elements are at one place.
#[derive(Debug)]
pub struct MatMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// The numbers that a matrix spans, from its first element to its last; none when it has none.
fn span(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let down = (rows - 1).checked_mul(row_stride)?;
    let right = (cols - 1).checked_mul(col_stride)?;
    down.checked_add(right)?.checked_add(1)
}

impl<'a, T> MatRef<'a, T> {
    /// A matrix whose rows follow each other without a gap.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when `data` has fewer than `rows * cols` numbers.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::with_strides(data, rows, cols, cols, 1)
    }

    /// A matrix whose columns follow each other without a gap.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when `data` has fewer than `rows * cols` numbers.
    pub fn col_major(data: &'a [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::with_strides(data, rows, cols, 1, rows)
    }

    /// A matrix with any strides; with stride 0 an element stands for many.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when an element is past the end of `data`.
    pub fn with_strides(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Self, ShapeError> {
        let fits = span(rows, cols, row_stride, col_stride).is_some_and(|span| span <= data.len());
        if !fits {
            let len = data.len();
            return Err(ShapeError::Short {
                rows,
                cols,
                row_stride,
                col_stride,
                len,
            });
        }
        Ok(Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride,
        })
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element (`row`, `col`), if there is one.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<&'a T> {
        let is_here = row < self.rows && col < self.cols;
        is_here.then(|| &self.data[row * self.row_stride + col * self.col_stride])
    }

    /// Rows as columns; moves nothing.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    pub(crate) fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The slice from element (`row`, `col`), which is there, on.
    #[inline(always)]
    pub(crate) fn tail(&self, row: usize, col: usize) -> &'a [T] {
        &self.data[row * self.row_stride + col * self.col_stride..]
    }
}

impl<'a, T> MatMut<'a, T> {
    /// A matrix whose rows follow each other without a gap.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when `data` has fewer than `rows * cols` numbers.
    pub fn row_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::with_strides(data, rows, cols, cols, 1)
    }

    /// A matrix whose columns follow each other without a gap.
    ///
    /// # Errors
    /// [`ShapeError::Short`] when `data` has fewer than `rows * cols` numbers.
    pub fn col_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<Self, ShapeError> {
        Self::with_strides(data, rows, cols, 1, rows)
    }

    /// A matrix with strides.
    ///
    /// # Errors
    /// * [`ShapeError::Short`] when an element is past the end of `data`
    /// * [`ShapeError::Overlap`] when neither the rows nor the columns are at least as far apart as what they span
    pub fn with_strides(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<Self, ShapeError> {
        MatRef::with_strides(data, rows, cols, row_stride, col_stride)?;
        // In range: the strides passed the check above, unless there is no element.
        let is_empty = rows == 0 || cols == 0;
        let by_rows =
            || (cols == 1 || col_stride > 0) && (rows == 1 || row_stride > (cols - 1) * col_stride);
        let by_cols =
            || (rows == 1 || row_stride > 0) && (cols == 1 || col_stride > (rows - 1) * row_stride);
        if !is_empty && !by_rows() && !by_cols() {
            return Err(ShapeError::Overlap {
                rows,
                cols,
                row_stride,
                col_stride,
            });
        }
        Ok(Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride,
        })
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows as columns; moves nothing.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    pub(crate) fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// The slice from element (`row`, `col`), which is there, on.
    #[inline(always)]
    pub(crate) fn tail_mut(&mut self, row: usize, col: usize) -> &mut [T] {
        &mut self.data[row * self.row_stride + col * self.col_stride..]
    }
}
