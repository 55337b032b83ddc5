//! Memory as a block device.

use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, DiscardLimits, Geometry, GeometryError, Lane, Request, RequestFlags,
    RequestOp, SECTOR_SHIFT,
};
use pepita_sys::error::{Errno, Result};

/// Sectors that are allocated, locked and given back together.
const CHUNK_SECTORS: u32 = 128;

/// The same in bytes: 64 KiB.
const CHUNK: usize = (CHUNK_SECTORS as usize) << SECTOR_SHIFT;

/// The most sectors of a request: 4 MiB, which front ends cut to what they can.
const MAX_SECTORS: u32 = 8192;

/// First sector, and count of sectors.
type Place = (u64, u32);

/// `None` where all bytes are zero.
type Chunk = RwLock<Option<Box<[u8]>>>;

/// A block device in memory, sparse: what was never written takes none, as with the kernel's `brd`.
///
/// A write takes memory, 64 KiB at a time, where there was nothing, and fails with `ENOSPC` if there is
/// none to have. A discard gives back the 64 KiB pieces that it covers as a whole; it reads as zeroes
/// afterwards, in all of its range. Requests are complete when `submit` returns. Requests of several lanes
/// wait for each other only within 64 KiB, and reads not at all.
///
/// ```
/// use pepita_io::RamDevice;
/// use pepita_sys::blk_mq::{BlockDevice, Geometry};
///
/// let device = RamDevice::new(1 << 21); // 1 GiB, of which nothing is taken yet
/// assert_eq!(device.geometry().capacity_sectors, 1 << 21);
///
/// let with_large_blocks = RamDevice::with_geometry(Geometry {
///     logical_block_size: 4096,
///     physical_block_size: 4096,
///     ..device.geometry()
/// })?;
/// # Ok::<(), pepita_sys::blk_mq::GeometryError>(())
/// ```
#[derive(Debug)]
pub struct RamDevice {
    geometry: Geometry,
    /// One for each beginning [`CHUNK`] of the capacity.
    chunks: Box<[Chunk]>,
}

impl RamDevice {
    /// A device of `capacity_sectors` zeroed sectors, with blocks of 512 bytes. Its books take 32 bytes for
    /// each 64 KiB of the capacity.
    #[must_use]
    pub fn new(capacity_sectors: u64) -> Self {
        Self::of(Geometry {
            physical_block_size: 4096,
            max_sectors: MAX_SECTORS,
            discard: Some(DiscardLimits {
                max_sectors: 1 << 22,
                granularity_sectors: CHUNK_SECTORS,
            }),
            max_write_zeroes_sectors: 1 << 22,
            ..Geometry::new(capacity_sectors)
        })
    }

    /// The same with another geometry, such as larger blocks or fewer operations.
    ///
    /// # Errors
    /// What [`Geometry::validate`] says.
    pub fn with_geometry(geometry: Geometry) -> std::result::Result<Self, GeometryError> {
        geometry.validate()?;
        Ok(Self::of(geometry))
    }

    fn of(geometry: Geometry) -> Self {
        let chunks = geometry.capacity_sectors.div_ceil(u64::from(CHUNK_SECTORS));
        Self {
            geometry,
            chunks: (0..chunks).map(|_| Chunk::default()).collect(),
        }
    }

    /// Bytes of memory that the data takes at the moment.
    #[must_use]
    pub fn allocated_bytes(&self) -> u64 {
        let allocated = self.chunks.iter().filter(|chunk| read(chunk).is_some());
        (allocated.count() * CHUNK) as u64
    }

