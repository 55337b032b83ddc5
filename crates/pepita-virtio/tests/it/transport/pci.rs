//! What is special about a PCI bus. virtio 1.3, 4.1; PCI Local Bus 3.0, 6

use std::sync::Arc;

use pepita_virtio::{GuestRam, Message, Pci, Signal};

use super::probe::{self, Call, Probe, Told};
use super::rings;
use crate::guest::pci::{MESSAGES, read_space};
use crate::guest::{Bus, PciBus, Signals};

const COMMON: u64 = 0;
const ISR: u64 = 0x1000;
const TABLE: u64 = 0x4000;
const PENDING: u64 = 0x5000;

struct Rig {
    bus: PciBus,
    told: Told,
    signals: Arc<Signals>,
}

/// A device whose driver is ready, without queues.
fn rig() -> Rig {
    let (probe, told) = Probe::new();
    let signals = Arc::new(Signals::default());
    let bus = PciBus::new(Box::new(probe), &GuestRam::zeroed(1 << 16), &signals);
    bus.set_status(0);
    bus.accept(1, 1);
    bus.set_status(1 | 2 | 8);
    for (field, vector) in [(0x10, 0_u16), (0x1a, 1)] {
        bus.write(field, &vector.to_le_bytes());
    }
    bus.set_status(1 | 2 | 8 | 4);
    told.take();
    signals.take();
    Rig { bus, told, signals }
}

fn message(vector: u32) -> Signal {
    Signal::Message(Message {
        address: MESSAGES,
        data: vector,
    })
}

fn read<const N: usize>(pci: &Pci, offset: u64) -> [u8; N] {
    let mut bytes = [0xee; N];
    pci.read(offset, &mut bytes);
    bytes
}

/// Where capability `id` is; of virtio's, the one of a kind.
fn capability(pci: &Pci, id: u8, kind: u8) -> u16 {
    let [mut at] = read_space(pci, 0x34);
    while at != 0 {
        let [is, next, _, its] = read_space(pci, at.into());
        if is == id && (id == 0x11 || its == kind) {
            return at.into();
        }
        at = next;
    }
    panic!("no capability {id}, {kind}");
}

#[test]
fn the_header_says_what_the_device_is() {
    let Rig { bus, .. } = rig();
    let pci = &bus.pci;
    assert_eq!(read_space(pci, 0), 0x1af4_u16.to_le_bytes());
    let id = 0x1040 + u16::try_from(probe::ID).expect("small");
    assert_eq!(read_space(pci, 2), id.to_le_bytes());
    let [revision, ..]: [u8; 4] = read_space(pci, 8);
    assert_eq!(revision, 1);
    let [header] = read_space(pci, 0x0e);
    assert_eq!(header, 0);
    assert_eq!(read_space(pci, 0x2e), id.to_le_bytes(), "0x40 or above");
    assert_eq!(read_space(pci, 0x3d), [1]);
    for offset in [0_u16, 2, 8, 0x0e, 0x2e, 0x34] {
        let before: [u8; 2] = read_space(pci, offset);
        pci.write_config(offset, &[0x55, 0x55]);
        assert_eq!(read_space(pci, offset), before, "{offset:#x}");
    }
}

#[test]
fn capabilities_lead_to_parts_of_the_bar_that_do_not_overlap() {
    let Rig { bus, .. } = rig();
    let field = |at: u16, field| u32::from_le_bytes(read_space(&bus.pci, at + field));
    let mut parts: Vec<_> = (1..=4)
        .map(|kind| {
            let at = capability(&bus.pci, 0x09, kind);
            let [_, _, len, _] = read_space(&bus.pci, at);
            assert_eq!(len, if kind == 2 { 20 } else { 16 });
            assert_eq!(read_space(&bus.pci, at + 4), [0], "the BAR");
            let (offset, length) = (field(at, 8), field(at, 12));
            assert!(offset.is_multiple_of(4) && length > 0);
            offset..offset + length
        })
        .collect();
    let notify = capability(&bus.pci, 0x09, 2);
    assert_eq!(field(notify, 16), 4);
    assert!(field(notify, 12) >= 4 + 2, "a place for both queues");
    let msix = capability(&bus.pci, 0x11, 0);
    let [low, high] = read_space(&bus.pci, msix + 2);
    assert_eq!([low, high & 7], [2, 0], "three vectors");
    for (at, len) in [(4, 3 * 16), (8, 8)] {
        let offset = field(msix, at);
        parts.push(offset..offset + len);
    }
    parts.sort_by_key(|part| part.start);
    for pair in parts.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{parts:?}");
    }
    assert!(u64::from(parts[parts.len() - 1].end) <= Pci::BAR_BYTES);
}

