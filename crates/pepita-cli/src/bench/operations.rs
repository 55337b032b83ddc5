//! The operations that are measured: all that pepita-simd has.

use pepita::simd::{Element, MatMut, MatRef, SimdOps};

use super::mix::{Mix, Operands, Work};

/// An operation on numbers of a type.
#[derive(Debug)]
pub(super) struct Operation<T: Element> {
    /// Its method of `SimdOps`.
    pub(super) name: &'static str,
    pub(super) mix: Mix,
    /// Sums and products of each number, where they are many.
    pub(super) multiply_adds: usize,
    pub(super) work: Work<T>,
}

/// A number that operations are measured with.
pub(super) trait Number: Element {
    const NAME: &'static str;
    /// Sums and products of `exp`: of the reduction, the series, the powers of two.
    const EXP: usize;
    fn of(x: f32) -> Self;
}

impl Number for f32 {
    const NAME: &'static str = "f32";
    const EXP: usize = 15;
    fn of(x: f32) -> Self {
        x
    }
}

impl Number for f64 {
    const NAME: &'static str = "f64";
    const EXP: usize = 21;
    fn of(x: f32) -> Self {
        x.into()
    }
}

/// All of them.
pub(super) fn operations<T: Number>() -> Vec<Operation<T>> {
    let plain = |name, mix, work| Operation {
        name,
        mix,
        multiply_adds: 0,
        work,
    };
    let series = |name, mix, multiply_adds, work| Operation {
        name,
        mix,
        multiply_adds,
        work,
    };
    vec![
        plain("add", Mix::Write2, |ops, at| ops.add(at.x, at.y, at.out)),
        plain("sub", Mix::Write2, |ops, at| ops.sub(at.x, at.y, at.out)),
        plain("mul", Mix::Write2, |ops, at| ops.mul(at.x, at.y, at.out)),
        plain("div", Mix::Write2, |ops, at| ops.div(at.x, at.y, at.out)),
        plain("min", Mix::Write2, |ops, at| ops.min(at.x, at.y, at.out)),
        plain("max", Mix::Write2, |ops, at| ops.max(at.x, at.y, at.out)),
        plain("mul_add", Mix::Write3, |ops, at| {
            ops.mul_add(at.x, at.y, at.z, at.out);
        }),
        plain("axpy", Mix::Update1, |ops, at| {
            ops.axpy(T::of(0.0625), at.x, at.out);
        }),
        plain("abs", Mix::Write1, |ops, at| ops.abs(at.x, at.out)),
        plain("abs_in_place", Mix::Update0, |ops, at| {
            ops.abs_in_place(at.out);
        }),
        plain("scale", Mix::Update0, |ops, at| ops.scale(T::ONE, at.out)),
        plain("clamp", Mix::Update0, |ops, at| {
            ops.clamp(T::ZERO, T::ONE, at.out);
        }),
        series("exp", Mix::Write1, T::EXP, |ops, at| ops.exp(at.x, at.out)),
        series("exp_in_place", Mix::Update0, T::EXP, |ops, at| {
            ops.exp_in_place(at.out);
        }),
        series("softmax", Mix::Update0, T::EXP + 3, |ops, at| {
            ops.softmax(at.out);
        }),
        plain("sum", Mix::Read1, |ops, at| at.answer(ops.sum(at.x))),
        plain("norm1", Mix::Read1, |ops, at| at.answer(ops.norm1(at.x))),
        plain("norm2", Mix::Read1, |ops, at| at.answer(ops.norm2(at.x))),
        plain("dot", Mix::Read2, |ops, at| at.answer(ops.dot(at.x, at.y))),
        plain("distance2", Mix::Read2, |ops, at| {
            at.answer(ops.distance2(at.x, at.y));
        }),
        plain("smallest", Mix::Read1, |ops, at| {
            at.answer(ops.smallest(at.x));
        }),
        plain("largest", Mix::Read1, |ops, at| {
            at.answer(ops.largest(at.x))
        }),
        plain("argmin", Mix::Read1, |ops, at| at.answer(ops.argmin(at.x))),
        plain("argmax", Mix::Read1, |ops, at| at.answer(ops.argmax(at.x))),
        plain("transpose", Mix::Write1, transpose),
        plain("gemv", Mix::Read1, by_vector),
        plain("gemm_with", Mix::Product, product),
    ]
}

fn transpose<T: Number>(ops: &SimdOps, at: &mut Operands<'_, T>) {
    ops.transpose(square(at.x, at.side), square_mut(at.out, at.side));
}

/// Reads the matrix once; the vectors are small beside it.
fn by_vector<T: Number>(ops: &SimdOps, at: &mut Operands<'_, T>) {
    let (x, y) = at.scratch.split_at_mut(at.side);
    ops.gemv(T::ONE, square(at.x, at.side), x, T::ZERO, y);
}

fn product<T: Number>(ops: &SimdOps, at: &mut Operands<'_, T>) {
    let (x, y) = (square(at.x, at.side), square(at.y, at.side));
    let out = square_mut(at.out, at.side);
    ops.gemm_with(at.scratch, T::ONE, x, y, T::ZERO, out);
}

fn square<T>(x: &[T], side: usize) -> MatRef<'_, T> {
    MatRef::row_major(x, side, side).expect("operands are as long as a matrix")
}

fn square_mut<T>(x: &mut [T], side: usize) -> MatMut<'_, T> {
    MatMut::row_major(x, side, side).expect("operands are as long as a matrix")
}
