//! Error numbers.

use core::fmt;

/// The kernel's number for why a system call or an operation failed.
///
/// Any number is kept, also one that has no name here: a newer kernel's error reaches the caller as it
/// is. Names and numbers are those of x86-64 and aarch64, which agree.
///
/// ```
/// use pepita_sys::error::Errno;
///
/// assert_eq!(Errno::from_raw(2), Errno::ENOENT);
/// assert_eq!(Errno::EAGAIN.to_string(), "EAGAIN (11): not ready, try again");
/// assert_eq!(Errno::from_raw(4000).to_string(), "errno 4000");
/// ```
///
/// Source: errno(3); `include/uapi/asm-generic/errno.h`, v7.2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Errno(i32);

impl Errno {
    /// The largest number that a system call returns: below zero, down to `-MAX`, its result is an error.
    pub const MAX: i32 = 4095;

    /// The error `number`, such as `std::io::Error::raw_os_error` returns it: positive.
    #[must_use]
    pub const fn from_raw(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The error in a result as the kernel writes it: `None` from 0 upwards, else the number with its
    /// sign turned. `i32::MIN`, which no kernel returns, is kept as it is.
    ///
    /// ```
    /// use pepita_sys::error::Errno;
    ///
    /// assert_eq!(Errno::of_result(-2), Some(Errno::ENOENT));
    /// assert_eq!(Errno::of_result(512), None);
    /// ```
    #[must_use]
    pub const fn of_result(res: i32) -> Option<Self> {
        if res < 0 {
            Some(Self(res.wrapping_neg()))
        } else {
            None
        }
    }

    /// Whether the same call may succeed when it is made again, with nothing changed by the caller: it was
    /// interrupted (`EINTR`), the kernel asks for another try (`EAGAIN`), or something was busy or short
    /// that others give back (`EBUSY`, `ENOMEM`, `ENOBUFS`).
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::EINTR | Self::EAGAIN | Self::EBUSY | Self::ENOMEM | Self::ENOBUFS
        )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.description()) {
            (Some(name), Some(description)) => write!(f, "{name} ({}): {description}", self.0),
            _ => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "Errno({name})"),
            None => write!(f, "Errno({})", self.0),
        }
    }
}

impl core::error::Error for Errno {}

