//! Which geometries can be, and which requests they take: against a naive judge.

use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::blk_mq::ShortData;

const DISCARD: DiscardLimits = DiscardLimits {
    max_sectors: 64,
    granularity_sectors: 8,
};

/// A device that takes everything.
const ALL: Geometry = Geometry {
    max_sectors: 32,
    max_segments: 4,
    discard: Some(DISCARD),
    max_write_zeroes_sectors: 128,
    write_cache: WriteCache::WriteBackWithFua,
    ..Geometry::new(1000)
};

/// The same with larger blocks.
const BLOCKS_OF_4096: Geometry = Geometry {
    logical_block_size: 4096,
    physical_block_size: 4096,
    ..ALL
};

#[test]
fn a_geometry_that_cannot_be_says_which_field() {
    type Case = (fn(&mut Geometry), &'static str);
    let cases: [Case; 14] = [
        (|_| (), ""),
        (|it| it.capacity_sectors = 0, ""),
        (|it| it.logical_block_size = 256, "256 (logical)"),
        (|it| it.logical_block_size = 1536, "1536 (logical)"),
        (|it| it.logical_block_size = 8192, "8192 (logical)"),
        (|it| it.physical_block_size = 2048, "2048 (physical)"),
        (|it| it.physical_block_size = 6000, "6000 (physical)"),
        (|it| it.capacity_sectors = 1004, "capacity_sectors is 1004"),
        (|it| it.max_sectors = 0, "max_sectors is 0"),
        (|it| it.max_sectors = 12, "max_sectors is 12"),
        (|it| it.max_segments = 0, "max_segments is 0"),
        (
            |it| {
                it.discard = Some(DiscardLimits {
                    max_sectors: 0,
                    ..DISCARD
                })
            },
            "discard.max_sectors is 0",
        ),
        (
            |it| {
                it.discard = Some(DiscardLimits {
                    granularity_sectors: 4,
                    ..DISCARD
                })
            },
            "discard.granularity_sectors is 4",
        ),
        (
            |it| it.max_write_zeroes_sectors = 4,
            "max_write_zeroes_sectors is 4",
        ),
    ];
    for (change, want) in cases {
        let mut geometry = BLOCKS_OF_4096;
        change(&mut geometry);
        let said = geometry.validate().err().map(|error| error.to_string());
        let said = said.unwrap_or_default();
        let right = said.contains(want) && said.is_empty() == want.is_empty();
        assert!(right, "{said:?}, not {want:?}");
    }
}

/// What `geometry` says of a request with as many bytes as it moves, in one segment.
fn judge(
    geometry: &Geometry,
    op: RequestOp,
    flags: RequestFlags,
    sector: u64,
    nr_sectors: u32,
) -> Result<(), Errno> {
    let moves = op.reads_data() || op.writes_data();
    let bytes = if moves { nr_sectors as usize * 512 } else { 0 };
    let parts = RequestParts {
        op,
        flags,
        queue_id: 0,
        sector,
        nr_sectors,
        segments: &[Segment::new(core::ptr::null_mut(), bytes)],
    };
    geometry.check(&parts).map_err(Errno::from)
}

/// The same by numbers without end, for an operation of at most `most` sectors.
fn naive(geometry: &Geometry, most: u32, sector: u64, count: u32) -> Result<(), Errno> {
    let block = i128::from(geometry.logical_block_size);
    let (first, bytes) = (i128::from(sector) * 512, i128::from(count) * 512);
    if first % block != 0 || bytes % block != 0 {
        Err(Errno::EINVAL)
    } else if first + bytes > i128::from(geometry.capacity_sectors) * 512 {
        Err(Errno::EIO)
    } else if count > most {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

#[test]
fn a_range_is_judged_as_by_endless_numbers() {
    let ends = [u64::MAX - 8, u64::MAX - 7, u64::MAX];
    let sectors = [0, 1, 2, 7, 8, 31, 32, 33, 64, 65, 992, 999, 1000, 1001];
    let sectors = sectors.into_iter().chain(ends);
    let counts = [
        0,
        1,
        7,
        8,
        9,
        32,
        33,
        40,
        64,
        65,
        128,
        129,
        136,
        1000,
        u32::MAX,
    ];
    let ranges: Vec<(u64, u32)> = sectors
        .flat_map(|sector| counts.map(|count| (sector, count)))
        .collect();
    for (op, most) in [
        (RequestOp::Read, 32),
        (RequestOp::Write, 32),
        (RequestOp::Discard, 64),
        (RequestOp::WriteZeroes, 128),
    ] {
        for (geometry, (sector, count)) in [ALL, BLOCKS_OF_4096]
            .iter()
            .flat_map(|geometry| ranges.iter().map(move |range| (geometry, *range)))
        {
            let got = judge(geometry, op, RequestFlags::NONE, sector, count);
            let want = naive(geometry, most, sector, count);
            assert_eq!(got, want, "{op:?} {count} from {sector} on, {geometry:?}");
        }
    }
}

#[test]
fn what_a_device_does_not_have_it_does_not_take() {
    use RequestOp::{Discard, Flush, Read, SecureErase, Write, WriteZeroes, ZoneAppend, ZoneReset};
    let (plain, fua) = (RequestFlags::NONE, RequestFlags::FUA);
    let unsupported = Err(Errno::EOPNOTSUPP);
    let back = Geometry {
        write_cache: WriteCache::WriteBack,
        ..ALL
    };
    let through = Geometry {
        write_cache: WriteCache::WriteThrough,
        ..ALL
    };
    let read_only = Geometry {
        read_only: true,
        ..ALL
    };
    for (geometry, op, flags, want) in [
        (Geometry::new(64), Discard, plain, unsupported),
        (Geometry::new(64), WriteZeroes, plain, unsupported),
        (ALL, SecureErase, plain, unsupported),
        (ALL, ZoneAppend, plain, unsupported),
        (ALL, ZoneReset, plain, unsupported),
        (ALL, Write, fua, Ok(())),
        (through, Write, fua, Ok(())),
        (back, Write, fua, unsupported),
        (back, Write, plain, Ok(())),
        (read_only, Read, plain, Ok(())),
        (read_only, Write, plain, Err(Errno::EPERM)),
        (read_only, Discard, plain, Err(Errno::EPERM)),
        (read_only, WriteZeroes, plain, Err(Errno::EPERM)),
        (Geometry::new(64), Flush, plain, Ok(())),
        (read_only, Flush, plain, Ok(())),
    ] {
        let count = if op == Flush { 0 } else { 8 };
        assert_eq!(
            judge(&geometry, op, flags, 0, count),
            want,
            "{op:?} {flags:?} on {geometry:?}"
        );
    }
    assert_eq!(
        judge(&ALL, Flush, plain, u64::MAX, 0),
        Ok(()),
        "ublk's flushes"
    );
}

#[test]
fn data_has_as_many_bytes_as_the_operation_moves() {
    for (op, lens, want) in [
        (RequestOp::Read, &[1024_usize] as &[usize], ""),
        (RequestOp::Read, &[1, 1022, 0, 1], ""),
        (
            RequestOp::Write,
            &[1000],
            "segments of 1000 bytes, the operation moves 1024",
        ),
        (RequestOp::Write, &[], "segments of 0 bytes"),
        (
            RequestOp::Read,
            &[usize::MAX, 1025],
            "segments of 18446744073709551615 bytes",
        ),
        (
            RequestOp::Discard,
            &[1024],
            "segments of 1024 bytes, the operation moves 0",
        ),
        (RequestOp::Discard, &[], ""),
        (RequestOp::Flush, &[512], "the operation moves 0"),
        (
            RequestOp::Read,
            &[204, 205, 205, 205, 205],
            "5 segments, the most are 4",
        ),
    ] {
        let segments: Vec<Segment> = lens
            .iter()
            .map(|len| Segment::new(core::ptr::null_mut(), *len))
            .collect();
        let parts = RequestParts {
            op,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector: 0,
            nr_sectors: 2,
            segments: &segments,
        };
        let said = ALL
            .check(&parts)
            .map_or_else(|error| error.to_string(), |()| "".into());
        assert!(
            said.contains(want) && said.is_empty() == want.is_empty(),
            "{said:?}, not {want:?}"
        );
    }
}

#[test]
fn errors_say_what_was_wrong_and_the_limit() {
    for (op, sector, count, want) in [
        (
            RequestOp::Read,
            999,
            2,
            "2 sectors from 999 on end behind the device's 1000",
        ),
        (RequestOp::Read, 0, 33, "33 sectors, the most are 32"),
        (
            RequestOp::ZoneOpen,
            0,
            0,
            "the device does not know ZoneOpen with RequestFlags()",
        ),
    ] {
        let parts = RequestParts {
            op,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector,
            nr_sectors: count,
            segments: &[],
        };
        assert_eq!(
            ALL.check(&parts).map_err(|error| error.to_string()),
            Err(want.into())
        );
    }
    let odd = Geometry {
        logical_block_size: 4096,
        ..ALL
    };
    let parts = RequestParts {
        op: RequestOp::Discard,
        flags: RequestFlags::NONE,
        queue_id: 0,
        sector: 4,
        nr_sectors: 8,
        segments: &[],
    };
    let said = odd.check(&parts).map_err(|error| error.to_string());
    assert_eq!(
        said,
        Err("8 sectors from 4 on are not whole blocks of 8 sectors".into())
    );
    let read_only = Geometry {
        read_only: true,
        ..ALL
    };
    assert_eq!(
        read_only.check(&parts).map_err(|error| error.to_string()),
        Err("the device can only be read".into())
    );
}

#[test]
fn an_error_becomes_the_number_that_the_kernel_would_give() {
    let past_end = RequestError::PastEnd {
        sector: 999,
        nr_sectors: 2,
        capacity_sectors: 1000,
    };
    for (error, errno) in [
        (KernelError::from(past_end), Errno::EIO),
        (RequestError::ReadOnly.into(), Errno::EPERM),
        (
            Geometry {
                max_segments: 0,
                ..ALL
            }
            .validate()
            .expect_err("no segments")
            .into(),
            Errno::EINVAL,
        ),
        (ShortData { wanted: 2, left: 1 }.into(), Errno::EINVAL),
    ] {
        assert_eq!(Errno::from(error), errno, "{error}");
    }
}

/// 10 zones of 64 sectors, 3 of which may be open and 5 active.
const ZONED: Geometry = Geometry {
    zones: Some(ZoneLimits {
        max_open_zones: 3,
        max_active_zones: 5,
        max_append_sectors: 16,
        ..ZoneLimits::new(64)
    }),
    ..Geometry::new(640)
};

#[test]
fn zones_that_cannot_be_say_which_number() {
    type Case = (fn(&mut Geometry, &mut ZoneLimits), &'static str);
    let cases: [Case; 12] = [
        (|_, _| (), ""),
        (|_, zones| zones.max_active_zones = 0, ""),
        (|_, zones| zones.max_open_zones = 0, ""),
        (|_, zones| zones.zone_sectors = 0, "zones of 0 sectors"),
        (|_, zones| zones.zone_sectors = 80, "zones of 80 sectors"),
        (
            |geometry, _| geometry.capacity_sectors = 632,
            "on a device of 632",
        ),
        (|_, zones| zones.zone_sectors = 4, "zones of 4 sectors"),
        (
            |_, zones| zones.max_append_sectors = 0,
            "zones.max_append_sectors is 0",
        ),
        (
            |_, zones| zones.max_append_sectors = 72,
            "zones.max_append_sectors is 72",
        ),
        (
            |_, zones| zones.max_open_zones = 6,
            "at most 6 open and 5 active zones of 10",
        ),
        (
            |_, zones| zones.max_active_zones = 11,
            "at most 3 open and 11 active",
        ),
        (
            |_, zones| (zones.max_open_zones, zones.max_active_zones) = (11, 0),
            "at most 11 open",
        ),
    ];
    for (change, want) in cases {
        let mut geometry = Geometry {
            logical_block_size: 4096,
            physical_block_size: 4096,
            ..ZONED
        };
        let mut zones = geometry.zones.expect("it has some");
        change(&mut geometry, &mut zones);
        geometry.zones = Some(zones);
        let said = geometry.validate().err().map(|error| error.to_string());
        let said = said.unwrap_or_default();
        let right = said.contains(want) && said.is_empty() == want.is_empty();
        assert!(right, "{said:?}, not {want:?}");
    }
}

#[test]
fn an_operation_on_zones_is_judged_by_where_they_begin() {
    use RequestOp::{
        Write, ZoneAppend, ZoneClose, ZoneFinish, ZoneOpen, ZoneReport, ZoneReset, ZoneResetAll,
    };
    let (ok, invalid, past_end) = (Ok(()), Err(Errno::EINVAL), Err(Errno::EIO));
    let read_only = Geometry {
        read_only: true,
        ..ZONED
    };
    let denied = Err(Errno::EPERM);
    for (geometry, op, sector, count, want) in [
        (ZONED, ZoneAppend, 64, 16, ok),
        (ZONED, ZoneAppend, 64, 17, invalid),
        (ZONED, ZoneAppend, 65, 16, invalid),
        (ZONED, ZoneAppend, 640, 16, past_end),
        (ZONED, ZoneOpen, 64, 0, ok),
        // What such a request says of its length is not looked at.
        (ZONED, ZoneClose, 576, 999, ok),
        (ZONED, ZoneFinish, 8, 0, invalid),
        (ZONED, ZoneReset, 640, 0, past_end),
        (ZONED, ZoneResetAll, u64::MAX, 0, ok),
        (ZONED, ZoneReport, 639, 1000, ok),
        (ZONED, ZoneReport, 640, 1, past_end),
        (ZONED, Write, 63, 2, ok),
        (read_only, ZoneReport, 0, 1, ok),
        (read_only, ZoneReset, 0, 0, denied),
        (read_only, ZoneAppend, 0, 1, denied),
    ] {
        let mut parts = RequestParts {
            op,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector,
            nr_sectors: count,
            segments: &[],
        };
        let bytes = usize::try_from(parts.data_bytes()).expect("few");
        let list = [Segment::new(core::ptr::null_mut(), bytes)];
        parts.segments = &list;
        let got = geometry.check(&parts).map_err(Errno::from);
        assert_eq!(got, want, "{op:?} of {count} from {sector} on");
    }
    let parts = RequestParts {
        op: ZoneReport,
        flags: RequestFlags::NONE,
        queue_id: 0,
        sector: 0,
        nr_sectors: 3,
        segments: &[],
    };
    assert_eq!(parts.data_bytes(), 192);
    let parts = RequestParts {
        op: ZoneReset,
        sector: 1,
        ..parts
    };
    assert_eq!(parts.data_bytes(), 0);
    let said = ZONED.check(&parts).map_err(|error| error.to_string());
    let want = "no zone of 64 sectors begins at sector 1";
    assert_eq!(said, Err(want.into()));
    let back = Geometry {
        write_cache: WriteCache::WriteBack,
        ..ZONED
    };
    let fua = judge(&back, ZoneAppend, RequestFlags::FUA, 0, 1);
    assert_eq!(fua, Err(Errno::EOPNOTSUPP));
}
