//! Operations on vectors.

use pepita_simd::SimdOps;
use proptest::prelude::*;

use crate::support::{LENGTHS, Number, depth, exact_sum, gamma, numbers, tiers};

/// Bits, so that NaN equals NaN and 0 differs from -0.
fn same<T: Number>(a: T, b: T) -> bool {
    let (a, b) = (a.wide(), b.wide());
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// What happens at the edges of the numbers.
fn awkward<T: Number>() -> Vec<T> {
    let mut all = vec![
        T::NAN,
        T::INFINITY,
        -T::INFINITY,
        T::ZERO,
        -T::ZERO,
        T::ONE,
        -T::ONE,
    ];
    let small = T::of(T::SMALLEST_NORMAL);
    all.extend([small, -small, small * T::UNIT_ROUNDOFF * T::of(4.0)]);
    all.extend([T::of(1.0 / T::SMALLEST_NORMAL), T::of(3.5), T::of(-2.5)]);
    all
}

/// All pairs of awkward numbers, then ordinary ones, from an address that no vector has.
fn pairs<T: Number>(len: usize) -> (Vec<T>, Vec<T>) {
    let awkward = awkward::<T>();
    let (mut x, mut y) = (numbers::<T>(1, len + 1), numbers::<T>(2, len + 1));
    let all = awkward
        .iter()
        .flat_map(|x| awkward.iter().map(move |y| (*x, *y)));
    for ((x, y), (a, b)) in x.iter_mut().zip(&mut y).skip(1).zip(all) {
        (*x, *y) = (a, b);
    }
    (x, y)
}

type TwoToOne<T> = (
    &'static str,
    fn(&SimdOps, &[T], &[T], &mut [T]),
    fn(T, T) -> T,
);

fn check_two_to_one<T: Number>() {
    let table: [TwoToOne<T>; 4] = [
        ("add", |ops, x, y, out| ops.add(x, y, out), |x, y| x + y),
        ("sub", |ops, x, y, out| ops.sub(x, y, out), |x, y| x - y),
        ("mul", |ops, x, y, out| ops.mul(x, y, out), |x, y| x * y),
        ("div", |ops, x, y, out| ops.div(x, y, out), |x, y| x / y),
    ];
    for (tier, ops) in tiers() {
        for (name, run, want) in table {
            for len in LENGTHS {
                let (x, y) = pairs::<T>(len);
                let mut out = vec![T::of(77.0); len + 2];
                run(&ops, &x[1..], &y[1..], &mut out[1..=len]);
                for i in 0..len {
                    let (got, want) = (out[i + 1], want(x[i + 1], y[i + 1]));
                    assert!(
                        same(got, want),
                        "{tier} {name} {len} [{i}]: {got} for {want}"
                    );
                }
                assert!(
                    out[0] == T::of(77.0) && out[len + 1] == T::of(77.0),
                    "{tier} {name}"
                );
            }
        }
    }
}

#[test]
fn sums_differences_products_and_quotients_are_those_of_the_type() {
    check_two_to_one::<f32>();
    check_two_to_one::<f64>();
}

fn check_extremes_of_two<T: Number>() {
    for (tier, ops) in tiers() {
        for len in LENGTHS {
            let (x, y) = pairs::<T>(len);
            let (mut low, mut high) = (vec![T::ZERO; len], vec![T::ZERO; len]);
            ops.min(&x[1..], &y[1..], &mut low);
            ops.max(&x[1..], &y[1..], &mut high);
            for i in 0..len {
                let (x, y) = (x[i + 1], y[i + 1]);
                let nan = x.wide().is_nan() || y.wide().is_nan();
                let (least, most) = if x < y { (x, y) } else { (y, x) };
                let is = |got: T, want: T| {
                    if nan {
                        got.wide().is_nan()
                    } else {
                        got == want
                    }
                };
                assert!(
                    is(low[i], least),
                    "{tier}: min of {x} and {y} is {}",
                    low[i]
                );
                assert!(
                    is(high[i], most),
                    "{tier}: max of {x} and {y} is {}",
                    high[i]
                );
            }
        }
    }
}

#[test]
fn the_smaller_and_the_larger_of_two_are_nan_where_one_is() {
    check_extremes_of_two::<f32>();
    check_extremes_of_two::<f64>();
}

fn check_fused<T: Number>(fused: fn(T, T, T) -> T) {
    for (tier, ops) in tiers() {
        let of = |x: T, y: T, z: T| {
            if tier.has_fma() {
                fused(x, y, z)
            } else {
                x * y + z
            }
        };
        for len in LENGTHS {
            let ((x, y), z) = (pairs::<T>(len), numbers::<T>(3, len + 1));
            let (x, y, z) = (&x[1..], &y[1..], &z[1..]);
            let mut out = vec![T::ZERO; len];
            ops.mul_add(x, y, z, &mut out);
            let alpha = T::of(1.7);
            let mut axpy = y.to_vec();
            ops.axpy(alpha, x, &mut axpy);
            for i in 0..len {
                assert!(
                    same(out[i], of(x[i], y[i], z[i])),
                    "{tier} mul_add {len} [{i}]"
                );
                assert!(
                    same(axpy[i], of(alpha, x[i], y[i])),
                    "{tier} axpy {len} [{i}]"
                );
            }
        }
    }
}

#[test]
fn a_product_and_a_sum_are_rounded_once_where_the_tier_can() {
    check_fused::<f32>(f32::mul_add);
    check_fused::<f64>(f64::mul_add);
}

fn check_one_to_one<T: Number>(abs: fn(T) -> T) {
    for (tier, ops) in tiers() {
        for len in LENGTHS {
            let (x, _) = pairs::<T>(len);
            let x = &x[1..];
            let mut out = vec![T::ZERO; len];
            ops.abs(x, &mut out);
            let (mut scaled, mut clamped) = (x.to_vec(), x.to_vec());
            ops.scale(T::of(-0.3), &mut scaled);
            ops.clamp(T::of(-0.5), T::of(0.25), &mut clamped);
            for i in 0..len {
                assert!(same(out[i], abs(x[i])), "{tier} abs {}", x[i]);
                assert!(same(scaled[i], T::of(-0.3) * x[i]), "{tier} scale {}", x[i]);
                let want = x[i].wide().clamp(-0.5, 0.25);
                assert!(
                    same(clamped[i], T::of(want)),
                    "{tier} clamp {}: {}",
                    x[i],
                    clamped[i]
                );
            }
        }
    }
}

#[test]
fn amounts_multiples_and_clamped_numbers_are_exact() {
    check_one_to_one::<f32>(f32::abs);
    check_one_to_one::<f64>(f64::abs);
}

/// Compares all sums of `x` and `y` with their bounds, on every tier.
fn check_in_place<T: Number>() {
    for (tier, ops) in tiers() {
        for len in LENGTHS {
            let (mut x, _) = pairs::<T>(len);
            x.extend(awkward::<T>());
            let (mut out, mut amounts, mut powers) = (x.clone(), x.clone(), x.clone());
            ops.abs(&x, &mut out);
            ops.abs_in_place(&mut amounts);
            let differ = |(a, b): (&T, &T)| !same(*a, *b);
            assert!(!out.iter().zip(&amounts).any(differ), "{tier} abs, {len}");
            ops.exp(&x, &mut out);
            ops.exp_in_place(&mut powers);
            assert!(!out.iter().zip(&powers).any(differ), "{tier} exp, {len}");
        }
    }
}

#[test]
fn an_operation_in_place_gives_the_same() {
    check_in_place::<f32>();
    check_in_place::<f64>();
}

fn check_sums<T: Number>(x: &[T], y: &[T]) -> Result<(), TestCaseError> {
    let wide = |x: &[T]| x.iter().map(|x| x.wide()).collect::<Vec<_>>();
    let (wx, wy) = (wide(x), wide(y));
    let pairs = || wx.iter().copied().zip(wy.iter().copied());
    let d = depth(x.len());
    let sizes = |size: fn(f64, f64) -> f64| pairs().map(|(x, y)| size(x, y)).sum::<f64>();
    let apart = |x: &[T], y: &[T]| -> f64 {
        exact_sum(
            x.iter()
                .zip(y)
                .map(|(x, y)| (x.wide() - y.wide(), x.wide() - y.wide())),
        )
    };
    let sum = exact_sum(pairs().map(|(x, _)| (x, 1.0)));
    let amounts = sizes(|x, _| x.abs());
    let products = exact_sum(pairs());
    let norm2 = exact_sum(pairs().map(|(x, _)| (x, x))).sqrt();
    let distance2 = apart(x, y);
    // The reference rounds, too.
    let slack = 1.0 + 1e-9;
    for (tier, ops) in tiers() {
        let figures = [
            ("sum", ops.sum(x), sum, gamma::<T>(d) * amounts),
            (
                "norm1",
                ops.norm1(x),
                amounts,
                gamma::<T>(d) * amounts + amounts * 1e-13,
            ),
            (
                "dot",
                ops.dot(x, y),
                products,
                gamma::<T>(d + 1.0) * sizes(|x, y| (x * y).abs()),
            ),
            ("norm2", ops.norm2(x), norm2, gamma::<T>(d + 3.0) * norm2),
            (
                "distance2",
                ops.distance2(x, y),
                distance2,
                gamma::<T>(d + 3.0) * distance2,
            ),
        ];
        for (name, got, want, bound) in figures {
            let error = (got.wide() - want).abs();
            prop_assert!(
                error <= bound * slack,
                "{tier} {name} of {}: {got} for {want}, off by {error}, bound {bound}",
                x.len()
            );
        }
    }
    Ok(())
}

#[test]
fn sums_are_within_their_bounds_at_the_edges_of_vectors_and_blocks() {
    for len in LENGTHS.into_iter().chain([100_000]) {
        let (x, y) = (numbers::<f32>(5, len + 1), numbers::<f32>(6, len + 1));
        check_sums(&x[1..], &y[1..]).unwrap();
        let (x, y) = (numbers::<f64>(7, len + 1), numbers::<f64>(8, len + 1));
        check_sums(&x[1..], &y[1..]).unwrap();
    }
}

#[test]
fn a_long_sum_of_ones_and_a_tenth_does_not_drift() {
    let x = vec![0.1_f32; 1 << 22];
    for (tier, ops) in tiers() {
        let error =
            (f64::from(ops.sum(&x)) / (f64::from(0.1_f32) * f64::from(1 << 22)) - 1.0).abs();
        assert!(error < 1e-5, "{tier}: {error}");
    }
}

#[test]
fn a_norm_is_right_where_squares_leave_the_range() {
    for (tier, ops) in tiers() {
        for scale in [1e-44_f32, 1e-30, 1e-19, 1e19, 1e30] {
            let x = vec![scale; 10_000];
            let want = 100.0 * f64::from(scale);
            let error = (f64::from(ops.norm2(&x)) / want - 1.0).abs();
            assert!(error < 1e-4, "{tier} {scale}: {}", ops.norm2(&x));
        }
        let largest = vec![f64::MAX; 4];
        assert_eq!(ops.norm2(&largest), f64::INFINITY, "{tier}");
        assert_eq!(
            ops.norm2(&[1.0, f64::NEG_INFINITY]),
            f64::INFINITY,
            "{tier}"
        );
        assert_eq!(ops.norm2::<f32>(&[]), 0.0, "{tier}");
        assert!(ops.norm2(&[1.0, f32::NAN]).is_nan(), "{tier}");
    }
}

#[test]
fn a_nan_wins_and_the_first_one_is_found() {
    for (tier, ops) in tiers() {
        assert_eq!(
            (ops.smallest::<f32>(&[]), ops.argmax::<f32>(&[])),
            (None, None),
            "{tier}"
        );
        for len in LENGTHS.into_iter().filter(|len| *len > 0) {
            let mut x = numbers::<f32>(9, len);
            let by = |a: &&f32, b: &&f32| a.total_cmp(b);
            assert_eq!(
                ops.smallest(&x).as_ref(),
                x.iter().min_by(by),
                "{tier} {len}"
            );
            assert_eq!(
                ops.largest(&x).as_ref(),
                x.iter().max_by(by),
                "{tier} {len}"
            );
            for at in [0, len / 2, len - 1] {
                x[at] = -3.0;
                assert_eq!(ops.argmin(&x), Some(at), "{tier} {len}");
                x[at] = 3.0;
                assert_eq!(ops.argmax(&x), Some(at), "{tier} {len}");
                x[at] = f32::NAN;
                assert!(ops.smallest(&x).is_some_and(f32::is_nan), "{tier} {len}");
                assert!(ops.largest(&x).is_some_and(f32::is_nan), "{tier} {len}");
                assert_eq!(
                    (ops.argmin(&x), ops.argmax(&x)),
                    (Some(at), Some(at)),
                    "{tier} {len}"
                );
                x[at] = 0.0;
            }
        }
        let infinite = [f64::INFINITY, f64::NEG_INFINITY, 0.0];
        assert_eq!(
            (ops.argmin(&infinite), ops.argmax(&infinite)),
            (Some(1), Some(0)),
            "{tier}"
        );
    }
}

#[test]
fn of_equal_extremes_the_first_is_found_wherever_it_is() {
    for (tier, ops) in tiers() {
        for len in [1, 31, 1024, 1025, 5000] {
            for first in [0, 1, len / 3, len - 1].map(|at| at.min(len - 1)) {
                let x: Vec<f64> = (0..len)
                    .map(|at| if at < first { 1.0 } else { [0.0, -0.0][at % 2] })
                    .collect();
                assert_eq!(ops.argmin(&x), Some(first), "{tier} {len}");
                let x: Vec<f32> = (0..len)
                    .map(|at| if at < first { -1.0 } else { 7.0 })
                    .collect();
                assert_eq!(ops.argmax(&x), Some(first), "{tier} {len}");
            }
        }
    }
}

/// Compares exp with the standard library's of `f64`, which is within one unit of the true one.
fn check_exp<T: Number>(low: f64, high: f64, slack: f64) {
    let steps = 200_000_i32;
    let at = |i: i32| T::of(low + (high - low) * f64::from(i) / f64::from(steps));
    let x: Vec<T> = (0..=steps).map(at).collect();
    for (tier, ops) in tiers() {
        let mut out = vec![T::ZERO; x.len()];
        ops.exp(&x, &mut out);
        for (x, got) in x.iter().zip(&out) {
            let want = x.wide().exp();
            let units = if want < T::SMALLEST_NORMAL { 5.0 } else { 4.0 };
            let error = (got.wide() - want).abs() / T::unit(want);
            let too_large = T::of(want) == T::INFINITY && *got == T::INFINITY;
            assert!(
                error <= units + slack || too_large,
                "{tier}: exp({x}) = {got}, off by {error} units"
            );
        }
    }
}

#[test]
fn an_exponential_is_within_four_units() {
    check_exp::<f32>(-104.0, 89.0, 0.0);
    check_exp::<f32>(-1.0, 1.0, 0.0);
    check_exp::<f64>(-745.0, 709.7, 1.0);
    check_exp::<f64>(-1.0, 1.0, 1.0);
    for (tier, ops) in tiers() {
        let mut x = [
            f32::NEG_INFINITY,
            -200.0,
            0.0,
            -0.0,
            89.0,
            f32::INFINITY,
            f32::NAN,
        ];
        ops.exp_in_place(&mut x);
        let (nan, numbers) = x.split_last().unwrap();
        let wanted = [0.0, 0.0, 1.0, 1.0, f32::INFINITY, f32::INFINITY];
        assert!(nan.is_nan() && numbers == wanted, "{tier}: {x:?}");
    }
}

fn check_softmax<T: Number>(x: &[T]) -> Result<(), TestCaseError> {
    let largest = x.iter().map(|x| x.wide()).fold(f64::NEG_INFINITY, f64::max);
    let smallest = x.iter().map(|x| x.wide()).fold(f64::INFINITY, f64::min);
    let exp: Vec<f64> = x.iter().map(|x| (x.wide() - largest).exp()).collect();
    let sum = exact_sum(exp.iter().map(|x| (*x, 1.0)));
    #[expect(clippy::cast_precision_loss, reason = "lengths of tests are small")]
    let s = x.len() as f64 / 2048.0;
    for (tier, ops) in tiers() {
        let mut out = x.to_vec();
        ops.softmax(&mut out);
        for (got, exp) in out.iter().zip(&exp) {
            let want = exp / sum;
            let bound = (2.0 * (largest - smallest) + s + 300.0) * T::UNIT_ROUNDOFF.wide() * want;
            let error = (got.wide() - want).abs();
            prop_assert!(
                error <= bound + T::SMALLEST_NORMAL,
                "{tier}: {got} for {want}"
            );
        }
    }
    Ok(())
}

#[test]
fn softmax_is_within_its_bound() {
    for len in LENGTHS {
        check_softmax::<f32>(&numbers(11, len)).unwrap();
        check_softmax::<f64>(&numbers(12, len)).unwrap();
    }
    check_softmax::<f32>(&[1000.0, 999.0, -1000.0]).unwrap();
    for (tier, ops) in tiers() {
        for x in [
            [f32::NAN, 0.0],
            [f32::INFINITY, 0.0],
            [f32::NEG_INFINITY; 2],
        ] {
            let mut out = x;
            ops.softmax(&mut out);
            assert!(
                out.iter().all(|x| x.is_nan()),
                "{tier}: {x:?} gives {out:?}"
            );
        }
        let mut out = [f32::NEG_INFINITY, 0.0, 0.0];
        ops.softmax(&mut out);
        assert_eq!(out, [0.0, 0.5, 0.5], "{tier}");
    }
}

#[test]
fn an_output_that_is_written_past_the_caches_is_right_to_its_last_number() {
    let len = (16 << 20) / size_of::<f32>() + 37;
    let (x, y) = (numbers::<f32>(13, len), numbers::<f32>(14, len));
    for (tier, ops) in tiers() {
        for start in [0, 1, 13] {
            let mut out = vec![7.0; len + 1];
            ops.add(&x[start..], &y[start..], &mut out[start..len]);
            let right = |i: usize| out[i].to_bits() == (x[i] + y[i]).to_bits();
            assert!((start..len).all(right), "{tier} {start}");
            assert!(
                out[..start].iter().chain(&out[len..]).all(|x| *x == 7.0),
                "{tier} {start}"
            );
        }
    }
}

#[test]
fn lengths_that_differ_are_named() {
    let ops = SimdOps::new();
    let error = ops
        .try_add(&[1.0_f32, 2.0], &[1.0], &mut [0.0; 2])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "add: y has 1 numbers, the first operand 2"
    );
    let error = ops.try_dot(&[1.0_f64], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dot: y has 0 numbers, the first operand 1"
    );
    let error = ops.try_exp(&[1.0_f32], &mut [0.0; 2]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "exp: out has 2 numbers, the first operand 1"
    );
}

#[test]
#[should_panic(expected = "add: y has 1 numbers, the first operand 2")]
fn the_panicking_form_says_the_same() {
    SimdOps::new().vadd_f32(&[1.0, 2.0], &[1.0], &mut [0.0; 2]);
}

proptest! {
    #[test]
    fn any_sum_of_f32_is_within_its_bound(x in prop::collection::vec((-1e3_f32..1e3, -1.0_f32..1.0), 0..600)) {
        let (x, y): (Vec<f32>, Vec<f32>) = x.into_iter().unzip();
        check_sums(&x, &y)?;
    }

    #[test]
    fn any_softmax_is_within_its_bound(x in prop::collection::vec(-50.0_f32..50.0, 1..300)) {
        check_softmax(&x)?;
    }
}
