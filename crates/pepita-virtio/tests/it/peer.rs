//! The device's side against that of rust-vmm's `virtio-queue`, on the same bytes: right rings, and wrong ones.

use pepita_virtio::{
    GuestRam, QueueError, RingFeatures, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_WRITE, VirtqDesc,
};
use proptest::prelude::*;
use std::sync::Arc;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use crate::rig::{DATA, DEVICE, DRIVER, END, PLAIN, TABLE, registers, with_events};

const SIZE: u16 = 16;
/// Where indirect tables are.
const TABLES: u64 = DATA + 0x1000;

/// A guest's memory with a table of descriptors, tables behind it, and an available ring.
#[derive(Debug, Clone)]
struct Rings {
    table: Vec<VirtqDesc>,
    indirect: Vec<VirtqDesc>,
    heads: Vec<u16>,
    index: u16,
    used_event: u16,
}

/// Mostly right: chains that go on behind them, in the guest's memory, and tables of a few entries.
fn desc() -> impl Strategy<Value = VirtqDesc> {
    let addr = prop_oneof![8 => DATA..DATA + 0x800, 1 => END - 64..END + 64, 1 => any::<u64>()];
    let flags = prop_oneof![
        6 => prop::sample::select(vec![0, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE, VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_WRITE]),
        1 => any::<u16>(),
    ];
    let next = prop_oneof![9 => 0..SIZE, 1 => any::<u16>()];
    let plain = (
        addr,
        prop_oneof![9 => 0..64_u32, 1 => any::<u32>()],
        flags,
        next,
    );
    let plain = plain.prop_map(|(addr, len, flags, next)| VirtqDesc {
        addr,
        len,
        flags,
        next,
    });
    let table = (
        0..8_u64,
        prop_oneof![9 => (0..8_u32).prop_map(|n| n * 16), 1 => any::<u32>()],
    );
    let table = table.prop_map(|(at, len)| VirtqDesc {
        addr: TABLES + at * 8,
        len,
        flags: VIRTQ_DESC_F_INDIRECT,
        next: 0,
    });
    prop_oneof![6 => plain, 1 => table]
}

fn rings() -> impl Strategy<Value = Rings> {
    let descs = |count| prop::collection::vec(desc(), count);
    let heads = prop::collection::vec(
        prop_oneof![30 => 0..SIZE, 1 => any::<u16>()],
        usize::from(SIZE),
    );
    let index = prop_oneof![9 => 0..=SIZE, 1 => any::<u16>()];
    (descs(16_usize), descs(10), heads, index, any::<u16>()).prop_map(
        |(table, indirect, heads, index, used_event)| Rings {
            table,
            indirect,
            heads,
            index,
            used_event,
        },
    )
}

/// Right: each head's chain goes on with the descriptors behind it, readable ones first.
fn right_rings() -> impl Strategy<Value = Rings> {
    let chain = (
        0..3_usize,
        0..3_usize,
        prop::collection::vec(0..64_u32, 4),
        any::<bool>(),
    );
    (prop::collection::vec(chain, 1..4), any::<u16>()).prop_map(|(chains, used_event)| {
        let (mut table, mut indirect, mut heads) = (Vec::new(), Vec::new(), Vec::new());
        for (readable, writable, lens, by_table) in chains {
            let count = (readable + writable).max(1);
            let list = if by_table { &mut indirect } else { &mut table };
            let first = list.len();
            for (at, len) in (0..count).zip(lens) {
                let write = if at >= readable {
                    VIRTQ_DESC_F_WRITE
                } else {
                    0
                };
                let next = if at + 1 < count { VIRTQ_DESC_F_NEXT } else { 0 };
                let base = if by_table { 0 } else { first };
                list.push(VirtqDesc {
                    addr: DATA + 64 * at as u64,
                    len,
                    flags: write | next,
                    next: u16::try_from(base + at + 1).expect("small"),
                });
            }
            if by_table {
                heads.push(u16::try_from(table.len()).expect("small"));
                table.push(VirtqDesc {
                    addr: TABLES + 16 * first as u64,
                    len: 16 * u32::try_from(count).expect("small"),
                    flags: VIRTQ_DESC_F_INDIRECT,
                    next: 0,
                });
            } else {
                heads.push(u16::try_from(first).expect("small"));
            }
        }
        let index = u16::try_from(heads.len()).expect("small");
        Rings {
            table,
            indirect,
            heads,
            index,
            used_event,
        }
    })
}

/// A buffer: its head, and address and length of what is read and written, empty elements left out.
type Buffer = (u16, Vec<(u64, usize)>, Vec<(u64, usize)>);

