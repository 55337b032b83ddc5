//! Faults come where the plan says, and nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pepita_io::compose::{FaultDevice, FaultPlan};
use pepita_io::{FileDevice, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{BlockDevice, Geometry, Lane, RequestFlags, RequestOp};
use pepita_sys::error::Errno;

use super::devices::{Elsewhere, Narrow};
use crate::file::front::{ask, read, request, tell, wait, write};

fn plan(text: &str) -> FaultPlan {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn faulty(text: &str) -> FaultDevice<RamDevice> {
    over(RamDevice::new(4096), text)
}

fn over<D: BlockDevice>(device: D, text: &str) -> FaultDevice<D> {
    FaultDevice::new(device, plan(text)).expect("no zones")
}

#[track_caller]
fn passes(device: &impl BlockDevice) {
    let report = Conformance::new().run(device).expect("it keeps every rule");
    assert_eq!(report.left_out, [], "{report:?}");
}

#[test]
fn it_keeps_the_contract_where_no_rule_fires_or_requests_are_late() {
    for text in [
        "any error=EIO sectors=5000..6000",
        "any delay=200us chance=0.02",
    ] {
        passes(&faulty(text));
        passes(&over(Narrow(RamDevice::new(4096)), text));
        let elsewhere = Elsewhere(Arc::new(RamDevice::new(4096)));
        passes(&over(elsewhere, text));
        let image = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
        image.as_file().set_len(1 << 20).expect("its length");
        let file = FileDevice::open(image.path()).expect("a device");
        passes(&over(file, text));
    }
}

#[test]
fn a_request_fails_where_the_plan_says() {
    let device = faulty(
        "write sectors=100..200 error=ENOSPC; flush nth=2 error=EIO; read every=3 error=EAGAIN times=2",
    );
    let mut lane = device.open_lane(4).expect("a lane");
    let page = [1; 4096];
    for (sector, expected) in [
        (92, Ok(())),
        (93, Err(Errno::ENOSPC)),
        (199, Err(Errno::ENOSPC)),
        (200, Ok(())),
    ] {
        assert_eq!(write(&mut lane, sector, &page), expected, "{sector}");
    }
    let mut flush = || tell(&mut lane, RequestOp::Flush, RequestFlags::NONE, 0, 0);
    assert_eq!(
        [flush(), flush(), flush()],
        [Ok(()), Err(Errno::EIO), Ok(())]
    );
    let failed = (1..=12).filter(|_| read(&mut lane, 0, 1) == Err(Errno::EAGAIN));
    assert_eq!(failed.collect::<Vec<_>>(), [3, 6]);
    // Nothing of what has failed was done.
    assert_eq!(read(&mut lane, 100, 1), Ok(vec![0; 512]));
    device.heal();
    assert_eq!(write(&mut lane, 100, &page), Ok(()));
}

/// The first byte of each of 8 sectors from 0 on.
fn landed(lane: &mut impl Lane) -> Vec<u8> {
    let data = read(lane, 0, 8).expect("read");
    data.chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn a_torn_write_lands_in_part() {
    for (text, end, expected) in [
        ("write torn=3", Ok(()), [7, 7, 7, 0, 0, 0, 0, 0]),
        (
            "write torn=3 error=EIO",
            Err(Errno::EIO),
            [7, 7, 7, 0, 0, 0, 0, 0],
        ),
        ("write torn=0", Ok(()), [0; 8]),
        ("write torn=100 error=EIO", Err(Errno::EIO), [7; 8]),
        ("write lose", Ok(()), [0; 8]),
        ("any torn=3", Ok(()), [7, 7, 7, 0, 0, 0, 0, 0]),
    ] {
        let device = faulty(text);
        let mut lane = device.open_lane(4).expect("a lane");
        assert_eq!(write(&mut lane, 0, &[7; 4096]), end, "{text}");
        assert_eq!(landed(&mut lane), expected, "{text}");
    }
    let device = faulty("zeroes torn=2");
    let mut lane = device.open_lane(4).expect("a lane");
    write(&mut lane, 0, &[7; 4096]).expect("written");
    tell(&mut lane, RequestOp::WriteZeroes, RequestFlags::NONE, 0, 8).expect("it says so");
    assert_eq!(landed(&mut lane), [0, 0, 7, 7, 7, 7, 7, 7]);
    // Whole blocks land.
    let geometry = Geometry {
        logical_block_size: 2048,
        physical_block_size: 2048,
        ..RamDevice::new(4096).geometry()
    };
    let ram = RamDevice::with_geometry(geometry).expect("a device");
    let device = over(ram, "write torn=7");
    let mut lane = device.open_lane(4).expect("a lane");
    write(&mut lane, 0, &[7; 4096]).expect("it says so");
    assert_eq!(landed(&mut lane), [7, 7, 7, 7, 0, 0, 0, 0]);
}

#[test]
fn what_is_late_comes_late_and_what_comes_after_it_does_not_wait() {
    let device = faulty("write delay=100ms; read delay=1s sectors=9..10");
    let mut lane = device.open_lane(4).expect("a lane");
    let begin = Instant::now();
    let (late, asked) = request(RequestOp::Write, RequestFlags::NONE, 0, 8, &[7; 4096], 0);
    lane.submit(asked).expect("room");
    lane.commit();
    assert_eq!(read(&mut lane, 0, 1), Ok(vec![0; 512]), "before the write");
    assert_eq!(late.end(), None);
    assert_eq!(wait(&mut lane, &late), Ok(()));
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(read(&mut lane, 0, 1), Ok(vec![7; 512]));
    // A lane that is dropped ends it.
    let (late, asked) = request(RequestOp::Read, RequestFlags::NONE, 9, 1, &[0; 512], 0);
    lane.submit(asked).expect("room");
    drop(lane);
    assert_eq!(late.end(), Some(Err(Errno::EIO)));
}

#[test]
fn what_hangs_goes_on_when_the_device_is_healed() {
    let device = faulty("any hang");
    let mut lane = device.open_lane(4).expect("a lane");
    let (hung, asked) = request(RequestOp::Write, RequestFlags::NONE, 0, 8, &[7; 4096], 0);
    lane.submit(asked).expect("room");
    lane.commit();
    lane.poll();
    assert_eq!(hung.end(), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            device.heal();
        });
        assert_eq!(wait(&mut lane, &hung), Ok(()));
    });
    assert_eq!(read(&mut lane, 0, 8), Ok(vec![7; 4096]));
    let device = faulty("any hang");
    let mut lane = device.open_lane(4).expect("a lane");
    let (hung, asked) = request(RequestOp::Flush, RequestFlags::NONE, 0, 0, &[], 0);
    lane.submit(asked).expect("room");
    drop(lane);
    assert_eq!(hung.end(), Some(Err(Errno::EIO)));
}

#[test]
fn a_request_that_was_given_back_is_counted_once() {
    let device = over(Narrow(RamDevice::new(64)), "write nth=3 error=EIO");
    let mut lane = device.open_lane(1).expect("a lane");
    let asks: Vec<_> = (0..3)
        .map(|sector| {
            request(
                RequestOp::Write,
                RequestFlags::NONE,
                sector,
                1,
                &[7; 512],
                0,
            )
        })
        .collect();
    let mut ends = Vec::new();
    for (asked, wanted) in asks {
        let mut wanted = Some(wanted);
        let mut tries = 0;
        while let Some(request) = wanted.take() {
            wanted = lane.submit(request).err();
            tries += 1;
            if tries > 2 {
                lane.commit();
            }
        }
        ends.push(asked);
    }
    lane.commit();
    let ends: Vec<_> = ends.iter().map(|asked| asked.end()).collect();
    assert_eq!(ends, [Some(Ok(())), Some(Ok(())), Some(Err(Errno::EIO))]);
    let discarded = ask(&mut lane, RequestOp::Discard, RequestFlags::NONE, 0, 8, &[]);
    assert_eq!(discarded.map(drop), Ok(()));
}
