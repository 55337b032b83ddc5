#![expect(unsafe_code, reason = "a system call that no safe wrapper makes")]
//! What programs that this one starts inherit.

use std::io;

/// Has no program that is started from now on inherit a descriptor, but the standard streams. close_range(2)
pub(super) fn close_on_exec() -> io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: marks-only: nothing is closed, and whoever has a descriptor has it as before.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
