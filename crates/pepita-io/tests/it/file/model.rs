#![expect(clippy::cast_possible_truncation, reason = "the device is small")]
//! Thousands of requests of random sizes, many in flight, against a model.

use std::sync::Arc;

use pepita_io::FileDevice;
use pepita_sys::blk_mq::{BlockDevice, Lane, RequestFlags, RequestOp};

use super::front::{Asked, request, wait};
use super::{disk_image, disk_options, open};

/// Sectors of the device.
const SECTORS: u64 = 8192;

/// Numbers without order. Vigna's splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % end
    }
}

/// A request in flight, and the sectors that no other one has.
struct Flight {
    op: RequestOp,
    sector: u64,
    nr_sectors: u32,
    asked: Arc<Asked>,
}

#[test]
fn thousands_of_requests_of_any_size_do_what_the_model_says() {
    let count = match std::env::var("PEPITA_TEST_SET").as_deref() {
        Ok("full") => 20_000,
        _ => 2_000,
    };
    for options in disk_options("thousands_of_requests_of_any_size_do_what_the_model_says") {
        let image = disk_image(SECTORS * 512);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        compare(&device, count);
        let file = std::fs::read(image.path()).expect("there");
        assert_eq!(file.len() as u64, SECTORS * 512);
    }
}

fn compare(device: &FileDevice, count: usize) {
    let mut random = Random(7);
    let mut model = vec![0_u8; 512 * SECTORS as usize];
    let mut lane = device.open_lane(16).expect("a lane");
    let mut flying: Vec<Flight> = Vec::new();
    for number in 0..count {
        let flight = begin(
            &mut lane,
            device,
            &mut random,
            &mut model,
            &mut flying,
            number,
        );
        flying.push(flight);
        if flying.len() == 16 || random.below(4) == 0 {
            let index = usize::try_from(random.below(flying.len() as u64)).expect("small");
            land(&mut lane, flying.swap_remove(index), &model);
        }
    }
    for flight in flying {
        land(&mut lane, flight, &model);
    }
}

/// Begins a request where nothing is in flight.
fn begin(
    lane: &mut impl Lane,
    device: &FileDevice,
    random: &mut Random,
    model: &mut [u8],
    flying: &mut Vec<Flight>,
    number: usize,
) -> Flight {
    let block = u64::from(device.geometry().block_sectors());
    let op = match random.below(16) {
        0 => RequestOp::WriteZeroes,
        1 if number.is_multiple_of(8) => RequestOp::Flush,
        2..8 => RequestOp::Write,
        _ => RequestOp::Read,
    };
    let longest = if random.below(8) == 0 { 1024 } else { 32 };
    let nr_sectors = (1 + random.below(longest / block)) * block;
    let sector = random.below((SECTORS - nr_sectors) / block + 1) * block;
    let (sector, nr_sectors) = if op == RequestOp::Flush {
        (0, 0)
    } else {
        (sector, nr_sectors)
    };
    // Requests that overlap would be done in any order.
    while let Some(index) = flying.iter().position(|other| {
        other.sector < sector + nr_sectors && sector < other.sector + u64::from(other.nr_sectors)
    }) {
        land(lane, flying.swap_remove(index), model);
    }
    let place = sector as usize * 512..(sector + nr_sectors) as usize * 512;
    let data = match op {
        RequestOp::Write => {
            let fill = random.below(256) as u8;
            let data: Vec<u8> = place.clone().map(|at| (at as u8) ^ fill).collect();
            model[place].copy_from_slice(&data);
            data
        }
        RequestOp::WriteZeroes => {
            model[place].fill(0);
            Vec::new()
        }
        RequestOp::Read => vec![0xee; place.len()],
        _ => Vec::new(),
    };
    let flags = match (op, random.below(8)) {
        (RequestOp::Write | RequestOp::WriteZeroes, 0) => RequestFlags::FUA,
        (RequestOp::WriteZeroes, 1..4) => RequestFlags::NOUNMAP,
        _ => RequestFlags::NONE,
    };
    let skip = if random.below(3) == 0 {
        random.below(4096)
    } else {
        0
    } as usize;
    let nr_sectors = u32::try_from(nr_sectors).expect("few");
    let (asked, wanted) = request(op, flags, sector, nr_sectors, &data, skip);
    lane.submit(wanted).expect("room for 16");
    Flight {
        op,
        sector,
        nr_sectors,
        asked,
    }
}

/// Waits for a request, and looks at what it read.
fn land(lane: &mut impl Lane, flight: Flight, model: &[u8]) {
    let Flight {
        op,
        sector,
        nr_sectors,
        asked,
    } = flight;
    assert_eq!(
        wait(lane, &asked),
        Ok(()),
        "{op:?} of {nr_sectors} from {sector} on"
    );
    if op == RequestOp::Read {
        let place = sector as usize * 512..(sector + u64::from(nr_sectors)) as usize * 512;
        assert!(
            asked.data() == &model[place],
            "{nr_sectors} sectors from {sector} on"
        );
    }
}
