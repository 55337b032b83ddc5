//! Zones in memory: against a naive judge, and at the ends of what they may be.

use pepita_io::compose::{FaultDevice, FaultPlan, MapDevice, StripeDevice, StripeError, Transform};
use pepita_io::{AnyDevice, RamDevice, ZonedRamDevice};
use pepita_sys::blk_mq::{
    BlockDevice, GeometryError, Lane, RequestFlags, RequestOp, Zone, ZoneCondition, ZoneLimits,
};
use pepita_sys::error::{Errno, KernelError};
use proptest::prelude::*;

use crate::file::front::{ask, read, request, tell, wait, write};

/// Sectors of a zone, count of zones, and how many of them are conventional.
const SIZE: u32 = 8;
const ZONES: u32 = 6;
const CONVENTIONAL: u32 = 2;

/// What a device is asked for.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write { sector: u32, sectors: u32 },
    Append { zone: u32, sectors: u32 },
    Manage { op: RequestOp, zone: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let manage = [
        RequestOp::ZoneOpen,
        RequestOp::ZoneClose,
        RequestOp::ZoneFinish,
        RequestOp::ZoneReset,
        RequestOp::ZoneResetAll,
    ];
    prop_oneof![
        3 => (0..SIZE * ZONES, 1..=SIZE + 1).prop_map(|(sector, sectors)| Step::Write { sector, sectors }),
        // At the beginning of a zone, which an empty one takes.
        3 => (0..ZONES, 1..=SIZE).prop_map(|(zone, sectors)| Step::Write { sector: zone * SIZE, sectors }),
        3 => (0..ZONES, 1..=SIZE).prop_map(|(zone, sectors)| Step::Append { zone, sectors }),
        4 => (prop::sample::select(manage.to_vec()), 0..ZONES)
            .prop_map(|(op, zone)| Step::Manage { op, zone }),
    ]
}

/// What is written of a zone, and what its condition is.
#[derive(Debug, Clone)]
struct Judged {
    condition: ZoneCondition,
    /// A byte for each sector.
    data: Vec<u8>,
}

/// All zones, by lists and counting.
struct Judge {
    limits: ZoneLimits,
    zones: Vec<Judged>,
    conventional: [u8; (SIZE * CONVENTIONAL) as usize],
}

impl Judge {
    fn new(limits: ZoneLimits) -> Self {
        let zone = |index| Judged {
            condition: match index < CONVENTIONAL {
                true => ZoneCondition::Conventional,
                false => ZoneCondition::Empty,
            },
            data: Vec::new(),
        };
        Self {
            limits,
            zones: (0..ZONES).map(zone).collect(),
            conventional: [0; _],
        }
    }

    fn count(&self, conditions: &[ZoneCondition]) -> u32 {
        let zones = self.zones.iter();
        let is = |zone: &&Judged| conditions.contains(&zone.condition);
        u32::try_from(zones.filter(is).count()).expect("few")
    }

    /// Opens a zone; `None` tries whether that could be.
    fn open(&mut self, zone: usize, to: Option<ZoneCondition>) -> Result<(), Errno> {
        use ZoneCondition::{Closed, Conventional, Empty, ExplicitlyOpen, Full, ImplicitlyOpen};
        let condition = self.zones[zone].condition;
        if matches!(condition, Full | Conventional) {
            return Err(Errno::EIO);
        }
        if matches!(condition, Empty | Closed) {
            let open = self.count(&[ImplicitlyOpen, ExplicitlyOpen]);
            let begun = open + self.count(&[Closed]);
            if condition == Empty && self.limits.max_active_zones == begun && begun > 0 {
                return Err(Errno::EOVERFLOW);
            }
            if self.limits.max_open_zones == open && open > 0 {
                let mut zones = self.zones.iter_mut();
                let other = zones.find(|zone| zone.condition == ImplicitlyOpen);
                let other = other.ok_or(Errno::ETOOMANYREFS)?;
                if to.is_some() {
                    other.condition = Closed;
                }
            }
        }
        if let Some(to) = to {
            self.zones[zone].condition = to;
        }
        Ok(())
    }

    /// Writes `sectors` times `byte`; where an append, which has no place, is.
    fn write(
        &mut self,
        sector: Option<u32>,
        zone: u32,
        sectors: u32,
        byte: u8,
    ) -> Result<u32, Errno> {
        if let Some(sector) = sector.filter(|_| zone < CONVENTIONAL) {
            let range = sector as usize..(sector + sectors) as usize;
            let place = self.conventional.get_mut(range).ok_or(Errno::EIO)?;
            place.fill(byte);
            return Ok(sector);
        }
        let index = zone as usize;
        self.open(index, None)?;
        let at = u32::try_from(self.zones[index].data.len()).expect("few");
        let place = zone * SIZE + at;
        if at + sectors > SIZE || sector.is_some_and(|sector| sector != place) {
            return Err(Errno::EIO);
        }
        if self.zones[index].condition != ZoneCondition::ExplicitlyOpen {
            self.open(index, Some(ZoneCondition::ImplicitlyOpen))?;
        }
        let zone = &mut self.zones[index];
        zone.data.extend((0..sectors).map(|_| byte));
        if at + sectors == SIZE {
            zone.condition = ZoneCondition::Full;
        }
        Ok(place)
    }

