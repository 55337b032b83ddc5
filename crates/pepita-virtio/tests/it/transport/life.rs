//! Status, features and configuration, on each transport. virtio 1.3, 2.1 to 2.5, 3.1

use pepita_virtio::{
    Element, STATUS_ACKNOWLEDGE as ACKNOWLEDGE, STATUS_DRIVER as DRIVER,
    STATUS_DRIVER_OK as DRIVER_OK, STATUS_FAILED as FAILED, STATUS_FEATURES_OK as FEATURES_OK,
    STATUS_NEEDS_RESET as NEEDS_RESET, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1,
};

use super::probe::{self, CONFIG, Call, FEATURE, NEEDS_FEATURE};
use super::{on_each, on_each_ready, rings};
use crate::guest::{DATA, Guest};

/// Up to the features.
const AGREED: u8 = ACKNOWLEDGE | DRIVER | FEATURES_OK;
/// All.
const READY: u8 = AGREED | DRIVER_OK;

#[test]
fn a_driver_that_follows_the_sequence_gets_a_device_that_works() {
    on_each(|mut guest, told| {
        assert_eq!(guest.bus.device_id(), probe::ID);
        guest.init(FEATURE);
        let agreed = FEATURE | VIRTIO_F_VERSION_1;
        let kicks = [Call::Kick(0), Call::Kick(1)];
        let want = [
            Call::Reset,
            Call::Accept(agreed),
            Call::Activate(agreed),
            Call::Start(0, 8),
            Call::Start(1, 4),
        ];
        assert_eq!(told.take(), [want.as_slice(), &kicks].concat());
        guest.add(1, &[], &[Element::new(DATA, 16)]);
        assert_eq!(told.take(), [Call::Kick(1)]);
        assert_eq!(guest.bus.interrupts(), (true, false));
        assert_eq!(guest.take(1).map(|used| used.written), Some(16));
        assert_eq!(guest.take(0), None);

        guest.init(0);
        assert_eq!(told.take()[1], Call::Accept(VIRTIO_F_VERSION_1));
    });
}

#[test]
fn bits_of_the_status_are_set_in_their_order_and_never_cleared() {
    // Q9
    let cases: [(&[u8], u8); 12] = [
        (&[ACKNOWLEDGE], ACKNOWLEDGE),
        (&[DRIVER], 0),
        (&[FEATURES_OK], 0),
        (&[DRIVER_OK], 0),
        (&[ACKNOWLEDGE, DRIVER], ACKNOWLEDGE),
        (&[ACKNOWLEDGE | DRIVER], ACKNOWLEDGE | DRIVER),
        (&[ACKNOWLEDGE | FEATURES_OK], ACKNOWLEDGE),
        (&[ACKNOWLEDGE | DRIVER | DRIVER_OK], ACKNOWLEDGE | DRIVER),
        (&[AGREED, ACKNOWLEDGE | DRIVER], AGREED),
        (&[AGREED, READY, AGREED], READY),
        (
            &[ACKNOWLEDGE, ACKNOWLEDGE | 16 | 32 | NEEDS_RESET],
            ACKNOWLEDGE,
        ),
        (&[READY, 0], 0),
    ];
    for (writes, want) in cases {
        on_each(|guest, _| {
            guest.accept(VIRTIO_F_VERSION_1);
            for status in writes {
                guest.bus.set_status(*status);
            }
            assert_eq!(guest.bus.status(), want, "{writes:?}");
        });
    }
}

#[test]
fn a_driver_that_has_given_up_has_to_reset() {
    on_each(|guest, told| {
        guest.negotiate(FEATURE);
        guest.bus.set_status(AGREED | FAILED);
        guest.bus.set_status(READY | FAILED);
        assert_eq!(guest.bus.status(), AGREED | FAILED);
        assert!(
            !told
                .take()
                .iter()
                .any(|call| matches!(call, Call::Activate(_)))
        );
        guest.negotiate(FEATURE);
    });
}

#[test]
fn features_that_were_not_offered_or_do_not_go_together_are_not_agreed_on() {
    // Q9
    let without_version = FEATURE | rings(true);
    let not_offered = VIRTIO_F_VERSION_1 | 1 << 7;
    let not_together = VIRTIO_F_VERSION_1 | NEEDS_FEATURE;
    for features in [0, without_version, not_offered, not_together] {
        on_each(|guest, _| {
            guest.bus.set_status(ACKNOWLEDGE | DRIVER);
            guest.accept(features);
            guest.bus.set_status(AGREED);
            assert_eq!(guest.bus.status(), ACKNOWLEDGE | DRIVER, "{features:#x}");
            guest.bus.set_status(READY);
            assert_eq!(guest.bus.status(), ACKNOWLEDGE | DRIVER, "{features:#x}");
            // It may try again with others.
            guest.accept(VIRTIO_F_VERSION_1 | NEEDS_FEATURE | FEATURE);
            guest.bus.set_status(AGREED);
            assert_eq!(guest.bus.status(), AGREED, "{features:#x}");
        });
    }
}

#[test]
fn features_above_the_64th_are_neither_offered_nor_agreed_on() {
    for word in [2, 3, u32::MAX] {
        on_each(|guest, _| {
            assert_eq!(guest.bus.offered(word), 0);
            guest.bus.set_status(ACKNOWLEDGE | DRIVER);
            guest.accept(VIRTIO_F_VERSION_1);
            guest.bus.accept(word, 1);
            guest.bus.set_status(AGREED);
            assert_eq!(guest.bus.status(), ACKNOWLEDGE | DRIVER, "{word}");
        });
    }
}

