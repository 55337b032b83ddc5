//! The product against sums in `f64`, on every tier of this CPU.

use proptest::prelude::*;

use super::{Gemm, MatMut, MatRef, scratch_len, transpose};
use crate::isa::Dispatch;
use crate::{Element, ShapeError, SimdCapabilities, SimdOps, Tier};

/// The tiers that this CPU has.
fn tiers() -> Vec<Tier> {
    let here = |tier: &Tier| SimdCapabilities::with_tier(*tier).is_ok();
    Tier::ALL.into_iter().filter(here).collect()
}

/// Numbers between -1 and 1 with few bits, from a seed.
fn numbers(seed: u32, len: usize) -> Vec<f64> {
    let mut state = u64::from(seed) * 2 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = u32::try_from(state >> 40).expect("24 bits");
        f64::from(bits) / f64::from(1 << 23) - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A number as `f64` and back.
trait Exact: Element {
    fn of(x: f64) -> Self;
    fn to(self) -> f64;
}

impl Exact for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounds, as it should")]
    fn of(x: f64) -> Self {
        x as f32
    }
    fn to(self) -> f64 {
        f64::from(self)
    }
}

impl Exact for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn to(self) -> f64 {
        self
    }
}

/// Which strides a matrix has.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Rows { gap: usize },
    Columns { gap: usize },
    Apart,
}

impl Layout {
    fn strides(self, rows: usize, cols: usize) -> (usize, usize) {
        match self {
            Self::Rows { gap } => (cols + gap, 1),
            Self::Columns { gap } => (1, rows + gap),
            Self::Apart => (2 * cols + 1, 2),
        }
    }

    fn len(self, rows: usize, cols: usize) -> usize {
        let (row, col) = self.strides(rows, cols);
        if rows * cols == 0 {
            0
        } else {
            (rows - 1) * row + (cols - 1) * col + 1
        }
    }
}

#[derive(Debug, Clone)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    alpha: f64,
    beta: f64,
    layouts: [Layout; 3],
    seed: u32,
}

const PLAIN: Layout = Layout::Rows { gap: 0 };

impl Case {
    fn plain(m: usize, n: usize, k: usize) -> Self {
        Self {
            m,
            n,
            k,
            alpha: 1.0,
            beta: 0.0,
            layouts: [PLAIN; 3],
            seed: 1,
        }
    }
}

/// How far a sum of `terms` and `old` may be off.
fn bound<T: Exact>(terms: &[f64], old: f64) -> f64 {
    let u = T::UNIT_ROUNDOFF.to();
    let gamma = |n: usize| {
        let nu = u * f64::from(u32::try_from(n).expect("small"));
        nu / (1.0 - nu)
    };
    // The reference rounds as well, where it has no more bits.
    let both = if u < 1e-10 { 2.0 } else { 1.0 };
    let size: f64 = terms.iter().map(|x| x.abs()).sum();
    both * (gamma(terms.len() + 2) * size + gamma(2) * old.abs())
}

/// Computes the case on each tier, and compares each element with its bound.
fn check<T: Exact>(case: &Case) {
    let &Case {
        m,
        n,
        k,
        alpha,
        beta,
        layouts,
        seed,
    } = case;
    let data = |index: usize, rows, cols| -> Vec<T> {
        let len = layouts[index].len(rows, cols);
        let seed = seed ^ u32::try_from(index).expect("below 3") << 20;
        numbers(seed, len).into_iter().map(T::of).collect()
    };
    let (a, b, c) = (data(0, m, k), data(1, k, n), data(2, m, n));
    let (alpha, beta) = (T::of(alpha), T::of(beta));
    let strides = |index: usize, rows, cols| layouts[index].strides(rows, cols);
    let (ar, ac) = strides(0, m, k);
    let (br, bc) = strides(1, k, n);
    let (cr, cc) = strides(2, m, n);
    for tier in tiers() {
        let mut got = c.clone();
        if beta == T::ZERO {
            got.fill(T::of(f64::NAN));
        }
        let before = got.clone();
        let mut scratch = vec![T::of(f64::NAN); scratch_len::<T>(m, n, k)];
        let gemm = Gemm::new(
            alpha,
            MatRef::with_strides(&a, m, k, ar, ac).unwrap(),
            MatRef::with_strides(&b, k, n, br, bc).unwrap(),
            beta,
            MatMut::with_strides(&mut got, m, n, cr, cc).unwrap(),
        );
        T::dispatch(tier, gemm.unwrap().with(&mut scratch).unwrap());
        let mut untouched = vec![true; got.len()];
        for i in 0..m {
            for j in 0..n {
                let at = i * cr + j * cc;
                untouched[at] = false;
                let old = if beta == T::ZERO {
                    0.0
                } else {
                    c[at].to() * beta.to()
                };
                let terms = (0..k).map(|p| a[i * ar + p * ac].to() * b[p * br + j * bc].to());
                let terms: Vec<f64> = terms.map(|x| alpha.to() * x).collect();
                let want = terms.iter().sum::<f64>() + old;
                let error = (got[at].to() - want).abs();
                assert!(
                    error <= bound::<T>(&terms, old),
                    "{tier} {case:?} ({i}, {j}): {:?} for {want}",
                    got[at]
                );
            }
        }
        for (at, untouched) in untouched.into_iter().enumerate() {
            let same = got[at] == before[at] || got[at].to().is_nan() && before[at].to().is_nan();
            assert!(
                !untouched || same,
                "{tier} {case:?}: wrote to {at}, between its elements"
            );
        }
    }
}

