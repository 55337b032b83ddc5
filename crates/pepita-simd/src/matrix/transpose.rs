//! Rows into columns.

use super::view::{MatMut, MatRef};

/// Rows and columns of a block: of 4-byte numbers, a cache line.
const BLOCK: usize = 16;

/// `to = fromᵀ`, block by block, so that each line of both is in the cache while it is used. The shapes fit.
pub(crate) fn transpose<T: Copy>(from: MatRef<'_, T>, mut to: MatMut<'_, T>) {
    let (rows, cols) = from.shape();
    let (stride, to_stride) = (from.col_stride(), to.col_stride());
    for i in (0..rows).step_by(BLOCK) {
        for j in (0..cols).step_by(BLOCK) {
            for col in j..cols.min(j + BLOCK) {
                let line = to.tail_mut(col, i);
                for row in 0..BLOCK.min(rows - i) {
                    line[row * to_stride] = from.tail(i + row, j)[(col - j) * stride];
                }
            }
        }
    }
}
