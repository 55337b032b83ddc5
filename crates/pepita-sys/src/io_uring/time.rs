//! Time as the kernel takes it.

structs! {
    /// Seconds and nanoseconds, by whichever clock the operation uses.
    ///
    /// ```
    /// use core::time::Duration;
    /// use pepita_sys::io_uring::Timespec;
    ///
    /// let ts = Timespec::from(Duration::from_millis(1500));
    /// assert_eq!((ts.tv_sec, ts.tv_nsec), (1, 500_000_000));
    /// ```
    Timespec = "__kernel_timespec", 16 {
        /// Seconds.
        tv_sec: i64 = 0,
        /// Nanoseconds, below 1,000,000,000.
        tv_nsec: i64 = 8,
    }
}

impl From<core::time::Duration> for Timespec {
    /// A duration above 292 billion years becomes that.
    fn from(duration: core::time::Duration) -> Self {
        Self {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        }
    }
}
