//! Strategies for the value types (feature `proptest`): every value that a constructor lets through, those at
//! the edges more often.

use proptest::prelude::*;
use proptest::sample::select;

use crate::page::PAGE_SHIFT;
use crate::{
    AllocFlags, DmaAddr, DmaDirection, DmaMask, Order, PageSize, Pfn, PfnRange, PhysAddr,
    PhysRange, Protection, VirtAddr,
};

/// Numbers of every length, short ones as often as long ones.
fn number() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..u64::BITS).prop_map(|(bits, unused)| bits >> unused)
}

/// The same, and what lies about the beginnings of pages and about the last number.
fn address() -> impl Strategy<Value = u64> {
    let about_page = (number(), -2..=2_i64)
        .prop_map(|(page, offset)| (page << PAGE_SHIFT).wrapping_add_signed(offset));
    let last = (0..=2_u64).prop_map(|below| u64::MAX - below);
    prop_oneof![4 => number(), 4 => about_page, 1 => last]
}

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
    PhysAddr: address().prop_map(Self::new_truncate);
    VirtAddr: (address(), any::<bool>()).prop_map(|(addr, is_high)| {
        Self::new_truncate(if is_high { !addr } else { addr })
    });
    DmaAddr: address().prop_map(Self::new);
    Pfn: any::<PhysAddr>().prop_map(Self::from_addr);
    PhysRange: (any::<PhysAddr>(), number()).prop_map(|(start, bytes)| {
        Self::new(start, bytes.min((1 << PhysAddr::BITS) - start.as_u64()))
    });
    PfnRange: (any::<Pfn>(), number()).prop_map(|(start, frames)| {
        Self::new(start, frames.min((1 << Pfn::BITS) - start.as_u64()))
    });
    PageSize: prop_oneof![
        select(&[Self::SIZE_4K, Self::SIZE_16K, Self::SIZE_64K, Self::SIZE_2M, Self::SIZE_1G][..]),
        (PAGE_SHIFT..=PhysAddr::BITS).prop_filter_map("a size", |shift| Self::try_new(1 << shift).ok()),
    ];
    Order: (0..=Self::MAX.get()).prop_map(Self::new);
    Protection: [Self::READ, Self::WRITE, Self::EXEC]
        .map(|one| select([Self::NONE, one].to_vec()))
        .prop_map(|parts| parts.into_iter().fold(Self::NONE, |all, one| all | one));
    AllocFlags: (0..=PhysAddr::BITS).prop_map(|bits| Self::NONE.with_address_bits(bits));
    DmaMask: (0..=u64::BITS).prop_map(Self::new);
    DmaDirection: select(&[Self::ToDevice, Self::FromDevice, Self::Bidirectional][..]);
}
