#![expect(unsafe_code, reason = "passes a list of restrictions by its address")]
//! What a ring will do, decided before it does anything.

use pepita_sys::error::Result;
use pepita_sys::io_uring::{
    IORING_REGISTER_RESTRICTIONS, IORING_RESTRICTION_REGISTER_OP,
    IORING_RESTRICTION_SQE_FLAGS_ALLOWED, IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
    IORING_RESTRICTION_SQE_OP, IORING_UNREGISTER_RING_FDS, IoUringRestriction,
};

use super::super::{CqEntry, Ring, SqEntry, calls};
use super::operations;

/// Count of codes that a restriction can name.
const CODES: usize = 256;

/// A set of codes.
type Codes = [u64; CODES / 64];

/// What a ring will do; it refuses the rest with `EACCES`, for good. For a ring that is handed to somebody
/// who is not trusted with all of it.
///
/// Nothing is allowed but what is named; only giving up the ring's place with its thread always is.
///
/// ```
/// use pepita_io::ring::RingConfig;
/// use pepita_io::ring::register::Restrictions;
/// use pepita_sys::error::Errno;
/// use pepita_sys::io_uring::{IORING_OP_NOP, IoUringSqe};
///
/// let only_nop = Restrictions::new().allow_op(IORING_OP_NOP);
/// let mut ring = RingConfig::new(8).restrict(only_nop).build()?;
/// ring.push_nop(1)?;
/// // SAFETY: it leads nowhere, whether it is refused or not.
/// unsafe { ring.push(IoUringSqe::close(-1).user_data(2)) }?;
/// ring.submit_and_wait(2)?;
/// let done: Vec<_> = ring.completions().map(|cqe| (cqe.user_data, cqe.errno())).collect();
/// assert_eq!(done, [(1, None), (2, Some(Errno::EACCES))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: io_uring_register(2), `IORING_REGISTER_RESTRICTIONS`.
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Restrictions {
    ops: Codes,
    register_ops: Codes,
    flags_allowed: u8,
    flags_required: u8,
}

impl Restrictions {
    /// Allows nothing.
    pub const fn new() -> Self {
        Self {
            ops: [0; CODES / 64],
            register_ops: [0; CODES / 64],
            flags_allowed: 0,
            flags_required: 0,
        }
    }

    /// Allows the operation `op` (`IORING_OP_`).
    pub const fn allow_op(mut self, op: u8) -> Self {
        self.ops[op as usize / 64] |= 1 << (op % 64);
        self
    }

    /// Allows the register operation `op` (`IORING_REGISTER_`, `IORING_UNREGISTER_`).
    ///
    /// # Panics
    /// From 256 on: no kernel has such a code.
    pub const fn allow_register_op(mut self, op: u32) -> Self {
        assert!((op as usize) < CODES, "no code of a register operation");
        self.register_ops[op as usize / 64] |= 1 << (op % 64);
        self
    }

    /// Allows entries to have `flags` (`IOSQE_`).
    pub const fn allow_flags(mut self, flags: u8) -> Self {
        self.flags_allowed |= flags;
        self
    }

    /// Demands that entries have `flags` (`IOSQE_`), which are allowed with it.
    pub const fn require_flags(mut self, flags: u8) -> Self {
        self.flags_required |= flags;
        self
    }

    /// Calls `register` with the kernel's list.
    fn with_list<T>(&self, register: impl FnOnce(&[IoUringRestriction]) -> T) -> T {
        let mut list = [IoUringRestriction::default(); 2 * CODES + 2];
        let own = self.allow_register_op(IORING_UNREGISTER_RING_FDS);
        let flags = [
            (
                IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
                own.flags_allowed | own.flags_required,
            ),
            (IORING_RESTRICTION_SQE_FLAGS_REQUIRED, own.flags_required),
        ];
        let register_ops = codes(&own.register_ops).map(|op| (IORING_RESTRICTION_REGISTER_OP, op));
        let ops = codes(&own.ops).map(|op| (IORING_RESTRICTION_SQE_OP, op));
        let wanted = flags.into_iter().chain(register_ops).chain(ops);
        let mut count = 0;
        for (entry, (opcode, arg)) in list.iter_mut().zip(wanted) {
            entry.opcode = opcode;
            entry.arg = arg;
            count += 1;
        }
        register(&list[..count])
    }
}

/// The codes in a set.
fn codes(set: &Codes) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).filter(|code| set[usize::from(*code) / 64] >> (code % 64) & 1 != 0)
}

impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Restricts a ring that is disabled.
    pub(in crate::ring) fn restrict(&mut self, restrictions: &Restrictions) -> Result<()> {
        restrictions.with_list(|list| {
            // At most two for each code.
            let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
            let arg = list.as_ptr().expose_provenance();
            // SAFETY: the operation reads `count` such structures, which live as long as the call.
            unsafe { calls::register(self.fd(), IORING_REGISTER_RESTRICTIONS, arg, count) }
        })?;
        Ok(())
    }

    /// Enables a ring that is disabled; this thread becomes its one issuer.
    pub(in crate::ring) fn enable(&mut self) -> Result<()> {
        operations::ENABLE_RINGS.call(self.fd(), 0).map(drop)
    }
}
