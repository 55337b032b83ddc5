//! [`VsockAddr`]: one end of a connection.

use core::fmt;

/// The host's context id. virtio 1.3, 5.10.4
pub const VSOCK_CID_HOST: u64 = 2;

/// Where a socket is: a machine, and a port of it. virtio 1.3, 5.10.6.2
///
/// ```
/// use pepita_virtio::VsockAddr;
///
/// let addr = VsockAddr::host(8080);
/// assert!(addr.is_host());
/// assert_eq!(addr.to_string(), "2:8080");
/// assert!(!VsockAddr::new(3, 8080).is_host());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VsockAddr {
    /// The machine's context id; its upper 32 bits are zero.
    pub cid: u64,
    /// The port.
    pub port: u32,
}

impl VsockAddr {
    /// A port of the machine `cid`.
    #[must_use]
    pub const fn new(cid: u64, port: u32) -> Self {
        Self { cid, port }
    }

    /// A port of the host.
    #[must_use]
    pub const fn host(port: u32) -> Self {
        Self::new(VSOCK_CID_HOST, port)
    }

    /// Whether it is the host's.
    #[must_use]
    pub const fn is_host(self) -> bool {
        self.cid == VSOCK_CID_HOST
    }
}

/// As `cid:port`.
impl fmt::Display for VsockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.cid, self.port)
    }
}
