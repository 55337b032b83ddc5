//! What `activate` takes, and what it does not.

use std::sync::Arc;

use pepita_virtio::{Area, GuestRam, MemoryError, QueueError, RingFeatures, VirtQueue};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::rig::{DEVICE, DRIVER, END, PACKED, PLAIN, TABLE, registers};

fn ram() -> GuestRam {
    GuestRam::zeroed(usize::try_from(END).expect("small"))
}

fn activate(queue: &VirtQueue, features: RingFeatures) -> Result<u16, QueueError> {
    queue.activate(&ram(), features).map(|queue| queue.size())
}

#[test]
fn a_queue_that_is_not_ready_is_refused() {
    // Q7
    let mut queue = registers(8);
    queue.set_ready(false);
    assert_eq!(activate(&queue, PLAIN), Err(QueueError::NotReady));
}

#[test]
fn a_size_is_a_power_of_two_up_to_the_devices_unless_the_ring_is_packed() {
    // Q1, Q2, Q3
    for (size, split, packed) in [
        (0, false, false),
        (1, true, true),
        (3, false, true),
        (255, false, true),
        (256, true, true),
        (257, false, false),
        (512, false, false),
        (u16::MAX, false, false),
    ] {
        let mut queue = registers(256);
        queue.set_ready(false);
        queue.set_size(size);
        queue.set_ready(true);
        for (features, fits) in [(PLAIN, split), (PACKED, packed)] {
            let wrong = QueueError::Size {
                size,
                max: 256,
                packed: features.packed,
            };
            let want = if fits { Ok(size) } else { Err(wrong) };
            assert_eq!(activate(&queue, features), want, "{size}");
        }
    }
}

#[test]
fn the_largest_queue_is_a_queue() {
    for features in [PLAIN, PACKED] {
        assert_eq!(activate(&registers(32_768), features), Ok(32_768));
    }
}

#[test]
fn registers_of_a_queue_that_is_ready_do_not_change() {
    // Q8
    let mut queue = registers(8);
    queue.set_size(32_768);
    queue.set_address(Area::Device, 1);
    assert_eq!(queue, registers(8));
}

fn with(area: Area, addr: u64) -> VirtQueue {
    let mut queue = registers(8);
    queue.set_ready(false);
    queue.set_address(area, addr);
    queue.set_ready(true);
    queue
}

#[test]
fn areas_stand_at_multiples_of_what_the_format_says() {
    // Q4
    for (features, aligns) in [(PLAIN, [16, 2, 4]), (PACKED, [16, 4, 4])] {
        for ((area, base), align) in Area::ALL
            .into_iter()
            .zip([TABLE, DRIVER, DEVICE])
            .zip(aligns)
        {
            for offset in 1..=16 {
                let addr = base + 0x100 + offset;
                let want = if offset % align == 0 {
                    Ok(8)
                } else {
                    let align = usize::try_from(align).expect("small");
                    Err(QueueError::Alignment { area, addr, align })
                };
                assert_eq!(
                    activate(&with(area, addr), features),
                    want,
                    "{area} {addr:#x}"
                );
            }
        }
    }
}

#[test]
fn areas_lie_in_the_guests_memory_in_one_piece() {
    // Q5: behind the end, across it, beyond 2⁶⁴
    for features in [PLAIN, PACKED] {
        for area in Area::ALL {
            let len = area.bytes(8, features.packed) as u64;
            let inside = (END - len) & !15;
            assert_eq!(activate(&with(area, inside), features), Ok(8));
            for addr in [inside + 16, END, 1 << 40, !15] {
                let source = MemoryError::Unmapped { addr, len };
                let want = QueueError::Range { area, source };
                assert_eq!(activate(&with(area, addr), features), Err(want));
            }
        }
    }
}

