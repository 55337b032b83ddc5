#![expect(unsafe_code, reason = "plays a front end of requests without data")]
//! Memory as a device: what the contract says, and what it takes and gives back.

use pepita_io::{AnyDevice, RamDevice};
use pepita_sys::blk_mq::conformance::Conformance;
use pepita_sys::blk_mq::{
    BlockDevice, Completion, CompletionVtable, Geometry, GeometryError, Lane, Request,
    RequestFlags, RequestOp, RequestParts,
};
use pepita_sys::error::Errno;

#[track_caller]
fn passes(device: &impl BlockDevice) {
    let report = Conformance::new().run(device).expect("it keeps every rule");
    assert_eq!(report.left_out, [], "{report:?}");
}

#[test]
fn it_keeps_the_contract_whatever_its_size_and_blocks() {
    // Below one piece of memory, at its border, behind it, and sparse.
    for sectors in [64, 128, 136, 5000, 1 << 26] {
        passes(&RamDevice::new(sectors));
    }
    let geometry = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        ..RamDevice::new(4096).geometry()
    };
    passes(&RamDevice::with_geometry(geometry).expect("whole blocks"));
}

#[test]
fn it_keeps_the_contract_when_its_kind_is_forgotten() {
    let device = AnyDevice::new(RamDevice::new(2048));
    passes(&device.clone());
    assert_eq!(format!("{device:?}"), "AnyDevice(DeviceId(\"ram\"))");
}

#[test]
fn a_geometry_that_cannot_be_is_refused() {
    let geometry = Geometry {
        logical_block_size: 4096,
        physical_block_size: 4096,
        ..Geometry::new(9)
    };
    let refused = RamDevice::with_geometry(geometry).map(|_| ());
    let error = GeometryError::Sectors {
        field: "capacity_sectors",
        sectors: 9,
    };
    assert_eq!(refused, Err(error));
}

/// Does a request without data, and expects success.
fn done(device: &RamDevice, op: RequestOp, flags: RequestFlags, sector: u64, nr_sectors: u32) {
    unsafe fn succeeds(_context: *const (), _tag: u16, result: Result<(), Errno>) {
        assert_eq!(result, Ok(()));
    }
    static SUCCEEDS: CompletionVtable = CompletionVtable::new(succeeds);
    let parts = RequestParts {
        op,
        flags,
        queue_id: 0,
        sector,
        nr_sectors,
        segments: &[],
    };
    assert_eq!(device.geometry().check(&parts), Ok(()));
    // SAFETY: *callable*: the function has no use for the context.
    let completion = unsafe { Completion::new(std::ptr::null(), &SUCCEEDS, 0) };
    // SAFETY: *backed*, *listed*: no segment.
    let request = unsafe { Request::new(&parts, completion) };
    let mut lane = device.open_lane(1).expect("it needs nothing");
    lane.submit(request).expect("it is never full");
}

#[test]
fn it_takes_memory_where_it_must_and_gives_whole_pieces_back() {
    let device = RamDevice::new(1024);
    let piece = 64 << 10;
    let (plain, keep) = (RequestFlags::NONE, RequestFlags::NOUNMAP);
    for (op, flags, sector, nr_sectors, pieces) in [
        (RequestOp::WriteZeroes, plain, 0, 1024, 0),
        (RequestOp::WriteZeroes, keep, 120, 16, 2),
        (RequestOp::WriteZeroes, keep, 512, 512, 6),
        (RequestOp::Discard, plain, 1, 255, 5),
        (RequestOp::WriteZeroes, plain, 640, 128, 4),
        (RequestOp::Discard, plain, 0, 1023, 1),
        (RequestOp::Flush, plain, 0, 0, 1),
        (RequestOp::Discard, plain, 0, 1024, 0),
    ] {
        done(&device, op, flags, sector, nr_sectors);
        let got = device.allocated_bytes();
        assert_eq!(
            got,
            pieces * piece,
            "{op:?} {flags:?} of {nr_sectors} from {sector} on"
        );
    }
}
