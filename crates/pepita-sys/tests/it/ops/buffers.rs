use std::io::Write;

use pepita_sys::error::Errno;
use pepita_sys::io_uring::*;

use super::fd;
use crate::ring::Ring;

#[test]
fn the_kernel_picks_provided_buffers_until_they_are_taken_back() {
    let test = "ops::buffers::the_kernel_picks_provided_buffers_until_they_are_taken_back";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_PROVIDE_BUFFERS) else {
        return;
    };
    let mut bufs = vec![0_u8; 4 * 8];
    ring.good(IoUringSqe::provide_buffers(bufs.as_mut_ptr(), 8, 4, 3, 10));
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"picked").expect("the pipe has room");
    let read = IoUringSqe::read(fd(&reader), std::ptr::null_mut(), 8, u64::MAX).buffer_select(3);
    let cqe = ring.run(read);
    assert_eq!(cqe.result(), Ok(6));
    let id = cqe.buffer_id().expect("a buffer");
    let start = usize::from(id - 10) * 8;
    assert_eq!(&bufs[start..start + 6], b"picked");

    assert_eq!(
        ring.good(IoUringSqe::remove_buffers(100, 3)),
        3,
        "one is in use"
    );
    assert_eq!(
        ring.run(IoUringSqe::remove_buffers(1, 1000)).errno(),
        Some(Errno::ENOENT)
    );
    writer.write_all(b"more").expect("the pipe has room");
    assert_eq!(ring.run(read).errno(), Some(Errno::ENOBUFS));
}