#[test]
fn features_that_are_agreed_on_stay_as_they_are() {
    // Q9
    on_each(|guest, told| {
        let agreed = guest.negotiate(FEATURE | VIRTIO_F_RING_RESET);
        guest.accept(0);
        guest.bus.accept(5, 1);
        guest.bus.set_status(READY);
        assert_eq!(guest.bus.status(), READY);
        assert_eq!(told.take().pop(), Some(Call::Activate(agreed)));
    });
}

#[test]
fn a_reset_forgets_what_was_agreed_on() {
    on_each_ready(|guest, told| {
        guest.bus.set_status(0);
        assert_eq!(told.take(), [Call::Reset]);
        assert!(!guest.bus.is_enabled(0) && !guest.bus.is_enabled(1));
        guest.bus.set_status(AGREED);
        assert_eq!(guest.bus.status(), ACKNOWLEDGE | DRIVER, "no VERSION_1");
    });
}

#[test]
fn nobody_is_told_anything_before_the_driver_is_ready_or_after_a_reset() {
    on_each_ready(|guest, told| {
        let interrupt = told.interrupt();
        guest.bus.set_status(0);
        guest.signals.take();
        interrupt.queue(0);
        interrupt.config_changed();
        guest.negotiate(FEATURE);
        interrupt.queue(1);
        assert_eq!(guest.bus.interrupts(), (false, false));
        assert_eq!(guest.signals.take(), []);
    });
}

#[test]
fn a_device_that_cannot_go_on_says_so_once_and_is_left_alone() {
    on_each_ready(|mut guest, told| {
        guest.add(0, &[Element::new(u64::MAX, 8)], &[]);
        assert_eq!(guest.bus.status(), READY | NEEDS_RESET);
        assert_eq!(guest.bus.interrupts(), (false, true));
        told.interrupt().needs_reset();
        assert_eq!(guest.bus.interrupts(), (false, false));
        told.take();
        guest.add(1, &[], &[Element::new(DATA, 8)]);
        guest.bus.notify(1);
        assert_eq!(told.take(), []);
        guest.init(FEATURE);
        guest.add(1, &[], &[Element::new(DATA, 8)]);
        assert!(guest.take(1).is_some(), "after a reset it works again");
    });
}

#[test]
fn a_device_that_cannot_begin_needs_a_reset() {
    on_each(|guest, told| {
        guest.negotiate(0);
        told.state().cannot_activate = true;
        guest.bus.set_status(READY);
        assert_eq!(guest.bus.status(), READY | NEEDS_RESET);
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), 0);
    });
}

#[test]
fn a_device_that_does_not_let_go_of_memory_stays_unusable_until_it_does() {
    // Q10
    on_each_ready(|guest, told| {
        told.state().is_busy = true;
        guest.bus.set_status(0);
        assert_eq!(guest.bus.status(), NEEDS_RESET);
        guest.bus.set_status(ACKNOWLEDGE);
        assert_eq!(guest.bus.status(), NEEDS_RESET);
        told.state().is_busy = false;
        guest.negotiate(FEATURE);
    });
}

#[test]
fn the_configuration_is_bytes_of_which_those_behind_its_end_are_zero() {
    on_each(|guest, told| {
        let mut bytes = [0xff; 4];
        guest.bus.read_config(4, &mut bytes);
        assert_eq!(bytes, CONFIG[4..8]);
        guest.bus.read_config(10, &mut bytes);
        assert_eq!(bytes, [11, 12, 0, 0]);
        guest.bus.read_config(0xf00, &mut bytes);
        assert_eq!(bytes, [0; 4]);
        let mut byte = [0];
        guest.bus.read_config(11, &mut byte);
        assert_eq!(byte, [12]);

        guest.bus.write_config(11, &[1, 2]);
        guest.bus.write_config(0xffe, &[1, 2]);
        assert_eq!(told.take(), []);
        guest.bus.write_config(10, &[1, 2]);
        assert_eq!(told.take(), [Call::WriteConfig(10, vec![1, 2])]);
        guest.bus.read_config(8, &mut bytes);
        assert_eq!(bytes, [9, 10, 1, 2]);
    });
}

#[test]
fn who_has_read_a_configuration_that_has_changed_sees_another_generation() {
    on_each_ready(|guest, told| {
        let change = |byte| {
            told.state().config = Some([byte; 12]);
            guest.bus.host().poll();
        };
        let read = |guest: &Guest| {
            let mut bytes = [0; 8];
            let (low, high) = bytes.split_at_mut(4);
            guest.bus.read_config(0, low);
            change(7);
            guest.bus.read_config(4, high);
        };
        let before = guest.bus.generation();
        guest.bus.read_config(0, &mut [0; 4]);
        assert_eq!(guest.bus.generation(), before);
        for _ in 0..300 {
            // More than a generation of 8 bits can count.
            let before = guest.bus.generation();
            read(&guest);
            assert_ne!(guest.bus.generation(), before);
        }
        assert!(guest.bus.interrupts().1);
        let before = guest.bus.generation();
        for byte in 0..=255 {
            change(byte);
        }
        guest.bus.read_config(0, &mut [0]);
        assert_ne!(
            guest.bus.generation(),
            before,
            "however many changes there were"
        );
    });
}

#[test]
fn a_host_finds_what_it_is_to_watch() {
    on_each_ready(|guest, told| {
        assert_eq!(guest.bus.host().descriptor(), Some(1234));
        assert!(!guest.bus.host().kick(1));
        told.state().turns = 3;
        assert!(guest.bus.host().kick(1), "it is to be called again");
        told.take();
        guest.bus.notify(1);
        assert_eq!(told.take(), [Call::Kick(1), Call::Kick(1)]);
        assert!(!guest.bus.host().kick(2));
    });
}
