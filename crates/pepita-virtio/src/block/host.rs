//! What the host itself does with a disk: [`VirtioBlock::read`], [`VirtioBlock::write`], [`VirtioBlock::flush`].
//!
//! The host is a driver of its own here, with a ring and buffers in memory of its own, so that its requests go the way of a guest's.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pepita_sys::blk_mq::{BlockDevice, Lane, SECTOR_SIZE};
use pepita_sys::error::{Errno, KernelError};

use super::flight::Board;
use super::queue::{BlockQueue, Front};
use super::request::{HEADER, Status, kind};
use super::worker::sleep;
use super::{VirtioBlock, bell};
use crate::driver::{DriverQueue, Element, Slot};
use crate::format::RingFeatures;
use crate::memory::GuestRam;

/// Descriptors: for a header, data, and a status.
const SIZE: u16 = 4;
/// Where these are, behind the ring.
const HEADER_AT: u64 = 0x800;
const STATUS_AT: u64 = 0x900;
const DATA_AT: u64 = 0x1000;
/// The most bytes of a request.
const BYTES_MAX: u32 = 64 << 10;

/// A driver, and its end of the device.
struct Host<'r, L> {
    ram: &'r GuestRam,
    driver: DriverQueue<'r>,
    queue: BlockQueue<L>,
    bell: Arc<OwnedFd>,
}

impl<L: Lane> Host<'_, L> {
    /// One request; data goes through [`DATA_AT`].
    fn ask(&mut self, kind: u32, sector: u64, output: u32, input: u32) -> Result<(), KernelError> {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.ram.write(HEADER_AT, &header)?;
        let readable = [Element::new(HEADER_AT, 16), Element::new(DATA_AT, output)];
        let writable = [Element::new(DATA_AT, input), Element::new(STATUS_AT, 1)];
        let readable = &readable[..1 + usize::from(output > 0)];
        let writable = &writable[usize::from(input == 0)..];
        self.driver.add(readable, writable)?;
        let mut is_lane_ready = false;
        loop {
            self.queue.turn(is_lane_ready)?;
            if self.driver.take_used()?.is_some() {
                break;
            }
            is_lane_ready = false;
            if self.queue.may_sleep() {
                is_lane_ready = sleep(&self.bell, self.queue.descriptor(), None);
            }
        }
        let mut status = [0];
        self.ram.read(STATUS_AT, &mut status)?;
        let errno = match status {
            [0] => return Ok(()),
            [status] if status == Status::Unsupported as u8 => Errno::EOPNOTSUPP,
            _ => Errno::EIO,
        };
        Err(KernelError::from_errno("a request of a virtio disk", errno))
    }
}

/// Whether `len` bytes are whole sectors.
fn check(len: usize) -> Result<(), KernelError> {
    if (len as u64).is_multiple_of(SECTOR_SIZE) {
        return Ok(());
    }
    Err(KernelError::from_errno(
        "a request of a virtio disk",
        Errno::EINVAL,
    ))
}

impl<D: BlockDevice + 'static> VirtioBlock<D> {
    fn with_host<T>(
        &self,
        work: impl FnOnce(&mut Host<'_, D::Lane<'_>>) -> Result<T, KernelError>,
    ) -> Result<T, KernelError> {
        let features = RingFeatures::default();
        let bytes = DATA_AT + u64::from(BYTES_MAX);
        let ram = GuestRam::zeroed(usize::try_from(bytes).unwrap_or(usize::MAX));
        let mut slots = [Slot::default(); SIZE as usize];
        let ring = ram.shared(0, DriverQueue::bytes(SIZE, features))?;
        let driver = DriverQueue::new(ring, &mut slots, features);
        let queue = driver.registers().activate(&ram, features)?;
        let front = Front {
            geometry: self.geometry,
            id: self.device.id(),
            queue_id: 0,
            is_write_back: Arc::new(AtomicBool::new(true)),
            limiter: None,
        };
        let bell = bell()?;
        let board = Board::new(SIZE, Arc::clone(&bell));
        let lane = self.device.open_lane(1)?;
        work(&mut Host {
            ram: &ram,
            driver,
            queue: BlockQueue::new(queue, lane, front, board),
            bell,
        })
    }

    /// The most bytes of a request.
    fn request_bytes(&self) -> usize {
        let most = u64::from(self.geometry.max_sectors) * SECTOR_SIZE;
        usize::try_from(most.min(BYTES_MAX.into())).unwrap_or(0)
    }

    /// Reads `into.len()` bytes, which are whole sectors of 512, from sector `sector` on: on this thread, in requests of at most
    /// 64 KiB, beside whatever a guest does.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pepita_io::RamDevice;
    /// use pepita_virtio::VirtioBlock;
    ///
    /// let disk = VirtioBlock::new(Arc::new(RamDevice::new(2048)))?;
    /// disk.write(7, &[1; 1024])?;
    /// disk.flush()?;
    /// let mut sector = [0; 512];
    /// disk.read(8, &mut sector)?;
    /// assert_eq!(sector, [1; 512]);
    /// assert!(disk.read(2048, &mut sector).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `EINVAL` where they are not whole sectors; `EIO` for what is not on the disk, or what the device says; what the kernel refuses
    /// as the lane is opened. Some of the requests may be done then.
    pub fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), KernelError> {
        check(into.len())?;
        self.with_host(|host| {
            let mut sector = sector;
            for piece in into.chunks_mut(self.request_bytes()) {
                let len = u32::try_from(piece.len()).unwrap_or(0);
                host.ask(kind::IN, sector, 0, len)?;
                host.ram.read(DATA_AT, piece)?;
                sector = sector.saturating_add(u64::from(len) / SECTOR_SIZE);
            }
            Ok(())
        })
    }

    /// Writes `from`, which is whole sectors of 512 bytes, from sector `sector` on, as [`read`](Self::read) reads.
    ///
    /// # Errors
    /// As with [`read`](Self::read); `EIO` where nothing can be changed.
    pub fn write(&self, sector: u64, from: &[u8]) -> Result<(), KernelError> {
        check(from.len())?;
        self.with_host(|host| {
            let mut sector = sector;
            for piece in from.chunks(self.request_bytes()) {
                let len = u32::try_from(piece.len()).unwrap_or(0);
                host.ram.write(DATA_AT, piece)?;
                host.ask(kind::OUT, sector, len, 0)?;
                sector = sector.saturating_add(u64::from(len) / SECTOR_SIZE);
            }
            Ok(())
        })
    }

    /// Makes durable what was written before, by whomever.
    ///
    /// # Errors
    /// `EIO`, or what the kernel refuses as the lane is opened.
    pub fn flush(&self) -> Result<(), KernelError> {
        self.with_host(|host| host.ask(kind::FLUSH, 0, 0, 0))
    }
}
