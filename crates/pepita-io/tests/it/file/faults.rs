#![expect(clippy::cast_possible_truncation, reason = "bytes of a pattern")]
//! Files that change beneath their device, memory that O_DIRECT does not take, lanes that go away.

use pepita_io::FileOptions;
use pepita_sys::blk_mq::{BlockDevice, Lane, RequestFlags, RequestOp};
use pepita_sys::error::Errno;

use super::front::{ask, read, request, tell, wait, write};
use super::{disk_image, disk_options, open, options};

#[test]
fn a_file_that_became_shorter_is_eio_behind_its_end() {
    for options in disk_options("a_file_that_became_shorter_is_eio_behind_its_end") {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        write(&mut lane, 0, &[7; 16 << 10]).expect("there is room");
        image.as_file().set_len(8 << 10).expect("shorter");
        assert_eq!(read(&mut lane, 0, 16), Ok(vec![7; 8 << 10]));
        assert_eq!(read(&mut lane, 8, 16), Err(Errno::EIO), "half of it");
        assert_eq!(read(&mut lane, 512, 8), Err(Errno::EIO), "all of it");
        image.as_file().set_len(100).expect("shorter");
        assert_eq!(read(&mut lane, 0, 8), Err(Errno::EIO), "not even a sector");
        // The file comes back with what is written; what was cut off is zero.
        write(&mut lane, 32, &[8; 4096]).expect("there is room");
        assert_eq!(read(&mut lane, 24, 8), Ok(vec![0; 4096]));
        assert_eq!(read(&mut lane, 32, 8), Ok(vec![8; 4096]));
    }
}

#[test]
fn a_file_that_became_longer_is_a_larger_device_when_asked() {
    for options in disk_options("a_file_that_became_longer_is_a_larger_device_when_asked") {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        image.as_file().set_len(2 << 20).expect("longer");
        assert_eq!(device.geometry().capacity_sectors, 2048);
        assert_eq!(read(&mut lane, 2048, 8), Err(Errno::EIO));
        assert_eq!(device.update_capacity(), Ok(4096));
        assert_eq!(device.geometry().capacity_sectors, 4096);
        assert_eq!(read(&mut lane, 2048, 8), Ok(vec![0; 4096]));
    }
}

