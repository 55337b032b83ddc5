//! Devices made of others: over several by turns, with faults, with the data changed on its way. None goes over a device
//! with zones, which it would not have: writes out of their order would fail.
//!
//! Inside, `below` has the lanes of the devices below and wakes who waits for them, and `parent` is a request that others
//! do in parts.

mod below;
mod fault;
mod map;
mod parent;
mod stripe;
mod zoned;

pub use fault::{FaultAction, FaultDevice, FaultLane, FaultPlan, FaultPlanError, FaultRule};
pub use map::{MapDevice, MapLane, Transform};
pub use stripe::{StripeDevice, StripeError, StripeLane};
pub use zoned::ZonedBelow;
