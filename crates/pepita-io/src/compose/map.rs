//! A device whose data is another's, changed on its way: [`MapDevice`].

use std::sync::Arc;

use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp, SECTOR_SHIFT};
use pepita_sys::error::{Errno, Result};

use super::below::Below;
use super::parent::Part;
use super::zoned::ZonedBelow;

/// What becomes of data on its way to a device and back, such as a cipher: bytes for bytes, by the place.
///
/// Both get whole blocks that the device has, from `sector` on, by which they may do something else in each place.
pub trait Transform: Send + Sync {
    /// Changes what is to be written.
    fn encode(&self, sector: u64, data: &mut [u8]);

    /// Changes back what was read.
    fn decode(&self, sector: u64, data: &mut [u8]);
}

/// A block device whose data is another's, changed by a [`Transform`].
///
/// A request's data is copied once, into memory of the lane, and changed there: a writer's memory stays as it is.
/// What was discarded reads as anything, as the contract allows. Zeroes are written as data, by who asks: the zeroes
/// of the device below would be others. It does not go over zones: an append is encoded by its place, which nobody knows
/// before it is there.
///
/// ```
/// use pepita_io::RamDevice;
/// use pepita_io::compose::{MapDevice, Transform};
///
/// struct Inverted;
///
/// impl Transform for Inverted {
///     fn encode(&self, _sector: u64, data: &mut [u8]) {
///         data.iter_mut().for_each(|byte| *byte = !*byte);
///     }
///     fn decode(&self, sector: u64, data: &mut [u8]) {
///         self.encode(sector, data);
///     }
/// }
///
/// let device = MapDevice::new(RamDevice::new(2048), Inverted)?;
/// # let _ = device;
/// # Ok::<(), pepita_io::compose::ZonedBelow>(())
/// ```
#[derive(Debug)]
pub struct MapDevice<D, T> {
    device: D,
    transform: T,
}

impl<D: BlockDevice, T: Transform> MapDevice<D, T> {
    /// `device`, its data changed by `transform`.
    ///
    /// # Errors
    /// [`ZonedBelow`].
    pub fn new(device: D, transform: T) -> std::result::Result<Self, ZonedBelow> {
        ZonedBelow::check(&device)?;
        Ok(Self { device, transform })
    }

    /// The device with the data as it is there.
    #[must_use]
    pub const fn inner(&self) -> &D {
        &self.device
    }
}

impl<D: BlockDevice, T: Transform> BlockDevice for MapDevice<D, T> {
    type Lane<'d>
        = MapLane<'d, D, T>
    where
        Self: 'd;

    fn geometry(&self) -> Geometry {
        Geometry {
            max_write_zeroes_sectors: 0,
            ..self.device.geometry()
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("map")
    }

    fn open_lane(&self, depth: u16) -> Result<MapLane<'_, D, T>> {
        let lane = self.device.open_lane(depth)?;
        Ok(MapLane {
            transform: &self.transform,
            device: &self.device,
            depth: depth.max(1).into(),
            below: Below::new(vec![lane], None)?,
        })
    }
}

/// A lane of a [`MapDevice`].
pub struct MapLane<'d, D: BlockDevice + 'd, T> {
    transform: &'d T,
    device: &'d D,
    depth: usize,
    below: Below<D::Lane<'d>>,
}

impl<D: BlockDevice, T: Transform> MapLane<'_, D, T> {
    /// Begins `request`, with its data, if it has some, in memory of the lane's.
    fn start(&mut self, request: Request) {
        let mut parent = self.below.parent();
        if let Some(parent) = Arc::get_mut(&mut parent) {
            let (sector, op) = (request.sector(), request.op());
            let sectors = u64::from(request.nr_sectors());
            let bytes = usize::try_from(sectors << SECTOR_SHIFT).unwrap_or(usize::MAX);
            let fill = |data: &mut [u8]| {
                if op == RequestOp::Write {
                    request.source().read(data)?;
                    self.transform.encode(sector, data);
                }
                Ok(())
            };
            let moves = op.reads_data() || op.writes_data();
            if moves && let Err(errno) = parent.use_buffer(bytes, fill) {
                request.complete(Err(errno));
                return;
            }
            parent.parts.push(Part {
                member: 0,
                sector,
                nr_sectors: request.nr_sectors(),
                list: 0..parent.list.len(),
            });
        }
        self.below.start(parent, request, Ok(()));
        self.finish();
    }

    /// Ends what the device below has done.
    fn finish(&self) {
        for parent in self.below.bell().take_noted() {
            parent.finish(|request, data| {
                if request.op() == RequestOp::Read {
                    self.transform.decode(request.sector(), data);
                    request.sink().write(data)?;
                }
                Ok(())
            });
        }
    }
}

impl<D: BlockDevice, T: Transform> Lane for MapLane<'_, D, T> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.below.is_full(self.depth) {
            return Err(request);
        }
        let end = request.sector().checked_add(request.nr_sectors().into());
        let is_behind = end.is_none_or(|end| end > self.device.geometry().capacity_sectors);
        match request.op() {
            RequestOp::Flush => self.start(request),
            // No transform has to know of sectors that are not there.
            RequestOp::Read | RequestOp::Write | RequestOp::Discard if is_behind => {
                request.complete(Err(Errno::EIO));
            }
            RequestOp::Read | RequestOp::Write | RequestOp::Discard => self.start(request),
            _ => request.complete(Err(Errno::EOPNOTSUPP)),
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.below.commit();
        self.finish();
    }

    fn poll(&mut self) {
        self.below.poll();
        self.finish();
        self.below.commit();
        self.finish();
    }

    fn descriptor(&self) -> Option<i32> {
        self.below.descriptor()
    }
}

impl<D: BlockDevice, T> Drop for MapLane<'_, D, T> {
    fn drop(&mut self) {
        self.below.close();
        // What a transform does no more has failed.
        for parent in self.below.bell().take_noted() {
            parent.finish(|request, _| match request.op() {
                RequestOp::Read => Err(Errno::EIO),
                _ => Ok(()),
            });
        }
    }
}

impl<D: BlockDevice, T> std::fmt::Debug for MapLane<'_, D, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapLane").finish_non_exhaustive()
    }
}
