#![expect(
    unsafe_code,
    reason = "has to look before the standard library puts /dev/null in place of what is closed"
)]
//! Whether standard output was closed when the program began, as by `>&-`.
//!
//! Before `main` the standard library opens `/dev/null` in its place, so that no file gets its
//! number; from then on writing to it succeeds, and what is written is lost.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, fcntl_getfd};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Fails if there was no standard output to write to.
pub(crate) fn check_stdout() -> io::Result<()> {
    match WAS_CLOSED.load(Ordering::Relaxed) {
        true => Err(Errno::BADF.into()),
        false => Ok(()),
    }
}

/// One system call and one store: before `main` there is little else to rely on.
extern "C" fn look() {
    let found = fcntl_getfd(rustix::stdio::stdout());
    WAS_CLOSED.store(found == Err(Errno::BADF), Ordering::Relaxed);
}

// SAFETY: before-main: what the loader calls is a function, takes what it is given (its arguments,
// which it may ignore), returns nothing, and needs nothing of the standard library.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;