    /// Does what `request` asks for.
    fn serve(&self, request: &Request) -> std::result::Result<(), Errno> {
        let place = (request.sector(), request.nr_sectors());
        match request.op() {
            RequestOp::Read => self.read(place, request),
            RequestOp::Write => self.write(place, request),
            RequestOp::Discard => self.zero(place, false),
            RequestOp::WriteZeroes => {
                self.zero(place, request.flags().contains(RequestFlags::NOUNMAP))
            }
            RequestOp::Flush => Ok(()),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// The chunks that so many sectors from the first on reach, and the bytes of each.
    fn pieces(
        &self,
        (sector, nr_sectors): Place,
    ) -> std::result::Result<impl Iterator<Item = (&Chunk, Range<usize>)>, Errno> {
        let end = sector
            .checked_add(u64::from(nr_sectors))
            .filter(|end| *end <= self.geometry.capacity_sectors)
            .ok_or(Errno::EIO)?;
        // The capacity in bytes need not fit into 64 bits, the count of chunks is that of a slice.
        let chunk_of = |sector: u64| usize::try_from(sector / u64::from(CHUNK_SECTORS));
        let first = chunk_of(sector).map_err(|_| Errno::EIO)?;
        let mut at = bytes_of(sector % u64::from(CHUNK_SECTORS));
        let mut left = bytes_of(end - sector);
        let chunks = self.chunks.get(first..).unwrap_or_default();
        Ok(chunks.iter().map_while(move |chunk| {
            let here = at..CHUNK.min(at + left);
            left -= here.len();
            at = 0;
            (!here.is_empty()).then_some((chunk, here))
        }))
    }

    /// Fills the data of `request` with what is at `place`.
    pub(crate) fn read(&self, place: Place, request: &Request) -> std::result::Result<(), Errno> {
        let mut sink = request.sink();
        for (chunk, place) in self.pieces(place)? {
            match &*read(chunk) {
                Some(bytes) => sink.write(&bytes[place])?,
                None => sink.write_zeroes(place.len())?,
            }
        }
        Ok(())
    }

    /// Writes the data of `request` to `place`.
    pub(crate) fn write(&self, place: Place, request: &Request) -> std::result::Result<(), Errno> {
        let mut source = request.source();
        for (chunk, place) in self.pieces(place)? {
            let mut chunk = write(chunk);
            source.read(&mut allocated(&mut chunk)?[place])?;
        }
        Ok(())
    }

    /// Makes the range zero, and gives its memory back unless it has to stay.
    pub(crate) fn zero(&self, place: Place, keep: bool) -> std::result::Result<(), Errno> {
        for (chunk, place) in self.pieces(place)? {
            let mut chunk = write(chunk);
            if keep {
                allocated(&mut chunk)?[place].fill(0);
            } else if place.len() == CHUNK {
                *chunk = None;
            } else if let Some(bytes) = &mut *chunk {
                bytes[place].fill(0);
            }
        }
        Ok(())
    }
}

/// Bytes of so many sectors of one request or chunk.
fn bytes_of(sectors: u64) -> usize {
    usize::try_from(sectors << SECTOR_SHIFT).unwrap_or(usize::MAX)
}

// No chunk is ever left half-made: who panics with a lock has changed bytes at most.

fn read(chunk: &Chunk) -> RwLockReadGuard<'_, Option<Box<[u8]>>> {
    chunk.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(chunk: &Chunk) -> RwLockWriteGuard<'_, Option<Box<[u8]>>> {
    chunk.write().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of `chunk`, zeroed ones if it had none.
fn allocated(chunk: &mut Option<Box<[u8]>>) -> std::result::Result<&mut [u8], Errno> {
    if chunk.is_none() {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(CHUNK).map_err(|_| Errno::ENOSPC)?;
        bytes.resize(CHUNK, 0);
        *chunk = Some(bytes.into_boxed_slice());
    }
    Ok(chunk.as_deref_mut().unwrap_or_default())
}

impl BlockDevice for RamDevice {
    type Lane<'d> = RamLane<'d>;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("ram")
    }

    fn open_lane(&self, _depth: u16) -> Result<RamLane<'_>> {
        Ok(RamLane { device: self })
    }
}

/// A lane of a [`RamDevice`]: has nothing of its own, is never full, and does everything in `submit`.
#[derive(Debug)]
pub struct RamLane<'d> {
    device: &'d RamDevice,
}

impl Lane for RamLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let done = self.device.serve(&request);
        request.complete(done);
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}
