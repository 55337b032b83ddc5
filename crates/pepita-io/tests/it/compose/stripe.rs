//! Stripes against the contract, and against one that moves a sector at a time.

use std::num::NonZeroUsize;
use std::sync::Arc;

use pepita_io::compose::{FaultDevice, StripeDevice, StripeError};
use pepita_io::{AnyDevice, Engine, FileOptions, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{
    BlockDevice, DiscardLimits, Geometry, Lane, RequestFlags, RequestOp, WriteCache,
};
use pepita_sys::error::Errno;
use proptest::prelude::*;

use super::devices::{Elsewhere, Narrow, Noting};
use crate::file::front::{ask, read, request, tell, wait, write};

#[track_caller]
fn passes(device: &impl BlockDevice) {
    let report = Conformance::new().run(device).expect("it keeps every rule");
    assert_eq!(report.left_out, [], "{report:?}");
}

#[test]
fn it_keeps_the_contract_whatever_its_members_do() {
    for (members, chunk) in [(1, 8), (2, 1), (3, 16), (5, 128), (2, 1000)] {
        let ram: Vec<_> = (0..members).map(|_| RamDevice::new(4000)).collect();
        passes(&StripeDevice::new(ram, chunk).expect("a stripe"));
    }
    let narrow: Vec<_> = (0..3).map(|_| Narrow(RamDevice::new(1024))).collect();
    passes(&StripeDevice::new(narrow, 8).expect("a stripe"));
    let elsewhere = (0..3).map(|_| Elsewhere(Arc::new(RamDevice::new(1024))));
    passes(&StripeDevice::new(elsewhere.collect::<Vec<_>>(), 8).expect("a stripe"));
}

#[test]
fn it_keeps_the_contract_over_files_and_other_stripes() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let images = [(); 3].map(|()| tempfile::NamedTempFile::new_in(folder).expect("a file"));
    let [one, two, three] = images.each_ref().map(|image| {
        image.as_file().set_len(1 << 20).expect("its length");
        image.path()
    });
    let threads = Engine::Threads(NonZeroUsize::MIN);
    let file = |engine, path| {
        let options = FileOptions::new().engine(engine);
        AnyDevice::new(options.open(path).expect("a device"))
    };
    let inner = StripeDevice::new([RamDevice::new(2048), RamDevice::new(2048)], 32);
    let members = [
        file(Engine::Uring, one),
        file(threads, two),
        file(Engine::Uring, three),
        AnyDevice::new(inner.expect("a stripe")),
        AnyDevice::new(Elsewhere(Arc::new(RamDevice::new(2048)))),
    ];
    passes(&StripeDevice::new(members, 16).expect("a stripe"));
}

