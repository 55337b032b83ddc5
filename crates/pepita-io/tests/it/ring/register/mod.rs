//! What is registered with a ring.

mod buffers;
mod cancel;
mod files;
mod probe;
mod restrictions;
mod settings;

use pepita_sys::error::{Errno, KernelError, Result};

/// Whether what is new in Linux `since` is there; says that `test` is skipped where it is not.
#[track_caller]
pub(super) fn has<T>(test: &str, since: &str, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if lacks(error) => {
            println!("SKIPPED: {test}: this kernel lacks what Linux {since} has ({error})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn lacks(error: KernelError) -> bool {
    matches!(error.to_errno(), Errno::EINVAL | Errno::EOPNOTSUPP)
}
