#![expect(
    unsafe_code,
    reason = "operations promise to keep what their entries lead to"
)]
//! Operations on paths.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};
use pepita_sys::syscall::{AT_FDCWD, O_CLOEXEC};
use rustix::fs::{AtFlags, RenameFlags, Statx, StatxFlags};

use super::{Operation, SharedFile, done, new_file, sealed};

/// Where paths begin: an open folder ([`SharedFile`]), or [`Cwd`].
pub trait Folder: sealed::Folder {}

impl<F: SharedFile> sealed::Folder for F {
    fn folder_number(&self) -> i32 {
        self.number()
    }
}

impl<F: SharedFile> Folder for F {}

/// The working directory of the process. `AT_FDCWD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cwd;

impl sealed::Folder for Cwd {
    fn folder_number(&self) -> i32 {
        AT_FDCWD
    }
}

impl Folder for Cwd {}

/// Opens `path` with `O_` flags, `O_CLOEXEC` among them; `mode` holds the permission bits of a file that is
/// made. open(2).
///
/// ```
/// use pepita_io::{LocalRing, ops};
/// use pepita_sys::syscall::O_RDONLY;
///
/// let ring = LocalRing::new(8)?;
/// let null = ring.block_on(ring.submit(ops::open("/dev/null", O_RDONLY, 0)?))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn open(path: impl AsRef<Path>, flags: u32, mode: u32) -> Result<Open> {
    let path = c_path("open", path.as_ref())?;
    Ok(Open {
        path,
        flags: flags | O_CLOEXEC,
        mode,
    })
}

/// See [`open`].
#[derive(Debug)]
pub struct Open {
    path: CString,
    flags: u32,
    mode: u32,
}

// SAFETY: the path is on the heap.
unsafe impl Operation for Open {
    type Output = Result<OwnedFd>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::openat(AT_FDCWD, self.path.as_ptr(), self.flags, self.mode)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<OwnedFd> {
        new_file("open", cqe)
    }
}

/// Tells about what is at `path`; of a symbolic link, about where it leads. statx(2).
///
/// ```
/// use pepita_io::{LocalRing, ops};
///
/// let ring = LocalRing::new(8)?;
/// let about = ring.block_on(ring.submit(ops::stat("/proc/self/exe", ops::StatxFlags::SIZE)?))?;
/// assert!(about.stx_size > 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn stat(path: impl AsRef<Path>, mask: StatxFlags) -> Result<Stat> {
    Ok(Stat {
        path: c_path("statx", path.as_ref())?,
        mask,
        into: Box::new(MaybeUninit::zeroed()),
    })
}

/// See [`stat`].
#[derive(Debug)]
pub struct Stat {
    path: CString,
    mask: StatxFlags,
    into: Box<MaybeUninit<Statx>>,
}

// SAFETY: path and structure are on the heap.
unsafe impl Operation for Stat {
    type Output = Result<Statx>;

    fn entry(&mut self) -> IoUringSqe {
        let into = self.into.as_mut_ptr().cast();
        IoUringSqe::statx(AT_FDCWD, self.path.as_ptr(), 0, self.mask.bits(), into)
    }

    fn complete(self, cqe: IoUringCqe) -> Self::Output {
        done("statx", cqe)?;
        // SAFETY: integers, zeroed at first and then filled by the kernel.
        Ok(unsafe { *self.into.assume_init() })
    }
}

/// Removes the name `path` of a file, seen from the working directory. unlink(2).
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn unlink(path: impl AsRef<Path>) -> Result<Unlink<Cwd>> {
    unlink_at(&Cwd, path, AtFlags::empty())
}

/// Removes the name `path`, seen from `folder`; with [`AtFlags::REMOVEDIR`], of an empty folder, and else of
/// a file. unlinkat(2).
///
/// ```
/// use std::{fs::File, rc::Rc};
/// use pepita_io::{LocalRing, ops, ops::{AtFlags, RenameFlags}};
///
/// let ring = LocalRing::new(8)?;
/// let temporary = tempfile::tempdir()?;
/// let folder = Rc::new(File::open(temporary.path())?);
/// ring.block_on(async {
///     ring.submit(ops::mkdir_at(&folder, "new", 0o700)?).await?;
///     ring.submit(ops::rename_at(&folder, "new", &folder, "old", RenameFlags::NOREPLACE)?).await?;
///     ring.submit(ops::unlink_at(&folder, "old", AtFlags::REMOVEDIR)?).await
/// })?;
/// # assert_eq!(std::fs::read_dir(temporary.path())?.count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn unlink_at<D: Folder>(
    folder: &D,
    path: impl AsRef<Path>,
    flags: AtFlags,
) -> Result<Unlink<D>> {
    Ok(Unlink {
        folder: folder.clone(),
        path: c_path("unlink", path.as_ref())?,
        flags,
    })
}

