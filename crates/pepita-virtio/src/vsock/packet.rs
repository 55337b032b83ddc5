//! [`VsockPacketHeader`]: what stands before the payload of each packet. virtio 1.3, 5.10.6

use super::VsockAddr;

/// A stream. virtio 1.3, 5.10.6.2
pub const VIRTIO_VSOCK_TYPE_STREAM: u16 = 1;
/// A sequence of messages, which the device does not offer. virtio 1.3, 5.10.6.2
pub const VIRTIO_VSOCK_TYPE_SEQPACKET: u16 = 2;

/// No operation. virtio 1.3, 5.10.6
pub const VIRTIO_VSOCK_OP_INVALID: u16 = 0;
/// A connection is wanted. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_OP_REQUEST: u16 = 1;
/// It is there. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_OP_RESPONSE: u16 = 2;
/// It is gone, or was not to be had. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_OP_RST: u16 = 3;
/// The sender has ended one direction, or both. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_OP_SHUTDOWN: u16 = 4;
/// Payload. virtio 1.3, 5.10.6
pub const VIRTIO_VSOCK_OP_RW: u16 = 5;
/// How much the sender has room for. virtio 1.3, 5.10.6.3
pub const VIRTIO_VSOCK_OP_CREDIT_UPDATE: u16 = 6;
/// Asks for such an update. virtio 1.3, 5.10.6.3
pub const VIRTIO_VSOCK_OP_CREDIT_REQUEST: u16 = 7;

/// Flag of a shutdown: the sender receives no more. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE: u32 = 1;
/// Flag of a shutdown: the sender sends no more. virtio 1.3, 5.10.6.5
pub const VIRTIO_VSOCK_SHUTDOWN_F_SEND: u32 = 2;

/// The header of a packet: `struct virtio_vsock_hdr`, 44 bytes, little-endian. virtio 1.3, 5.10.6
///
/// It is what the other side says, and any value is possible in each field.
///
/// ```
/// use pepita_virtio::{VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_TYPE_STREAM, VsockAddr, VsockPacketHeader};
///
/// let header = VsockPacketHeader {
///     src_cid: 3,
///     dst_cid: 2,
///     src_port: 1024,
///     dst_port: 8080,
///     packet_type: VIRTIO_VSOCK_TYPE_STREAM,
///     op: VIRTIO_VSOCK_OP_REQUEST,
///     buf_alloc: 65536,
///     ..VsockPacketHeader::default()
/// };
/// let bytes = header.to_bytes();
/// assert_eq!(bytes[16..24], [0, 4, 0, 0, 0x90, 0x1f, 0, 0]); // the ports
/// assert_eq!(VsockPacketHeader::from_bytes(bytes), header);
/// assert_eq!(header.destination(), VsockAddr::host(8080));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VsockPacketHeader {
    /// Whose it is.
    pub src_cid: u64,
    /// Whom it is for.
    pub dst_cid: u64,
    /// The sender's port.
    pub src_port: u32,
    /// The receiver's port.
    pub dst_port: u32,
    /// Bytes of payload.
    pub len: u32,
    /// `VIRTIO_VSOCK_TYPE_*`: the field `type`.
    pub packet_type: u16,
    /// `VIRTIO_VSOCK_OP_*`.
    pub op: u16,
    /// Flags of the operation.
    pub flags: u32,
    /// Bytes of payload that the sender has room for, those included that it has not handed on yet.
    pub buf_alloc: u32,
    /// Bytes of payload that the sender has received and handed on, modulo 2³².
    pub fwd_cnt: u32,
}

impl VsockPacketHeader {
    /// Bytes of a header.
    pub const BYTES: usize = 44;

    /// As it stands in memory.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..8].copy_from_slice(&self.src_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.dst_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.src_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.dst_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.len.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.packet_type.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.op.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        bytes
    }

    /// From memory.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let mut rest = &bytes[..];
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            packet_type: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn source(&self) -> VsockAddr {
        VsockAddr::new(self.src_cid, self.src_port)
    }

    /// Whom it is for.
    #[must_use]
    pub const fn destination(&self) -> VsockAddr {
        VsockAddr::new(self.dst_cid, self.dst_port)
    }
}

/// The next `N` bytes of a header, of which there are enough.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (first, behind) = rest.split_first_chunk().expect("a header has 44 bytes");
    *rest = behind;
    *first
}
