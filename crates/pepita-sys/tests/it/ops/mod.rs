#![expect(unsafe_code, reason = "takes over descriptors that operations made")]
//! Every builder, submitted to the running kernel.

mod buffers;
mod files;
mod net;
mod paths;
mod table;
mod wait;

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A folder for one test.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder below target/")
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no zero byte")
}

/// A file with `bytes`, open for both.
fn file_with(bytes: &[u8]) -> std::fs::File {
    use std::io::{Seek, Write};
    let mut file =
        tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file below target/");
    file.write_all(bytes).expect("room on the disk");
    file.rewind().expect("a file can be rewound");
    file
}

/// Its number as SQEs carry it.
fn fd(file: &impl AsRawFd) -> i32 {
    file.as_raw_fd()
}

/// Takes over a descriptor that an operation made.
fn owned(fd: i32) -> OwnedFd {
    assert!(fd > 2, "not a new descriptor: {fd}");
    // SAFETY: the caller has it from a completion, and from nowhere else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// An epoll instance.
fn epoll() -> OwnedFd {
    // SAFETY: takes no pointer.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}
