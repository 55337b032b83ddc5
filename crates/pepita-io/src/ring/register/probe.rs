#![expect(unsafe_code, reason = "asks with the address of where the answer goes")]
//! What the kernel can do.

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{
    IO_URING_OP_SUPPORTED, IO_URING_QUERY_OPCODES, IORING_REGISTER_QUERY, IoUringProbe,
    IoUringProbeOp, IoUringQueryHdr, IoUringQueryOpcode,
};

use super::super::{CqEntry, Ring, SqEntry, calls};
use super::operations;

/// Count of operation codes that an SQE can carry.
const CODES: usize = 256;

/// `struct io_uring_probe` with room for every code.
#[derive(Debug)]
#[repr(C)]
pub(super) struct ProbeArg {
    header: IoUringProbe,
    ops: [IoUringProbeOp; CODES],
}

impl ProbeArg {
    /// Count of elements behind the header.
    pub(super) const OPS_MAX: u32 = 256;
}

/// Which operations there are.
///
/// ```
/// use pepita_io::ring::RingConfig;
/// use pepita_sys::io_uring::IORING_OP_READ;
///
/// let probe = RingConfig::new(8).build()?.probe()?;
/// assert!(probe.supports(IORING_OP_READ));
/// assert!(!probe.supports(255));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: io_uring_register(2), `IORING_REGISTER_PROBE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    last_op: u8,
    /// A bit for each code.
    supported: [u64; CODES / 64],
}

impl Probe {
    /// Whether the kernel does the operation `op` (`IORING_OP_`).
    #[must_use]
    pub const fn supports(&self, op: u8) -> bool {
        self.supported[op as usize / 64] >> (op % 64) & 1 != 0
    }

    /// The last code that the kernel knows, also if its configuration leaves the operation out.
    #[must_use]
    pub const fn last_op(&self) -> u8 {
        self.last_op
    }
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Asks which operations there are.
    ///
    /// # Errors
    /// What io_uring_register(2) says.
    pub fn probe(&self) -> Result<Probe> {
        let mut arg = ProbeArg {
            header: IoUringProbe::default(),
            ops: [IoUringProbeOp::default(); CODES],
        };
        operations::PROBE.call(self.fd(), &mut arg)?;
        let mut supported = [0_u64; CODES / 64];
        let ops = arg.ops.iter().take(usize::from(arg.header.ops_len));
        for op in ops.filter(|op| op.flags & IO_URING_OP_SUPPORTED != 0) {
            supported[usize::from(op.op) / 64] |= 1 << (op.op % 64);
        }
        Ok(Probe {
            last_op: arg.header.last_op,
            supported,
        })
    }
}

/// Asks, without a ring, how many operations and which flags there are (Linux 6.18).
///
/// ```
/// use pepita_io::ring::register;
/// use pepita_sys::error::Errno;
/// use pepita_sys::io_uring::IORING_SETUP_CQE_MIXED;
///
/// match register::query() {
///     Ok(answer) => assert!(answer.ring_setup_flags & u64::from(IORING_SETUP_CQE_MIXED) != 0),
///     Err(error) => println!("cannot be asked: {error}"),
/// }
/// ```
///
/// # Errors
/// `EOPNOTSUPP` on an older kernel: ask a ring what it has, by [`Ring::probe`], [`Ring::features`] and
/// [`Ring::setup_flags`]. Else what io_uring_register(2) says, as `ENOSYS` and `EPERM` where io_uring is
/// refused.
///
/// Source: io_uring_register(2), `IORING_REGISTER_QUERY`.
pub fn query() -> Result<IoUringQueryOpcode> {
    let mut answer = IoUringQueryOpcode::default();
    let mut question = IoUringQueryHdr {
        query_data: core::ptr::from_mut(&mut answer).expose_provenance() as u64,
        query_op: IO_URING_QUERY_OPCODES,
        size: size_of_answer(),
        ..IoUringQueryHdr::default()
    };
    let arg = core::ptr::from_mut(&mut question).expose_provenance();
    // SAFETY: question and answer live as long as the call, and the answer has the size that the question
    // says; -1 asks the kernel, not a ring.
    let asked = unsafe { calls::register(-1, IORING_REGISTER_QUERY, arg, 0) };
    let failed = |errno| Err(KernelError::from_errno("io_uring_register", errno));
    match (asked, Errno::of_result(question.result)) {
        // A kernel that does not know the operation.
        (Err(error), _) if error.to_errno() == Errno::EINVAL => failed(Errno::EOPNOTSUPP),
        (Err(error), _) => Err(error),
        (Ok(_), Some(errno)) => failed(errno),
        (Ok(_), None) => Ok(answer),
    }
}

/// Bytes of the answer.
const fn size_of_answer() -> u32 {
    const { assert!(size_of::<IoUringQueryOpcode>() == 48) };
    48
}
