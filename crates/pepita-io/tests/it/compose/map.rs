//! Data that is changed on its way.

use std::sync::Arc;

use pepita_io::compose::{MapDevice, StripeDevice, Transform};
use pepita_io::{AnyDevice, FileDevice, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{BlockDevice, RequestFlags, RequestOp};
use pepita_sys::error::Errno;

use super::devices::{Elsewhere, Narrow};
use crate::file::front::{read, tell, write};

/// Adds its number to each sector's bytes, so that a sector in another place is another one.
struct ByPlace;

impl ByPlace {
    fn turn(sector: u64, data: &mut [u8], turn: impl Fn(u8, u8) -> u8) {
        for (sector, data) in (sector..).zip(data.chunks_mut(512)) {
            let number = sector.to_le_bytes()[0] ^ 0x55;
            data.iter_mut().for_each(|byte| *byte = turn(*byte, number));
        }
    }
}

impl Transform for ByPlace {
    fn encode(&self, sector: u64, data: &mut [u8]) {
        Self::turn(sector, data, u8::wrapping_add);
    }

    fn decode(&self, sector: u64, data: &mut [u8]) {
        Self::turn(sector, data, u8::wrapping_sub);
    }
}

#[track_caller]
fn passes(device: impl BlockDevice) {
    let device = MapDevice::new(device, ByPlace).expect("no zones");
    let report = Conformance::new()
        .run(&device)
        .expect("it keeps every rule");
    let left_out: Vec<_> = report.left_out.iter().map(|left| left.0).collect();
    assert_eq!(left_out, ["zeroes are read where they were written"]);
}

#[test]
fn it_keeps_the_contract_over_whatever_is_below_also_by_pointers() {
    let ram = RamDevice::new(4096);
    passes(&ram);
    passes(ram);
    passes(Arc::new(RamDevice::new(4096)));
    passes(Box::new(Narrow(RamDevice::new(4096))));
    passes(Elsewhere(Arc::new(RamDevice::new(4096))));
    let image = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    image.as_file().set_len(1 << 20).expect("its length");
    let file = AnyDevice::new(FileDevice::open(image.path()).expect("a device"));
    passes(file.clone());
    let members = [file, AnyDevice::new(RamDevice::new(2048))];
    passes(StripeDevice::new(members, 16).expect("a stripe"));
}

#[test]
fn the_device_below_has_what_the_transform_makes_of_the_data() {
    let device = MapDevice::new(RamDevice::new(64), ByPlace).expect("no zones");
    let mut lane = device.open_lane(2).expect("a lane");
    write(&mut lane, 1, &[7; 1024]).expect("written");
    assert_eq!(read(&mut lane, 1, 2), Ok(vec![7; 1024]));
    let mut below = device.inner().open_lane(1).expect("a lane");
    let found = read(&mut below, 1, 2).expect("read");
    let expected = [0x55 ^ 1_u8, 0x55 ^ 2].map(|number| number + 7);
    assert_eq!([found[0], found[512]], expected);
    let zeroes = tell(&mut lane, RequestOp::WriteZeroes, RequestFlags::NONE, 0, 8);
    assert_eq!(zeroes, Err(Errno::EOPNOTSUPP));
}
