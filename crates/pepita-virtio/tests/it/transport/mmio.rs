//! What is special about registers in memory. virtio 1.3, 4.2

use std::sync::Arc;

use pepita_virtio::{GuestRam, STATUS_DRIVER_OK, STATUS_NEEDS_RESET, Signal};

use super::probe::{self, Call, Probe, Told};
use super::rings;
use crate::guest::{Bus, Guest, MmioBus, Signals, Transport};

fn bus() -> (MmioBus, Told, Arc<Signals>) {
    let (probe, told) = Probe::new();
    let signals = Arc::new(Signals::default());
    let bus = MmioBus::new(Box::new(probe), &GuestRam::zeroed(1 << 16), &signals);
    (bus, told, signals)
}

fn ready() -> (Guest, Told) {
    let (probe, told) = Probe::new();
    let features = probe::FEATURE | rings(false);
    let guest = Guest::ready(Transport::Mmio, Box::new(probe), features);
    told.take();
    (guest, told)
}

fn word(guest: &Guest, offset: u64) -> u32 {
    let crate::guest::Host::Mmio(mmio) = guest.bus.host() else {
        panic!("registers in memory");
    };
    let mut word = [0; 4];
    mmio.read(offset, &mut word);
    u32::from_le_bytes(word)
}

fn set(guest: &Guest, offset: u64, word: u32) {
    if let crate::guest::Host::Mmio(mmio) = guest.bus.host() {
        mmio.write(offset, &word.to_le_bytes());
    }
}

#[test]
fn registers_have_the_values_of_a_device_that_nobody_has_touched() {
    let (bus, ..) = bus();
    let zeroes = [0x044, 0x060, 0x070, 0x0c0, 0x0fc];
    for offset in zeroes {
        assert_eq!(bus.read(offset), 0, "{offset:#x}");
    }
    assert_eq!(bus.read(0x008), probe::ID);
    assert_eq!(bus.read(0x00c).to_le_bytes(), *b"pepi");
    for offset in [0x0b0, 0x0b4, 0x0b8, 0x0bc] {
        bus.write(0x0ac, 0);
        assert_eq!(bus.read(offset), u32::MAX, "no region of shared memory");
    }
}

#[test]
fn registers_that_are_only_written_or_are_none_read_as_zero() {
    let (bus, ..) = bus();
    for offset in (0x18..0x100).step_by(4) {
        let read = [0x034, 0x0b0, 0x0b4, 0x0b8, 0x0bc];
        if !read.contains(&offset) {
            bus.write(offset, 0);
            assert_eq!(bus.read(offset), 0, "{offset:#x}");
        }
    }
}

#[test]
fn registers_are_reached_by_aligned_words_of_32_bits_alone() {
    // Q11
    let (bus, told, _) = bus();
    for (offset, len) in [
        (0, 1),
        (0, 2),
        (0, 8),
        (1, 4),
        (2, 4),
        (2, 2),
        (0x0b1, 4),
        (0xfe, 4),
    ] {
        let mut bytes = vec![0xff; len];
        bus.mmio.read(offset, &mut bytes);
        assert_eq!(bytes, vec![0; len], "{len} at {offset:#x}");
    }
    bus.mmio.write(0x070, &[1]);
    bus.mmio.write(0x070, &[1, 0]);
    bus.mmio.write(0x070, &[1, 0, 0, 0, 0, 0, 0, 0]);
    bus.mmio.write(0x071, &[1, 0, 0, 0]);
    bus.write(0x070, 0x101);
    assert_eq!((bus.status(), told.take()), (0, vec![]));
    bus.mmio.read(u64::MAX, &mut [0; 4]);
    bus.mmio.write(u64::MAX, &[0; 4]);
    bus.mmio.read(0x70, &mut []);
}

#[test]
fn read_only_registers_stay() {
    let (bus, ..) = bus();
    for offset in [0x000, 0x004, 0x008, 0x00c, 0x034, 0x060, 0x0fc] {
        let before = bus.read(offset);
        bus.write(offset, 0x5555_5555);
        assert_eq!(bus.read(offset), before, "{offset:#x}");
    }
}

#[test]
fn a_reason_stays_until_it_is_acknowledged_and_so_does_the_line() {
    let (guest, told) = ready();
    guest.signals.take();
    let interrupt = told.interrupt();
    interrupt.queue(0);
    interrupt.queue(1);
    assert_eq!(guest.signals.take(), [Signal::Line(true)]);
    interrupt.config_changed();
    assert_eq!(guest.signals.take(), [Signal::Line(true)], "another edge");
    assert_eq!([word(&guest, 0x060), word(&guest, 0x060)], [3, 3]);
    set(&guest, 0x064, 1);
    assert_eq!((word(&guest, 0x060), guest.signals.take()), (2, vec![]));
    set(&guest, 0x064, 0xffff_fffe);
    assert_eq!(
        (word(&guest, 0x060), guest.signals.take()),
        (0, vec![Signal::Line(false)])
    );
    set(&guest, 0x064, 3);
    assert_eq!(guest.signals.take(), []);
}

#[test]
fn a_reset_clears_the_reasons_and_lowers_the_line() {
    let (guest, told) = ready();
    guest.signals.take();
    told.interrupt().queue(0);
    guest.bus.set_status(0);
    assert_eq!(word(&guest, 0x060), 0);
    assert_eq!(
        guest.signals.take(),
        [Signal::Line(true), Signal::Line(false)]
    );
}

#[test]
fn a_queue_that_is_not_ready_any_more_is_left_alone_and_may_begin_again() {
    let (guest, told) = ready();
    set(&guest, 0x030, 1);
    set(&guest, 0x044, 0);
    assert_eq!((word(&guest, 0x044), told.take()), (0, vec![Call::Stop(1)]));
    set(&guest, 0x050, 1);
    assert_eq!(told.take(), []);
    set(&guest, 0x044, 1);
    assert_eq!(word(&guest, 0x044), 1);
    assert_eq!(told.take()[0], Call::Start(1, 4));
    // What is neither yes nor no is nothing.
    set(&guest, 0x044, 2);
    assert_eq!((word(&guest, 0x044), told.take()), (1, vec![]));
}

#[test]
fn a_size_of_more_than_16_bits_is_no_size() {
    let (bus, ..) = bus();
    bus.write(0x024, 1);
    bus.write(0x020, 1);
    bus.set_status(1 | 2 | 8);
    bus.write(0x038, 0x1_0004);
    bus.write(0x044, 1);
    bus.set_status(1 | 2 | 8 | STATUS_DRIVER_OK);
    assert!(bus.status() & STATUS_NEEDS_RESET != 0);
}