/// What a request is, for the oracle: operation, first sector, count of sectors.
fn operations(sectors: u64) -> impl Strategy<Value = Vec<(u8, u64, u32)>> {
    prop::collection::vec((0..5_u8, 0..sectors, 1..200_u32), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle knows one rule: sector s is on member s / chunk % members, at chunk s / chunk / members.
    #[test]
    fn each_sector_is_where_a_stripe_of_single_sectors_has_it(
        members in 1..6_usize,
        chunk in 1..70_u32,
        operations in operations(1800),
    ) {
        let ram: Vec<_> = (0..members).map(|_| Noting::new(350)).collect();
        let stripe = StripeDevice::new(ram, chunk).expect("a stripe");
        let capacity = stripe.geometry().capacity_sectors;
        prop_assert_eq!(capacity, 350 / u64::from(chunk) * u64::from(chunk) * members as u64);
        let mut model = vec![0_u8; usize::try_from(capacity).expect("few")];
        let mut lane = stripe.open_lane(4).expect("a lane");
        for (number, (op, sector, nr_sectors)) in (1_u8..).zip(operations) {
            let sector = sector % capacity;
            let nr_sectors = u64::from(nr_sectors).min(capacity - sector);
            let place = usize::try_from(sector).expect("few")..usize::try_from(sector + nr_sectors).expect("few");
            let count = u32::try_from(nr_sectors).expect("few");
            match op {
                0 | 1 => {
                    let data: Vec<u8> = place.clone().flat_map(|_| [number; 512]).collect();
                    prop_assert_eq!(write(&mut lane, sector, &data), Ok(()));
                    model[place].fill(number);
                }
                2 => {
                    prop_assert_eq!(tell(&mut lane, RequestOp::WriteZeroes, RequestFlags::NONE, sector, count), Ok(()));
                    model[place].fill(0);
                }
                3 => prop_assert_eq!(tell(&mut lane, RequestOp::Flush, RequestFlags::NONE, 0, 0), Ok(())),
                _ => {
                    let expected: Vec<u8> = model[place].iter().flat_map(|byte| [*byte; 512]).collect();
                    prop_assert!(read(&mut lane, sector, count) == Ok(expected), "{} from {}", count, sector);
                }
            }
        }
        drop(lane);
        let mut lanes: Vec<_> = stripe.members().iter().map(|member| member.open_lane(1).expect("a lane")).collect();
        for (sector, byte) in (0_u64..).zip(&model) {
            let (number, rest) = (sector / u64::from(chunk), sector % u64::from(chunk));
            let member = usize::try_from(number % members as u64).expect("few");
            let there = number / members as u64 * u64::from(chunk) + rest;
            prop_assert!(read(&mut lanes[member], there, 1) == Ok(vec![*byte; 512]), "sector {}", sector);
        }
    }
}

#[test]
fn chunks_of_a_member_go_together() {
    let members = [Noting::new(4096), Noting::new(4096), Noting::new(4096)];
    let stripe = StripeDevice::new(members, 8).expect("a stripe");
    let mut lane = stripe.open_lane(4).expect("a lane");
    write(&mut lane, 4, &[1; 512 * 48]).expect("written");
    // 4 of chunk 0, then chunks 1 to 5, and 4 of chunk 6.
    let got: Vec<_> = stripe.members().iter().map(Noting::take).collect();
    let write = RequestOp::Write;
    assert_eq!(
        got,
        [
            vec![(write, 4, 16, 3)],
            vec![(write, 0, 16, 2)],
            vec![(write, 0, 16, 2)],
        ]
    );
    tell(
        &mut lane,
        RequestOp::WriteZeroes,
        RequestFlags::NONE,
        0,
        4096,
    )
    .expect("zeroed");
    let got = stripe.members()[2].take();
    assert_eq!(got, [(RequestOp::WriteZeroes, 0, 1360, 0)]);
    tell(&mut lane, RequestOp::Flush, RequestFlags::NONE, 0, 0).expect("flushed");
    for member in stripe.members() {
        let flush = (RequestOp::Flush, 0, 0, 0);
        assert_eq!(member.take().last(), Some(&flush));
    }
}

#[test]
fn a_member_that_takes_fewer_segments_gets_more_requests() {
    let few = Geometry {
        max_segments: 2,
        ..RamDevice::new(4096).geometry()
    };
    let noting = |geometry| Noting {
        ram: RamDevice::with_geometry(geometry).expect("a device"),
        got: std::sync::Mutex::default(),
    };
    let stripe = StripeDevice::new([noting(few), Noting::new(4096)], 1).expect("a stripe");
    assert_eq!(stripe.geometry().max_segments, 2);
    let mut lane = stripe.open_lane(4).expect("a lane");
    write(&mut lane, 0, &[7; 512 * 10]).expect("written");
    let lens = |number: usize| -> Vec<_> {
        let got = stripe.members()[number].take();
        got.iter().map(|got| (got.2, got.3)).collect()
    };
    assert_eq!(lens(0), [(2, 2), (2, 2), (1, 1)]);
    assert_eq!(lens(1), [(5, 5)]);
    assert_eq!(read(&mut lane, 0, 10), Ok(vec![7; 512 * 10]));
}

#[test]
fn the_first_error_of_a_member_is_the_requests_and_ends_it_once() {
    let members = ["read hang times=1", "write error=ENOSPC", "flush error=EIO"];
    let members = members.map(|plan| {
        let plan = plan.parse().expect("a plan");
        FaultDevice::new(RamDevice::new(1024), plan).expect("no zones")
    });
    let stripe = StripeDevice::new(members, 8).expect("a stripe");
    let mut lane = stripe.open_lane(2).expect("a lane");
    assert_eq!(write(&mut lane, 0, &[1; 4096]), Ok(()));
    assert_eq!(write(&mut lane, 0, &[2; 3 * 4096]), Err(Errno::ENOSPC));
    let flush = tell(&mut lane, RequestOp::Flush, RequestFlags::NONE, 0, 0);
    assert_eq!(flush, Err(Errno::EIO));
    // The others of a request that has failed in part are waited for.
    let (asked, hangs) = request(
        RequestOp::Read,
        RequestFlags::NONE,
        0,
        24,
        &[0; 24 * 512],
        0,
    );
    lane.submit(hangs).expect("room");
    lane.commit();
    assert_eq!(asked.end(), None);
    stripe.members()[0].heal();
    assert_eq!(wait(&mut lane, &asked), Ok(()));
    assert_eq!(asked.data()[..4096], [2; 4096]);
}

#[test]
fn the_geometry_is_what_all_members_take() {
    let plain = RamDevice::new(1000).geometry();
    let odd = Geometry {
        capacity_sectors: 2400,
        logical_block_size: 4096,
        physical_block_size: 8192,
        max_sectors: 96,
        max_segments: 7,
        discard: Some(DiscardLimits {
            max_sectors: 64,
            granularity_sectors: 8,
        }),
        max_write_zeroes_sectors: 16,
        write_cache: WriteCache::WriteBackWithFua,
        rotational: true,
        ..plain
    };
    let stripe = |geometries: &[Geometry], chunk| {
        let members = geometries.iter().map(|one| RamDevice::with_geometry(*one));
        let members = members.map(|member| member.expect("a device"));
        StripeDevice::new(members.collect::<Vec<_>>(), chunk)
    };
    let both = stripe(&[plain, odd], 64).expect("a stripe").geometry();
    let expected = Geometry {
        capacity_sectors: 2 * 960,
        discard: Some(DiscardLimits {
            max_sectors: 64,
            granularity_sectors: 128,
        }),
        ..odd
    };
    assert_eq!(both, expected);
    let back = Geometry {
        write_cache: WriteCache::WriteBack,
        read_only: true,
        discard: None,
        ..plain
    };
    let all = stripe(&[plain, odd, back], 64)
        .expect("a stripe")
        .geometry();
    assert_eq!(
        (all.write_cache, all.discard),
        (WriteCache::WriteBack, None)
    );
    assert!(all.read_only);
}

#[test]
fn members_that_do_not_go_together_are_refused() {
    let plain = RamDevice::new(1000).geometry();
    let odd = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        ..RamDevice::new(2400).geometry()
    };
    let stripe = |geometries: &[Geometry], chunk| {
        let members = geometries.iter().map(|one| RamDevice::with_geometry(*one));
        let members = members.map(|member| member.expect("a device"));
        StripeDevice::new(members.collect::<Vec<_>>(), chunk)
    };
    let refused =
        |geometries: &[Geometry], chunk| stripe(geometries, chunk).map(drop).expect_err("none");
    assert_eq!(refused(&[], 8), StripeError::NoMember);
    for (chunk_sectors, geometries, block_sectors) in
        [(0, [plain, plain], 1), (12, [plain, odd], 8)]
    {
        let chunk = StripeError::Chunk {
            chunk_sectors,
            block_sectors,
        };
        assert_eq!(refused(&geometries, chunk_sectors), chunk);
    }
    let small = refused(&[odd, plain], 1008).to_string();
    assert!(
        small.contains("member 1 of the stripe has 1000 sectors"),
        "{small}"
    );
    let tight = Geometry {
        max_sectors: 4,
        ..plain
    };
    let error = refused(&[tight, odd], 8).to_string();
    assert!(error.contains("max_sectors is 0"), "{error}");
}