/// Defines the named numbers, their aliases, and what each means.
macro_rules! errnos {
    (
        $($name:ident = $number:literal $description:literal;)*
        -- aliases --
        $($alias:ident = $target:ident;)*
    ) => {
        impl Errno {
            $(
                #[doc = concat!("Number ", stringify!($number), ": ", $description, ".")]
                pub const $name: Self = Self($number);
            )*
            $(
                #[doc = concat!("Another name of [`Errno::", stringify!($target), "`].")]
                pub const $alias: Self = Self::$target;
            )*

            /// The name, such as `"ENOENT"`; `None` for a number without one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What the number means, in a few lowercase words; `None` for a number without a name.
            #[must_use]
            pub const fn description(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($description),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        pub(crate) const CONSTANTS: &[crate::abi::tests::Constant] = &[
            $(crate::abi::tests::Constant { name: stringify!($name), value: Errno::$name.0 as i128 },)*
            $(crate::abi::tests::Constant { name: stringify!($alias), value: Errno::$alias.0 as i128 },)*
        ];
    };
}

errnos! {
    EPERM = 1 "operation not permitted";
    ENOENT = 2 "no such file or directory";
    ESRCH = 3 "no such process";
    EINTR = 4 "interrupted by a signal";
    EIO = 5 "input/output error";
    ENXIO = 6 "no such device or address";
    E2BIG = 7 "argument list too long";
    ENOEXEC = 8 "not an executable format";
    EBADF = 9 "bad file descriptor";
    ECHILD = 10 "no child processes";
    EAGAIN = 11 "not ready, try again";
    ENOMEM = 12 "out of memory";
    EACCES = 13 "permission denied";
    EFAULT = 14 "bad address";
    ENOTBLK = 15 "not a block device";
    EBUSY = 16 "device or resource busy";
    EEXIST = 17 "file exists";
    EXDEV = 18 "not on the same file system";
    ENODEV = 19 "no such device";
    ENOTDIR = 20 "not a directory";
    EISDIR = 21 "is a directory";
    EINVAL = 22 "invalid argument";
    ENFILE = 23 "too many open files in the system";
    EMFILE = 24 "too many open files in the process";
    ENOTTY = 25 "not valid for this device";
    ETXTBSY = 26 "program file is in use";
    EFBIG = 27 "file too large";
    ENOSPC = 28 "no space left on device";
    ESPIPE = 29 "not seekable";
    EROFS = 30 "read-only file system";
    EMLINK = 31 "too many links";
    EPIPE = 32 "nobody reads from the pipe";
    EDOM = 33 "argument out of domain";
    ERANGE = 34 "result out of range";
    EDEADLK = 35 "would deadlock";
    ENAMETOOLONG = 36 "file name too long";
    ENOLCK = 37 "no locks available";
    ENOSYS = 38 "system call not implemented";
    ENOTEMPTY = 39 "directory not empty";
    ELOOP = 40 "too many symbolic links";
    ENOMSG = 42 "no message of the wanted type";
    EIDRM = 43 "identifier removed";
    ECHRNG = 44 "channel number out of range";
    EL2NSYNC = 45 "level 2 not synchronized";
    EL3HLT = 46 "level 3 halted";
    EL3RST = 47 "level 3 reset";
    ELNRNG = 48 "link number out of range";
    EUNATCH = 49 "protocol driver not attached";
    ENOCSI = 50 "no CSI structure available";
    EL2HLT = 51 "level 2 halted";
    EBADE = 52 "invalid exchange";
    EBADR = 53 "invalid request descriptor";
    EXFULL = 54 "exchange full";
    ENOANO = 55 "no anode";
    EBADRQC = 56 "invalid request code";
    EBADSLT = 57 "invalid slot";
    EBFONT = 59 "bad font file format";
    ENOSTR = 60 "device is not a stream";
    ENODATA = 61 "no data available";
    ETIME = 62 "timer expired";
    ENOSR = 63 "out of stream resources";
    ENONET = 64 "machine is not on the network";
    ENOPKG = 65 "package not installed";
    EREMOTE = 66 "object is remote";
    ENOLINK = 67 "link severed";
    EADV = 68 "advertise error";
    ESRMNT = 69 "mount error";
    ECOMM = 70 "communication error on send";
    EPROTO = 71 "protocol error";
    EMULTIHOP = 72 "multihop attempted";
    EDOTDOT = 73 "RFS error";
    EBADMSG = 74 "bad message or checksum";
    EOVERFLOW = 75 "value too large for its type";
    ENOTUNIQ = 76 "name not unique on the network";
    EBADFD = 77 "file descriptor in a bad state";
    EREMCHG = 78 "remote address changed";
    ELIBACC = 79 "cannot access a shared library";
    ELIBBAD = 80 "shared library is corrupted";
    ELIBSCN = 81 "library section is corrupted";
    ELIBMAX = 82 "too many shared libraries";
    ELIBEXEC = 83 "a shared library cannot be executed";
    EILSEQ = 84 "illegal byte sequence";
    ERESTART = 85 "interrupted, to be restarted";
    ESTRPIPE = 86 "stream pipe error";
    EUSERS = 87 "too many users";
    ENOTSOCK = 88 "not a socket";
    EDESTADDRREQ = 89 "destination address required";
    EMSGSIZE = 90 "message too long";
    EPROTOTYPE = 91 "protocol does not fit the socket";
    ENOPROTOOPT = 92 "protocol option not available";
    EPROTONOSUPPORT = 93 "protocol not supported";
    ESOCKTNOSUPPORT = 94 "socket type not supported";
    EOPNOTSUPP = 95 "operation not supported";
    EPFNOSUPPORT = 96 "protocol family not supported";
    EAFNOSUPPORT = 97 "address family not supported";
    EADDRINUSE = 98 "address already in use";
    EADDRNOTAVAIL = 99 "address not available";
    ENETDOWN = 100 "network is down";
    ENETUNREACH = 101 "network is unreachable";
    ENETRESET = 102 "connection dropped by the network";
    ECONNABORTED = 103 "connection aborted";
    ECONNRESET = 104 "connection reset by the peer";
    ENOBUFS = 105 "no buffer available";
    EISCONN = 106 "socket is connected";
    ENOTCONN = 107 "socket is not connected";
    ESHUTDOWN = 108 "shut down, takes nothing more";
    ETOOMANYREFS = 109 "too many references";
    ETIMEDOUT = 110 "timed out";
    ECONNREFUSED = 111 "connection refused";
    EHOSTDOWN = 112 "host is down";
    EHOSTUNREACH = 113 "no route to host";
    EALREADY = 114 "operation already in progress";
    EINPROGRESS = 115 "operation in progress";
    ESTALE = 116 "stale file handle";
    EUCLEAN = 117 "file system needs repair";
    ENOTNAM = 118 "not a XENIX named type file";
    ENAVAIL = 119 "no XENIX semaphores available";
    EISNAM = 120 "is a named type file";
    EREMOTEIO = 121 "remote input/output error";
    EDQUOT = 122 "disk quota exceeded";
    ENOMEDIUM = 123 "no medium found";
    EMEDIUMTYPE = 124 "wrong medium type";
    ECANCELED = 125 "operation cancelled";
    ENOKEY = 126 "key not available";
    EKEYEXPIRED = 127 "key expired";
    EKEYREVOKED = 128 "key revoked";
    EKEYREJECTED = 129 "key rejected";
    EOWNERDEAD = 130 "owner died";
    ENOTRECOVERABLE = 131 "state not recoverable";
    ERFKILL = 132 "blocked by a radio switch";
    EHWPOISON = 133 "memory page has a hardware error";
    EFTYPE = 134 "wrong file type for the operation";
    -- aliases --
    EWOULDBLOCK = EAGAIN;
    EDEADLOCK = EDEADLK;
    EFSBADCRC = EBADMSG;
    EFSCORRUPTED = EUCLEAN;
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::error::KernelError;

    proptest! {
        #[test]
        fn a_number_goes_through_a_result_and_an_error_unchanged(errno: Errno, error: KernelError) {
            prop_assert_eq!(Errno::of_result(-errno.raw()), Some(errno));
            prop_assert_eq!(KernelError::from_errno(error.operation(), error.to_errno()), error);
            prop_assert_eq!(error.is_retriable(), error.to_errno().is_retriable());
            prop_assert_eq!(errno.name().is_some(), errno.description().is_some());
        }
    }

    #[test]
    fn a_number_without_a_name_is_kept_and_shown() {
        let unknown = Errno::from_raw(524);
        assert_eq!((unknown.raw(), unknown.name()), (524, None));
        assert_eq!(unknown.to_string(), "errno 524");
        assert_eq!(std::format!("{unknown:?}"), "Errno(524)");
    }

    #[test]
    fn every_name_shows_its_number() {
        for constant in CONSTANTS {
            let errno = Errno::from_raw(i32::try_from(constant.value).expect("a small number"));
            let shown = errno.to_string();
            assert!(
                shown.contains(&std::format!(" ({}): ", constant.value)),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_result_below_zero_is_an_error() {
        for (res, want) in [
            (0, None),
            (4096, None),
            (-11, Some(Errno::EAGAIN)),
            (-4095, Some(Errno::from_raw(4095))),
            (i32::MIN, Some(Errno::from_raw(i32::MIN))),
        ] {
            assert_eq!(Errno::of_result(res), want, "{res}");
        }
    }

    #[test]
    fn what_passes_is_retriable_and_what_is_wrong_is_not() {
        for errno in [
            Errno::EINTR,
            Errno::EAGAIN,
            Errno::EWOULDBLOCK,
            Errno::EBUSY,
        ] {
            assert!(errno.is_retriable(), "{errno}");
        }
        for errno in [
            Errno::EINVAL,
            Errno::ECANCELED,
            Errno::EIO,
            Errno::from_raw(524),
        ] {
            assert!(!errno.is_retriable(), "{errno}");
        }
    }
}
