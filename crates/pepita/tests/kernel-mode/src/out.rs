#![expect(unsafe_code, reason = "writes to descriptors that the shell opened")]
//! Lines on the standard streams.
//!
//! # Invariants
//! * stays-open: nobody in this program closes a standard stream.

use core::fmt::{self, Write};
use core::mem::ManuallyDrop;

use pepita::error::Errno;
use pepita::syscall::Fd;

use crate::Failure;

const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// A standard stream, and the error that ended it.
struct Stream {
    fd: ManuallyDrop<Fd>,
    error: Option<Errno>,
}

impl Stream {
    const fn new(fd: i32) -> Self {
        // SAFETY: stays-open; a descriptor that the program was started without is `EBADF`.
        let fd = unsafe { Fd::from_raw(fd) };
        Self {
            fd: ManuallyDrop::new(fd),
            error: None,
        }
    }
}

impl Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = self.fd.write(rest).map_err(|errno| {
                self.error = Some(errno);
                fmt::Error
            })?;
            rest = rest.get(written..).ok_or(fmt::Error)?;
        }
        Ok(())
    }
}

/// Prints a line.
pub(crate) fn say(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut stream = Stream::new(STDOUT);
    let printed = stream.write_fmt(format_args!("{line}\n"));
    printed.map_err(|_| Failure::of("write", stream.error.unwrap_or(Errno::EIO)))
}

/// Says on standard error what went wrong. If that fails too, the status tells.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let _ = Stream::new(STDERR).write_fmt(format_args!("kernel-mode: {line}\n"));
}
