//! [`SimdOps`] and [`MatrixOps`]: every operation by its name.

#[cfg(feature = "std")]
mod matrix;
mod product;
mod vector;

#[cfg(feature = "std")]
pub use matrix::MatrixOps;

use crate::{SimdCapabilities, Tier};

/// Operations on slices, with the instructions of one tier. None of them allocates.
#[derive(Debug, Clone, Copy)]
pub struct SimdOps {
    caps: SimdCapabilities,
}

impl Default for SimdOps {
    fn default() -> Self {
        Self::new()
    }
}

impl SimdOps {
    /// With the best that this CPU has.
    #[must_use]
    pub fn new() -> Self {
        Self {
            caps: SimdCapabilities::detect(),
        }
    }

    /// With what is both in `caps` and in this CPU.
    ///
    /// ```
    /// use pepita_simd::{SimdCapabilities, SimdOps, Tier};
    ///
    /// let plain = SimdOps::with_caps(SimdCapabilities::with_tier(Tier::Scalar)?);
    /// assert_eq!(plain.caps().description(), "Scalar");
    /// # Ok::<(), pepita_simd::TierError>(())
    /// ```
    #[must_use]
    pub fn with_caps(caps: SimdCapabilities) -> Self {
        Self {
            caps: SimdCapabilities::detect().and(caps),
        }
    }

    /// What is used.
    #[must_use]
    pub fn caps(&self) -> &SimdCapabilities {
        &self.caps
    }

    pub(crate) fn tier(&self) -> Tier {
        self.caps.tier()
    }
}

/// Ends in a panic with the message of the error, where the caller did not ask for it.
#[track_caller]
pub(crate) fn fits<T>(done: Result<T, crate::ShapeError>) -> T {
    match done {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