#[test]
fn a_product_is_within_its_bound_for_every_height_and_width_of_a_tile() {
    for m in 1..=30 {
        check::<f32>(&Case::plain(m, 35, 5));
        check::<f64>(&Case::plain(m, 19, 5));
    }
    for n in 1..=70 {
        check::<f32>(&Case::plain(3, n, 7));
        check::<f64>(&Case::plain(3, n, 7));
    }
}

#[test]
fn a_product_is_within_its_bound_over_the_edges_of_the_blocks() {
    for (m, n, k) in [
        (300, 33, 20),
        (17, 300, 520),
        (20, 40, 1030),
        (61, 513, 37),
        (3, 4100, 2),
    ] {
        check::<f32>(&Case::plain(m, n, k));
        check::<f64>(&Case::plain(m, n, k));
    }
}

#[test]
fn a_product_with_a_vector_is_within_its_bound_whatever_the_strides() {
    let layouts = [
        PLAIN,
        Layout::Rows { gap: 3 },
        Layout::Columns { gap: 0 },
        Layout::Columns { gap: 5 },
        Layout::Apart,
    ];
    for (rows, k) in [
        (1, 1),
        (3, 40),
        (4, 16),
        (5, 33),
        (70, 1),
        (71, 100),
        (2100, 19),
        (9, 1030),
        (6, 0),
    ] {
        for (index, layout) in layouts.into_iter().enumerate() {
            for (m, n) in [(rows, 1), (1, rows)] {
                let scales = [(1.0, 0.0), (-0.5, 1.0), (2.0, 0.25)];
                let (alpha, beta) = scales[index % scales.len()];
                for whole in [[layout; 3], [layout, PLAIN, PLAIN], [PLAIN, layout, PLAIN]] {
                    let case = Case {
                        alpha,
                        beta,
                        layouts: whole,
                        ..Case::plain(m, n, k)
                    };
                    check::<f32>(&case);
                    check::<f64>(&case);
                }
            }
        }
    }
}

#[test]
fn vectors_that_do_not_fit_a_matrix_are_refused() {
    let numbers = [0.0_f32; 12];
    let a = MatRef::row_major(&numbers, 3, 4).unwrap();
    let mut y = [0.0; 4];
    let error = SimdOps::new().try_gemv(1.0, a, &numbers[..4], 0.0, &mut y);
    assert_eq!(
        error.unwrap_err().to_string(),
        "a product of 3 x 4 and 4 x 1 does not go into 4 x 1"
    );
}

#[test]
fn nothing_to_add_up_leaves_beta_times_c() {
    for beta in [0.0, 1.0, -0.5] {
        for (m, n) in [(5, 7), (40, 300), (0, 3), (3, 0)] {
            check::<f32>(&Case {
                beta,
                ..Case::plain(m, n, 0)
            });
        }
    }
}

#[test]
fn nan_and_infinity_of_a_factor_go_through() {
    for tier in tiers() {
        for (value, is_right) in [
            (f32::NAN, f32::is_nan as fn(f32) -> bool),
            (f32::INFINITY, |x| x == f32::INFINITY),
            (f32::NEG_INFINITY, |x| x == f32::NEG_INFINITY),
        ] {
            let mut a = [1.0; 20 * 9];
            a[4 * 9 + 3] = value;
            let (b, mut c) = ([1.0; 9 * 40], [0.0; 20 * 40]);
            let mut scratch = vec![0.0; scratch_len::<f32>(20, 40, 9)];
            let gemm = Gemm::new(
                1.0,
                MatRef::row_major(&a, 20, 9).unwrap(),
                MatRef::row_major(&b, 9, 40).unwrap(),
                0.0,
                MatMut::row_major(&mut c, 20, 40).unwrap(),
            );
            f32::dispatch(tier, gemm.unwrap().with(&mut scratch).unwrap());
            for (at, &x) in c.iter().enumerate() {
                let touched = at / 40 == 4;
                assert!(
                    if touched { is_right(x) } else { x == 9.0 },
                    "{tier}: {x} at {at}"
                );
            }
        }
    }
}