#[test]
fn a_unit_of_discards_that_no_count_holds_in_blocks_is_the_largest_that_one_does() {
    let discards = |granularity_sectors| DiscardLimits {
        max_sectors: 64,
        granularity_sectors,
    };
    let fine = Geometry {
        discard: Some(discards(u32::MAX)),
        ..Geometry::new(64)
    };
    let coarse = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        discard: Some(discards(8)),
        ..Geometry::new(64)
    };
    let members = [fine, coarse].map(|one| RamDevice::with_geometry(one).expect("a device"));
    let stripe = StripeDevice::new(members, 8).expect("a stripe");
    let discard = stripe.geometry().discard.expect("both discard");
    assert_eq!(discard.granularity_sectors, u32::MAX - 7);
}

#[test]
fn what_is_not_known_or_behind_the_end_is_no_request_of_a_member() {
    let stripe = StripeDevice::new([Noting::new(64), Noting::new(64)], 8).expect("a stripe");
    let mut lane = stripe.open_lane(1).expect("a lane");
    for (op, sector, expected) in [
        (RequestOp::SecureErase, 0, Errno::EOPNOTSUPP),
        (RequestOp::Discard, 128, Errno::EIO),
        (RequestOp::Discard, u64::MAX, Errno::EIO),
    ] {
        let refused = ask(&mut lane, op, RequestFlags::NONE, sector, 8, &[]);
        assert_eq!(refused, Err(expected), "{op:?}");
    }
    assert_eq!(read(&mut lane, 128, 0), Ok(vec![]));
    let got: Vec<_> = stripe.members().iter().map(Noting::take).collect();
    assert_eq!(got, [vec![], vec![]]);
}
