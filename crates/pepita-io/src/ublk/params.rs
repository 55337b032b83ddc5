//! What a device is, in the driver's words and in ours.

use pepita_sys::blk_mq::{
    DiscardLimits, Geometry, RequestFlags, RequestOp, SECTOR_SHIFT, SECTOR_SIZE, WriteCache, Zone,
};
use pepita_sys::ublk::*;

use super::error::UblkError;

/// Sectors of a page, the least that ublk takes for the largest request.
const PAGE_SECTORS: u32 = 8;

/// The most sectors of a disk: its bytes are a `loff_t`.
const SECTORS_MAX: u64 = (i64::MAX >> SECTOR_SHIFT).cast_unsigned();

/// The parameters of a device with `geometry`, whose requests have at most `max_io_bytes`.
pub(super) fn of_geometry(geometry: &Geometry, max_io_bytes: u32) -> Result<UblkParams, UblkError> {
    geometry.validate()?;
    UblkError::check(
        "the count of sectors",
        geometry.capacity_sectors,
        1,
        SECTORS_MAX,
    )?;
    let max_sectors = max_sectors(geometry, max_io_bytes)?;
    // The largest unit that a transfer of one block touches; 2^31 is the largest that fits.
    let physical = log2(geometry.physical_block_size);
    let mut params = UblkParams::new(UblkParamBasic {
        attrs: attributes(geometry),
        logical_bs_shift: log2(geometry.logical_block_size),
        physical_bs_shift: physical,
        io_opt_shift: physical,
        io_min_shift: physical,
        max_sectors,
        chunk_sectors: geometry.zones.map_or(0, |zones| zones.zone_sectors),
        dev_sectors: geometry.capacity_sectors,
        virt_boundary_mask: 0,
    });
    if geometry.discard.is_some() || geometry.max_write_zeroes_sectors > 0 {
        params.types |= UBLK_PARAM_TYPE_DISCARD;
        params.discard = discard(geometry);
    }
    if let Some(zones) = geometry.zones {
        // Where a report takes several requests, the driver counts the zones of each from 0. `ublk_report_zones`, v6.12
        let most = u64::from(max_sectors) * SECTOR_SIZE / Zone::BYTES as u64;
        let count = geometry.capacity_sectors / u64::from(zones.zone_sectors);
        UblkError::check(
            "the count of zones, all of which one request reports,",
            count,
            1,
            most,
        )?;
        params.types |= UBLK_PARAM_TYPE_ZONED;
        params.zoned = UblkParamZoned {
            max_open_zones: zones.max_open_zones,
            max_active_zones: zones.max_active_zones,
            max_zone_append_sectors: zones.max_append_sectors.min(max_sectors),
            ..UblkParamZoned::default()
        };
    }
    Ok(params)
}

/// What differs between the parameters of a disk that waits and those of the device that is to serve it, of all that
/// decides which requests come and what they mean; what only advises, such as the physical block size, may differ.
pub(super) fn check_alike(waiting: &UblkParams, served: &UblkParams) -> Result<(), UblkError> {
    const ADVICE: u32 = UBLK_ATTR_ROTATIONAL;
    let rows = |params: &UblkParams| {
        let (basic, discard) = (params.basic, params.discard);
        let (zoned, types) = (params.zoned, params.types);
        let with = |kind: u32, value: u32| u64::from(if types & kind == 0 { 0 } else { value });
        let discards = |value| with(UBLK_PARAM_TYPE_DISCARD, value);
        let zones = |value| with(UBLK_PARAM_TYPE_ZONED, value);
        [
            ("the count of sectors", basic.dev_sectors),
            (
                "the logical block size, as a power of two,",
                basic.logical_bs_shift.into(),
            ),
            ("the most sectors of a request", basic.max_sectors.into()),
            ("the sectors of a zone", basic.chunk_sectors.into()),
            (
                "the UBLK_ATTR_ bits for read-only, volatile cache and FUA",
                (basic.attrs & !ADVICE).into(),
            ),
            (
                "the unit of a discard in bytes",
                discards(discard.discard_granularity),
            ),
            (
                "the most sectors of a discard",
                discards(discard.max_discard_sectors),
            ),
            (
                "the most sectors of a write of zeroes",
                discards(discard.max_write_zeroes_sectors),
            ),
            ("the most open zones", zones(zoned.max_open_zones)),
            ("the most active zones", zones(zoned.max_active_zones)),
            (
                "the most sectors of an append",
                zones(zoned.max_zone_append_sectors),
            ),
        ]
    };
    for ((what, waiting), (_, served)) in rows(waiting).into_iter().zip(rows(served)) {
        if waiting != served {
            return Err(UblkError::Unlike {
                what,
                waiting,
                served,
            });
        }
    }
    Ok(())
}

