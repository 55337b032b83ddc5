//! [`Tile`]: a few rows of the product by a few vectors, all of it in registers.
#![expect(
    clippy::needless_range_loop,
    reason = "loops of constant length by index are unrolled into registers"
)]

use crate::Element;
use crate::isa::{Lanes, Op};

/// Vectors of a tile's width.
pub(super) const NV: usize = 2;

/// Rows of a tile where there are 32 registers, and where there are 16. With [`NV`] sums each, and as many for the
/// right factor, there is one left for the left factor's number.
pub(super) const ROWS_OF_32: usize = 14;
pub(super) const ROWS_OF_16: usize = 6;

/// `c = alpha * a * b + beta * c` for one tile of `c`.
#[derive(Debug)]
pub(super) struct Tile<'a, T> {
    /// Rows of the left factor.
    pub(super) a: &'a [T],
    /// Numbers from a row of `a` to the next.
    pub(super) a_stride: usize,
    /// Rows of the right factor.
    pub(super) b: &'a [T],
    /// Numbers from a row of `b` to the next.
    pub(super) b_stride: usize,
    /// Whether rows of `b` go on to the end of the last vector.
    pub(super) b_whole: bool,
    /// How many columns of `a` and rows of `b` there are.
    pub(super) k: usize,
    /// Where the tile of the product starts.
    pub(super) c: &'a mut [T],
    /// Numbers from a row of `c` to the next, and from a column to the next.
    pub(super) c_strides: (usize, usize),
    /// Rows of the tile.
    pub(super) rows: usize,
    /// Columns of the tile.
    pub(super) cols: usize,
    pub(super) alpha: T,
    /// Zero overwrites whatever stands in `c`.
    pub(super) beta: T,
}

/// A tile of exactly `ROWS` rows and `VECS` vectors; the last vector of a row of `b` is read in part with `PART`.
struct Exact<'a, T, const ROWS: usize, const VECS: usize, const PART: bool>(Tile<'a, T>);

