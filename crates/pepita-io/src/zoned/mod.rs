//! Memory as a zoned block device.

mod books;

use std::sync::{Mutex, MutexGuard, PoisonError};

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, Geometry, GeometryError, Lane, Request, RequestOp, Zone, ZoneLimits,
};
use pepita_sys::error::{Errno, Result};

use crate::RamDevice;
use books::Books;

/// The most sectors of a read or a write: 4 MiB, which front ends cut to what they can.
const MAX_SECTORS: u32 = 8192;

/// A zoned block device in memory, sparse as [`RamDevice`] is: its zones are written in order, from the write pointer
/// on, and reset as a whole, which gives their memory back. The first zones may be conventional.
///
/// Zones change their conditions as those of the kernel's `null_blk` do, after ZBC and ZNS: a write opens a zone, and
/// where too many are open closes one that was opened so. Writes to zones with a write pointer wait for each other;
/// reads and writes to conventional zones do not. All of a zone can be written.
///
/// ```
/// use pepita_io::ZonedRamDevice;
/// use pepita_sys::blk_mq::{BlockDevice, ZoneCondition, ZoneLimits};
///
/// // 1 GiB in zones of 4 MiB, of which the first can be written anywhere.
/// let device = ZonedRamDevice::new(1 << 21, ZoneLimits::new(8192), 1)?;
/// assert_eq!(device.geometry().zones, Some(ZoneLimits::new(8192)));
/// let zones = device.zones();
/// assert_eq!(zones.len(), 256);
/// assert_eq!(zones[0].condition, ZoneCondition::Conventional);
/// assert_eq!((zones[1].condition, zones[1].write_pointer), (ZoneCondition::Empty, 8192));
/// # Ok::<(), pepita_sys::blk_mq::GeometryError>(())
/// ```
#[derive(Debug)]
pub struct ZonedRamDevice {
    ram: RamDevice,
    limits: ZoneLimits,
    books: Mutex<Books>,
}

impl ZonedRamDevice {
    /// A device of `capacity_sectors` sectors in the zones of `limits`. The first `conventional` zones, or all if there
    /// are not so many, are conventional.
    ///
    /// # Errors
    /// What [`Geometry::validate`] says.
    pub fn new(
        capacity_sectors: u64,
        limits: ZoneLimits,
        conventional: u32,
    ) -> std::result::Result<Self, GeometryError> {
        let geometry = Geometry {
            physical_block_size: 4096,
            max_sectors: MAX_SECTORS,
            zones: Some(limits),
            ..Geometry::new(capacity_sectors)
        };
        geometry.validate()?;
        let ram = RamDevice::with_geometry(geometry)?;
        // The pieces of memory, of which there are more than zones or few, are a slice.
        let zones = usize::try_from(capacity_sectors / u64::from(limits.zone_sectors));
        let conventional = usize::try_from(conventional).unwrap_or(usize::MAX);
        Ok(Self {
            ram,
            limits,
            books: Mutex::new(Books::new(
                limits,
                zones.unwrap_or(usize::MAX),
                conventional,
            )),
        })
    }

    /// All zones as they are at the moment.
    #[must_use]
    pub fn zones(&self) -> Vec<Zone> {
        let books = self.books();
        (0..books.len())
            .filter_map(|index| books.zone(index))
            .collect()
    }

    /// Bytes of memory that the data takes at the moment.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        self.ram.allocated_bytes()
    }

    /// Who panics with the lock has changed no zone by half: each is changed after its data.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the zone with `sector`, and the place there.
    fn zone_of(&self, sector: u64) -> (usize, u32) {
        let size = u64::from(self.limits.zone_sectors);
        let index = usize::try_from(sector / size).unwrap_or(usize::MAX);
        (index, u32::try_from(sector % size).unwrap_or(0))
    }

    fn serve(&self, request: &Request) -> std::result::Result<(), Errno> {
        let (sector, nr_sectors) = (request.sector(), request.nr_sectors());
        let (index, _) = self.zone_of(sector);
        match request.op() {
            RequestOp::Read => self.ram.read((sector, nr_sectors), request),
            RequestOp::Write => self.write(request),
            RequestOp::Flush => Ok(()),
            RequestOp::ZoneOpen => self.books().open_explicitly(index),
            RequestOp::ZoneClose => self.books().close(index),
            RequestOp::ZoneFinish => self.books().finish(index),
            RequestOp::ZoneReset => self.reset(&mut self.books(), index),
            RequestOp::ZoneResetAll => {
                let mut books = self.books();
                let all = (0..books.len()).filter(|index| !books.is_conventional(*index));
                let all: Vec<usize> = all.collect();
                all.into_iter()
                    .try_for_each(|index| self.reset(&mut books, index))
            }
            RequestOp::ZoneReport => self.report(index, request),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn write(&self, request: &Request) -> std::result::Result<(), Errno> {
        let (sector, nr_sectors) = (request.sector(), request.nr_sectors());
        if nr_sectors == 0 {
            return Ok(());
        }
        let (index, at) = self.zone_of(sector);
        let mut books = self.books();
        if books.is_conventional(index) {
            let last = sector
                .checked_add(u64::from(nr_sectors) - 1)
                .ok_or(Errno::EIO)?;
            if !books.is_conventional(self.zone_of(last).0) {
                return Err(Errno::EIO);
            }
            drop(books);
            return self.ram.write((sector, nr_sectors), request);
        }
        books.check_write(index, Some(at), nr_sectors)?;
        self.ram.write((sector, nr_sectors), request)?;
        books.wrote(index, nr_sectors);
        Ok(())
    }

    /// Writes at the write pointer of the zone, and says where that was.
    fn append(&self, request: &Request) -> std::result::Result<u64, Errno> {
        let nr_sectors = request.nr_sectors();
        let (index, _) = self.zone_of(request.sector());
        let mut books = self.books();
        let at = books.check_write(index, None, nr_sectors)?;
        let sector = index as u64 * u64::from(self.limits.zone_sectors) + u64::from(at);
        if nr_sectors > 0 {
            self.ram.write((sector, nr_sectors), request)?;
            books.wrote(index, nr_sectors);
        }
        Ok(sector)
    }

    fn reset(&self, books: &mut Books, index: usize) -> std::result::Result<(), Errno> {
        books.reset(index)?;
        let sectors = self.limits.zone_sectors;
        self.ram
            .zero((index as u64 * u64::from(sectors), sectors), false)
    }

    fn report(&self, first: usize, request: &Request) -> std::result::Result<(), Errno> {
        let mut sink = request.sink();
        let books = self.books();
        let mut index = first;
        while !sink.is_empty() {
            match books.zone(index) {
                Some(zone) => sink.write(&zone.to_bytes())?,
                None => sink.write_zeroes(sink.len())?,
            }
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

impl BlockDevice for ZonedRamDevice {
    type Lane<'d> = ZonedRamLane<'d>;

    fn geometry(&self) -> Geometry {
        self.ram.geometry()
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("zoned")
    }

    fn open_lane(&self, _depth: u16) -> Result<ZonedRamLane<'_>> {
        Ok(ZonedRamLane { device: self })
    }
}

/// A lane of a [`ZonedRamDevice`]: is never full, and does everything in `submit`.
#[derive(Debug)]
pub struct ZonedRamLane<'d> {
    device: &'d ZonedRamDevice,
}

impl Lane for ZonedRamLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if request.op() == RequestOp::ZoneAppend {
            match self.device.append(&request) {
                Ok(sector) => request.complete_at(sector),
                Err(errno) => request.complete(Err(errno)),
            }
        } else {
            let done = self.device.serve(&request);
            request.complete(done);
        }
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}
