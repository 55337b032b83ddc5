//! A matrix times a vector, in one pass over the matrix.

use super::view::MatRef;
use crate::Element;
use crate::isa::{Lanes, Op};
use crate::vector::reduce::across;

/// Rows that are gone over side by side, where rows are contiguous.
const ROWS: usize = 4;

/// Vectors of a row at once: sums that hide the latency of an addition, with those of the other rows.
const STEP: usize = 2;

/// Columns that are added at once, where columns are contiguous.
const COLS: usize = 8;

/// Sums that stay in the first cache while columns are added to them.
const STRIP: usize = 2048;

/// `y = alpha * a * x + beta * y`; the lengths fit.
pub(crate) struct Gemv<'a, T> {
    pub(crate) alpha: T,
    pub(crate) a: MatRef<'a, T>,
    pub(crate) x: &'a [T],
    pub(crate) beta: T,
    pub(crate) y: &'a mut [T],
}

impl<T: Element> Op<T> for Gemv<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let (rows, cols) = self.a.shape();
        if rows == 0 {
            return;
        }
        if self.a.col_stride() == 1 && cols > 0 {
            self.by_rows(s);
        } else if self.a.row_stride() == 1 && cols > 0 {
            self.by_columns(s);
        } else {
            self.by_numbers();
        }
    }
}

impl<T: Element> Gemv<'_, T> {
    /// A number of the result, of the sum of its row.
    #[inline(always)]
    fn put(&mut self, row: usize, sum: T) {
        let product = self.alpha * sum;
        let y = &mut self.y[row];
        *y = if self.beta == T::ZERO {
            product
        } else {
            product + self.beta * *y
        };
    }

    #[inline(always)]
    fn by_rows<S: Lanes<T>>(mut self, s: S) {
        let (rows, cols) = self.a.shape();
        for row in (0..rows).step_by(ROWS) {
            // Where there are fewer, the last one stands in for those that lack.
            let mut lines = [self.x; ROWS];
            for (i, line) in lines.iter_mut().enumerate() {
                *line = &self.a.tail((row + i).min(rows - 1), 0)[..cols];
            }
            let sums = dots(s, lines, self.x);
            for (i, sum) in sums.into_iter().enumerate().take(rows - row) {
                self.put(row + i, sum);
            }
        }
    }

    #[inline(always)]
    fn by_columns<S: Lanes<T>>(mut self, s: S) {
        let rows = self.a.rows();
        let mut strip = [T::ZERO; STRIP];
        for start in (0..rows).step_by(STRIP) {
            let len = STRIP.min(rows - start);
            let sums = &mut strip[..len];
            sums.fill(T::ZERO);
            let (many, few) = self.x.as_chunks::<COLS>();
            let mut col = 0;
            for factors in many {
                let mut columns = [self.x; COLS];
                for (i, column) in columns.iter_mut().enumerate() {
                    *column = &self.a.tail(start, col + i)[..len];
                }
                add_columns(s, columns, *factors, sums);
                col += COLS;
            }
            for factor in few {
                add_columns(s, [&self.a.tail(start, col)[..len]], [*factor], sums);
                col += 1;
            }
            for (row, sum) in sums.iter().enumerate() {
                self.put(start + row, *sum);
            }
        }
    }

    /// Where neither is contiguous, or there are no columns.
    #[inline(always)]
    fn by_numbers(mut self) {
        for row in 0..self.a.rows() {
            let mut sum = T::ZERO;
            for (col, &x) in self.x.iter().enumerate() {
                sum = sum + self.a.tail(row, col)[0] * x;
            }
            self.put(row, sum);
        }
    }
}

/// The dot products of `lines`, which are as long as `x`, with it.
#[inline(always)]
fn dots<T: Element, S: Lanes<T>>(s: S, lines: [&[T]; ROWS], x: &[T]) -> [T; ROWS] {
    let mut sums = [[s.splat(T::ZERO); STEP]; ROWS];
    let (xs, x_rest) = S::arrays(x);
    let (x_steps, x_few) = xs.as_chunks::<STEP>();
    let [(a, _), (b, _), (c, _), (d, _)] = [
        S::arrays(lines[0]),
        S::arrays(lines[1]),
        S::arrays(lines[2]),
        S::arrays(lines[3]),
    ];
    let (a, b, c, d) = (
        a.as_chunks::<STEP>().0,
        b.as_chunks::<STEP>().0,
        c.as_chunks::<STEP>().0,
        d.as_chunks::<STEP>().0,
    );
    for ((((x, a), b), c), d) in x_steps.iter().zip(a).zip(b).zip(c).zip(d) {
        for i in 0..STEP {
            let x = s.load(&x[i]);
            sums[0][i] = s.mul_add(s.load(&a[i]), x, sums[0][i]);
            sums[1][i] = s.mul_add(s.load(&b[i]), x, sums[1][i]);
            sums[2][i] = s.mul_add(s.load(&c[i]), x, sums[2][i]);
            sums[3][i] = s.mul_add(s.load(&d[i]), x, sums[3][i]);
        }
    }
    let mut all = [T::ZERO; ROWS];
    let (few_at, rest_at) = (x_steps.len() * STEP * S::LANES, xs.len() * S::LANES);
    for (row, all) in all.iter_mut().enumerate() {
        let mut sum = s.add(sums[row][0], sums[row][1]);
        let (few, _) = S::arrays(&lines[row][few_at..]);
        for (x, line) in x_few.iter().zip(few) {
            sum = s.mul_add(s.load(line), s.load(x), sum);
        }
        if !x_rest.is_empty() {
            // What is not there is zero in both, and adds nothing.
            let line = s.load_part(&lines[row][rest_at..]);
            sum = s.mul_add(line, s.load_part(x_rest), sum);
        }
        *all = across(s, sum);
    }
    all
}

/// `sums += Σ factors[i] * columns[i]`; each column is as long as `sums`.
#[inline(always)]
fn add_columns<T: Element, S: Lanes<T>, const N: usize>(
    s: S,
    columns: [&[T]; N],
    factors: [T; N],
    sums: &mut [T],
) {
    let mut splats = [s.splat(T::ZERO); N];
    for (splat, factor) in splats.iter_mut().zip(factors) {
        *splat = s.splat(factor);
    }
    let (wholes, rest) = S::arrays_mut(sums);
    let len = wholes.len();
    let mut arrays = [S::arrays(columns[0]).0; N];
    for (array, column) in arrays.iter_mut().zip(columns) {
        *array = &S::arrays(column).0[..len];
    }
    for (at, whole) in wholes.iter_mut().enumerate() {
        let mut sum = s.load(whole);
        for i in 0..N {
            sum = s.mul_add(splats[i], s.load(&arrays[i][at]), sum);
        }
        s.store(sum, whole);
    }
    if !rest.is_empty() {
        let mut sum = s.load_part(rest);
        for i in 0..N {
            let part = s.load_part(&columns[i][len * S::LANES..]);
            sum = s.mul_add(splats[i], part, sum);
        }
        s.store_part(sum, rest);
    }
}
