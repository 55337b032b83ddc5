//! The strategies of the feature `proptest`, as a program's own property tests use them.

#![cfg(all(feature = "proptest", feature = "sched", feature = "zram"))]

use std::fmt::Debug;

use pepita::blk_mq::{RequestFlags, RequestOp, TagSetConfig};
use pepita::error::{Errno, KernelError};
use pepita::executor::Backend;
use pepita::fault::{Cause, Codes, Failure, Jitter, RetryOn, RetryPolicy};
use pepita::io_uring::{IoUringCqe, IoUringCqe32, IoUringSqe, IoUringSqe128};
use pepita::memory::{
    AllocFlags, DmaAddr, DmaDirection, DmaMask, Order, PageSize, Pfn, PfnRange, PhysAddr,
    PhysRange, Protection, VirtAddr,
};
use pepita::task::{CpuAffinity, Exit, Limits, Priority, TaskId};
use pepita::ublk::{UblkCtrlCmd, UblkIoCmd, UblkIoDesc};
use pepita::zram::{Deduplication, Idle, PageKind, ZramCompressor, ZramConfig};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Values of the type differ.
fn check<T: Arbitrary + Debug>() {
    let mut runner = TestRunner::deterministic();
    let strategy = any::<T>();
    let mut draw = || {
        format!(
            "{:?}",
            strategy.new_tree(&mut runner).expect("a value").current()
        )
    };
    let first = draw();
    assert!((0..100).any(|_| draw() != first), "always {first}");
}

#[test]
fn every_value_type_has_a_strategy() {
    check::<(RequestFlags, RequestOp, TagSetConfig)>();
    check::<(Errno, KernelError)>();
    check::<(IoUringCqe, IoUringCqe32, IoUringSqe, IoUringSqe128)>();
    check::<(UblkCtrlCmd, UblkIoCmd, UblkIoDesc)>();
    check::<(PhysAddr, VirtAddr, DmaAddr, Pfn, PhysRange, PfnRange)>();
    check::<(PageSize, Order, AllocFlags, Protection, DmaMask)>();
    check::<DmaDirection>();
    check::<(Cause, Codes, Failure, Jitter, RetryOn, RetryPolicy)>();
    check::<(Deduplication, Idle, PageKind, ZramCompressor, ZramConfig)>();
    check::<(CpuAffinity, Exit, Limits, Priority, TaskId, Backend)>();
}

proptest! {
    #[test]
    fn a_frame_of_a_range_has_an_address_inside_of_it(range: PfnRange) {
        for pfn in range.iter().take(3) {
            prop_assert!(range.contains(Pfn::from_addr(pfn.to_addr())));
        }
    }
}
