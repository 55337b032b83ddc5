use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use pepita_sys::error::Errno;
use pepita_sys::io_uring::*;

use super::{fd, file_with, owned};
use crate::ring::Ring;

/// Registers one buffer with `ring`.
fn register_buffer(ring: &Ring, buf: &mut [u8]) {
    let iovec = iovec(buf);
    let arg = (&raw const iovec).expose_provenance();
    ring.register(IORING_REGISTER_BUFFERS, arg, 1)
        .expect("locked memory for a page");
}

/// `buf` as an iovec.
fn iovec(buf: &mut [u8]) -> Iovec {
    Iovec {
        iov_base: buf.as_mut_ptr().expose_provenance() as u64,
        iov_len: buf.len() as u64,
    }
}

/// Registers a file table of `slots`; -1 is an empty one.
fn register_files(ring: &Ring, slots: &[i32]) {
    let arg = slots.as_ptr().expose_provenance();
    let nr = u32::try_from(slots.len()).expect("few slots");
    ring.register(IORING_REGISTER_FILES, arg, nr)
        .expect("a file table");
}

#[test]
fn write_and_read_move_bytes_at_an_offset() {
    let test = "ops::files::write_and_read_move_bytes_at_an_offset";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READ) else {
        return;
    };
    let file = file_with(b"0123456789");
    assert_eq!(
        ring.good(IoUringSqe::write(fd(&file), b"ABC".as_ptr(), 3, 4)),
        3
    );
    let mut buf = [0; 16];
    assert_eq!(
        ring.good(IoUringSqe::read(fd(&file), buf.as_mut_ptr(), 16, 2)),
        8
    );
    assert_eq!(&buf[..8], b"23ABC789");
    assert_eq!(
        ring.good(IoUringSqe::read(fd(&file), buf.as_mut_ptr(), 3, u64::MAX)),
        3
    );
    assert_eq!(
        ring.good(IoUringSqe::read(fd(&file), buf.as_mut_ptr(), 3, u64::MAX)),
        3
    );
    assert_eq!(&buf[..3], b"3AB", "the file's position moves");
}

#[test]
fn writev_and_readv_move_several_pieces() {
    let test = "ops::files::writev_and_readv_move_several_pieces";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READV) else {
        return;
    };
    let file = file_with(b"................");
    let (mut one, mut two) = (*b"one", *b"two");
    let pieces = [iovec(&mut one), iovec(&mut two)];
    assert_eq!(
        ring.good(IoUringSqe::writev(fd(&file), pieces.as_ptr(), 2, 5, 0)),
        6
    );
    let (mut left, mut right) = ([0; 5], [0; 7]);
    let pieces = [iovec(&mut left), iovec(&mut right)];
    assert_eq!(
        ring.good(IoUringSqe::readv(fd(&file), pieces.as_ptr(), 2, 3, 0)),
        12
    );
    assert_eq!((&left, &right), (b"..one", b"two...."));
    let refused = ring.run(IoUringSqe::readv(fd(&file), pieces.as_ptr(), 2, 3, 1 << 31));
    assert_eq!(
        refused.errno(),
        Some(Errno::EOPNOTSUPP),
        "the flags reach the kernel"
    );
}

#[test]
fn write_fixed_and_read_fixed_use_a_registered_buffer() {
    let test = "ops::files::write_fixed_and_read_fixed_use_a_registered_buffer";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READ_FIXED) else {
        return;
    };
    let (file, mut buf) = (file_with(b"0123456789"), vec![b'x'; 4096]);
    register_buffer(&ring, &mut buf);
    assert_eq!(
        ring.good(IoUringSqe::read_fixed(
            fd(&file),
            buf[100..].as_mut_ptr(),
            4,
            3,
            0
        )),
        4
    );
    assert_eq!(&buf[99..105], b"x3456x");
    assert_eq!(
        ring.good(IoUringSqe::write_fixed(
            fd(&file),
            buf[98..].as_ptr(),
            3,
            0,
            0
        )),
        3
    );
    let mut start = [0; 3];
    file.read_exact_at(&mut start, 0).expect("10 bytes");
    assert_eq!(&start, b"xx3");
    let beside = ring.run(IoUringSqe::read_fixed(
        fd(&file),
        start.as_mut_ptr(),
        3,
        0,
        0,
    ));
    assert_eq!(
        beside.errno(),
        Some(Errno::EFAULT),
        "not in the registered buffer"
    );
    let none = ring.run(IoUringSqe::write_fixed(fd(&file), buf.as_ptr(), 3, 0, 1));
    assert_eq!(none.errno(), Some(Errno::EFAULT), "no buffer 1");
}