#[test]
fn an_area_across_a_hole_or_two_regions_is_refused() {
    // Q5
    let ranges = [(0, 0x1000), (0x1000, 0x1000), (0x3000, 0x10_0000)];
    let ranges = ranges.map(|(start, len)| (GuestAddress(start), len));
    let memory = GuestMemoryMmap::<()>::from_ranges(&ranges).expect("there is memory");
    let ram = GuestRam::new(Arc::new(memory)).expect("it is ours");
    let refused = |addr| {
        with(Area::Descriptor, addr)
            .activate(&ram, PLAIN)
            .map(|queue| queue.size())
    };
    let len = 128;
    let pieces = QueueError::Range {
        area: Area::Descriptor,
        source: MemoryError::Pieces { addr: 0xff0, len },
    };
    let hole = QueueError::Range {
        area: Area::Descriptor,
        source: MemoryError::Unmapped { addr: 0x1ff0, len },
    };
    assert_eq!(refused(0xff0), Err(pieces));
    assert_eq!(refused(0x1ff0), Err(hole));
    assert_eq!(refused(0x1f80), Ok(8));
}

#[test]
fn areas_do_not_overlap() {
    // Q6
    for features in [PLAIN, PACKED] {
        for (area, addr, one, other) in [
            (Area::Driver, TABLE + 16, Area::Descriptor, Area::Driver),
            (Area::Device, TABLE + 124, Area::Descriptor, Area::Device),
            (Area::Device, DRIVER, Area::Driver, Area::Device),
        ] {
            let want = QueueError::Overlap { one, other };
            assert_eq!(activate(&with(area, addr), features), Err(want));
        }
        assert_eq!(activate(&with(Area::Driver, TABLE + 128), features), Ok(8));
    }
}

#[test]
fn two_queues_on_the_same_rings_do_each_other_no_more_than_wrong_answers() {
    // Q12
    let ram = ram();
    let mut queues = [(); 2].map(|()| registers(8).activate(&ram, PLAIN).expect("all is well"));
    ram.write(TABLE, &crate::rig::split(16, 0, 0).to_bytes())
        .expect("there is memory");
    ram.write(DRIVER + 2, &[1]).expect("there is memory");
    for queue in &mut queues {
        let mut chain = queue.chain();
        assert_eq!(queue.pop(&mut chain), Ok(true));
        assert_eq!(queue.complete(&mut chain, 0), Ok(()));
        assert_eq!(queue.pop(&mut chain), Ok(false));
    }
}

#[test]
fn a_reset_queue_begins_at_the_beginning_and_knows_no_buffer_of_before() {
    // Q10; virtio 1.3, 2.6.1.1
    let ram = ram();
    let registers = registers(8);
    let mut before = registers.activate(&ram, PLAIN).expect("all is well");
    ram.write(TABLE, &crate::rig::split(16, 0, 0).to_bytes())
        .expect("there is memory");
    ram.write(DRIVER + 2, &[1]).expect("there is memory");
    let mut chain = before.chain();
    assert_eq!(before.pop(&mut chain), Ok(true));
    drop(before);
    let mut after = registers.activate(&ram, PLAIN).expect("all is well");
    assert_eq!(after.complete(&mut chain, 0), Err(QueueError::Foreign));
    assert!(!after.needs_notification());
    assert_eq!(after.pop(&mut chain), Ok(true), "the same one again");
    assert_eq!(after.complete(&mut chain, 0), Ok(()));
}

#[test]
fn a_packed_queue_goes_on_where_it_has_a_descriptor() {
    let wrap = 1 << 15;
    for (position, fits) in [
        (0, true),
        (7, true),
        (8, false),
        (wrap, true),
        (wrap | 7, true),
        (wrap | 8, false),
        (u16::MAX, false),
    ] {
        let resumed = registers(8).resume(&ram(), PACKED, position);
        let wrong = QueueError::Position { position, size: 8 };
        let want = if fits { Ok(Some(position)) } else { Err(wrong) };
        assert_eq!(resumed.map(|queue| queue.position()), want);
        let split = registers(8).resume(&ram(), PLAIN, position);
        assert_eq!(split.map(|queue| queue.position()), Ok(Some(position)));
    }
}