#[test]
fn the_bar_says_its_size_and_goes_where_it_is_put() {
    let Rig { bus, .. } = rig();
    let pci = &bus.pci;
    pci.write_config(0x10, &u32::MAX.to_le_bytes());
    pci.write_config(0x14, &u32::MAX.to_le_bytes());
    assert_eq!(read_space(pci, 0x10), 0xffff_8004_u32.to_le_bytes());
    assert_eq!(read_space(pci, 0x14), u32::MAX.to_le_bytes());
    for offset in [0x18, 0x1c, 0x20, 0x24, 0x30] {
        pci.write_config(offset, &u32::MAX.to_le_bytes());
        assert_eq!(read_space(pci, offset), [0; 4], "no other");
    }
    pci.write_config(0x10, &0x1234_8000_u32.to_le_bytes());
    pci.write_config(0x14, &0x56_u32.to_le_bytes());
    assert_eq!(pci.bar(), Some(0x56_1234_8000));
    pci.write_config(0x04, &[0, 0]);
    assert_eq!(pci.bar(), None);
}

#[test]
fn accesses_that_a_bus_does_not_have_do_nothing() {
    let Rig { bus, .. } = rig();
    let pci = &bus.pci;
    for (offset, len) in [
        (1, 2),
        (2, 4),
        (0, 3),
        (0, 8),
        (0xfe, 4),
        (0x100, 1),
        (u16::MAX, 1),
    ] {
        let mut bytes = vec![0xff; len];
        pci.read_config(offset, &mut bytes);
        assert_eq!(bytes, vec![0; len], "{len} at {offset:#x}");
        pci.write_config(offset, &bytes);
    }
    pci.write_config(0x10, &[]);
    pci.read(u64::MAX, &mut [0; 4]);
    pci.write(u64::MAX, &[0; 4]);
    pci.write(0x7fff, &[0; 4]);
}

#[test]
fn fields_are_reached_by_their_own_width() {
    // Q11
    let Rig { bus, told, .. } = rig();
    for (field, len) in [
        (0x04, 1),
        (0x04, 2),
        (0x12, 1),
        (0x12, 4),
        (0x14, 2),
        (0x14, 4),
        (0x20, 8),
    ] {
        let mut bytes = vec![0xff; len];
        bus.pci.read(COMMON + field, &mut bytes);
        assert_eq!(bytes, vec![0; len], "{len} at {field:#x}");
    }
    bus.write(0x14, &[0, 0]);
    bus.write(0x14, &[0; 4]);
    bus.write(0x1c, &[1]);
    bus.write(0x1c, &[1, 0, 0, 0]);
    assert_eq!(told.take(), []);
    assert_eq!(bus.status(), 15);
}

#[test]
fn addresses_are_reached_by_halves_and_read_as_they_were_written() {
    let Rig { bus, .. } = rig();
    bus.set_status(0);
    for field in (0x20..0x38).step_by(4) {
        let word = u32::try_from(field).expect("small") * 0x0101_0101;
        bus.write(field, &word.to_le_bytes());
    }
    for field in (0x20..0x38_u64).step_by(4) {
        let word = u32::try_from(field).expect("small") * 0x0101_0101;
        assert_eq!(bus.read(field), word.to_le_bytes());
    }
}

#[test]
fn a_queue_is_enabled_by_one_and_never_disabled() {
    let Rig { bus, told, .. } = rig();
    bus.set_status(0);
    for (value, want) in [(0_u16, false), (2, false), (1, true), (0, true)] {
        bus.write(0x1c, &value.to_le_bytes());
        assert_eq!(bus.is_enabled(0), want, "{value}");
    }
    assert!(!told.take().contains(&Call::Stop(0)));
}

