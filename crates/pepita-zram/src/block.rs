//! A [`ZramDevice`] as a block device.

use pepita_mem::PAGE_SIZE;
use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, DiscardLimits, Geometry, Lane, Request, RequestOp, SECTOR_SHIFT,
};
use pepita_sys::error::{Errno, Result};

use crate::device::{Count, ZramDevice};
use crate::page::Page;

/// Sectors of a page.
pub(crate) const PAGE_SECTORS: u32 = 8;

const _: () = assert!((PAGE_SECTORS as usize) << SECTOR_SHIFT == PAGE_SIZE);

/// The most sectors of a request that moves data: 4 MiB, which front ends cut to what they can.
const MAX_SECTORS: u32 = 8192;

/// The most sectors of one that does not: 2 GiB.
const MAX_SECTORS_WITHOUT_DATA: u32 = 1 << 22;

/// Sectors of 512 bytes; a write of whole pages needs no reading first. Discards free the pages that they cover, and
/// so does writing zeroes, whether or not space is to stay: zeroes take none. Requests are complete when
/// `submit` returns.
impl BlockDevice for ZramDevice {
    type Lane<'d> = ZramLane<'d>;

    fn geometry(&self) -> Geometry {
        Geometry {
            physical_block_size: PAGE_SECTORS << SECTOR_SHIFT,
            max_sectors: MAX_SECTORS,
            discard: Some(DiscardLimits {
                max_sectors: MAX_SECTORS_WITHOUT_DATA,
                granularity_sectors: PAGE_SECTORS,
            }),
            max_write_zeroes_sectors: MAX_SECTORS_WITHOUT_DATA,
            ..Geometry::new(self.config().pages() * u64::from(PAGE_SECTORS))
        }
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("zram")
    }

    fn open_lane(&self, _depth: u16) -> Result<ZramLane<'_>> {
        Ok(ZramLane {
            device: self,
            page: Box::new([0; PAGE_SIZE]),
            data: Box::new([0; PAGE_SIZE]),
        })
    }
}

/// A lane of a [`ZramDevice`]: never full, and done when `submit` returns.
#[derive(Debug)]
pub struct ZramLane<'d> {
    device: &'d ZramDevice,
    page: Box<Page>,
    /// What of a request comes or goes.
    data: Box<Page>,
}

/// A part of a page.
#[derive(Debug, Clone, Copy)]
struct Piece {
    page: u64,
    start: usize,
    len: usize,
}

impl Piece {
    const fn is_whole(self) -> bool {
        self.len == PAGE_SIZE
    }
}

impl ZramLane<'_> {
    fn serve(&mut self, request: &Request) -> std::result::Result<(), Errno> {
        match request.op() {
            RequestOp::Read => self.read(request),
            RequestOp::Write => self.write(request),
            RequestOp::Discard => self.each(request, |lane, piece| {
                // What is left of other pages may be kept.
                if piece.is_whole() {
                    lane.device.discard_page(piece.page)?;
                }
                Ok(())
            }),
            RequestOp::WriteZeroes => self.each(request, Self::zero),
            RequestOp::Flush => Ok(()),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn read(&mut self, request: &Request) -> std::result::Result<(), Errno> {
        let mut sink = request.sink();
        self.each(request, |lane, piece| {
            lane.device.read_page(piece.page, &mut lane.page)?;
            sink.write(&lane.page[piece.start..][..piece.len])?;
            Ok(())
        })
    }

    fn write(&mut self, request: &Request) -> std::result::Result<(), Errno> {
        let mut source = request.source();
        self.each(request, |lane, piece| {
            // A copy first: others may change what the request brings, or hold it up.
            let data = &mut lane.data[..piece.len];
            source.read(data)?;
            if piece.is_whole() {
                lane.device.write_page(piece.page, &lane.data)?;
                return Ok(());
            }
            let (data, page) = (&lane.data[..piece.len], &mut lane.page);
            lane.device.update_page(piece.page, page, |page| {
                page[piece.start..][..piece.len].copy_from_slice(data);
            })?;
            Ok(())
        })
    }

    fn zero(&mut self, piece: Piece) -> std::result::Result<(), Errno> {
        if piece.is_whole() {
            self.device.zero_page(piece.page)?;
            return Ok(());
        }
        let page = &mut self.page;
        self.device.update_page(piece.page, page, |page| {
            page[piece.start..][..piece.len].fill(0);
        })?;
        Ok(())
    }

    /// Calls `f` with each piece of the request, in order, until one fails.
    fn each(
        &mut self,
        request: &Request,
        mut f: impl FnMut(&mut Self, Piece) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        let capacity = self.device.geometry().capacity_sectors;
        let end = request
            .sector()
            .checked_add(u64::from(request.nr_sectors()))
            .filter(|end| *end <= capacity);
        let Some(end) = end else {
            self.device.count(Count::InvalidIo);
            return Err(Errno::EIO);
        };
        let mut sector = request.sector();
        while sector < end {
            let within = sector % u64::from(PAGE_SECTORS);
            let next = (sector - within + u64::from(PAGE_SECTORS)).min(end);
            let bytes =
                |sectors: u64| usize::try_from(sectors << SECTOR_SHIFT).unwrap_or(PAGE_SIZE);
            f(
                self,
                Piece {
                    page: sector / u64::from(PAGE_SECTORS),
                    start: bytes(within),
                    len: bytes(next - sector),
                },
            )?;
            sector = next;
        }
        Ok(())
    }
}

impl Lane for ZramLane<'_> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        let done = self.serve(&request);
        request.complete(done);
        Ok(())
    }

    fn commit(&mut self) {}

    fn poll(&mut self) {}

    fn descriptor(&self) -> Option<i32> {
        None
    }
}
