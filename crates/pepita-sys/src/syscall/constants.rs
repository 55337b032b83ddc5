//! Flags of the calls, and their numbers.

constants! {
    /// The current folder, in place of a folder's descriptor. openat(2).
    AT_FDCWD: i32 = -100;

    /// Open for reading. open(2).
    O_RDONLY: u32 = 0;
    /// Open for writing.
    O_WRONLY: u32 = 0o1;
    /// Open for both.
    O_RDWR: u32 = 0o2;
    /// Make the file if there is none.
    O_CREAT: u32 = 0o100;
    /// With `O_CREAT`: fail with `EEXIST` if there is one.
    O_EXCL: u32 = 0o200;
    /// Cut the file to length 0.
    O_TRUNC: u32 = 0o1000;
    /// Write at the end of the file.
    O_APPEND: u32 = 0o2000;
    /// Return `EAGAIN` instead of waiting.
    O_NONBLOCK: u32 = 0o4000;
    /// Written data is on the disk when the write returns.
    O_DSYNC: u32 = 0o10000;
    /// Past the page cache; buffers and offsets are aligned.
    O_DIRECT: u32 = if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 };
    /// Fail with `ENOTDIR` if it is not a folder.
    O_DIRECTORY: u32 = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
    /// Close the descriptor when the process executes a program.
    O_CLOEXEC: u32 = 0o2_000_000;

    /// Pages may be read. mmap(2).
    PROT_READ: u32 = 1;
    /// Pages may be written.
    PROT_WRITE: u32 = 2;
    /// Pages may not be accessed.
    PROT_NONE: u32 = 0;

    /// Writes reach the file and whoever else maps it.
    MAP_SHARED: u32 = 0x01;
    /// Writes stay with this process.
    MAP_PRIVATE: u32 = 0x02;
    /// No file: zeroed memory.
    MAP_ANONYMOUS: u32 = 0x20;
    /// Make the pages present at once.
    MAP_POPULATE: u32 = 0x8000;
}

/// Numbers of system calls, as the architecture has them.
pub mod nr {
    /// Picks the number of the architecture: x86-64, aarch64.
    const fn pick(x86_64: usize, aarch64: usize) -> usize {
        if cfg!(target_arch = "aarch64") {
            aarch64
        } else {
            x86_64
        }
    }

    constants! {
        /// read(2).
        READ: usize = pick(0, 63);
        /// write(2).
        WRITE: usize = pick(1, 64);
        /// close(2).
        CLOSE: usize = pick(3, 57);
        /// mmap(2).
        MMAP: usize = pick(9, 222);
        /// munmap(2).
        MUNMAP: usize = pick(11, 215);
        /// openat(2).
        OPENAT: usize = pick(257, 56);
        /// exit_group(2).
        EXIT_GROUP: usize = pick(231, 94);
        /// io_uring_setup(2).
        IO_URING_SETUP: usize = 425;
        /// io_uring_enter(2).
        IO_URING_ENTER: usize = 426;
        /// io_uring_register(2).
        IO_URING_REGISTER: usize = 427;
    }
}