#[test]
fn a_size_is_a_power_of_two_unless_rings_are_packed() {
    let Rig { bus, .. } = rig();
    bus.set_status(0);
    bus.set_queue_size(0, 6);
    assert_eq!(bus.queue_size_max(0), 8);
    bus.set_queue_size(0, 0);
    assert_eq!(bus.queue_size_max(0), 8);
    let rings = u32::try_from(rings(true) >> 32).expect("32 bits");
    bus.accept(1, 1 | rings);
    bus.set_queue_size(0, 6);
    assert_eq!(bus.queue_size_max(0), 6);
}

#[test]
fn features_that_were_accepted_can_be_read() {
    let Rig { bus, .. } = rig();
    bus.set_status(0);
    for (word, bits) in [(0_u32, 0x8000_0001_u32), (1, 1), (2, 7)] {
        bus.accept(word, bits);
        let want = if word < 2 { bits } else { 0 };
        assert_eq!(bus.read(0x0c), want.to_le_bytes(), "{word}");
    }
    assert_eq!(bus.read(0x08), 2_u32.to_le_bytes());
}

#[test]
fn events_have_the_vectors_that_they_were_given() {
    let Rig { bus, told, signals } = rig();
    let interrupt = told.interrupt();
    interrupt.queue(0);
    interrupt.config_changed();
    assert_eq!(signals.take(), [message(1), message(0)]);
    interrupt.queue(1);
    assert_eq!(signals.take(), [], "it has none");
    bus.write(0x10, &2_u16.to_le_bytes());
    interrupt.config_changed();
    assert_eq!(signals.take(), [message(2)]);
    for vector in [3_u16, 0x7ff, 0xffff] {
        bus.write(0x10, &vector.to_le_bytes());
        assert_eq!(bus.read16(0x10), 0xffff, "there is no vector {vector}");
    }
    interrupt.config_changed();
    assert_eq!(signals.take(), []);
    bus.select(7);
    bus.write(0x1a, &0_u16.to_le_bytes());
    assert_eq!(bus.read16(0x1a), 0xffff, "nor a queue 7");
    bus.set_status(0);
    bus.select(0);
    assert_eq!(bus.read16(0x1a), 0xffff, "a reset takes them away");
}

#[test]
fn messages_wait_for_masks_to_go() {
    let Rig { bus, told, signals } = rig();
    let interrupt = told.interrupt();
    let mask = |vector: u64, word: u32| {
        let control = TABLE + 16 * vector + 12;
        bus.pci.write(control, &word.to_le_bytes());
        assert_eq!(read(&bus.pci, control), word.to_le_bytes());
    };
    let pending = || u32::from_le_bytes(read(&bus.pci, PENDING));
    mask(1, 1);
    interrupt.queue(0);
    interrupt.queue(0);
    assert_eq!((pending(), signals.take()), (2, vec![]));
    mask(1, 0);
    assert_eq!((pending(), signals.take()), (0, vec![message(1)]), "once");

    let msix = capability(&bus.pci, 0x11, 0);
    bus.pci.write_config(msix + 2, &0xc000_u16.to_le_bytes());
    interrupt.queue(0);
    interrupt.config_changed();
    assert_eq!((pending(), signals.take()), (3, vec![]));
    mask(0, 1);
    bus.pci.write_config(msix + 2, &0x8000_u16.to_le_bytes());
    assert_eq!((pending(), signals.take()), (1, vec![message(1)]));
    bus.set_status(0);
    mask(0, 0);
    assert_eq!(signals.take(), [], "a reset forgets what has waited");
}

#[test]
fn the_table_of_messages_is_words_and_pairs_of_words() {
    let Rig { bus, .. } = rig();
    let pci = &bus.pci;
    pci.write(TABLE + 16, &0x1122_3344_5566_7788_u64.to_le_bytes());
    assert_eq!(
        read(pci, TABLE + 16),
        0x1122_3344_5566_7788_u64.to_le_bytes()
    );
    assert_eq!(read(pci, TABLE + 20), 0x1122_3344_u32.to_le_bytes());
    pci.write(TABLE + 16, &[1; 2]);
    pci.write(TABLE + 17, &[1; 4]);
    assert_eq!(read(pci, TABLE + 16), 0x5566_7788_u32.to_le_bytes());
    pci.write(TABLE + 3 * 16, &[0xff; 4]);
    assert_eq!(read(pci, TABLE + 3 * 16), [0; 4], "there are three");
    pci.write(PENDING, &[0xff; 4]);
    assert_eq!(read(pci, PENDING), [0; 4]);
}

