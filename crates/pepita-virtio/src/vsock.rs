//! Sockets between a guest and the host. virtio 1.3, 5.10
//!
//! Connections are one state machine without I/O (`machine.rs`, over `connection.rs`, `credit.rs` and `table.rs`);
//! programs of the host come by Unix sockets (`host.rs`), and the device (`device.rs`) carries between the two and the
//! guest's queues.

mod address;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod connection;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod credit;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod device;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod host;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod machine;
mod packet;
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
mod table;

pub use address::{VSOCK_CID_HOST, VsockAddr};
#[cfg(all(feature = "std", not(all(test, pepita_loom))))]
pub use device::{VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, VirtioVsock, VsockListenError};
pub use packet::{
    VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_INVALID,
    VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, VIRTIO_VSOCK_OP_RST, VIRTIO_VSOCK_OP_RW,
    VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND,
    VIRTIO_VSOCK_TYPE_SEQPACKET, VIRTIO_VSOCK_TYPE_STREAM, VsockPacketHeader,
};