/// The most sectors of a read or a write: the device's, cut to `max_io_bytes`, in whole blocks.
fn max_sectors(geometry: &Geometry, max_io_bytes: u32) -> Result<u32, UblkError> {
    let least = PAGE_SECTORS.max(geometry.block_sectors());
    let max_sectors = geometry.max_sectors.min(max_io_bytes >> SECTOR_SHIFT);
    UblkError::check(
        "the most sectors of a request",
        max_sectors.into(),
        least.into(),
        u32::MAX.into(),
    )?;
    Ok(max_sectors - max_sectors % least)
}

fn attributes(geometry: &Geometry) -> u32 {
    let mut attrs = match geometry.write_cache {
        WriteCache::WriteThrough => 0,
        WriteCache::WriteBack => UBLK_ATTR_VOLATILE_CACHE,
        WriteCache::WriteBackWithFua => UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
    };
    if geometry.read_only {
        attrs |= UBLK_ATTR_READ_ONLY;
    }
    if geometry.rotational {
        attrs |= UBLK_ATTR_ROTATIONAL;
    }
    attrs
}

fn discard(geometry: &Geometry) -> UblkParamDiscard {
    let limits = geometry.discard.unwrap_or(DiscardLimits {
        max_sectors: 0,
        // The driver wants one even where nothing is discarded.
        granularity_sectors: geometry.block_sectors(),
    });
    let most = u32::MAX >> SECTOR_SHIFT;
    let most = most - most % geometry.block_sectors();
    UblkParamDiscard {
        discard_alignment: 0,
        discard_granularity: limits.granularity_sectors.min(most) << SECTOR_SHIFT,
        max_discard_sectors: limits.max_sectors,
        max_write_zeroes_sectors: geometry.max_write_zeroes_sectors,
        max_discard_segments: u16::from(limits.max_sectors > 0),
        reserved0: 0,
    }
}

/// The base-2 logarithm of a power of two.
fn log2(bytes: u32) -> u8 {
    bytes.ilog2().to_le_bytes()[0]
}

/// The operation of a request, if it is one that the driver knows.
#[inline]
pub(super) const fn op(op: u8) -> Option<RequestOp> {
    Some(match op {
        UBLK_IO_OP_READ => RequestOp::Read,
        UBLK_IO_OP_WRITE => RequestOp::Write,
        UBLK_IO_OP_FLUSH => RequestOp::Flush,
        UBLK_IO_OP_DISCARD => RequestOp::Discard,
        UBLK_IO_OP_WRITE_ZEROES => RequestOp::WriteZeroes,
        UBLK_IO_OP_ZONE_OPEN => RequestOp::ZoneOpen,
        UBLK_IO_OP_ZONE_CLOSE => RequestOp::ZoneClose,
        UBLK_IO_OP_ZONE_FINISH => RequestOp::ZoneFinish,
        UBLK_IO_OP_ZONE_APPEND => RequestOp::ZoneAppend,
        UBLK_IO_OP_ZONE_RESET => RequestOp::ZoneReset,
        UBLK_IO_OP_ZONE_RESET_ALL => RequestOp::ZoneResetAll,
        UBLK_IO_OP_REPORT_ZONES => RequestOp::ZoneReport,
        _ => return None,
    })
}