#[test]
fn without_messages_the_line_is_high_until_the_status_is_read() {
    let Rig { bus, told, signals } = rig();
    let interrupt = told.interrupt();
    let pci = &bus.pci;
    let msix = capability(pci, 0x11, 0);
    pci.write_config(msix + 2, &0_u16.to_le_bytes());
    let is_wanted = || {
        let [status] = read_space(pci, 0x06);
        status & 8 != 0
    };
    assert!(!is_wanted());
    interrupt.queue(1);
    assert!(is_wanted());
    interrupt.config_changed();
    let both = [Signal::Line(true), Signal::Line(true)];
    assert_eq!(signals.take(), both);
    assert_eq!(read(pci, ISR), [3]);
    assert_eq!(signals.take(), [Signal::Line(false)]);
    assert_eq!((read(pci, ISR), is_wanted()), ([0], false));

    pci.write_config(0x04, &0x0406_u16.to_le_bytes());
    interrupt.queue(0);
    assert_eq!(
        (signals.take(), is_wanted()),
        (vec![], true),
        "switched off"
    );
    pci.write_config(0x04, &6_u16.to_le_bytes());
    assert_eq!(signals.take(), [Signal::Line(true)]);
    pci.write_config(msix + 2, &0x8000_u16.to_le_bytes());
    assert_eq!(
        (signals.take(), is_wanted()),
        (vec![Signal::Line(false)], false)
    );
}

#[test]
fn with_messages_the_status_tells_of_the_configuration_alone() {
    let Rig { bus, told, .. } = rig();
    told.interrupt().queue(0);
    assert_eq!(read(&bus.pci, ISR), [0]);
    told.interrupt().config_changed();
    assert_eq!(read(&bus.pci, ISR), [2]);
    assert_eq!(read(&bus.pci, ISR), [0]);
}

#[test]
fn the_bar_can_be_reached_through_the_configuration_space() {
    let Rig { bus, told, .. } = rig();
    let pci = &bus.pci;
    let window = capability(pci, 0x09, 5);
    let aim = |bar: u8, offset: u32, len: u32| {
        pci.write_config(window + 4, &[bar]);
        pci.write_config(window + 8, &offset.to_le_bytes());
        pci.write_config(window + 12, &len.to_le_bytes());
    };
    aim(0, 0x12, 2);
    assert_eq!(
        read_space(pci, window + 16),
        2_u16.to_le_bytes(),
        "two queues"
    );
    aim(0, 0x2004, 4);
    assert_eq!(read_space(pci, window + 16), [5, 6, 7, 8]);
    pci.write_config(window + 16, &[9, 8, 7, 6]);
    assert_eq!(told.take(), [Call::WriteConfig(4, vec![9, 8, 7, 6])]);
    // The first bytes are those that count.
    aim(0, 0x2000, 1);
    pci.write_config(window + 16, &[5, 5, 5, 5]);
    assert_eq!(told.take(), [Call::WriteConfig(0, vec![5])]);
    let wrong = [
        (1, 0x2000, 4),
        (0, 0x2002, 4),
        (0, 0x2000, 0),
        (0, 0x2000, 8),
        (0, u32::MAX, 1),
    ];
    for (bar, offset, len) in wrong {
        aim(bar, offset, len);
        pci.write_config(window + 16, &[1, 1, 1, 1]);
        let _: [u8; 4] = read_space(pci, window + 16);
        assert_eq!(told.take(), [], "{bar} {offset:#x} {len}");
    }
}

#[test]
fn each_queue_has_its_place_for_notifications() {
    let (probe, _) = Probe::new();
    let pci = Pci::new(Box::new(probe), GuestRam::zeroed(4096), |_signal| {});
    assert_eq!(
        [0, 1].map(|queue| pci.notify_offset(queue)),
        [0x3000, 0x3004]
    );
}
