//! What a driver asks of a disk: [`Ask`]. virtio 1.3, 5.2.6
//!
//! A request is a header, data, and a byte for the status. Where one ends and the next begins is up to the driver: a
//! descriptor may hold parts of two. virtio 1.3, 2.7.4.1

use pepita_sys::blk_mq::{RequestFlags, RequestOp, SECTOR_SIZE};
use pepita_sys::error::Errno;

use crate::device::Chain;

/// Bytes of the header.
pub(super) const HEADER: usize = 16;
/// Bytes of an answer to `VIRTIO_BLK_T_GET_ID`.
const ID_BYTES: u64 = 20;
/// Bytes of a range to discard, or to make zero.
const RANGE: usize = 16;
/// The one flag of such a range.
const UNMAP: u32 = 1;

/// `VIRTIO_BLK_T_*`
pub(super) mod kind {
    pub(in crate::block) const IN: u32 = 0;
    pub(in crate::block) const OUT: u32 = 1;
    pub(in crate::block) const FLUSH: u32 = 4;
    pub(in crate::block) const GET_ID: u32 = 8;
    pub(in crate::block) const DISCARD: u32 = 11;
    pub(in crate::block) const WRITE_ZEROES: u32 = 13;
}

/// How a request ended. virtio 1.3, 5.2.6
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

impl From<Errno> for Status {
    fn from(errno: Errno) -> Self {
        if errno == Errno::EOPNOTSUPP {
            Self::Unsupported
        } else {
            Self::IoError
        }
    }
}

/// What is asked for. The range and the lengths are the driver's, and have not been compared with the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Something for the device.
    Request {
        op: RequestOp,
        flags: RequestFlags,
        sector: u64,
        nr_sectors: u32,
    },
    /// The device's name, in 20 bytes.
    Id,
    /// Nothing that can be done.
    Wrong(Status),
    /// There is no byte for an answer.
    Mute,
}

impl Ask {
    /// What is in a buffer. The header is read once.
    #[inline]
    pub(super) fn of(chain: &Chain) -> Self {
        let Some(data_in) = chain.writable_len().checked_sub(1) else {
            return Self::Mute;
        };
        let mut header = [0; HEADER];
        if chain.read(0, &mut header).is_err() {
            return Self::Wrong(Status::IoError);
        }
        let data_out = chain.readable_len() - HEADER as u64;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([k0, k1, k2, k3]) {
            kind::IN => Self::transfer(RequestOp::Read, sector, data_in),
            kind::OUT => Self::transfer(RequestOp::Write, sector, data_out),
            // Its sector means nothing.
            kind::FLUSH => Self::request(RequestOp::Flush, RequestFlags::NONE, 0, 0),
            kind::GET_ID if data_in == ID_BYTES => Self::Id,
            kind::GET_ID => Self::Wrong(Status::IoError),
            kind::DISCARD => Self::range(RequestOp::Discard, chain, data_out),
            kind::WRITE_ZEROES => Self::range(RequestOp::WriteZeroes, chain, data_out),
            _ => Self::Wrong(Status::Unsupported),
        }
    }

    /// Bytes that are to be read or written.
    pub(super) fn data_bytes(&self) -> u64 {
        match self {
            Self::Request {
                op: RequestOp::Read | RequestOp::Write,
                nr_sectors,
                ..
            } => u64::from(*nr_sectors) * SECTOR_SIZE,
            _ => 0,
        }
    }

    const fn request(op: RequestOp, flags: RequestFlags, sector: u64, nr_sectors: u32) -> Self {
        Self::Request {
            op,
            flags,
            sector,
            nr_sectors,
        }
    }

    fn transfer(op: RequestOp, sector: u64, bytes: u64) -> Self {
        match u32::try_from(bytes / SECTOR_SIZE) {
            Ok(nr_sectors) if bytes.is_multiple_of(SECTOR_SIZE) => {
                Self::request(op, RequestFlags::NONE, sector, nr_sectors)
            }
            _ => Self::Wrong(Status::IoError),
        }
    }

    /// The one range of a request without data: the configuration offers no more.
    fn range(op: RequestOp, chain: &Chain, bytes: u64) -> Self {
        let mut range = [0; RANGE];
        if bytes != RANGE as u64 || chain.read(HEADER, &mut range).is_err() {
            return Self::Wrong(Status::IoError);
        }
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = range;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let nr_sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = match (op, u32::from_le_bytes(flags)) {
            (RequestOp::WriteZeroes, UNMAP) | (RequestOp::Discard, 0) => RequestFlags::NONE,
            (RequestOp::WriteZeroes, 0) => RequestFlags::NOUNMAP,
            // virtio 1.3, 5.2.6.2
            _ => return Self::Wrong(Status::Unsupported),
        };
        Self::request(op, flags, sector, nr_sectors)
    }
}
