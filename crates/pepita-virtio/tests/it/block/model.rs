//! A disk against a list of bytes.

use std::sync::Arc;

use pepita_io::RamDevice;
use proptest::prelude::*;

use super::{
    Disk, F_ALL, FLUSH, HEADER, IN, INPUT, IOERR, OK, OUT, OUTPUT, STATUS, UNSUPP, WRITE_ZEROES,
    element, header, range,
};
use crate::guest::Transport;
use crate::transport::rings;

const SECTORS: u64 = 64;
const BYTES: usize = 64 * 512;

#[derive(Debug, Clone)]
struct Step {
    kind: u32,
    sector: u64,
    /// Bytes of data either way.
    len: usize,
    /// What is written, or flags.
    byte: u8,
    /// Where the readable part, and the writable part, are cut.
    cuts: [usize; 2],
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        4 => Just(IN),
        4 => Just(OUT),
        1 => Just(FLUSH),
        2 => Just(WRITE_ZEROES),
        1 => any::<u32>(),
    ];
    let sector = prop_oneof![8 => 0..SECTORS + 2, 1 => any::<u64>()];
    let len = prop_oneof![8 => (0..9_usize).prop_map(|n| n * 512), 1 => 0..2000_usize];
    let step = (kind, sector, len, any::<u8>(), any::<[u16; 2]>());
    let step = step.prop_map(|(kind, sector, len, byte, cuts)| Step {
        kind,
        sector,
        len,
        byte,
        cuts: cuts.map(usize::from),
    });
    prop::collection::vec(step, 0..40)
}

/// The bytes of so many sectors, if all are there.
fn place(sector: u64, nr_sectors: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(sector).ok()?.checked_mul(512)?;
    let end = start.checked_add(nr_sectors.checked_mul(512)?)?;
    (end <= BYTES).then_some(start..end)
}

/// What a step does to the bytes, and what it reads.
fn model(bytes: &mut [u8], step: &Step) -> (u8, Option<Vec<u8>>) {
    let Step {
        kind,
        sector,
        len,
        byte,
        ..
    } = *step;
    match kind {
        IN | OUT if !len.is_multiple_of(512) => (IOERR, None),
        IN => match place(sector, len / 512) {
            Some(place) => (OK, Some(bytes[place].to_vec())),
            None => (IOERR, None),
        },
        OUT => match place(sector, len / 512) {
            Some(place) => {
                bytes[place].fill(byte);
                (OK, None)
            }
            None => (IOERR, None),
        },
        FLUSH => (OK, None),
        WRITE_ZEROES if byte > 1 => (UNSUPP, None),
        WRITE_ZEROES => match place(sector, len) {
            Some(place) => {
                bytes[place].fill(0);
                (OK, None)
            }
            None => (IOERR, None),
        },
        _ => (UNSUPP, None),
    }
}

fn cut(base: u64, len: usize, at: usize) -> [pepita_virtio::Element; 2] {
    let at = at % (len + 1);
    [element(base, at), element(base + at as u64, len - at)]
}

fn ask(disk: &mut Disk, step: &Step) -> (u8, Vec<u8>) {
    let mut output = header(step.kind, step.sector).to_vec();
    match step.kind {
        OUT => output.extend(vec![step.byte; step.len]),
        WRITE_ZEROES => {
            let nr_sectors = u32::try_from(step.len).expect("small");
            output.extend(range(step.sector, nr_sectors, step.byte.into()));
        }
        _ => {}
    }
    let input = if step.kind == IN { step.len } else { 0 };
    disk.guest.write(OUTPUT, &output);
    let readable = cut(OUTPUT, output.len(), step.cuts[0]);
    let [one, other] = cut(INPUT, input, step.cuts[1]);
    let writable = [one, other, element(STATUS, 1)];
    let answer = disk.ask_with(&readable, &writable, INPUT, input);
    (answer.status, answer.data)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_disk_holds_what_was_written(steps in steps(), packed: bool, pci: bool) {
        // Kinds that any number may be, but that the model has no idea of.
        let known = |kind| matches!(kind, 8 | 11);
        prop_assume!(!steps.iter().any(|step| known(step.kind)));
        let transport = if pci { Transport::Pci } else { Transport::Mmio };
        let device = Arc::new(RamDevice::new(SECTORS));
        let mut disk = Disk::new(transport, &device, F_ALL | rings(packed));
        let mut bytes = vec![0; BYTES];
        for step in &steps {
            let (want, data) = model(&mut bytes, step);
            let (status, read) = ask(&mut disk, step);
            prop_assert_eq!(status, want, "{:?}", step);
            if let Some(data) = data {
                prop_assert!(data == read, "{step:?}");
            }
        }
        disk.guest.write(HEADER, &header(IN, 0));
        let writable = [element(INPUT, BYTES), element(STATUS, 1)];
        let answer = disk.ask_with(&[element(HEADER, 16)], &writable, INPUT, BYTES);
        prop_assert!(answer.status == OK && answer.data == bytes);
    }
}
