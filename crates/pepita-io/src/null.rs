//! A device that has nothing and does nothing.

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, DiscardLimits, Geometry, Lane, Request, RequestOp,
};
use pepita_sys::error::{Errno, Result};

/// A block device that forgets what is written, for measuring what is before it: reads leave the memory of their
/// requests as it is.
///
/// So it breaks one rule of [`BlockDevice`], that a read finds what was written.
///
/// ```
/// use pepita_io::NullDevice;
/// use pepita_sys::blk_mq::BlockDevice;
///
/// assert_eq!(NullDevice::new(1 << 21).geometry().capacity_sectors, 1 << 21);
/// ```
#[derive(Debug)]
pub struct NullDevice {
    geometry: Geometry,
}

impl NullDevice {
    /// A device of `capacity_sectors` sectors with blocks of 512 bytes, which takes all operations.
    #[must_use]
    pub const fn new(capacity_sectors: u64) -> Self {
        let geometry = Geometry {
            physical_block_size: 4096,
            max_sectors: 8192,
            discard: Some(DiscardLimits {
                max_sectors: 1 << 22,
                granularity_sectors: 8,
            }),
            max_write_zeroes_sectors: 1 << 22,
            ..Geometry::new(capacity_sectors)
        };
        Self { geometry }
    }
}

impl BlockDevice for NullDevice {
    type Lane<'d> = NullLane;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("null")
    }

    fn open_lane(&self, _depth: u16) -> Result<NullLane> {
        Ok(NullLane(()))
    }
}

/// A lane of a [`NullDevice`], which is never full and completes everything in `submit`.
#[derive(Debug)]
pub struct NullLane(());

impl Lane for NullLane {
    #[inline]
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let done = match request.op() {
            RequestOp::Read
            | RequestOp::Write
            | RequestOp::Flush
            | RequestOp::Discard
            | RequestOp::WriteZeroes => Ok(()),
            _ => Err(Errno::EOPNOTSUPP),
        };
        request.complete(done);
        Ok(())
    }

    #[inline]
    fn commit(&mut self) {}

    #[inline]
    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}
