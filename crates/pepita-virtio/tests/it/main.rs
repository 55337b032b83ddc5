//! Queues as devices and drivers use them, and devices as drivers see them.

mod block;
mod driver;
mod guest;
mod limit;
mod malformed;
mod memory;
mod notify;
mod peer;
mod registers;
mod rig;
mod rng;
mod sides;
mod transport;
mod vsock;