    fn manage(&mut self, op: RequestOp, zone: usize) -> Result<(), Errno> {
        use ZoneCondition::{Closed, Conventional, Empty, ExplicitlyOpen, Full, ImplicitlyOpen};
        let condition = self.zones[zone].condition;
        match (op, condition) {
            (RequestOp::ZoneResetAll, _) => {
                for zone in &mut self.zones[CONVENTIONAL as usize..] {
                    zone.data.clear();
                    zone.condition = Empty;
                }
                return Ok(());
            }
            (_, Conventional) => return Err(Errno::EIO),
            (RequestOp::ZoneOpen, _) => return self.open(zone, Some(ExplicitlyOpen)),
            (RequestOp::ZoneClose, Closed) | (RequestOp::ZoneFinish, Full) => {}
            (RequestOp::ZoneClose, ImplicitlyOpen | ExplicitlyOpen) => {
                let is_empty = self.zones[zone].data.is_empty();
                self.zones[zone].condition = if is_empty { Empty } else { Closed };
            }
            (RequestOp::ZoneClose, _) => return Err(Errno::EIO),
            (RequestOp::ZoneFinish, _) => {
                self.open(zone, None)?;
                self.zones[zone].condition = Full;
            }
            _ => {
                self.zones[zone].data.clear();
                self.zones[zone].condition = Empty;
            }
        }
        Ok(())
    }

    /// What a report says.
    fn report(&self) -> Vec<Zone> {
        let zone = |(start, zone): (u64, &Judged)| {
            let ends = matches!(
                zone.condition,
                ZoneCondition::Full | ZoneCondition::Conventional
            );
            let before = if ends {
                u64::from(SIZE)
            } else {
                zone.data.len() as u64
            };
            Zone {
                start: start * u64::from(SIZE),
                sectors: SIZE,
                write_pointer: start * u64::from(SIZE) + before,
                condition: zone.condition,
            }
        };
        (0..).zip(&self.zones).map(zone).collect()
    }

    /// A byte for each sector of the device.
    fn data(&self) -> Vec<u8> {
        let zones = &self.zones[CONVENTIONAL as usize..];
        let padded = zones.iter().flat_map(|zone| {
            let zeroes = std::iter::repeat(0);
            zone.data.iter().copied().chain(zeroes).take(SIZE as usize)
        });
        self.conventional.iter().copied().chain(padded).collect()
    }
}

/// `byte`, for so many sectors.
fn bytes(sectors: u32, byte: u8) -> Vec<u8> {
    vec![byte; sectors as usize * 512]
}

/// Appends, and says where that is.
fn append(lane: &mut dyn Lane, zone: u32, data: &[u8]) -> Result<u64, Errno> {
    let nr_sectors = u32::try_from(data.len() / 512).expect("few");
    let (op, sector) = (RequestOp::ZoneAppend, u64::from(zone * SIZE));
    let (asked, request) = request(op, RequestFlags::NONE, sector, nr_sectors, data, 0);
    lane.submit(request).expect("it is never full");
    wait(lane, &asked)?;
    Ok(asked.landed().expect("an append tells where it is"))
}

/// The bytes of a report of `zones` zones from the one with `sector` on.
fn report(lane: &mut dyn Lane, sector: u64, zones: u32) -> Vec<u8> {
    let dirty = vec![0xee; zones as usize * Zone::BYTES];
    let op = RequestOp::ZoneReport;
    ask(lane, op, RequestFlags::NONE, sector, zones, &dirty).expect("a report")
}

fn all_of(zones: &[Zone]) -> Vec<u8> {
    zones.iter().flat_map(Zone::to_bytes).collect()
}

proptest! {
    #[test]
    fn zones_go_as_a_naive_judge_says(
        max_open in 0_u32..4,
        more in 0_u32..3,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let limits = ZoneLimits {
            max_open_zones: max_open,
            max_active_zones: if more == 2 { 0 } else { max_open + more },
            ..ZoneLimits::new(SIZE)
        };
        let device = ZonedRamDevice::new(u64::from(SIZE * ZONES), limits, CONVENTIONAL).expect("zones");
        let mut lane = device.open_lane(1).expect("it needs nothing");
        let mut judge = Judge::new(limits);
        for (byte, step) in (1_u8..).zip(&steps) {
            match *step {
                Step::Write { sector, sectors } => {
                    let got = write(&mut lane, sector.into(), &bytes(sectors, byte));
                    let want = judge.write(Some(sector), sector / SIZE, sectors, byte);
                    prop_assert_eq!(got, want.map(drop), "{:?}", step);
                }
                Step::Append { zone, sectors } => {
                    let got = append(&mut lane, zone, &bytes(sectors, byte));
                    let want = judge.write(None, zone, sectors, byte);
                    prop_assert_eq!(got, want.map(u64::from), "{:?}", step);
                }
                Step::Manage { op, zone } => {
                    let got = tell(&mut lane, op, RequestFlags::NONE, u64::from(zone * SIZE), 0);
                    prop_assert_eq!(got, judge.manage(op, zone as usize), "{:?}", step);
                }
            }
            prop_assert_eq!(device.zones(), judge.report(), "after {:?}", step);
            let data = read(&mut lane, 0, SIZE * ZONES).expect("it can be read anywhere");
            let wanted = judge.data();
            prop_assert_eq!(data.len(), wanted.len() * 512);
            prop_assert!(data.chunks_exact(512).zip(wanted).all(|(sector, byte)| sector == [byte; 512]));
        }
        prop_assert_eq!(report(&mut lane, 0, ZONES), all_of(&judge.report()));
    }
}

