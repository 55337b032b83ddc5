//! The product of two matrices, in blocks that fit the caches.
//!
//! Five loops around a [`Tile`], after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication"
//! (ACM TOMS 34, 2008), with rows and columns swapped, since matrices are row-major here:
//!
//! ```text
//! for nc columns of C                      a panel of B, kc x nc, in the last-level cache
//!   for kc steps of k                      pack it
//!     for mc rows of C                     pack a block of A, mc x kc, for half of the second level
//!       for each tile's width of columns   kc x width of B
//!         for each tile's height of rows   the tile, in registers
//! ```
//!
//! Rows are shared out evenly among the tiles, so that no tile is much lower than the others. A factor that is read
//! few times, or is small, is used where it is.

use core::cmp::Ordering;

use super::gemv::Gemv;
use super::tile::{NV, ROWS_OF_16, ROWS_OF_32, Tile};
use super::view::{MatMut, MatRef};
use crate::isa::{Lanes, Op, host};
use crate::{Element, ShapeError};

/// Steps of `k` at once, at most: how often the output is gone over.
const DEPTH: usize = 512;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Columns of the panel of B, at most.
const NC: usize = 4096;

/// Columns up to which A is used where it is.
const IN_PLACE_COLS: usize = 256;

/// Bytes up to which B is used where it is.
const IN_PLACE_BYTES: usize = 16 << 10;

/// Bytes of the second cache of a core, where the CPU does not tell.
const USUAL_L2_BYTES: usize = 512 << 10;

/// How a product is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    pack_a: bool,
    pack_b: bool,
    /// Rows of a block of A.
    mc: usize,
    /// Steps of `k` at once.
    kc: usize,
    /// Columns of a panel of B.
    nc: usize,
}

/// Parts of `whole`, each at most `limit`, as equal as can be.
fn part(whole: usize, limit: usize) -> usize {
    whole.div_ceil(whole.div_ceil(limit).max(1))
}

/// Numbers of a cache line.
const fn line<T>() -> usize {
    LINE_BYTES / size_of::<T>()
}

/// Numbers from a packed row of A to the next: an odd number of cache lines, so that rows do not compete for a place
/// in the cache.
const fn a_stride<T>() -> usize {
    DEPTH + line::<T>()
}

impl Plan {
    /// For a product of `m` x `k` and `k` x `n`, which packs both factors.
    fn blocks<T>(m: usize, n: usize, k: usize) -> Self {
        let l2_bytes = match host().l2_bytes {
            0 => USUAL_L2_BYTES,
            known => known,
        };
        let rows = l2_bytes / 2 / (a_stride::<T>() * size_of::<T>());
        Self {
            pack_a: true,
            pack_b: true,
            mc: part(m, rows.clamp(ROWS_OF_32, 1024)),
            kc: part(k, DEPTH),
            // Every width of a tile divides that of the widest.
            nc: part(n, NC).next_multiple_of(NV * line::<T>()),
        }
    }

    /// For `a` and `b`. Packing costs a pass over the factor, and saves when it is then read often.
    fn new<T>(a: &MatRef<'_, T>, b: &MatRef<'_, T>) -> Self {
        let ((m, k), n) = (a.shape(), b.cols());
        // Rows a multiple of 2 KiB apart compete for a place in the cache.
        let competes = |stride: usize| (stride * size_of::<T>()).is_multiple_of(2048);
        let a_in_place =
            a.col_stride() == 1 && n <= IN_PLACE_COLS && (k < 64 || !competes(a.row_stride()));
        let b_small = m <= ROWS_OF_32 || k * n * size_of::<T>() <= IN_PLACE_BYTES;
        let b_in_place = b.col_stride() == 1 && b_small;
        Self {
            pack_a: !a_in_place,
            pack_b: !b_in_place,
            ..Self::blocks::<T>(m, n, k)
        }
    }

    /// Numbers of a packed block of A and of a packed panel of B.
    fn packed<T>(&self) -> (usize, usize) {
        let a = if self.pack_a {
            self.mc * a_stride::<T>()
        } else {
            0
        };
        let b = if self.pack_b { self.kc * self.nc } else { 0 };
        (a, b)
    }

    /// Numbers of scratch.
    fn scratch<T>(&self) -> usize {
        match self.packed::<T>() {
            (0, 0) => 0,
            // The packed start at a line.
            (a, b) => a.next_multiple_of(line::<T>()) + b + line::<T>(),
        }
    }
}

