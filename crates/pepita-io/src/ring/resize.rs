//! Other sizes for the queues of a ring that is in use.

use pepita_sys::error::Result;
use pepita_sys::io_uring::{IORING_SETUP_CQSIZE, IoUringParams};

use super::Ring;
use super::queue::Queues;
use super::register::operations;

// The kernel copies entries and completions of the small sizes only.
impl Ring {
    /// Gives the queues room for `sq_entries` and `cq_entries`, each rounded up to a power of two (Linux
    /// 6.13). What was pushed and what has completed stays, in its order.
    ///
    /// ```
    /// use pepita_io::ring::RingConfig;
    /// use pepita_sys::error::Errno;
    ///
    /// let mut ring = RingConfig::new(2).build()?;
    /// ring.push_nop(1)?;
    /// match ring.resize(8, 64) {
    ///     Ok(()) => assert_eq!((ring.sq_room(), ring.cq_capacity()), (7, 64)),
    ///     Err(error) => assert_eq!(error.to_errno(), Errno::EINVAL), // before Linux 6.13
    /// }
    /// ring.submit_and_wait(1)?;
    /// assert_eq!(ring.pop().map(|cqe| cqe.user_data), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What io_uring_register(2) says, and the ring stays as it is: `EOVERFLOW` when what is there does not
    /// fit, `EINVAL` for sizes that no ring has, for a ring with a polling thread, and on an older kernel.
    /// What mmap(2) says, and the ring is of no more use.
    pub fn resize(&mut self, sq_entries: u32, cq_entries: u32) -> Result<()> {
        self.queues.sq.publish();
        self.queues.cq.publish();
        let mut params = IoUringParams {
            sq_entries,
            cq_entries,
            flags: IORING_SETUP_CQSIZE,
            ..IoUringParams::default()
        };
        operations::RESIZE_RINGS.call(self.fd(), &mut params)?;
        params.flags = self.setup_flags;
        params.features = self.features;
        self.queues = Queues::map(self.fd(), &params)?;
        Ok(())
    }
}
