//! The instruction sets: one trait, [`Lanes`], which generic algorithms are written over, a token for each set
//! that implements it, and the one place that picks among them, [`Dispatch::dispatch`].
//!
//! Only the modules below this one have `unsafe`, and it is of one kind: calling what the compiler knows as an
//! instruction of a CPU that has it.
//!
//! # Invariants
//! * *cpu-has-it*: a token exists only on a CPU that has the instructions of its set, and an operating system that
//!   keeps their registers. Its one constructor asks [`host()`].
//! * *array-long*: an array of the associated type `Array` is as long as a vector.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod cpuid;
mod host;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod root;
mod scalar;
mod shared;
#[cfg(target_arch = "x86_64")]
mod sse41;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("pepita-simd knows x86-64 and aarch64");

pub(crate) use host::{Host, host};
pub(crate) use scalar::Scalar;

use crate::capabilities::Tier;

/// An algorithm that is written once for all instruction sets.
///
/// `run`, and all that it calls, is `#[inline(always)]`: only inlined into [`Lanes::vectorize`] is it compiled with the
/// instructions of the set. It has no closures, which would not be.
pub(crate) trait Op<T: Dispatch> {
    /// What it gives.
    type Output;

    /// The algorithm.
    fn run<S: Lanes<T>>(self, s: S) -> Self::Output;
}

/// Vectors of `T` of one instruction set. The value is the proof that the CPU has it (*cpu-has-it*).
pub(crate) trait Lanes<T: Dispatch>: Copy {
    /// A vector.
    type V: Copy;
    /// As many numbers in memory, of any alignment (*array-long*).
    type Array: Copy + AsRef<[T]> + AsMut<[T]>;
    /// One answer a lane.
    type Mask: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// An array of zeros.
    const ZEROS: Self::Array;

    /// Runs `op` compiled for this set.
    fn vectorize<O: Op<T>>(self, op: O) -> O::Output;

    /// The whole vectors of `x`, and the rest.
    fn arrays(x: &[T]) -> (&[Self::Array], &[T]);
    /// The whole vectors of `x`, and the rest.
    fn arrays_mut(x: &mut [T]) -> (&mut [Self::Array], &mut [T]);

    /// `x` in all lanes.
    fn splat(self, x: T) -> Self::V;
    /// Reads a vector.
    fn load(self, from: &Self::Array) -> Self::V;
    /// Writes a vector.
    fn store(self, v: Self::V, to: &mut Self::Array);
    /// Writes a vector past the caches, where the set can; `to` has the alignment of the vector.
    fn stream(self, v: Self::V, to: &mut Self::Array);
    /// Makes what was streamed visible to others before what follows.
    fn fence(self);

    /// Reads less than a vector; the other lanes are zero.
    #[inline(always)]
    fn load_part(self, from: &[T]) -> Self::V {
        let mut array = Self::ZEROS;
        for (to, from) in array.as_mut().iter_mut().zip(from) {
            *to = *from;
        }
        self.load(&array)
    }

    /// Writes the first lanes.
    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [T]) {
        let mut array = Self::ZEROS;
        self.store(v, &mut array);
        for (to, from) in to.iter_mut().zip(array.as_ref()) {
            *to = *from;
        }
    }

    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the set can, else twice.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; unspecified where one is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; unspecified where one is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Without the sign.
    fn abs(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even, of what is below 2^22 (`f32`) or 2^51 (`f64`) in amount.
    fn round(self, a: Self::V) -> Self::V;
    /// Two to the power of an integer, of which all powers in the range of normal numbers are asked for.
    fn pow2(self, n: Self::V) -> Self::V;
    /// `a < b`; false where one is NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// Where `a` is NaN.
    fn is_nan(self, a: Self::V) -> Self::Mask;
    /// Where `a` or `b` is NaN.
    fn is_either_nan(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// Where one of the two holds.
    fn or(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// `yes` where the mask holds, else `no`.
    fn select(self, mask: Self::Mask, yes: Self::V, no: Self::V) -> Self::V;
    /// Whether any lane holds.
    fn any(self, mask: Self::Mask) -> bool;

    /// Asks for the cache line at the start of `at`, to be read or written soon.
    fn prefetch(self, at: &[T]);
}

/// A number that there are vectors of, and how the instruction set for it is chosen.
///
/// The bound of a public trait, which only this crate implements.
pub trait Dispatch: Copy + 'static {
    /// Runs `op` with the instructions of `tier`, or of the best below it that this CPU has.
    #[expect(private_interfaces, private_bounds, reason = "called from here only")]
    fn dispatch<O: Op<Self>>(tier: Tier, op: O) -> O::Output;
}

/// The one dispatch point.
macro_rules! dispatch {
    ($element:ty) => {
        impl Dispatch for $element {
            #[expect(private_interfaces, private_bounds, reason = "called from here only")]
            #[inline]
            fn dispatch<O: Op<Self>>(tier: Tier, op: O) -> O::Output {
                #[cfg(target_arch = "x86_64")]
                {
                    if tier == Tier::Avx512
                        && let Some(s) = avx512::Avx512::new()
                    {
                        return Lanes::<$element>::vectorize(s, op);
                    }
                    if tier >= Tier::Avx2
                        && let Some(s) = avx2::Avx2::new()
                    {
                        return Lanes::<$element>::vectorize(s, op);
                    }
                    if tier >= Tier::Sse41
                        && let Some(s) = sse41::Sse41::new()
                    {
                        return Lanes::<$element>::vectorize(s, op);
                    }
                }
                #[cfg(target_arch = "aarch64")]
                if tier == Tier::Neon {
                    return Lanes::<$element>::vectorize(neon::Neon::new(), op);
                }
                Lanes::<$element>::vectorize(Scalar, op)
            }
        }
    };
}

dispatch!(f32);
dispatch!(f64);