#[test]
fn writev_fixed_and_readv_fixed_use_pieces_of_a_registered_buffer() {
    let test = "ops::files::writev_fixed_and_readv_fixed_use_pieces_of_a_registered_buffer";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READV_FIXED) else {
        return;
    };
    let (file, mut buf) = (file_with(b"0123456789"), vec![b'x'; 4096]);
    register_buffer(&ring, &mut buf);
    let pieces = [iovec(&mut buf[10..12]), iovec(&mut buf[20..23])];
    assert_eq!(
        ring.good(IoUringSqe::readv_fixed(
            fd(&file),
            pieces.as_ptr(),
            2,
            1,
            0,
            0
        )),
        5
    );
    assert_eq!((&buf[9..13], &buf[19..24]), (&b"x12x"[..], &b"x345x"[..]));
    assert_eq!(
        ring.good(IoUringSqe::writev_fixed(
            fd(&file),
            pieces.as_ptr(),
            2,
            5,
            0,
            0
        )),
        5
    );
    let mut end = [0; 5];
    file.read_exact_at(&mut end, 5).expect("10 bytes");
    assert_eq!(&end, b"12345");
}

#[test]
fn read_multishot_completes_for_every_arrival() {
    let test = "ops::files::read_multishot_completes_for_every_arrival";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_READ_MULTISHOT) else {
        return;
    };
    let mut bufs = vec![0; 3 * 16];
    ring.good(IoUringSqe::provide_buffers(bufs.as_mut_ptr(), 16, 3, 7, 0));
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ring.push(IoUringSqe::read_multishot(fd(&reader), 0, 0, 7));
    ring.submit(0);
    for text in [b"first", b"later"] {
        writer.write_all(text).expect("the pipe has room");
        let cqe = ring.next();
        assert_eq!((cqe.result(), cqe.has_more()), (Ok(5), true));
        let start = usize::from(cqe.buffer_id().expect("a buffer")) * 16;
        assert_eq!(&bufs[start..start + 5], text);
    }
    drop(writer);
    let last = ring.next();
    assert_eq!(
        (last.result(), last.has_more()),
        (Ok(0), false),
        "the end of the pipe"
    );
}

#[test]
fn fsync_and_sync_file_range_take_files_and_refuse_pipes() {
    let test = "ops::files::fsync_and_sync_file_range_take_files_and_refuse_pipes";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SYNC_FILE_RANGE) else {
        return;
    };
    let (file, (pipe, _writer)) = (file_with(b"0123456789"), std::io::pipe().expect("a pipe"));
    assert_eq!(ring.good(IoUringSqe::fsync(fd(&file), 0)), 0);
    assert_eq!(
        ring.good(IoUringSqe::fsync(fd(&file), IORING_FSYNC_DATASYNC)),
        0
    );
    assert_eq!(
        ring.run(IoUringSqe::fsync(fd(&pipe), 0)).errno(),
        Some(Errno::EINVAL)
    );
    assert_eq!(
        ring.run(IoUringSqe::fsync(fd(&file), 1 << 30)).errno(),
        Some(Errno::EINVAL)
    );
    let range = |file, flags| IoUringSqe::sync_file_range(file, 4, 2, flags);
    assert_eq!(ring.good(range(fd(&file), libc::SYNC_FILE_RANGE_WRITE)), 0);
    assert_eq!(ring.run(range(fd(&pipe), 0)).errno(), Some(Errno::ESPIPE));
    assert_eq!(
        ring.run(range(fd(&file), 1 << 30)).errno(),
        Some(Errno::EINVAL)
    );
}

#[test]
fn fallocate_and_ftruncate_change_the_length() {
    let test = "ops::files::fallocate_and_ftruncate_change_the_length";
    let file = file_with(b"0123456789");
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FALLOCATE) else {
        return;
    };
    let len = || file.metadata().expect("an open file").len();
    ring.good(IoUringSqe::fallocate(fd(&file), 0, 4096, 8192));
    assert_eq!(len(), 12288);
    ring.good(IoUringSqe::fallocate(
        fd(&file),
        libc::FALLOC_FL_KEEP_SIZE.cast_unsigned(),
        0,
        1 << 20,
    ));
    assert_eq!(len(), 12288, "the mode reaches the kernel");
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FTRUNCATE) else {
        return;
    };
    ring.good(IoUringSqe::ftruncate(fd(&file), 5));
    assert_eq!(len(), 5);
}

#[test]
fn fadvise_takes_known_advice_only() {
    let test = "ops::files::fadvise_takes_known_advice_only";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FADVISE) else {
        return;
    };
    let (file, (pipe, _writer)) = (file_with(&[1; 8192]), std::io::pipe().expect("a pipe"));
    let advise = |file, advice: i32| IoUringSqe::fadvise(file, 4096, 4096, advice.cast_unsigned());
    ring.good(advise(fd(&file), libc::POSIX_FADV_WILLNEED));
    assert_eq!(ring.run(advise(fd(&file), 99)).errno(), Some(Errno::EINVAL));
    assert_eq!(ring.run(advise(fd(&pipe), 0)).errno(), Some(Errno::ESPIPE));
}