#[test]
fn a_report_begins_in_a_zone_and_ends_with_zeroes() {
    let device = ZonedRamDevice::new(32, ZoneLimits::new(SIZE), 1).expect("4 zones");
    let mut lane = device.open_lane(1).expect("it needs nothing");
    write(&mut lane, 24, &bytes(3, 1)).expect("at the write pointer");
    let zones = device.zones();
    let got = report(&mut lane, 19, 4);
    let (there, behind) = got.split_at(2 * Zone::BYTES);
    assert_eq!(there, all_of(&zones[2..]));
    assert!(behind.iter().all(|byte| *byte == 0));
    // `struct blk_zone`: start, len, wp, type and cond, capacity.
    let last = &there[Zone::BYTES..];
    assert_eq!(last[..8], 24_u64.to_le_bytes());
    assert_eq!(last[8..16], 8_u64.to_le_bytes());
    assert_eq!(last[16..24], 27_u64.to_le_bytes());
    assert_eq!(last[24..32], [2, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(last[32..40], 8_u64.to_le_bytes());
}

#[test]
fn a_reset_gives_memory_back() {
    let device = ZonedRamDevice::new(2048, ZoneLimits::new(1024), 0).expect("2 zones");
    let mut lane = device.open_lane(1).expect("it needs nothing");
    for zone in 0..2 {
        write(&mut lane, zone * 1024, &bytes(1024, 1)).expect("an empty zone");
    }
    assert_eq!(device.allocated_bytes(), 1 << 20);
    let reset = RequestOp::ZoneReset;
    tell(&mut lane, reset, RequestFlags::NONE, 0, 0).expect("a full zone");
    assert_eq!(device.allocated_bytes(), 1 << 19);
    let none = Err(Errno::EIO);
    assert_eq!(
        tell(&mut lane, reset, RequestFlags::NONE, 1 << 40, 0),
        none,
        "no zone"
    );
    assert_eq!(write(&mut lane, 1 << 40, &bytes(1, 1)), none);
}

#[test]
fn zones_that_cannot_be_are_refused() {
    let new = |sectors, limits| ZonedRamDevice::new(sectors, limits, 0).map(|_| ());
    let limits = ZoneLimits::new(SIZE);
    assert_eq!(new(64, limits), Ok(()));
    let odd = new(60, limits);
    let error = GeometryError::ZoneSize {
        zone_sectors: SIZE,
        capacity_sectors: 60,
    };
    assert_eq!(odd, Err(error));
}

#[test]
fn only_what_forgets_a_type_goes_over_zones_and_the_rest_says_why_not() {
    struct Same;
    impl Transform for Same {
        fn encode(&self, _sector: u64, _data: &mut [u8]) {}
        fn decode(&self, _sector: u64, _data: &mut [u8]) {}
    }
    let zoned = || ZonedRamDevice::new(64, ZoneLimits::new(SIZE), 0).expect("8 zones");
    let any = AnyDevice::new(zoned());
    assert_eq!(any.geometry().zones, Some(ZoneLimits::new(SIZE)));
    let mut lane = any.open_lane(1).expect("it needs nothing");
    assert_eq!(append(&mut lane, 2, &bytes(1, 1)), Ok(16));
    assert_eq!(append(&mut lane, 2, &bytes(1, 1)), Ok(17));
    let map = MapDevice::new(&any, Same).map(drop).expect_err("zones");
    let plan: FaultPlan = "read delay=1ms".parse().expect("a plan");
    let fault = FaultDevice::new(zoned(), plan)
        .map(drop)
        .expect_err("zones");
    for told in [map, fault] {
        assert!(told.to_string().contains("has zones"), "{told}");
        let errno = KernelError::from(told).to_errno();
        assert_eq!(errno, Errno::EOPNOTSUPP);
    }
    let members = [AnyDevice::new(RamDevice::new(64)), AnyDevice::new(zoned())];
    let stripe = StripeDevice::new(members, 8).map(drop).expect_err("zones");
    assert_eq!(stripe, StripeError::Zoned { member: 1 });
    let told = stripe.to_string();
    assert!(told.contains("member 1 of the stripe has zones"), "{told}");
}
