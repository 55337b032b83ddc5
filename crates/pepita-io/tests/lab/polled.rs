#![expect(unsafe_code, reason = "pushes entries that lead to memory")]
//! A ring that polls the device.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use pepita_io::buf::AlignedBuf;
use pepita_io::ring::RingConfig;
use pepita_sys::error::Errno;
use pepita_sys::io_uring::IoUringSqe;

use crate::in_lab;

const BLOCK: usize = 4096;
const BYTES: u32 = 4096;

#[test]
fn a_ring_that_polls_reads_from_a_device_with_polled_queues_alone() {
    if !in_lab("a_ring_that_polls_reads_from_a_device_with_polled_queues_alone") {
        return;
    }
    let options = [
        "null_blk",
        "nr_devices=1",
        "queue_mode=2",
        "poll_queues=1",
        "memory_backed=1",
    ];
    let loaded = Command::new("modprobe").args(options).status();
    assert!(loaded.expect("modprobe").success());
    let open = |path: &str| {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path);
        file.expect("the device")
    };
    let device = open("/dev/nullb0");
    let mut ring = RingConfig::new(8)
        .io_poll()
        .build()
        .expect("a ring that polls");
    let (mut written, mut read) = (
        AlignedBuf::zeroed(BLOCK, BLOCK),
        AlignedBuf::zeroed(BLOCK, BLOCK),
    );
    written.fill(7);
    let fd = device.as_raw_fd();
    let write = IoUringSqe::write(fd, written.as_ptr(), BYTES, 0).user_data(1);
    let read_back = IoUringSqe::read(fd, read.as_mut_ptr(), BYTES, 0).user_data(2);
    for entry in [write, read_back] {
        // SAFETY: both buffers live to the end of the test, which waits for the completion.
        unsafe { ring.push(entry) }.expect("room");
        ring.submit_and_wait(1).expect("it is polled for");
        assert_eq!(ring.pop().expect("a completion").result(), Ok(BYTES));
    }
    assert_eq!(read[..], [7; BLOCK]);

    let pipe = std::io::pipe().expect("a pipe");
    let from_pipe = IoUringSqe::read(pipe.0.as_raw_fd(), read.as_mut_ptr(), 1, 0);
    // SAFETY: as above.
    unsafe { ring.push(from_pipe) }.expect("room");
    ring.submit_and_wait(1).expect("it is refused");
    let refused = ring.pop().expect("a completion");
    assert_eq!(
        refused.errno(),
        Some(Errno::EOPNOTSUPP),
        "what has no polled queue"
    );
}
