//! Strategies for the value types (feature `proptest`): every value that a builder lets through.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::executor::Backend;
use crate::fault::{Cause, Codes, Failure, Jitter, RetryOn, RetryPolicy};
use crate::task::{CPU_MAX, CpuAffinity, Exit, Limits, Priority, TaskId};

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

/// The code of a process that failed, and the signals that there are.
fn exit_code() -> impl Strategy<Value = i32> {
    1..=255
}

fn signal() -> impl Strategy<Value = i32> {
    1..=64
}

/// Delays up to the longest there can be, most of them as in use.
fn delay() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0..=60_000_000_000_u64).prop_map(Duration::from_nanos),
        1 => any::<Duration>(),
    ]
}

const CAUSES: [Cause; 5] = [
    Cause::Timeout,
    Cause::MemoryLimit,
    Cause::Start,
    Cause::Panic,
    Cause::Other,
];

arbitrary! {
    Cause: select(&CAUSES[..]);
    Failure: prop_oneof![
        exit_code().prop_map(Self::Exit),
        signal().prop_map(Self::Signal),
        select(&[Self::Timeout, Self::MemoryLimit, Self::Start, Self::Panic, Self::Other][..]),
    ];
    Codes: {
        let codes = || vec(exit_code(), 0..4);
        prop_oneof![
            Just(Self::None),
            Just(Self::Any),
            codes().prop_map(Self::only),
            codes().prop_map(Self::all_but),
        ]
    };
    // Without a filter, which is code.
    RetryOn: (any::<Codes>(), any::<Codes>(), proptest::sample::subsequence(&CAUSES[..], 0..=CAUSES.len()))
        .prop_map(|(exits, signals, causes)| {
            let on = Self::nothing().exits(exits).signals(signals);
            causes.into_iter().fold(on, Self::also)
        });
    Jitter: select(&[Self::None, Self::Full, Self::Equal, Self::Decorrelated][..]);
    RetryPolicy: (
        prop_oneof![4 => 1..=10_u32, 1 => 1..=u32::MAX],
        (delay(), delay()),
        (any::<Jitter>(), prop_oneof![4 => 1.0..=1000.0, 1 => Just(1.0)]),
        option::of(delay()),
        any::<RetryOn>(),
    ).prop_map(|(attempts, (base, cap), (jitter, factor), total, on)| {
        let mut builder = Self::builder(attempts, base)
            .max_delay(cap.max(base))
            .jitter(jitter)
            .retry_on(on);
        if jitter != Jitter::Decorrelated {
            builder = builder.factor(factor);
        }
        if let Some(total) = total {
            builder = builder.total_time(total.max(Duration::from_nanos(1)));
        }
        builder.build().expect("settings within their limits")
    });

    Backend: select(&[Self::Any, Self::Cpu, Self::Simd, Self::Gpu, Self::MicroVm, Self::Remote][..]);
    Priority: select(&[Self::Low, Self::Normal, Self::High][..]);
    CpuAffinity: vec(prop_oneof![4 => 0..64_u32, 1 => 0..=CPU_MAX], 0..8).prop_map(Self::cpus);
    Limits: {
        let limit = || option::of(1..=u64::MAX);
        (limit(), limit(), limit(), limit(), limit(), limit()).prop_map(
            |(address_space_bytes, cpu_time_s, open_files, file_size_bytes, memory_bytes, processes)| Self {
                address_space_bytes,
                cpu_time_s,
                open_files,
                file_size_bytes,
                memory_bytes,
                processes,
            },
        )
    };
    TaskId: any::<u128>().prop_map(Self::from_u128);
    Exit: prop_oneof![
        (0..=255_i32).prop_map(Self::Code),
        signal().prop_map(Self::Signal),
    ];
}