/// See [`unlink`] and [`unlink_at`].
#[derive(Debug)]
pub struct Unlink<D> {
    folder: D,
    path: CString,
    flags: AtFlags,
}

// SAFETY: it keeps the folder, and the path is on the heap.
unsafe impl<D: Folder> Operation for Unlink<D> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let folder = self.folder.folder_number();
        IoUringSqe::unlinkat(folder, self.path.as_ptr(), self.flags.bits())
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("unlink", cqe)
    }
}

/// Gives what is at `from` the name `to`, both seen from the working directory; what had that name is
/// replaced. rename(2).
///
/// # Errors
/// `EINVAL` when a path has a zero byte.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Rename<Cwd, Cwd>> {
    rename_at(&Cwd, from, &Cwd, to, RenameFlags::empty())
}

/// Gives what is at `from`, seen from `from_folder`, the name `to`, seen from `to_folder`. The flags say what
/// becomes of what had that name: it is replaced, there is an error, or they change places. renameat2(2).
///
/// For an example see [`unlink_at`].
///
/// # Errors
/// `EINVAL` when a path has a zero byte.
pub fn rename_at<D: Folder, E: Folder>(
    from_folder: &D,
    from: impl AsRef<Path>,
    to_folder: &E,
    to: impl AsRef<Path>,
    flags: RenameFlags,
) -> Result<Rename<D, E>> {
    Ok(Rename {
        from_folder: from_folder.clone(),
        from: c_path("rename", from.as_ref())?,
        to_folder: to_folder.clone(),
        to: c_path("rename", to.as_ref())?,
        flags,
    })
}

/// See [`rename`] and [`rename_at`].
#[derive(Debug)]
pub struct Rename<D, E> {
    from_folder: D,
    from: CString,
    to_folder: E,
    to: CString,
    flags: RenameFlags,
}

// SAFETY: it keeps the folders, and the paths are on the heap.
unsafe impl<D: Folder, E: Folder> Operation for Rename<D, E> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        IoUringSqe::renameat(
            self.from_folder.folder_number(),
            self.from.as_ptr(),
            self.to_folder.folder_number(),
            self.to.as_ptr(),
            self.flags.bits(),
        )
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("rename", cqe)
    }
}

/// Makes the folder `path`, seen from the working directory; `mode` holds its permission bits. mkdir(2).
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn mkdir(path: impl AsRef<Path>, mode: u32) -> Result<Mkdir<Cwd>> {
    mkdir_at(&Cwd, path, mode)
}

/// Makes the folder `path`, seen from `folder`; `mode` holds its permission bits. mkdirat(2).
///
/// For an example see [`unlink_at`].
///
/// # Errors
/// `EINVAL` when the path has a zero byte.
pub fn mkdir_at<D: Folder>(folder: &D, path: impl AsRef<Path>, mode: u32) -> Result<Mkdir<D>> {
    Ok(Mkdir {
        folder: folder.clone(),
        path: c_path("mkdir", path.as_ref())?,
        mode,
    })
}

/// See [`mkdir`] and [`mkdir_at`].
#[derive(Debug)]
pub struct Mkdir<D> {
    folder: D,
    path: CString,
    mode: u32,
}

// SAFETY: it keeps the folder, and the path is on the heap.
unsafe impl<D: Folder> Operation for Mkdir<D> {
    type Output = Result<()>;

    fn entry(&mut self) -> IoUringSqe {
        let folder = self.folder.folder_number();
        IoUringSqe::mkdirat(folder, self.path.as_ptr(), self.mode)
    }

    fn complete(self, cqe: IoUringCqe) -> Result<()> {
        done("mkdir", cqe)
    }
}

/// A path for the kernel.
fn c_path(operation: &'static str, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| KernelError::from_errno(operation, Errno::EINVAL))
}