/// The flags of a request that a device may want to know.
#[inline]
pub(super) fn flags(flags: u32) -> RequestFlags {
    const KNOWN: [(u32, RequestFlags); 4] = [
        (UBLK_IO_F_FUA, RequestFlags::FUA),
        (UBLK_IO_F_META, RequestFlags::META),
        (UBLK_IO_F_NOUNMAP, RequestFlags::NOUNMAP),
        (UBLK_IO_F_SWAP, RequestFlags::SWAP),
    ];
    let mut all = RequestFlags::NONE;
    if flags != 0 {
        for (theirs, ours) in KNOWN {
            if flags & theirs != 0 {
                all |= ours;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use pepita_sys::blk_mq::ZoneLimits;

    use super::*;

    #[test]
    fn a_geometry_becomes_parameters() {
        let geometry = Geometry {
            logical_block_size: 512,
            physical_block_size: 4096,
            max_sectors: 8192,
            discard: Some(DiscardLimits {
                max_sectors: 4096,
                granularity_sectors: 128,
            }),
            max_write_zeroes_sectors: 64,
            write_cache: WriteCache::WriteBackWithFua,
            rotational: true,
            ..Geometry::new(1 << 21)
        };
        let params = of_geometry(&geometry, 1 << 20).expect("a device");
        assert_eq!(
            params.types,
            UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD
        );
        let basic = params.basic;
        assert_eq!((basic.logical_bs_shift, basic.physical_bs_shift), (9, 12));
        assert_eq!((basic.max_sectors, basic.dev_sectors), (2048, 1 << 21));
        let attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA | UBLK_ATTR_ROTATIONAL;
        assert_eq!(basic.attrs, attrs);
        let discard = params.discard;
        assert_eq!(
            (discard.discard_granularity, discard.max_discard_segments),
            (65536, 1)
        );
        assert_eq!(
            (
                discard.max_discard_sectors,
                discard.max_write_zeroes_sectors
            ),
            (4096, 64)
        );
    }

    #[test]
    fn a_unit_of_discards_that_has_too_many_bytes_is_still_whole_blocks() {
        let geometry = Geometry {
            logical_block_size: 4096,
            physical_block_size: 4096,
            discard: Some(DiscardLimits {
                max_sectors: 4096,
                granularity_sectors: 1 << 23,
            }),
            ..Geometry::new(64)
        };
        let params = of_geometry(&geometry, 1 << 20).expect("a device");
        assert_eq!(params.discard.discard_granularity, u32::MAX - 4095);
    }

    #[test]
    fn zeroes_alone_are_no_discard() {
        let geometry = Geometry {
            max_write_zeroes_sectors: 64,
            ..Geometry::new(64)
        };
        let params = of_geometry(&geometry, 1 << 20).expect("a device");
        let discard = params.discard;
        assert_eq!(
            (discard.max_discard_sectors, discard.max_discard_segments),
            (0, 0)
        );
        assert_eq!(
            (
                discard.discard_granularity,
                discard.max_write_zeroes_sectors
            ),
            (512, 64)
        );
        let plain = of_geometry(&Geometry::new(64), 1 << 20).expect("a device");
        assert_eq!(plain.types, UBLK_PARAM_TYPE_BASIC);
    }

    #[test]
    fn zones_become_parameters_if_one_request_reports_them() {
        let zones = ZoneLimits {
            max_open_zones: 3,
            max_active_zones: 5,
            ..ZoneLimits::new(8192)
        };
        let geometry = Geometry {
            zones: Some(zones),
            ..Geometry::new(8192 * 64)
        };
        let params = of_geometry(&geometry, 4096).expect("64 zones of 64 bytes");
        assert_eq!(params.types, UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_ZONED);
        assert_eq!(params.basic.chunk_sectors, 8192);
        let UblkParamZoned {
            max_open_zones,
            max_active_zones,
            max_zone_append_sectors,
            ..
        } = params.zoned;
        let is = (max_open_zones, max_active_zones, max_zone_append_sectors);
        assert_eq!(is, (3, 5, 8));
        let more = Geometry {
            capacity_sectors: 8192 * 65,
            ..geometry
        };
        let told = of_geometry(&more, 4096).expect_err("65 zones").to_string();
        assert!(told.contains("is 65, ublk takes 1 to 64"), "{told}");
    }

    #[test]
    fn a_device_is_like_a_disk_if_the_same_requests_suit_it() {
        let disk = Geometry {
            max_sectors: 1024,
            discard: Some(DiscardLimits {
                max_sectors: 4096,
                granularity_sectors: 128,
            }),
            write_cache: WriteCache::WriteBack,
            ..Geometry::new(1 << 20)
        };
        let differs = |served: &Geometry| {
            let params = |geometry| of_geometry(geometry, 1 << 20).expect("a device");
            match check_alike(&params(&disk), &params(served)) {
                Ok(()) => None,
                Err(UblkError::Unlike { what, .. }) => Some(what),
                Err(error) => panic!("{error}"),
            }
        };
        let advice = Geometry {
            physical_block_size: 4096,
            rotational: !disk.rotational,
            ..disk
        };
        for alike in [disk, advice] {
            assert_eq!(differs(&alike), None);
        }
        type Change = fn(&mut Geometry);
        let changes: [(Change, &str); 6] = [
            (|g| g.capacity_sectors -= 8, "count of sectors"),
            (
                |g| (g.logical_block_size, g.physical_block_size) = (4096, 4096),
                "logical block size",
            ),
            (|g| g.max_sectors = 512, "most sectors of a request"),
            (|g| g.write_cache = WriteCache::WriteThrough, "cache"),
            (|g| g.read_only = true, "read-only"),
            (|g| g.discard = None, "discard"),
        ];
        for (change, told) in changes {
            let mut other = disk;
            change(&mut other);
            let what = differs(&other).expect(told);
            assert!(what.contains(told), "{told}: {what}");
        }
    }

    #[test]
    fn what_ublk_does_not_take_is_refused() {
        let refused = |geometry: Geometry, max_io_bytes| {
            of_geometry(&geometry, max_io_bytes)
                .expect_err("no device")
                .to_string()
        };
        let told = refused(Geometry::new(0), 1 << 20);
        assert!(
            told.starts_with("the count of sectors is 0, ublk takes 1"),
            "{told}"
        );
        let told = refused(Geometry::new(u64::MAX >> 1), 1 << 20);
        assert!(told.contains("count of sectors"), "{told}");
        let small = Geometry {
            max_sectors: 7,
            ..Geometry::new(64)
        };
        let told = refused(small, 1 << 20);
        assert!(told.contains("request is 7, ublk takes 8"), "{told}");
        let told = refused(Geometry::new(64), 2048);
        assert!(told.contains("request is 4, ublk takes 8"), "{told}");
        let odd = Geometry {
            logical_block_size: 4096,
            physical_block_size: 4096,
            ..Geometry::new(9)
        };
        assert!(matches!(
            of_geometry(&odd, 1 << 20),
            Err(UblkError::Geometry(_))
        ));
    }

    #[test]
    fn every_flag_that_a_device_may_want_to_know_arrives() {
        let all =
            RequestFlags::FUA | RequestFlags::META | RequestFlags::NOUNMAP | RequestFlags::SWAP;
        assert_eq!(flags(u32::MAX), all);
        assert_eq!(flags(UBLK_IO_F_FUA), RequestFlags::FUA);
        assert_eq!(flags(UBLK_IO_F_FAILFAST_DEV), RequestFlags::NONE);
    }
}
