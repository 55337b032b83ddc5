#![expect(unsafe_code, reason = "passes lists of descriptors by their addresses")]
//! Tables of registered files.

use core::ops::Range;

use pepita_sys::error::Result;
use pepita_sys::io_uring::{
    IORING_REGISTER_FILES_UPDATE2, IORING_REGISTER_FILES2, IORING_RSRC_REGISTER_SPARSE,
    IoUringFileIndexRange, IoUringRsrcRegister, IoUringRsrcUpdate2,
};

use super::super::{CqEntry, Ring, SqEntry, calls};
use super::{address_of, count_of, operations};

/// Tables of registered files.
///
/// A ring has one table. An entry with [`fixed_file`](pepita_sys::io_uring::IoUringSqe::fixed_file) names a
/// slot in place of a descriptor; the kernel keeps the file open until the slot is changed and every
/// operation on it has ended.
///
/// Where a list of tags is given, it has as many elements as that of files. When the kernel has let go of a
/// file whose tag is not 0, a completion comes with the tag as its `user_data`, and 0 in the rest.
impl<S: SqEntry, C: CqEntry> Ring<S, C> {
    /// Makes a table of `count` empty slots.
    ///
    /// ```
    /// # use std::os::fd::AsRawFd;
    /// use pepita_io::ring::RingConfig;
    /// use pepita_sys::io_uring::IoUringSqe;
    ///
    /// let mut ring = RingConfig::new(8).build()?;
    /// ring.register_files_sparse(4)?;
    /// let file = std::fs::File::open("/dev/zero")?;
    /// ring.update_files(2, &[file.as_raw_fd()], &[])?;
    /// drop(file); // the table keeps it open
    ///
    /// let mut byte = 1_u8;
    /// // SAFETY: the byte is there until the completion, which is waited for.
    /// unsafe { ring.push(IoUringSqe::read(2, &raw mut byte, 1, 0).fixed_file()) }?;
    /// ring.submit_and_wait(1)?;
    /// assert_eq!((ring.pop().map(|cqe| cqe.res), byte), (Some(1), 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EBUSY` when there is a table, `EMFILE` for more than
    /// `RLIMIT_NOFILE`, `EINVAL` for none.
    pub fn register_files_sparse(&mut self, count: u32) -> Result<()> {
        self.register_files_with(&IoUringRsrcRegister {
            nr: count,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..IoUringRsrcRegister::default()
        })
    }

    /// Makes a table of `files`, where -1 is an empty slot; with `tags`, or none if that is empty.
    ///
    /// # Errors
    /// As [`Self::register_files_sparse`], `EBADF` for a number that is no open descriptor, and `EINVAL`
    /// for lists of two lengths.
    pub fn register_files(&mut self, files: &[i32], tags: &[u64]) -> Result<()> {
        self.register_files_with(&IoUringRsrcRegister {
            nr: count_of(files, tags)?,
            data: address_of(files),
            tags: address_of(tags),
            ..IoUringRsrcRegister::default()
        })
    }

    fn register_files_with(&self, register: &IoUringRsrcRegister) -> Result<()> {
        const SIZE: u32 = 32;
        const { assert!(size_of::<IoUringRsrcRegister>() == SIZE as usize) };
        let arg = core::ptr::from_ref(register).expose_provenance();
        // SAFETY: the structure and the lists that the callers above put into it live as long as the call;
        // the kernel copies them.
        unsafe { calls::register(self.fd(), IORING_REGISTER_FILES2, arg, SIZE) }.map(drop)
    }

    /// Sets the slots from `first` on to `files`: -1 empties a slot, and
    /// [`IORING_REGISTER_FILES_SKIP`](pepita_sys::io_uring::IORING_REGISTER_FILES_SKIP) leaves it. With
    /// `tags`, or none if that is empty; only a file has one.
    ///
    /// Operations in flight go on with the file that was there. Returns how many slots were gone through:
    /// fewer than asked for when one failed.
    ///
    /// # Errors
    /// What io_uring_register(2) says, if the first slot fails: `ENXIO` without a table, `EBADF` for a
    /// number that is no open descriptor, `EINVAL` for slots outside the table or lists of two lengths.
    pub fn update_files(&mut self, first: u32, files: &[i32], tags: &[u64]) -> Result<u32> {
        const SIZE: u32 = 32;
        const { assert!(size_of::<IoUringRsrcUpdate2>() == SIZE as usize) };
        let update = IoUringRsrcUpdate2 {
            offset: first,
            data: address_of(files),
            tags: address_of(tags),
            nr: count_of(files, tags)?,
            ..IoUringRsrcUpdate2::default()
        };
        let arg = core::ptr::from_ref(&update).expose_provenance();
        // SAFETY: the structure and both lists live as long as the call; the kernel copies them.
        unsafe { calls::register(self.fd(), IORING_REGISTER_FILES_UPDATE2, arg, SIZE) }
    }

    /// Says which slots the kernel may pick for
    /// [`direct_any`](pepita_sys::io_uring::IoUringSqe::direct_any); without this, all of them.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `EINVAL` for slots outside the table.
    pub fn set_file_alloc_range(&mut self, slots: Range<u32>) -> Result<()> {
        let mut range = IoUringFileIndexRange {
            off: slots.start,
            len: slots.end.saturating_sub(slots.start),
            resv: 0,
        };
        operations::FILE_ALLOC_RANGE
            .call(self.fd(), &mut range)
            .map(drop)
    }

    /// Takes the table away. Operations in flight keep their files, and a kernel before Linux 6.13 waits
    /// for them.
    ///
    /// # Errors
    /// What io_uring_register(2) says: `ENXIO` without a table.
    pub fn unregister_files(&mut self) -> Result<()> {
        operations::UNREGISTER_FILES.call(self.fd(), 0).map(drop)
    }
}