#[test]
fn wrong_shapes_are_named() {
    let numbers = [0.0_f32; 12];
    let a = MatRef::row_major(&numbers, 3, 4).unwrap();
    let b = MatRef::row_major(&numbers, 3, 4).unwrap();
    let mut out = [0.0; 12];
    let c = MatMut::row_major(&mut out, 3, 4).unwrap();
    let error = Gemm::new(1.0, a, b, 0.0, c).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a product of 3 x 4 and 3 x 4 does not go into 3 x 4"
    );
    let short = MatRef::row_major(&numbers, 3, 5).unwrap_err();
    assert_eq!(
        short.to_string(),
        "a 3 x 5 matrix with strides 5, 1 does not fit into 12 numbers"
    );
    let huge = MatRef::with_strides(&numbers, usize::MAX, 2, usize::MAX, 1).unwrap_err();
    assert!(matches!(huge, ShapeError::Short { .. }));
    let shared = MatMut::with_strides(&mut out, 3, 4, 3, 1).unwrap_err();
    assert_eq!(
        shared.to_string(),
        "elements of a 3 x 4 matrix with strides 3, 1 share their places"
    );
}

#[test]
fn a_transposed_matrix_of_another_shape_is_refused() {
    let (from, mut to) = ([0.0_f32; 6], [0.0; 6]);
    let from = MatRef::row_major(&from, 2, 3).unwrap();
    let to = MatMut::row_major(&mut to, 2, 3).unwrap();
    let error = SimdOps::new().try_transpose(from, to).unwrap_err();
    assert_eq!(error.to_string(), "transpose: 2 x 3 does not go into 2 x 3");
}

#[test]
fn scratch_that_is_too_small_is_refused_with_what_it_takes() {
    let (a, b, mut c) = (vec![0.0_f32; 90_000], vec![0.0; 90_000], vec![0.0; 90_000]);
    let a = MatRef::row_major(&a, 300, 300).unwrap();
    let b = MatRef::row_major(&b, 300, 300).unwrap();
    let gemm = Gemm::new(1.0, a, b, 0.0, MatMut::row_major(&mut c, 300, 300).unwrap()).unwrap();
    let want = gemm.scratch_len();
    assert!(want > 0 && want <= scratch_len::<f32>(300, 300, 300));
    let mut small = vec![0.0; want - 1];
    let error = gemm.with(&mut small).unwrap_err();
    assert_eq!(
        error,
        ShapeError::Scratch {
            len: want - 1,
            want
        }
    );
}

#[test]
fn a_transposed_matrix_has_each_element_in_its_place() {
    for (rows, cols) in [
        (0, 0),
        (0, 5),
        (5, 0),
        (1, 1),
        (1, 40),
        (40, 1),
        (16, 16),
        (17, 33),
        (50, 31),
    ] {
        let from: Vec<u32> = (0_u32..).take(rows * cols).collect();
        let mut to = vec![u32::MAX; rows * cols];
        let view = MatRef::row_major(&from, rows, cols).unwrap();
        transpose(view, MatMut::row_major(&mut to, cols, rows).unwrap());
        for (at, &x) in to.iter().enumerate() {
            assert_eq!(
                x,
                from[at % rows * cols + at / rows],
                "{rows} x {cols} at {at}"
            );
        }
    }
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        Just(PLAIN),
        (0..20_usize).prop_map(|gap| Layout::Rows { gap }),
        (0..20_usize).prop_map(|gap| Layout::Columns { gap }),
        Just(Layout::Apart),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let factor = || prop_oneof![Just(0.0), Just(1.0), -2.0..2.0];
    let layouts = (layout(), layout(), layout()).prop_map(|(a, b, c)| [a, b, c]);
    (
        0..60_usize,
        0..90_usize,
        0..70_usize,
        factor(),
        factor(),
        layouts,
        any::<u32>(),
    )
        .prop_map(|(m, n, k, alpha, beta, layouts, seed)| Case {
            m,
            n,
            k,
            alpha,
            beta,
            layouts,
            seed,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_product_of_f32_is_within_its_bound(case in case()) {
        check::<f32>(&case);
    }

    #[test]
    fn any_product_of_f64_is_within_its_bound(case in case()) {
        check::<f64>(&case);
    }
}
