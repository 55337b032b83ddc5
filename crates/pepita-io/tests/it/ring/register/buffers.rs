#![expect(unsafe_code, reason = "registers the memory of tests")]

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use pepita_io::ring::{Ring, RingConfig};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IoUringSqe, Iovec};

use super::super::{complete, push, ring_for};
use super::has;

fn iovec(bytes: &mut [u8]) -> Iovec {
    Iovec {
        iov_base: bytes.as_mut_ptr().expose_provenance() as u64,
        iov_len: bytes.len() as u64,
    }
}

/// Sets `slot` to `bytes`, which the test keeps.
fn set(ring: &mut Ring, slot: u32, bytes: &mut [u8], tags: &[u64]) -> Result<u32, Errno> {
    let buffers = [iovec(bytes)];
    // SAFETY: test-keeps.
    unsafe { ring.update_buffers(slot, &buffers, tags) }.map_err(|error| error.to_errno())
}

/// Reads zeros into the first half of `bytes`, which is in `slot`.
fn read_half(ring: &mut Ring, slot: u16, bytes: &mut [u8]) -> Result<u32, Errno> {
    let zero = File::open("/dev/zero").expect("there is one everywhere");
    let half = u32::try_from(bytes.len() / 2).expect("a small buffer");
    let read = IoUringSqe::read_fixed(zero.as_raw_fd(), bytes.as_mut_ptr(), half, 0, slot);
    complete(ring, read).result()
}

#[test]
fn a_slot_lets_operations_at_its_buffer_and_at_nothing_else() {
    let name = "a_slot_lets_operations_at_its_buffer_and_at_nothing_else";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let (mut one, mut two) = (vec![1_u8; 4096], vec![2_u8; 4096]);
    for count in [0, 16_385] {
        let none = ring.register_buffers_sparse(count);
        assert_eq!(none.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
    }
    ring.register_buffers_sparse(3).expect("a table");
    let second = ring.register_buffers_sparse(3);
    assert_eq!(second.map_err(|error| error.to_errno()), Err(Errno::EBUSY));
    assert_eq!(read_half(&mut ring, 1, &mut one), Err(Errno::EFAULT));
    assert_eq!(set(&mut ring, 1, &mut one, &[]), Ok(1));
    assert_eq!(read_half(&mut ring, 1, &mut one), Ok(2048));
    assert!(one[..2048].iter().all(|byte| *byte == 0));
    assert!(one[2048..].iter().all(|byte| *byte == 1));
    assert_eq!(read_half(&mut ring, 1, &mut two), Err(Errno::EFAULT));

    assert_eq!(set(&mut ring, 1, &mut two, &[]), Ok(1));
    assert_eq!(read_half(&mut ring, 1, &mut two), Ok(2048));
    assert_eq!(read_half(&mut ring, 1, &mut one), Err(Errno::EFAULT));
    ring.clear_buffer(1).expect("a slot");
    assert_eq!(read_half(&mut ring, 1, &mut two), Err(Errno::EFAULT));
    assert_eq!(set(&mut ring, 3, &mut two, &[]), Err(Errno::EINVAL));
    ring.unregister_buffers().expect("a table");
    assert_eq!(set(&mut ring, 1, &mut two, &[]), Err(Errno::ENXIO));
}

#[test]
fn a_buffers_tag_comes_when_the_last_operation_on_it_has_ended() {
    let name = "a_buffers_tag_comes_when_the_last_operation_on_it_has_ended";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let mut bytes = vec![0_u8; 4096];
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ring.register_buffers_sparse(1).expect("a table");
    assert_eq!(set(&mut ring, 0, &mut bytes, &[77]), Ok(1));
    let (fd, address) = (reader.as_raw_fd(), bytes.as_mut_ptr());
    push(
        &mut ring,
        IoUringSqe::read_fixed(fd, address, 8, u64::MAX, 0).user_data(1),
    );
    ring.submit().expect("a read that waits");
    ring.clear_buffer(0).expect("a slot");
    ring.submit().expect("what there is");
    assert!(ring.pop().is_none(), "the buffer is in use");
    writer.write_all(b"written!").expect("a reader");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        ring.submit_and_wait(1).expect("a completion");
        seen.extend(ring.completions().map(|cqe| (cqe.user_data, cqe.res)));
    }
    seen.sort_unstable();
    assert_eq!(seen, [(1, 8), (77, 0)]);
    assert_eq!(&bytes[..8], b"written!");
}

#[test]
fn cloned_buffers_work_on_the_other_ring_after_the_first_has_gone() {
    let name = "cloned_buffers_work_on_the_other_ring_after_the_first_has_gone";
    let (Some(mut source), Some(mut ring)) = (
        ring_for(name, &RingConfig::new(8)),
        ring_for(name, &RingConfig::new(8)),
    ) else {
        return;
    };
    let mut bytes = vec![1_u8; 4096];
    source.register_buffers_sparse(2).expect("a table");
    assert_eq!(set(&mut source, 1, &mut bytes, &[]), Ok(1));
    // SAFETY: test-keeps.
    let Some(()) = has(name, "6.12", unsafe { ring.clone_buffers(&source) }) else {
        return;
    };
    drop(source);
    assert_eq!(read_half(&mut ring, 1, &mut bytes), Ok(2048));
    assert_eq!(read_half(&mut ring, 0, &mut bytes), Err(Errno::EFAULT));
}

#[test]
fn a_range_is_cloned_into_the_middle_of_a_table() {
    let name = "a_range_is_cloned_into_the_middle_of_a_table";
    let (Some(mut source), Some(mut ring)) = (
        ring_for(name, &RingConfig::new(8)),
        ring_for(name, &RingConfig::new(8)),
    ) else {
        return;
    };
    let (mut one, mut two) = (vec![1_u8; 4096], vec![2_u8; 4096]);
    source.register_buffers_sparse(4).expect("a table");
    assert_eq!(set(&mut source, 2, &mut one, &[]), Ok(1));
    ring.register_buffers_sparse(4).expect("a table");
    assert_eq!(set(&mut ring, 0, &mut two, &[]), Ok(1));
    assert_eq!(set(&mut ring, 3, &mut two, &[]), Ok(1));
    // SAFETY: test-keeps.
    let cloned = unsafe { ring.clone_buffer_range(&source, 2..3, 3) };
    if cloned.is_err_and(|error| error.to_errno() == Errno::EBUSY) {
        println!("SKIPPED: {name}: this kernel only clones whole tables (Linux 6.13)");
        return;
    }
    let Some(()) = has(name, "6.13", cloned) else {
        return;
    };
    assert_eq!(read_half(&mut ring, 0, &mut two), Ok(2048));
    assert_eq!(read_half(&mut ring, 3, &mut one), Ok(2048));
    assert_eq!(read_half(&mut ring, 3, &mut two), Err(Errno::EFAULT));
    // SAFETY: test-keeps.
    let none = unsafe { ring.clone_buffer_range(&source, 2..2, 0) };
    assert_eq!(none.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
}