#[test]
fn madvise_can_empty_a_page() {
    let test = "ops::files::madvise_can_empty_a_page";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_MADVISE) else {
        return;
    };
    let mut memory = vec![7_u8; 4 * 4096];
    let page = memory.as_ptr().align_offset(4096);
    let addr = memory[page..].as_mut_ptr();
    ring.good(IoUringSqe::madvise(
        addr,
        4096,
        libc::MADV_DONTNEED.cast_unsigned(),
    ));
    let (empty, kept) = memory[page..].split_at(4096);
    assert!(
        empty.iter().all(|byte| *byte == 0),
        "anonymous memory starts over"
    );
    assert!(
        kept[..4096].iter().all(|byte| *byte == 7),
        "no more than was said"
    );
}

#[test]
fn splice_moves_between_a_file_and_a_pipe() {
    let test = "ops::files::splice_moves_between_a_file_and_a_pipe";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SPLICE) else {
        return;
    };
    let file = file_with(b"0123456789");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    assert_eq!(
        ring.good(IoUringSqe::splice(
            fd(&file),
            6,
            fd(&writer),
            u64::MAX,
            3,
            0
        )),
        3
    );
    let mut buf = [0; 3];
    reader.read_exact(&mut buf).expect("3 bytes");
    assert_eq!(&buf, b"678");
    (&writer).write_all(b"XY").expect("the pipe has room");
    assert_eq!(
        ring.good(IoUringSqe::splice(
            fd(&reader),
            u64::MAX,
            fd(&file),
            1,
            2,
            0
        )),
        2
    );
    file.read_exact_at(&mut buf, 0).expect("10 bytes");
    assert_eq!(&buf, b"0XY");
}

#[test]
fn tee_copies_what_stays_in_the_pipe() {
    let test = "ops::files::tee_copies_what_stays_in_the_pipe";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_TEE) else {
        return;
    };
    let (mut from, mut source) = std::io::pipe().expect("a pipe");
    let (mut copy, to) = std::io::pipe().expect("a pipe");
    source.write_all(b"both").expect("the pipe has room");
    assert_eq!(ring.good(IoUringSqe::tee(fd(&from), fd(&to), 64, 0)), 4);
    for reader in [&mut from, &mut copy] {
        let mut buf = [0; 4];
        reader.read_exact(&mut buf).expect("4 bytes");
        assert_eq!(&buf, b"both");
    }
}

#[test]
fn pipe_makes_two_connected_descriptors() {
    let test = "ops::files::pipe_makes_two_connected_descriptors";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_PIPE) else {
        return;
    };
    let mut fds = [-1; 2];
    ring.good(IoUringSqe::pipe(
        &raw mut fds,
        libc::O_CLOEXEC.cast_unsigned(),
    ));
    let [reader, writer] = fds.map(owned);
    ring.good(IoUringSqe::write(
        fd(&writer),
        b"through".as_ptr(),
        7,
        u64::MAX,
    ));
    let mut buf = [0; 7];
    ring.good(IoUringSqe::read(fd(&reader), buf.as_mut_ptr(), 7, u64::MAX));
    assert_eq!(&buf, b"through");
}

#[test]
fn close_ends_a_descriptor() {
    let test = "ops::files::close_ends_a_descriptor";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_CLOSE) else {
        return;
    };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    ring.good(IoUringSqe::close(std::os::fd::IntoRawFd::into_raw_fd(
        writer,
    )));
    assert_eq!(
        reader.read(&mut [0]).expect("a pipe"),
        0,
        "nobody can write any more"
    );
}

#[test]
fn the_file_table_is_updated_used_and_emptied() {
    let test = "ops::files::the_file_table_is_updated_used_and_emptied";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FILES_UPDATE) else {
        return;
    };
    register_files(&ring, &[-1; 4]);
    let file = file_with(b"0123456789");
    let mut fds = [fd(&file), fd(&file)];
    assert_eq!(
        ring.good(IoUringSqe::files_update(fds.as_mut_ptr(), 2, 2)),
        2
    );
    let mut buf = [0; 4];
    let read = IoUringSqe::read(3, buf.as_mut_ptr(), 4, 5).fixed_file();
    assert_eq!(ring.good(read), 4);
    assert_eq!(&buf, b"5678");
    ring.good(IoUringSqe::close_direct(3));
    assert_eq!(
        ring.run(read).errno(),
        Some(Errno::EBADF),
        "the slot is empty"
    );
    let mut other = read;
    other.fd = 2;
    assert_eq!(ring.good(other), 4, "the other slot is not");
}

#[test]
fn fixed_fd_install_makes_a_descriptor_of_a_slot() {
    let test = "ops::files::fixed_fd_install_makes_a_descriptor_of_a_slot";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FIXED_FD_INSTALL) else {
        return;
    };
    let file = file_with(b"0123456789");
    register_files(&ring, &[-1, fd(&file)]);
    drop(file);
    let installed = ring.good(IoUringSqe::fixed_fd_install(1, IORING_FIXED_FD_NO_CLOEXEC));
    let file = std::fs::File::from(owned(installed.cast_signed()));
    let mut buf = [0; 2];
    file.read_exact_at(&mut buf, 8).expect("the file lives on");
    assert_eq!(&buf, b"89");
}
