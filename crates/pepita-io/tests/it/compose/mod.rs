//! Devices made of others.

mod devices;
mod fault;
mod map;
mod stripe;
