//! Strategies for the value types (feature `proptest`): configurations that devices can be made from, and what can be
//! asked of a device.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use crate::{Deduplication, Idle, PageKind, ZramCompressor, ZramConfig};

/// Bytes of the largest device: 64 MiB, so that tests can fill it.
const SIZE_MAX: u64 = 64 << 20;

macro_rules! arbitrary {
    ($($type:ty: $strategy:expr;)*) => {$(
        impl Arbitrary for $type {
            type Parameters = ();
            type Strategy = BoxedStrategy<Self>;

            fn arbitrary_with((): ()) -> Self::Strategy {
                $strategy.boxed()
            }
        }
    )*};
}

arbitrary! {
    ZramCompressor: select(&[Self::Lz4, Self::None][..]);
    Deduplication: select(&[Self::On, Self::Off][..]);
    PageKind: select(&[Self::Idle, Self::Huge, Self::HugeIdle][..]);
    Idle: prop_oneof![
        Just(Self::All),
        (0..1_u64 << 20).prop_map(|seconds| Self::UnusedFor(Duration::from_secs(seconds))),
    ];
    ZramConfig: (
        1..=SIZE_MAX,
        any::<(ZramCompressor, Deduplication)>(),
        proptest::option::of(0..=SIZE_MAX),
        0..=4_usize,
    )
        .prop_map(|(size_bytes, (compressor, deduplication), mem_limit, num_streams)| Self {
            size_bytes,
            compressor,
            deduplication,
            mem_limit,
            num_streams,
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #[test]
        fn each_configuration_makes_a_device(config: ZramConfig) {
            let device = crate::ZramDevice::new(config).expect("it can be made");
            prop_assert_eq!(device.config(), &config);
            prop_assert_eq!(device.stats().mm_stat().0[3], config.mem_limit.unwrap_or(0));
        }
    }
}
