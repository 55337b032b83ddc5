//! Roofs do what they say.

use pepita_simd::SimdOps;
use pepita_simd::roof::{SUMS_LEN, Stores, multiply_adds, read, update, write};

use crate::support::{Number, tiers};

/// Memory of which some part begins at a multiple of 64 bytes.
fn aligned<T: Number>(memory: &mut [T]) -> &mut [T] {
    let head = memory.as_ptr().align_offset(64);
    &mut memory[head..head + 1024]
}

fn total<T: Number, const N: usize>(ops: &SimdOps, from: [&[T]; N]) -> T {
    let mut sums = [T::ZERO; SUMS_LEN];
    read(ops, from, &mut sums);
    sums.into_iter().fold(T::ZERO, |total, sum| total + sum)
}

fn check<T: Number>() {
    let x: Vec<T> = (0..1024).map(|i| T::of(f64::from(i % 7) - 3.0)).collect();
    let y: Vec<T> = (0..1024).map(|i| T::of(f64::from(i % 5))).collect();
    for (tier, ops) in tiers() {
        assert_eq!(multiply_adds::<T>(&ops, 0), 0, "{tier}");
        let lanes = multiply_adds::<T>(&ops, 10) / (10 * 192);
        assert!(lanes.is_power_of_two() && lanes <= 16, "{tier}: {lanes}");
        assert_eq!(total(&ops, [&x]), ops.sum(&x), "{tier}");
        assert_eq!(total(&ops, [&x, &y]), ops.dot(&x, &y), "{tier}");
        let (mut memory, mut want) = (vec![T::ZERO; 1024 + 64], vec![T::ZERO; 1024]);
        for stores in [Stores::Cached, Stores::Streamed] {
            let to = aligned(&mut memory);
            write(&ops, [&x], to, stores);
            assert_eq!(to, x, "{tier} {stores:?}");
            write(&ops, [&x, &y], to, stores);
            ops.add(&x, &y, &mut want);
            assert_eq!(to, want, "{tier} {stores:?}");
            write(&ops, [&x, &y, &y], to, stores);
            ops.mul_add(&x, &y, &y, &mut want);
            assert_eq!(to, want, "{tier} {stores:?}");
        }
        let to = aligned(&mut memory);
        to.copy_from_slice(&x);
        update(&ops, [&y], to);
        ops.add(&x, &y, &mut want);
        assert_eq!(to, want, "{tier}");
        update(&ops, [], to);
        ops.abs_in_place(&mut want);
        assert_eq!(to, want, "{tier}");
    }
}

#[test]
fn a_roof_moves_and_adds_up_what_it_says() {
    check::<f32>();
    check::<f64>();
}

#[test]
#[should_panic(expected = "begins at a multiple of 64 bytes")]
fn what_is_streamed_must_be_aligned() {
    let mut memory = [0.0_f32; 1024 + 64];
    let to = aligned(&mut memory).as_ptr().addr();
    let head = (to - memory.as_ptr().addr()) / 4 + 1;
    write(
        &SimdOps::new(),
        [&[1.0; 512]],
        &mut memory[head..head + 512],
        Stores::Streamed,
    );
}