/// Calls the tile with as many rows.
macro_rules! by_rows {
    ($tile:ident, $s:ident, $vecs:literal, $part:literal: $($rows:literal)*) => {
        match $tile.rows {
            $($rows => $s.vectorize(Exact::<'_, T, $rows, $vecs, $part>($tile)),)*
            _ => unreachable!("a tile of {} rows", $tile.rows),
        }
    };
}

impl<T: Element> Tile<'_, T> {
    /// Computes it.
    #[inline(always)]
    pub(super) fn compute<S: Lanes<T>>(self, s: S) {
        let tile = self;
        let narrow = tile.cols <= S::LANES;
        let part = !tile.b_whole && !tile.cols.is_multiple_of(S::LANES);
        match (S::REGISTERS >= 32, narrow, part) {
            (true, false, false) => by_rows!(tile, s, 2, false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (true, true, false) => by_rows!(tile, s, 1, false: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (true, false, true) => by_rows!(tile, s, 2, true: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (true, true, true) => by_rows!(tile, s, 1, true: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            (false, false, false) => by_rows!(tile, s, 2, false: 1 2 3 4 5 6),
            (false, true, false) => by_rows!(tile, s, 1, false: 1 2 3 4 5 6),
            (false, false, true) => by_rows!(tile, s, 2, true: 1 2 3 4 5 6),
            (false, true, true) => by_rows!(tile, s, 1, true: 1 2 3 4 5 6),
        }
    }
}

impl<T: Element, const ROWS: usize, const VECS: usize, const PART: bool> Op<T>
    for Exact<'_, T, ROWS, VECS, PART>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let tile = self.0;
        // Where nothing is packed, all is in the cache.
        if tile.b_whole {
            let (row_stride, col_stride) = tile.c_strides;
            for i in 0..ROWS {
                let row = &tile.c[i * row_stride..];
                s.prefetch(row);
                s.prefetch(&row[(tile.cols - 1) * col_stride..]);
            }
        }
        let mut a: [&[T]; ROWS] = [&[]; ROWS];
        for i in 0..ROWS {
            a[i] = &tile.a[i * tile.a_stride..][..tile.k];
        }
        let mut sums = [[s.splat(T::ZERO); VECS]; ROWS];
        let mut at = 0;
        for p in 0..tile.k {
            let width = if PART { tile.cols } else { VECS * S::LANES };
            let b = &tile.b[at..at + width];
            step::<T, S, ROWS, VECS, PART>(s, &a, b, p, &mut sums);
            at += tile.b_stride;
        }
        write::<T, S, ROWS, VECS>(s, tile, &sums);
    }
}

/// Adds the products of column `p` of `a` and row `p` of the other factor, `b`.
#[inline(always)]
fn step<T: Element, S: Lanes<T>, const ROWS: usize, const VECS: usize, const PART: bool>(
    s: S,
    a: &[&[T]; ROWS],
    b: &[T],
    p: usize,
    sums: &mut [[S::V; VECS]; ROWS],
) {
    let mut row = [s.splat(T::ZERO); VECS];
    let (whole, rest) = S::arrays(b);
    for j in 0..VECS {
        row[j] = if PART && j + 1 == VECS {
            s.load_part(rest)
        } else {
            s.load(&whole[j])
        };
    }
    for i in 0..ROWS {
        let a = s.splat(a[i][p]);
        for j in 0..VECS {
            sums[i][j] = s.mul_add(a, row[j], sums[i][j]);
        }
    }
}

/// Writes the sums into the tile of `c`.
#[inline(always)]
fn write<T: Element, S: Lanes<T>, const ROWS: usize, const VECS: usize>(
    s: S,
    tile: Tile<'_, T>,
    sums: &[[S::V; VECS]; ROWS],
) {
    let (row_stride, col_stride) = tile.c_strides;
    if col_stride != 1 || tile.cols != VECS * S::LANES {
        // A copy, since what is indexed by a variable cannot stay in registers.
        let sums = *sums;
        return if col_stride == 1 {
            write_part::<T, S, ROWS, VECS>(s, tile, &sums)
        } else {
            scatter::<T, S, ROWS, VECS>(s, tile, &sums)
        };
    }
    let alpha = s.splat(tile.alpha);
    let beta = s.splat(tile.beta);
    let mut c = tile.c;
    if tile.beta == T::ZERO && tile.alpha == T::ONE {
        for i in 0..ROWS {
            let (row, _) = S::arrays_mut(&mut c[..VECS * S::LANES]);
            for j in 0..VECS {
                s.store(sums[i][j], &mut row[j]);
            }
            if i + 1 < ROWS {
                c = &mut c[row_stride..];
            }
        }
    } else if tile.beta == T::ZERO {
        for i in 0..ROWS {
            let (row, _) = S::arrays_mut(&mut c[..VECS * S::LANES]);
            for j in 0..VECS {
                s.store(s.mul(alpha, sums[i][j]), &mut row[j]);
            }
            if i + 1 < ROWS {
                c = &mut c[row_stride..];
            }
        }
    } else {
        for i in 0..ROWS {
            let (row, _) = S::arrays_mut(&mut c[..VECS * S::LANES]);
            for j in 0..VECS {
                let sum = s.mul(alpha, sums[i][j]);
                s.store(s.mul_add(beta, s.load(&row[j]), sum), &mut row[j]);
            }
            if i + 1 < ROWS {
                c = &mut c[row_stride..];
            }
        }
    }
}

/// Writes the sums into a tile whose last vector is cut.
#[inline(always)]
fn write_part<T: Element, S: Lanes<T>, const ROWS: usize, const VECS: usize>(
    s: S,
    tile: Tile<'_, T>,
    sums: &[[S::V; VECS]; ROWS],
) {
    let alpha = s.splat(tile.alpha);
    let beta = s.splat(tile.beta);
    for i in 0..ROWS {
        let row = &mut tile.c[i * tile.c_strides.0..][..tile.cols];
        for j in 0..VECS {
            let mut sum = s.mul(alpha, sums[i][j]);
            let part = &mut row[j * S::LANES..];
            let len = part.len().min(S::LANES);
            let part = &mut part[..len];
            if tile.beta != T::ZERO {
                sum = s.mul_add(beta, s.load_part(part), sum);
            }
            s.store_part(sum, part);
        }
    }
}

/// Writes the sums into a tile whose columns are apart.
#[inline(always)]
fn scatter<T: Element, S: Lanes<T>, const ROWS: usize, const VECS: usize>(
    s: S,
    tile: Tile<'_, T>,
    sums: &[[S::V; VECS]; ROWS],
) {
    let (row_stride, col_stride) = tile.c_strides;
    let mut array = S::ZEROS;
    for i in 0..ROWS {
        for j in 0..VECS {
            s.store(sums[i][j], &mut array);
            let sums = array.as_ref();
            for lane in 0..S::LANES {
                let col = j * S::LANES + lane;
                if col >= tile.cols {
                    break;
                }
                let c = &mut tile.c[i * row_stride + col * col_stride];
                let sum = tile.alpha * sums[lane];
                *c = if tile.beta == T::ZERO {
                    sum
                } else {
                    sum + tile.beta * *c
                };
            }
        }
    }
}
