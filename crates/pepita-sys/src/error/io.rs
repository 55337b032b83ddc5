//! Errors of the standard library, and back.

use std::io;

use super::{Errno, KernelError};

/// The system's number; `EIO` for an error that no system call gave, such as the end of a file in
/// [`read_exact`](io::Read::read_exact).
///
/// ```
/// use pepita_sys::error::Errno;
/// use std::fs::File;
///
/// let missing = File::open("/no/such/file").map_err(Errno::from);
/// assert_eq!(missing.err(), Some(Errno::ENOENT));
/// ```
impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        error.raw_os_error().map_or(Self::EIO, Self::from_raw)
    }
}

/// The error of this number, whose kind follows from it.
impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.raw())
    }
}

/// The number as with [`Errno`]. Which call it was, the error does not say: the operation is `I/O`.
///
/// ```
/// use pepita_sys::error::Result;
///
/// fn first_line(path: &str) -> Result<String> {
///     let text = std::fs::read_to_string(path)?;
///     Ok(text.lines().next().unwrap_or_default().to_owned())
/// }
///
/// let missing = first_line("/no/such/file").unwrap_err();
/// assert_eq!(missing.to_string(), "I/O: ENOENT (2): no such file or directory");
/// ```
impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        Self::from_errno("I/O", error.into())
    }
}

/// The number is kept, and the kind follows from it; which operation it was is lost.
///
/// ```
/// use pepita_sys::error::{Errno, KernelError};
/// use std::io;
///
/// let error = io::Error::from(KernelError::from_errno("connect", Errno::ECONNREFUSED));
/// assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
/// ```
impl From<KernelError> for io::Error {
    fn from(error: KernelError) -> Self {
        error.to_errno().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_survives_both_ways() {
        for number in [1, 2, 11, 4000] {
            let errno = Errno::from_raw(number);
            assert_eq!(io::Error::from(errno).raw_os_error(), Some(number));
            assert_eq!(Errno::from(io::Error::from(errno)), errno);
            let error = KernelError::from_errno("openat", errno);
            assert_eq!(KernelError::from(io::Error::from(error)).to_errno(), errno);
        }
    }

    #[test]
    fn an_error_without_a_number_is_eio() {
        let end = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(Errno::from(end), Errno::EIO);
    }
}
