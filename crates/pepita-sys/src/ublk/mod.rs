//! The ABI of ublk, block devices served by a program.
//!
//! A program adds a device by commands to `/dev/ublk-control`, each an SQE of 128 bytes, then serves its
//! queues on `/dev/ublkcN`: each tag fetches a request, and later gives its result and fetches the next.
//!
//! ```
//! use pepita_sys::ublk::{UBLK_U_CMD_ADD_DEV, UblkCtrlCmd, UblkIoDesc};
//!
//! let cmd = UblkCtrlCmd::new(UBLK_U_CMD_ADD_DEV, 0);
//! assert_eq!(cmd.cmd_op, 0xc020_7504);
//! let io_desc = UblkIoDesc { start_sector: 8, ..UblkIoDesc::default() };
//! assert_eq!(io_desc.byte_offset(), 4096);
//! ```
//!
//! The structure of [`UBLK_U_CMD_REG_BUF`] is not here: kernels and servers do not agree on it yet.
//!
//! Source: `include/uapi/linux/ublk_cmd.h`, v7.2; `Documentation/block/ublk.rst`.

mod commands;
mod control;
mod io;
mod params;

pub use commands::*;
pub use control::*;
pub use io::*;
pub use params::*;

/// The tables of all modules, for the test of the ABI.
#[cfg(test)]
pub(crate) mod tables {
    use super::*;
    use crate::abi::tests::{Constant, Struct};

    pub(crate) const CONSTANTS: [&[Constant]; 3] =
        [commands::CONSTANTS, io::CONSTANTS, params::CONSTANTS];
    pub(crate) const STRUCTS: [&[Struct]; 3] = [control::STRUCTS, io::STRUCTS, params::STRUCTS];
}

#[cfg(test)]
mod tests {
    use core::mem::offset_of;
    use std::vec::Vec;

    use super::*;
    use crate::io_uring::{IORING_OP_URING_CMD, IoUringSqe, IoUringSqe128};

    /// The bytes of a command, which the kernel reads as a structure.
    fn command(sqe: &IoUringSqe, rest: &[u64]) -> Vec<u8> {
        let words = [sqe.addr3, sqe.pad2]
            .into_iter()
            .chain(rest.iter().copied());
        words.flat_map(u64::to_ne_bytes).collect()
    }

    /// The number of `N` bytes at `offset`.
    fn number<const N: usize>(bytes: &[u8], offset: usize) -> u64 {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&bytes[offset..offset + N]);
        u64::from_le_bytes(wide)
    }

    #[test]
    fn a_control_command_has_every_field_at_its_place() {
        let cmd = UblkCtrlCmd::new(UBLK_U_CMD_GET_DEV_INFO2, 0x0102_0304)
            .buffer(0x1112_1314_1516_1718, 0x2122)
            .data(0x3132_3334_3536_3738)
            .dev_path_len(0x4142);
        let IoUringSqe128 { sqe, rest } = cmd.sqe(9);
        assert_eq!(
            (sqe.opcode, sqe.fd, sqe.off),
            (IORING_OP_URING_CMD, 9, u64::from(UBLK_U_CMD_GET_DEV_INFO2))
        );
        let bytes = command(&sqe, &rest);
        assert_eq!(
            number::<4>(&bytes, offset_of!(UblksrvCtrlCmd, dev_id)),
            0x0102_0304
        );
        assert_eq!(
            number::<2>(&bytes, offset_of!(UblksrvCtrlCmd, queue_id)),
            0xffff
        );
        assert_eq!(number::<2>(&bytes, offset_of!(UblksrvCtrlCmd, len)), 0x2122);
        assert_eq!(
            number::<8>(&bytes, offset_of!(UblksrvCtrlCmd, addr)),
            0x1112_1314_1516_1718
        );
        assert_eq!(
            number::<8>(&bytes, offset_of!(UblksrvCtrlCmd, data)),
            0x3132_3334_3536_3738
        );
        assert_eq!(
            number::<2>(&bytes, offset_of!(UblksrvCtrlCmd, dev_path_len)),
            0x4142
        );
        assert!(
            bytes[26..].iter().all(|byte| *byte == 0),
            "the rest is zero"
        );
    }

    #[test]
    fn an_io_command_has_every_field_at_its_place() {
        let sqe = UblkIoCmd::completed(0x0102, 0x1112, -5)
            .buffer(0x2122_2324_2526_2728)
            .commit_and_fetch(9);
        assert_eq!(
            (sqe.opcode, sqe.fd, sqe.off),
            (
                IORING_OP_URING_CMD,
                9,
                u64::from(UBLK_U_IO_COMMIT_AND_FETCH_REQ)
            )
        );
        let bytes = command(&sqe, &[]);
        assert_eq!(number::<2>(&bytes, offset_of!(UblksrvIoCmd, q_id)), 0x0102);
        assert_eq!(number::<2>(&bytes, offset_of!(UblksrvIoCmd, tag)), 0x1112);
        assert_eq!(
            number::<4>(&bytes, offset_of!(UblksrvIoCmd, result)),
            u64::from((-5_i32).cast_unsigned())
        );
        assert_eq!(
            number::<8>(&bytes, offset_of!(UblksrvIoCmd, addr)),
            0x2122_2324_2526_2728
        );
    }

    #[test]
    fn what_a_driver_writes_cannot_make_arithmetic_overflow() {
        let desc = UblkIoDesc {
            op_flags: u32::MAX,
            nr_sectors: u32::MAX,
            start_sector: u64::MAX,
            addr: 0,
        };
        assert_eq!((desc.op(), desc.flags()), (0xff, 0xffff_ff00));
        assert_eq!(
            (desc.byte_offset(), desc.byte_len()),
            (u64::MAX, u64::from(u32::MAX) * 512)
        );
    }

    #[test]
    fn automatic_registration_stands_in_an_address_as_in_memory() {
        let reg = UblkAutoBufReg {
            index: 0x0102,
            flags: UBLK_AUTO_BUF_REG_FALLBACK,
            ..UblkAutoBufReg::default()
        };
        assert_eq!(reg.to_addr(), 0x0001_0102);
    }
}
