//! Strategies for the value types (feature `proptest`).
//!
//! What the kernel writes has the values that it can write; what goes to the kernel has any that its type
//! holds, for a structure of the ABI refuses none.

use proptest::prelude::*;
use proptest::sample::select;

use crate::blk_mq::{RequestFlags, RequestOp, SECTOR_SHIFT, TagSetConfig};
use crate::error::{Errno, KernelError};
use crate::io_uring::{IoUringCqe, IoUringCqe32, IoUringSqe, IoUringSqe128};
use crate::ublk::{UblkCtrlCmd, UblkIoCmd, UblkIoDesc, UblksrvCtrlCmd, UblksrvIoCmd};

/// The highest error number with a name, nearly: those beyond are kept, and have none.
const NAMED: i32 = 134;

/// The most tags of a queue.
const DEPTH_MAX: u16 = 1 << 15;

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
    Errno: prop_oneof![4 => 1..=NAMED, 1 => 1..=Self::MAX].prop_map(Self::from_raw);
    KernelError: (select(&["openat", "io_uring_enter", "ioctl"][..]), any::<Errno>())
        .prop_map(|(operation, errno)| Self::from_errno(operation, errno));

    IoUringSqe: (any::<([u8; 2], u16, [u32; 3], i32)>(), any::<([u64; 5], [u16; 2])>()).prop_map(
        |(([opcode, flags], ioprio, [len, op_flags, file_index], fd), (words, [buf_index, personality]))| {
            let [off, addr, user_data, addr3, pad2] = words;
            Self {
                opcode,
                flags,
                ioprio,
                fd,
                off,
                addr,
                len,
                op_flags,
                user_data,
                buf_index,
                personality,
                file_index,
                addr3,
                pad2,
            }
        },
    );
    IoUringSqe128: any::<(IoUringSqe, [u64; 8])>().prop_map(|(sqe, rest)| Self { sqe, rest });
    IoUringCqe: (any::<u64>(), result(), any::<u32>())
        .prop_map(|(user_data, res, flags)| Self { user_data, res, flags });
    IoUringCqe32: any::<(IoUringCqe, [u64; 2])>().prop_map(|(cqe, big_cqe)| Self { cqe, big_cqe });

    UblkIoDesc: (any::<[u32; 2]>(), any::<u64>(), any::<u64>()).prop_map(
        |([op_flags, nr_sectors], sector, addr)| Self {
            op_flags,
            nr_sectors,
            // A device's last byte has an offset of 63 bits.
            start_sector: sector >> (SECTOR_SHIFT + 1),
            addr,
        },
    );
    UblkIoCmd: (any::<[u16; 2]>(), result(), any::<u64>()).prop_map(|([q_id, tag], result, addr)| {
        Self { cmd: UblksrvIoCmd { q_id, tag, result, addr } }
    });
    UblkCtrlCmd: (any::<[u32; 2]>(), any::<[u16; 3]>(), any::<[u64; 2]>()).prop_map(
        |([cmd_op, dev_id], [queue_id, len, dev_path_len], [addr, data])| Self {
            cmd_op,
            cmd: UblksrvCtrlCmd {
                dev_id,
                queue_id,
                len,
                addr,
                data: [data],
                dev_path_len,
                ..UblksrvCtrlCmd::default()
            },
        },
    );

    RequestOp: select(&[
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::SecureErase,
        Self::WriteZeroes,
        Self::ZoneOpen,
        Self::ZoneClose,
        Self::ZoneFinish,
        Self::ZoneAppend,
        Self::ZoneReset,
        Self::ZoneResetAll,
        Self::ZoneReport,
    ][..]);
    // Unknown bits are kept, so they may be there.
    RequestFlags: prop_oneof![3 => 0..1_u32 << 6, 1 => any::<u32>()].prop_map(Self::from_bits);
    TagSetConfig: (1..=u16::MAX, prop_oneof![4 => 1..=256_u16, 1 => 1..=DEPTH_MAX])
        .prop_flat_map(|(queues, depth)| {
            (0..depth).prop_map(move |reserved| Self::new(queues, depth).reserved(reserved))
        });
}

/// A result as the kernel writes it.
fn result() -> impl Strategy<Value = i32> {
    prop_oneof![3 => 0..=i32::MAX, 1 => -Errno::MAX..0]
}
