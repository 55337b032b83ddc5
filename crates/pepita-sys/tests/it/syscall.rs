#![expect(
    unsafe_code,
    reason = "maps memory and makes a child, to see what the calls do"
)]
//! System calls on the running kernel, whichever architecture it shows.

use pepita_sys::error::Errno;
use pepita_sys::syscall::{self, Fd, raw};

/// `getpid`, `wait4`, `clone`: x86-64, aarch64. Only this test makes them.
const GETPID: usize = if cfg!(target_arch = "aarch64") {
    172
} else {
    39
};
const WAIT4: usize = if cfg!(target_arch = "aarch64") {
    260
} else {
    61
};
const CLONE: usize = if cfg!(target_arch = "aarch64") {
    220
} else {
    56
};
const SIGCHLD: usize = 17;

#[test]
fn a_call_without_arguments_returns_its_value() {
    // SAFETY: getpid takes nothing and changes nothing.
    let pid = unsafe { raw::syscall0(GETPID) };
    assert_eq!(pid, Ok(std::process::id() as usize));
}

#[test]
fn a_number_that_is_no_call_is_enosys() {
    // SAFETY: no call has this number.
    let result = unsafe { raw::syscall5(100_000, 1, 2, 3, 4, 5) };
    assert_eq!(result, Err(Errno::ENOSYS));
}

#[test]
fn a_file_that_is_not_there_is_enoent() {
    let opened = syscall::openat(syscall::AT_FDCWD, c"/no/such/file", syscall::O_RDONLY, 0);
    assert_eq!(opened.map(Fd::into_raw), Err(Errno::ENOENT));
}

#[test]
fn what_is_written_to_a_file_can_be_read_back() {
    let name = format!(
        "{}/pepita-sys-{}\0",
        env!("CARGO_TARGET_TMPDIR"),
        std::process::id()
    );
    let path =
        std::ffi::CStr::from_bytes_with_nul(name.as_bytes()).expect("it ends in a zero byte");
    let flags = syscall::O_CREAT | syscall::O_EXCL | syscall::O_WRONLY | syscall::O_CLOEXEC;
    let file = syscall::openat(syscall::AT_FDCWD, path, flags, 0o600).expect("a new file");
    assert_eq!(file.write(b"twelve bytes"), Ok(12));
    assert_eq!(file.close(), Ok(()));

    let file = syscall::openat(syscall::AT_FDCWD, path, syscall::O_RDONLY, 0).expect("the file");
    std::fs::remove_file(name.trim_end_matches('\0')).expect("it is there");
    let mut bytes = [0; 16];
    assert_eq!(file.read(&mut bytes), Ok(12));
    assert_eq!(&bytes[..12], b"twelve bytes");
    assert_eq!(file.read(&mut bytes), Ok(0), "the end of the file");
    assert_eq!(file.write(b"x"), Err(Errno::EBADF), "opened for reading");
}

#[test]
fn a_dropped_descriptor_is_closed() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // SAFETY: `into_raw_fd` gives both up.
    let fd = |raw| unsafe { Fd::from_raw(raw) };
    let reader = fd(std::os::fd::IntoRawFd::into_raw_fd(reader));
    let writer = fd(std::os::fd::IntoRawFd::into_raw_fd(writer));
    drop(writer);
    assert_eq!(reader.read(&mut [0]), Ok(0), "nobody can write any more");
}

#[test]
fn mapped_memory_is_zeroed_writable_and_gone_after_munmap() {
    let (prot, flags) = (
        syscall::PROT_READ | syscall::PROT_WRITE,
        syscall::MAP_PRIVATE | syscall::MAP_ANONYMOUS,
    );
    // SAFETY: anonymous memory, at an address that the kernel picks.
    let addr = unsafe { syscall::mmap(8192, prot, flags, -1, 0) }.expect("two pages");
    // SAFETY: mapped above, and only this test has it.
    let bytes = unsafe { std::slice::from_raw_parts_mut(addr.as_ptr(), 8192) };
    assert!(bytes.iter().all(|byte| *byte == 0));
    bytes[8191] = 7;
    assert_eq!(bytes[8191], 7);
    // SAFETY: the whole mapping; `bytes` is not used again.
    assert_eq!(unsafe { syscall::munmap(addr, 8192) }, Ok(()));

    let file = syscall::openat(syscall::AT_FDCWD, c"/proc/self/exe", syscall::O_RDONLY, 0)
        .expect("this program");
    // SAFETY: a private mapping of a file that nobody cuts.
    let addr = unsafe {
        syscall::mmap(
            4096,
            syscall::PROT_READ,
            syscall::MAP_PRIVATE,
            file.as_raw(),
            0,
        )
    };
    let addr = addr.expect("its first page");
    // SAFETY: mapped above, and not written.
    let magic = unsafe { std::slice::from_raw_parts(addr.as_ptr(), 4) };
    assert_eq!(magic, b"\x7fELF");
    // SAFETY: as above.
    let unaligned = unsafe {
        syscall::mmap(
            4096,
            syscall::PROT_READ,
            syscall::MAP_PRIVATE,
            file.as_raw(),
            1,
        )
    };
    assert_eq!(
        unaligned,
        Err(Errno::EINVAL),
        "offset 1 is in the middle of a page"
    );
}

#[test]
fn exit_group_ends_the_process_with_its_status() {
    // SAFETY: as fork(2): the child has a copy of this memory, and makes no call but the next one.
    let child = unsafe { raw::syscall5(CLONE, SIGCHLD, 0, 0, 0, 0) }.expect("a child");
    if child == 0 {
        syscall::exit_group(42);
    }
    let mut status = 0_i32;
    let status_addr = (&raw mut status).expose_provenance();
    // SAFETY: waits for the child that was made above; the status is an `int`.
    let waited = unsafe { raw::syscall4(WAIT4, child, status_addr, 0, 0) };
    assert_eq!((waited, status), (Ok(child), 42 << 8));
}
