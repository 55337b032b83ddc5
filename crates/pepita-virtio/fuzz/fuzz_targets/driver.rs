//! A driver whose device is the fuzzer: it writes the ring, and the driver believes nothing that it can refute.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pepita_virtio::{AddError, DriverQueue, Element, GuestRam, RingFeatures, Slot};

const BYTES: usize = 0x1000;

fuzz_target!(|data: &[u8]| {
    let Some(([flags, size], data)) = data.split_first_chunk() else {
        return;
    };
    let features = RingFeatures {
        indirect: false,
        event_index: flags & 1 != 0,
        in_order: flags & 2 != 0,
        packed: flags & 4 != 0,
    };
    let size = if features.packed {
        u16::from(size % 16) + 1
    } else {
        1 << (size % 5)
    };
    let ram = GuestRam::zeroed(BYTES);
    let mut slots = vec![Slot::default(); size.into()];
    let ring = ram
        .shared(0, DriverQueue::bytes(size, features))
        .expect("inside");
    let len = ring.len() as u64;
    let mut driver = DriverQueue::new(ring, &mut slots, features);
    // Buffers that the device has: id, descriptors, bytes that it may write.
    let mut out: Vec<(u16, u16, u64)> = Vec::new();
    for [op, at, one, other] in data.as_chunks().0 {
        match op % 4 {
            0 => {
                let count = usize::from(op >> 2) % 3 + 1;
                let elements = [Element::new(0x800, u32::from(*one)); 3];
                let (readable, writable) =
                    elements[..count].split_at(usize::from(*at) % (count + 1));
                match driver.add(readable, writable) {
                    Ok(id) => {
                        let bytes = writable.len() as u64 * u64::from(*one);
                        assert!(
                            out.iter().all(|(other, ..)| *other != id),
                            "one id, one buffer"
                        );
                        out.push((id, u16::try_from(count).expect("small"), bytes));
                    }
                    Err(AddError::Failed) => assert!(driver.failure().is_some()),
                    Err(AddError::Full { .. }) => assert!(count > usize::from(driver.free())),
                    Err(AddError::TooLong { .. }) => assert!(count > usize::from(size)),
                    Err(error) => panic!("{error}"),
                }
                let _ = driver.needs_kick();
            }
            1 => ram
                .write(u64::from(*at) * 4 % (len - 1), &[*one, *other])
                .expect("inside"),
            2 => match driver.take_used() {
                Ok(None) => {}
                Ok(Some(used)) => {
                    let at = out.iter().position(|(id, ..)| *id == used.id);
                    let (_, _, writable) = out.remove(at.expect("the device had it"));
                    assert!(used.written <= writable);
                    assert!(at == Some(0) || !features.in_order);
                }
                Err(fault) => assert_eq!(driver.failure(), Some(fault)),
            },
            _ => {
                driver.disable_notifications();
                let _ = driver.enable_notifications();
            }
        }
        let taken: u16 = out.iter().map(|(_, count, _)| count).sum();
        assert!(driver.failure().is_some() || driver.free() + taken == size);
    }
});