/// Numbers of scratch memory that a product of `m` x `k` and `k` x `n` takes at most.
///
/// It depends on the CPU, and not on the strides; more serves too.
#[must_use]
pub fn scratch_len<T: Element>(m: usize, n: usize, k: usize) -> usize {
    // A product whose result is column-major is done as the product of the transposed.
    let straight = Plan::blocks::<T>(m, n, k).scratch::<T>();
    straight.max(Plan::blocks::<T>(n, m, k).scratch::<T>())
}

/// `c = alpha * a * b + beta * c`.
#[derive(Debug)]
pub(crate) struct Gemm<'a, T> {
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
    c: MatMut<'a, T>,
    plan: Plan,
}

impl<'a, T: Element> Gemm<'a, T> {
    /// Checks the shapes, and plans.
    pub(crate) fn new(
        alpha: T,
        a: MatRef<'a, T>,
        b: MatRef<'a, T>,
        beta: T,
        c: MatMut<'a, T>,
    ) -> Result<Self, ShapeError> {
        let shapes = (a.shape(), b.shape(), c.shape());
        if a.cols() != b.rows() || c.shape() != (a.rows(), b.cols()) {
            let (a, b, c) = shapes;
            return Err(ShapeError::Product { a, b, c });
        }
        let (a, b, c) = if c.col_stride() != 1 && c.row_stride() == 1 {
            (b.transposed(), a.transposed(), c.transposed())
        } else {
            (a, b, c)
        };
        let plan = Plan::new(&a, &b);
        Ok(Self {
            alpha,
            a,
            b,
            beta,
            c,
            plan,
        })
    }

    /// Numbers of scratch that it takes.
    pub(crate) fn scratch_len(&self) -> usize {
        self.plan.scratch::<T>()
    }

    /// With its scratch, of at least [`scratch_len`](Self::scratch_len).
    pub(crate) fn with(self, scratch: &'a mut [T]) -> Result<Product<'a, T>, ShapeError> {
        let (len, want) = (scratch.len(), self.scratch_len());
        if len < want {
            return Err(ShapeError::Scratch { len, want });
        }
        Ok(Product {
            gemm: self,
            scratch,
        })
    }
}

/// A product with all that it takes.
#[derive(Debug)]
pub(crate) struct Product<'a, T> {
    gemm: Gemm<'a, T>,
    scratch: &'a mut [T],
}

impl<T: Element> Op<T> for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes<T>>(self, s: S) {
        let Gemm {
            alpha,
            a,
            b,
            beta,
            mut c,
            plan,
        } = self.gemm;
        let ((m, n), k) = (c.shape(), a.cols());
        if m == 0 || n == 0 {
            return;
        }
        if let Some(by_vector) = by_vector(alpha, a, b, beta, &mut c) {
            return by_vector.run(s);
        }
        let (a_len, b_len) = plan.packed::<T>();
        let (packed_a, packed_b) = if a_len + b_len == 0 {
            self.scratch.split_at_mut(0)
        } else {
            let start = self
                .scratch
                .as_ptr()
                .align_offset(LINE_BYTES)
                .min(line::<T>());
            let a_len = a_len.next_multiple_of(line::<T>());
            self.scratch[start..start + a_len + b_len].split_at_mut(a_len)
        };
        for jc in (0..n).step_by(plan.nc) {
            let nc = plan.nc.min(n - jc);
            let mut pc = 0;
            loop {
                let kc = plan.kc.min(k - pc);
                let mut block = Block {
                    alpha,
                    beta: if pc == 0 { beta } else { T::ONE },
                    a,
                    b,
                    c: &mut c,
                    packed_a: &mut *packed_a,
                    packed_b: &mut *packed_b,
                    plan,
                    pc,
                    kc,
                    jc,
                    nc,
                };
                block.pack_b::<S>(s);
                for ic in (0..m).step_by(plan.mc) {
                    let mc = plan.mc.min(m - ic);
                    block.pack_a(ic, mc);
                    block.tiles(s, ic, mc);
                }
                pc += kc;
                if pc >= k {
                    break;
                }
            }
        }
    }
}

/// The product as that of a matrix and a vector, where one factor is a vector, and it and the result are contiguous.
#[inline(always)]
fn by_vector<'a, T: Element>(
    alpha: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    beta: T,
    c: &'a mut MatMut<'_, T>,
) -> Option<Gemv<'a, T>> {
    let ((m, n), k) = (c.shape(), a.cols());
    let (a, x, len) =
        if m == 1 && (n == 1 || c.col_stride() == 1) && (k <= 1 || a.col_stride() == 1) {
            (b.transposed(), a.tail(0, 0), n)
        } else if n == 1 && (m == 1 || c.row_stride() == 1) && (k <= 1 || b.row_stride() == 1) {
            (a, b.tail(0, 0), m)
        } else {
            return None;
        };
    Some(Gemv {
        alpha,
        a,
        x: &x[..k],
        beta,
        y: &mut c.tail_mut(0, 0)[..len],
    })
}

