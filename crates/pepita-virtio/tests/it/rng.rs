//! The entropy source, as a driver sees it. virtio 1.3, 5.4

use pepita_virtio::{Element, STATUS_NEEDS_RESET, VirtioRng};

use crate::guest::{DATA, Guest, TRANSPORTS};
use crate::transport::rings;

fn on_each(story: impl Fn(Guest)) {
    for transport in TRANSPORTS {
        for packed in [false, true] {
            story(Guest::ready(
                transport,
                Box::new(VirtioRng::new()),
                rings(packed),
            ));
        }
    }
}

/// Adds a buffer; gives how much of it is filled.
fn ask(guest: &mut Guest, writable: &[Element]) -> u64 {
    let id = guest.add(0, &[], writable);
    let used = guest.take(0).expect("it is done at once");
    assert_eq!(used.id, id);
    used.written
}

#[test]
fn a_buffer_is_filled_with_bytes_that_are_others_each_time() {
    on_each(|mut guest| {
        assert_eq!(guest.bus.device_id(), 4);
        let mut before = [0; 64];
        for _ in 0..20 {
            let pieces = [Element::new(DATA, 10), Element::new(DATA + 10, 54)];
            assert_eq!(ask(&mut guest, &pieces), 64);
            let after = guest.read(DATA);
            // That 64 random bytes are the same twice does not happen.
            assert_ne!(before, after);
            before = after;
        }
        assert!(guest.bus.interrupts().0);
        assert_eq!(guest.read(DATA + 64), [0; 64], "nothing else is written");
    });
}

#[test]
fn every_byte_of_a_large_buffer_is_filled() {
    on_each(|mut guest| {
        let mut seen = vec![0_u8; 20_000];
        for _ in 0..8 {
            assert_eq!(ask(&mut guest, &[Element::new(DATA, 20_000)]), 20_000);
            let mut bytes = vec![0; seen.len()];
            guest.ram.read(DATA, &mut bytes).expect("there is memory");
            for (seen, byte) in seen.iter_mut().zip(bytes) {
                *seen |= byte;
            }
        }
        // A byte that is zero eight times has a chance of one in 2^64.
        assert!(seen.iter().all(|byte| *byte != 0));
    });
}

#[test]
fn a_request_gets_64_kib_at_most_however_often_it_names_the_same_memory() {
    on_each(|mut guest| {
        let same = [Element::new(DATA, 0x1_0000); 200];
        assert_eq!(ask(&mut guest, &same), 0x1_0000);
        assert_eq!(ask(&mut guest, &[Element::new(DATA, 0x2_0000)]), 0x1_0000);
    });
}

#[test]
fn a_buffer_that_cannot_be_written_is_given_back_as_it_is() {
    on_each(|mut guest| {
        guest.add(0, &[Element::new(DATA, 64)], &[]);
        assert_eq!(guest.take(0).map(|used| used.written), Some(0));
        assert_eq!(ask(&mut guest, &[Element::new(DATA, 0)]), 0);
        assert_eq!(guest.read(DATA), [0; 64]);
    });
}

#[test]
fn a_full_queue_is_served_in_turns() {
    on_each(|mut guest| {
        let size = guest.queues[0].size();
        for _ in 0..size {
            guest.queues[0]
                .add(&[], &[Element::new(DATA, 8)])
                .expect("there is room");
        }
        assert!(guest.queues[0].needs_kick());
        let mut turns = 1;
        while guest.bus.host().kick(0) {
            turns += 1;
        }
        assert!(turns >= size / 16, "{turns}");
        let done = std::iter::from_fn(|| guest.take(0)).count();
        assert_eq!(done, usize::from(size));
    });
}

#[test]
fn a_buffer_that_is_nowhere_makes_the_device_need_a_reset() {
    on_each(|mut guest| {
        guest.add(0, &[], &[Element::new(u64::MAX - 8, 4)]);
        assert!(guest.bus.status() & STATUS_NEEDS_RESET != 0);
        assert_eq!(guest.take(0), None);
        guest.init(rings(false));
        assert_eq!(ask(&mut guest, &[Element::new(DATA, 8)]), 8);
    });
}