fn memory(rings: &Rings) -> Arc<GuestMemoryMmap> {
    let range = [(GuestAddress(0), usize::try_from(END).expect("small"))];
    let memory = GuestMemoryMmap::<()>::from_ranges(&range).expect("there is memory");
    let write = |bytes: &[u8], addr| {
        memory
            .write_slice(bytes, GuestAddress(addr))
            .expect("there is memory")
    };
    for (base, list) in [(TABLE, &rings.table), (TABLES, &rings.indirect)] {
        for (desc, at) in list.iter().zip(0_u64..) {
            write(&desc.to_bytes(), base + at * 16);
        }
    }
    for (head, at) in rings.heads.iter().zip(0_u64..) {
        write(&head.to_le_bytes(), DRIVER + 4 + 2 * at);
    }
    write(
        &rings.used_event.to_le_bytes(),
        DRIVER + 4 + 2 * u64::from(SIZE),
    );
    write(&rings.index.to_le_bytes(), DRIVER + 2);
    Arc::new(memory)
}

fn used(memory: &GuestMemoryMmap) -> Vec<u8> {
    let mut bytes = vec![0; 6 + 8 * usize::from(SIZE)];
    memory
        .read_slice(&mut bytes, GuestAddress(DEVICE))
        .expect("it is there");
    bytes
}

/// What a device does that completes each buffer at once: the buffers, what it told, the used ring.
fn ours(rings: &Rings, features: RingFeatures) -> (Vec<Buffer>, Option<QueueError>, bool, Vec<u8>) {
    let memory = memory(rings);
    let ram = GuestRam::new(Arc::clone(&memory)).expect("it is ours");
    let base = memory
        .get_host_address(GuestAddress(0))
        .expect("it is mapped")
        .addr();
    let mut queue = registers(SIZE)
        .activate(&ram, features)
        .expect("all is well");
    let mut chain = queue.chain();
    let mut buffers = Vec::new();
    let failure = loop {
        match queue.pop(&mut chain) {
            Ok(false) => break None,
            Err(error) => break Some(error),
            Ok(true) => {}
        }
        let list = |list: &[pepita_sys::blk_mq::Segment]| {
            let guests = |one: &pepita_sys::blk_mq::Segment| (one.base().addr() - base) as u64;
            list.iter().map(|one| (guests(one), one.len())).collect()
        };
        buffers.push((chain.id(), list(chain.readable()), list(chain.writable())));
        queue.complete(&mut chain, 0).expect("it is in use");
    };
    let told = queue.needs_notification();
    (buffers, failure, told, used(&memory))
}

fn theirs(rings: &Rings, features: RingFeatures) -> (Vec<Buffer>, bool, Vec<u8>) {
    let memory = memory(rings);
    let mut queue = Queue::new(SIZE).expect("a size");
    queue.set_desc_table_address(Some(TABLE.try_into().expect("low")), None);
    queue.set_avail_ring_address(Some(DRIVER.try_into().expect("low")), None);
    queue.set_used_ring_address(Some(DEVICE.try_into().expect("low")), None);
    queue.set_event_idx(features.event_index);
    queue.set_ready(true);
    let mut buffers = Vec::new();
    while let Some(chain) = queue
        .iter(&*memory)
        .ok()
        .and_then(|mut chains| chains.next())
    {
        let head = chain.head_index();
        let list = |is_write: bool| {
            let descs = chain
                .clone()
                .filter(|desc| desc.is_write_only() == is_write && desc.len() > 0);
            descs
                .map(|desc| (desc.addr().0, desc.len() as usize))
                .collect()
        };
        buffers.push((head, list(false), list(true)));
        if queue.add_used(&*memory, head, 0).is_err() {
            break;
        }
    }
    let told = !buffers.is_empty() && queue.needs_notification(&*memory).expect("it is there");
    (buffers, told, used(&memory))
}

proptest! {
    #[test]
    fn right_rings_mean_the_same_to_both(rings in right_rings(), events: bool) {
        let features = if events { with_events(PLAIN) } else { PLAIN };
        let (buffers, failure, told, used) = ours(&rings, features);
        prop_assert_eq!(failure, None);
        prop_assert_eq!(buffers.len(), rings.heads.len());
        prop_assert_eq!((buffers, told, used), theirs(&rings, features));
    }

    /// Ours takes no buffer that theirs does not see just so, and stops at an error, which theirs may not see.
    #[test]
    fn mangled_rings_mean_no_more_to_ours(rings in rings()) {
        let (buffers, failure, _, _) = ours(&rings, PLAIN);
        let (others, _, _) = theirs(&rings, PLAIN);
        prop_assert!(buffers.len() <= others.len());
        prop_assert_eq!(&buffers[..], &others[..buffers.len()]);
        if failure.is_none() {
            prop_assert_eq!(buffers.len(), others.len());
        }
    }
}
