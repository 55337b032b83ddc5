//! Block devices served to the kernel: `/dev/ublkbN`.
//!
//! Any [`BlockDevice`](pepita_sys::blk_mq::BlockDevice) becomes a disk of the host by [`Server`], which makes the
//! device, has a thread serve each of its queues, and deletes it in the end:
//!
//! ```no_run
//! use pepita_io::RamDevice;
//! use pepita_io::ublk::Server;
//!
//! let disk = Server::new().queues(2).serve(RamDevice::new(1 << 21))?; // 1 GiB
//! println!("{}", disk.path().display()); // /dev/ublkb0
//! disk.wait()?; // until somebody deletes it, or its threads fail
//! # Ok::<(), pepita_io::ublk::UblkError>(())
//! ```
//!
//! Underneath are [`Control`], the driver's commands from any thread; [`Device`], whose type says how far it is; and
//! [`QueueThread`], which serves queues of one device or of many.
//!
//! # What cannot happen
//! * No request is forgotten: a lane has it as a value that answers when it is dropped, also by a panic.
//! * No request hangs: one that a device does not end in time is answered with `EIO`.
//! * Nothing here waits without limit for the driver: commands have a time limit, and keep what they lead to.
//!
//! Linux 6.4 or newer with `ublk_drv`, and `CAP_SYS_ADMIN`.
//!
//! Source: `drivers/block/ublk_drv.c`, v6.12; `Documentation/block/ublk.rst`.

mod channel;
mod control;
mod device;
mod ends;
mod error;
mod node;
mod owner;
mod params;
mod queue;
mod server;
mod swap;
mod thread;

pub use channel::Channel;
pub use control::Control;
pub use device::{Added, Device, DeviceOptions, Live, Prepared};
pub use error::UblkError;
pub use server::{Disk, DiskStopper, Server};
pub use swap::{lock_memory, set_io_flusher};
pub use thread::{QueueThread, Stopper};
