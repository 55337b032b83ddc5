//! What is registered with a ring, or asked of it, besides its entries.
//!
//! Methods of [`Ring`](super::Ring): which operations there are ([`Probe`]), tables of files and buffers, whose
//! slots spare each operation a look-up, what else a ring is told, and what is [cancelled](Cancel) in one call.
//! Some need no ring: [`query`], [`send_message`]; [`Restrictions`] stand when the ring is made.
//!
//! Source: io_uring_register(2).

mod buffers;
mod cancel;
mod clock;
mod eventfd;
mod files;
mod message;
pub(super) mod operations;
mod personality;
mod probe;
mod restrictions;
mod status;
mod workers;

use pepita_sys::error::{Errno, KernelError, Result};

pub use cancel::Cancel;
pub use clock::WaitClock;
pub use message::send_message;
pub use probe::{Probe, query};
pub use restrictions::Restrictions;
pub use workers::WorkerLimits;

/// The length of a list of resources and of their tags, which must agree.
///
/// # Errors
/// `EINVAL` when they do not, or are longer than any table.
fn count_of<T>(resources: &[T], tags: &[u64]) -> Result<u32> {
    let wrong = KernelError::from_errno("io_uring_register", Errno::EINVAL);
    if !tags.is_empty() && tags.len() != resources.len() {
        return Err(wrong);
    }
    u32::try_from(resources.len()).map_err(|_| wrong)
}

/// The address of a list, or 0 for an empty one.
fn address_of<T>(list: &[T]) -> u64 {
    if list.is_empty() {
        return 0;
    }
    list.as_ptr().expose_provenance() as u64
}