/// One step of the loop over `k`, for one panel of columns.
struct Block<'a, 'c, T> {
    alpha: T,
    beta: T,
    a: MatRef<'a, T>,
    b: MatRef<'a, T>,
    c: &'a mut MatMut<'c, T>,
    packed_a: &'a mut [T],
    packed_b: &'a mut [T],
    plan: Plan,
    pc: usize,
    kc: usize,
    jc: usize,
    nc: usize,
}

impl<T: Element> Block<'_, '_, T> {
    /// Packs the panel of B: for each tile's width of columns `kc` rows, the last one filled with zeros.
    #[inline(always)]
    fn pack_b<S: Lanes<T>>(&mut self, s: S) {
        if !self.plan.pack_b {
            return;
        }
        if self.b.col_stride() != 1 {
            return self.gather_b(NV * S::LANES);
        }
        let width = NV * S::LANES;
        for p in 0..self.kc {
            let from = self.b.tail(self.pc + p, self.jc);
            for (tile, from) in from[..self.nc].chunks(width).enumerate() {
                let to = &mut self.packed_b[(tile * self.kc + p) * width..][..width];
                let (to, _) = S::arrays_mut(to);
                let (from, rest) = S::arrays(from);
                for v in 0..NV {
                    let vector = match v.cmp(&from.len()) {
                        Ordering::Less => s.load(&from[v]),
                        Ordering::Equal => s.load_part(rest),
                        Ordering::Greater => s.splat(T::ZERO),
                    };
                    s.store(vector, &mut to[v]);
                }
            }
        }
    }

    /// The same for a panel whose columns are apart.
    #[inline(always)]
    fn gather_b(&mut self, width: usize) {
        let stride = self.b.row_stride();
        for j in (0..self.nc).step_by(width) {
            let panel = &mut self.packed_b[j * self.kc..][..width * self.kc];
            for col in 0..width {
                let is_here = j + col < self.nc;
                for p in 0..self.kc {
                    panel[p * width + col] = if is_here {
                        self.b.tail(self.pc, self.jc + j + col)[p * stride]
                    } else {
                        T::ZERO
                    };
                }
            }
        }
    }

    /// Packs `mc` rows of A from row `ic` on.
    #[inline(always)]
    fn pack_a(&mut self, ic: usize, mc: usize) {
        if !self.plan.pack_a || self.kc == 0 {
            return;
        }
        let stride = self.a.col_stride();
        let rows = self.packed_a.chunks_exact_mut(a_stride::<T>());
        for (i, row) in rows.take(mc).enumerate() {
            let row = &mut row[..self.kc];
            let from = self.a.tail(ic + i, self.pc);
            if stride == 1 {
                row.copy_from_slice(&from[..self.kc]);
            } else {
                for (p, to) in row.iter_mut().enumerate() {
                    *to = from[p * stride];
                }
            }
        }
    }

    /// The tiles of `mc` rows from row `ic` on.
    #[inline(always)]
    fn tiles<S: Lanes<T>>(&mut self, s: S, ic: usize, mc: usize) {
        let width = NV * S::LANES;
        let most = if S::REGISTERS >= 32 {
            ROWS_OF_32
        } else {
            ROWS_OF_16
        };
        let tiles = mc.div_ceil(most);
        let nothing: &[T] = &[];
        for j in (0..self.nc).step_by(width) {
            let cols = width.min(self.nc - j);
            let (b, b_stride) = if self.kc == 0 {
                (nothing, 0)
            } else if self.plan.pack_b {
                (&self.packed_b[j * self.kc..], width)
            } else {
                (self.b.tail(self.pc, self.jc + j), self.b.row_stride())
            };
            let mut row = 0;
            for i in 0..tiles {
                let end = (i + 1) * mc / tiles;
                let (a, a_stride) = if self.kc == 0 {
                    (nothing, 0)
                } else if self.plan.pack_a {
                    (&self.packed_a[row * a_stride::<T>()..], a_stride::<T>())
                } else {
                    (self.a.tail(ic + row, self.pc), self.a.row_stride())
                };
                let c_strides = (self.c.row_stride(), self.c.col_stride());
                let tile = Tile {
                    a,
                    a_stride,
                    b,
                    b_stride,
                    b_whole: self.plan.pack_b,
                    k: self.kc,
                    c: self.c.tail_mut(ic + row, self.jc + j),
                    c_strides,
                    rows: end - row,
                    cols,
                    alpha: self.alpha,
                    beta: self.beta,
                };
                tile.compute(s);
                row = end;
            }
        }
    }
}