#[test]
fn memory_that_o_direct_does_not_take_goes_another_way() {
    for options in disk_options("memory_that_o_direct_does_not_take_goes_another_way") {
        let image = disk_image(4 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(8).expect("a lane");
        // Around the size of the pieces that it is cut into.
        for (skip, nr_sectors) in [1, 3, 255, 511]
            .into_iter()
            .flat_map(|skip| [8, 248, 256, 264, 1024, 8000].map(|count| (skip, count)))
        {
            let bytes = nr_sectors as usize * 512;
            let data: Vec<u8> = (0..bytes).map(|at| (at / 7 + skip) as u8).collect();
            let flags = RequestFlags::FUA;
            let (asked, wanted) = request(RequestOp::Write, flags, 8, nr_sectors, &data, skip);
            lane.submit(wanted).expect("room");
            assert_eq!(wait(&mut lane, &asked), Ok(()));
            let empty = vec![0; bytes];
            let flags = RequestFlags::NONE;
            let (asked, wanted) =
                request(RequestOp::Read, flags, 8, nr_sectors, &empty, 512 - skip);
            lane.submit(wanted).expect("room");
            assert_eq!(wait(&mut lane, &asked), Ok(()));
            assert!(
                asked.data() == data,
                "{options:?}: {nr_sectors} sectors at {skip}"
            );
        }
    }
}

#[test]
fn what_a_device_cannot_do_is_an_error_and_no_panic() {
    let (none, fua) = (RequestFlags::NONE, RequestFlags::FUA);
    for options in disk_options("what_a_device_cannot_do_is_an_error_and_no_panic") {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        let lane = &mut lane;
        assert_eq!(
            tell(lane, RequestOp::SecureErase, none, 0, 8),
            Err(Errno::EOPNOTSUPP)
        );
        assert_eq!(
            tell(lane, RequestOp::Discard, none, 2048, 8),
            Err(Errno::EIO)
        );
        assert_eq!(
            tell(lane, RequestOp::WriteZeroes, fua, u64::MAX, 8),
            Err(Errno::EIO)
        );
        // A front end that has not checked.
        let short = ask(lane, RequestOp::Read, none, 0, 16, &[0; 4096]);
        assert_eq!(short, Err(Errno::EINVAL));
        assert_eq!(
            ask(lane, RequestOp::Write, none, 0, 8, &[0; 8192]),
            Err(Errno::EINVAL)
        );

        let device = open(&options.read_only(), image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        assert_eq!(write(&mut lane, 0, &[1; 4096]), Err(Errno::EPERM));
        assert_eq!(
            tell(&mut lane, RequestOp::WriteZeroes, none, 0, 8),
            Err(Errno::EPERM)
        );
        assert_eq!(tell(&mut lane, RequestOp::Flush, none, 0, 0), Ok(()));
    }
}

/// Each way that a lane can go away with requests in flight; AddressSanitizer sees what touches their memory
/// afterwards, which is freed with their ends.
#[test]
fn a_lane_dropped_with_io_in_flight_ends_it_and_lets_go_of_its_memory() {
    for options in
        disk_options("a_lane_dropped_with_io_in_flight_ends_it_and_lets_go_of_its_memory")
    {
        let image = disk_image(32 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        for round in 0..24_u64 {
            let mut lane = device.open_lane(32).expect("a lane");
            let mut all = Vec::new();
            for index in 0..32_u64 {
                let (op, flags) = match (round + index) % 4 {
                    0 => (RequestOp::Read, RequestFlags::NONE),
                    1 => (RequestOp::Write, RequestFlags::FUA),
                    2 => (RequestOp::Write, RequestFlags::NONE),
                    _ => (RequestOp::Flush, RequestFlags::NONE),
                };
                let nr_sectors = if op == RequestOp::Flush { 0 } else { 256 };
                let data = vec![index as u8; nr_sectors as usize * 512];
                let skip = if round % 3 == 0 { 1 } else { 0 };
                let (asked, wanted) = request(op, flags, index * 512, nr_sectors, &data, skip);
                lane.submit(wanted).expect("room");
                all.push(asked);
                if round % 5 == 1 && index == 20 {
                    lane.commit();
                }
            }
            if round % 2 == 0 {
                lane.commit();
            }
            if round % 4 == 0 {
                lane.poll();
            }
            drop(lane);
            for asked in all {
                let end = asked.end().expect("it has ended with its lane");
                let known = [
                    Ok(()),
                    Err(Errno::EIO),
                    Err(Errno::ECANCELED),
                    Err(Errno::EINTR),
                ];
                assert!(known.contains(&end), "{options:?}: {end:?}");
            }
        }
    }
}

/// Nothing in flight is freed when a lane is forgotten, and the device can still go.
#[test]
fn a_forgotten_lane_keeps_what_is_in_flight() {
    for options in disk_options("a_forgotten_lane_keeps_what_is_in_flight") {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a disk has O_DIRECT");
        let mut lane = device.open_lane(4).expect("a lane");
        let (flags, data) = (RequestFlags::NONE, vec![3; 64 << 10]);
        let (asked, wanted) = request(RequestOp::Write, flags, 0, 128, &data, 0);
        lane.submit(wanted).expect("room");
        lane.commit();
        std::mem::forget(lane);
        drop(device);
        drop(asked);
    }
}

#[test]
fn a_full_lane_gives_requests_back() {
    for options in [FileOptions::new(), options()[2].clone()] {
        let image = disk_image(1 << 20);
        let device = open(&options, image.path()).expect("a device");
        let mut lane = device.open_lane(0).expect("a lane for one");
        let one = || request(RequestOp::Read, RequestFlags::NONE, 0, 8, &[0; 4096], 0);
        let (first, wanted) = one();
        lane.submit(wanted).expect("room for one");
        let (second, wanted) = one();
        let back = lane.submit(wanted).expect_err("it is full");
        assert_eq!(second.end(), None);
        assert_eq!(wait(&mut lane, &first), Ok(()));
        lane.submit(back).expect("room again");
        assert_eq!(wait(&mut lane, &second), Ok(()));
    }
}
