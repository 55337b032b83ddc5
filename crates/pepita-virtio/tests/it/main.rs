//! Queues as devices and drivers use them.

mod driver;
mod malformed;
mod memory;
mod notify;
mod peer;
mod registers;
mod rig;
mod sides;
