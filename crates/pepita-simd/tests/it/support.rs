//! What tests share: tiers, numbers, places, a reference.

use pepita_simd::{Element, SimdCapabilities, SimdOps, Tier};

/// The operations of each tier that this CPU has.
pub(crate) fn tiers() -> Vec<(Tier, SimdOps)> {
    let of = |tier| {
        Some((
            tier,
            SimdOps::with_caps(SimdCapabilities::with_tier(tier).ok()?),
        ))
    };
    Tier::ALL.into_iter().filter_map(of).collect()
}

/// An [`Element`] that a test can make and read.
pub(crate) trait Number: Element + std::fmt::Display {
    const INFINITY: Self;
    const SMALLEST_NORMAL: f64;
    /// Rounds.
    fn of(x: f64) -> Self;
    /// Exactly.
    fn wide(self) -> f64;
    /// The distance to the next number, of an amount.
    fn unit(x: f64) -> f64;
}

impl Number for f32 {
    const INFINITY: Self = Self::INFINITY;
    const SMALLEST_NORMAL: f64 = Self::MIN_POSITIVE as f64;

    #[expect(clippy::cast_possible_truncation, reason = "rounds, as it says")]
    fn of(x: f64) -> Self {
        x as f32
    }

    fn wide(self) -> f64 {
        self.into()
    }

    fn unit(x: f64) -> f64 {
        unit_of(x, 24, -149)
    }
}

impl Number for f64 {
    const INFINITY: Self = Self::INFINITY;
    const SMALLEST_NORMAL: f64 = Self::MIN_POSITIVE;

    fn of(x: f64) -> Self {
        x
    }

    fn wide(self) -> f64 {
        self
    }

    fn unit(x: f64) -> f64 {
        unit_of(x, 53, -1074)
    }
}

fn unit_of(x: f64, bits: i32, smallest: i32) -> f64 {
    if x == 0.0 {
        return f64::from(smallest).exp2();
    }
    #[expect(clippy::cast_possible_truncation, reason = "an exponent")]
    let exponent = x.abs().log2().floor() as i32;
    f64::from((exponent - bits + 1).max(smallest)).exp2()
}

/// Numbers between -1 and 1.
pub(crate) fn numbers<T: Number>(seed: u64, len: usize) -> Vec<T> {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bits = u32::try_from(state >> 32).expect("32 bits");
        T::of(f64::from(bits) / f64::from(1_u32 << 31) - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

/// γ(n) of the type.
pub(crate) fn gamma<T: Number>(n: f64) -> f64 {
    let nu = n * T::UNIT_ROUNDOFF.wide();
    nu / (1.0 - nu)
}

/// log2 of blocks and the rest of a sum's depth; see [`SimdOps::sum`].
#[expect(clippy::cast_precision_loss, reason = "lengths of tests are small")]
pub(crate) fn depth(n: usize) -> f64 {
    let n = n as f64;
    n.min(520.0 + (n / 4096.0).log2().max(0.0)).max(1.0)
}

/// A sum in twice the bits of `f64`, by Knuth's two-sum.
pub(crate) fn exact_sum(terms: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut high, mut low) = (0.0_f64, 0.0_f64);
    for (x, y) in terms {
        let product = x * y;
        low += x.mul_add(y, -product);
        let sum = high + product;
        let back = sum - high;
        low += (high - (sum - back)) + (product - back);
        high = sum;
    }
    high + low
}

/// Lengths about the edges of vectors and blocks.
pub(crate) const LENGTHS: [usize; 22] = [
    0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 129, 1000, 4096, 4097, 20_000,
];
