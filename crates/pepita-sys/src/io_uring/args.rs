//! What SQEs lead to, as far as the kernel's headers define it: io vectors, ways to open, futexes.

constants! {
    /// The futex has 8 bits. futex(2)
    FUTEX2_SIZE_U8: u32 = 0;
    /// The futex has 16 bits.
    FUTEX2_SIZE_U16: u32 = 1;
    /// The futex has 32 bits, as all have that a kernel supports.
    FUTEX2_SIZE_U32: u32 = 2;
    /// The futex has 64 bits.
    FUTEX2_SIZE_U64: u32 = 3;
    /// The bits of a size.
    FUTEX2_SIZE_MASK: u32 = 3;
    /// The futex is on the waiter's NUMA node.
    FUTEX2_NUMA: u32 = 4;
    /// The futex follows a memory policy.
    FUTEX2_MPOL: u32 = 8;
    /// The futex is used by this process alone.
    FUTEX2_PRIVATE: u32 = 128;
}

structs! {
    /// A piece of memory to be read or written. readv(2)
    Iovec = "iovec", 16 {
        /// Where it is.
        iov_base: u64 = 0,
        /// Bytes.
        iov_len: u64 = 8,
    }

    /// How openat2(2) opens.
    OpenHow = "open_how", 24 {
        /// `O_` flags.
        flags: u64 = 0,
        /// Permission bits of a file that is made.
        mode: u64 = 8,
        /// `RESOLVE_` flags.
        resolve: u64 = 16,
    }

    /// A futex among several. futex_waitv(2)
    FutexWaitv = "futex_waitv", 24 {
        /// Waits as long as the futex has this value.
        val: u64 = 0,
        /// Where the futex is.
        uaddr: u64 = 8,
        /// `FUTEX2_` flags.
        flags: u32 = 16,
        /// Zero.
        reserved: u32 = 20 [__reserved],
    }
}
