use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;

use pepita_io::ring::{Ring, RingConfig};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{IORING_REGISTER_FILES_SKIP, IoUringCqe, IoUringSqe};

use super::super::{complete, push, ring_for};

/// A file with one byte.
fn file_with(byte: u8) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&[byte]).expect("room on the disk");
    file
}

/// What the file in `slot` has, or the error.
fn byte_of(ring: &mut Ring, slot: i32) -> Result<u8, Errno> {
    let mut byte = 0;
    let read = IoUringSqe::read(slot, &raw mut byte, 1, 0).fixed_file();
    complete(ring, read).result().map(|_| byte)
}

#[test]
fn slots_are_set_replaced_skipped_and_emptied() {
    let name = "slots_are_set_replaced_skipped_and_emptied";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    ring.register_files_sparse(4).expect("a table");
    assert_eq!(byte_of(&mut ring, 1), Err(Errno::EBADF));
    let (one, two, three) = (file_with(1), file_with(2), file_with(3));
    let update = [one.as_raw_fd(), two.as_raw_fd()];
    assert_eq!(ring.update_files(1, &update, &[]), Ok(2));
    drop((one, two));
    assert_eq!(byte_of(&mut ring, 1), Ok(1));
    assert_eq!(byte_of(&mut ring, 2), Ok(2));

    let update = [IORING_REGISTER_FILES_SKIP, three.as_raw_fd(), -1];
    assert_eq!(ring.update_files(1, &update, &[]), Ok(3));
    assert_eq!(byte_of(&mut ring, 1), Ok(1));
    assert_eq!(byte_of(&mut ring, 2), Ok(3));

    assert_eq!(ring.update_files(1, &[-1], &[]), Ok(1));
    assert_eq!(byte_of(&mut ring, 1), Err(Errno::EBADF));
}

#[test]
fn what_makes_no_table_is_an_error_and_changes_nothing() {
    let name = "what_makes_no_table_is_an_error_and_changes_nothing";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let errno = |result: pepita_sys::error::Result<()>| result.map_err(|error| error.to_errno());
    assert_eq!(errno(ring.unregister_files()), Err(Errno::ENXIO));
    assert_eq!(errno(ring.register_files_sparse(0)), Err(Errno::EINVAL));
    assert_eq!(errno(ring.register_files(&[-5], &[])), Err(Errno::EBADF));
    let two_lengths = ring.register_files(&[-1, -1], &[1]);
    assert_eq!(errno(two_lengths), Err(Errno::EINVAL));
    ring.register_files_sparse(2).expect("a table");
    assert_eq!(errno(ring.register_files_sparse(2)), Err(Errno::EBUSY));
    let outside = ring.update_files(1, &[-1, -1], &[]).map(drop);
    assert_eq!(errno(outside), Err(Errno::EINVAL));
    assert_eq!(errno(ring.unregister_files()), Ok(()));
    assert_eq!(errno(ring.register_files_sparse(2)), Ok(()));
}

#[test]
fn a_tag_comes_when_the_last_operation_on_a_file_has_ended() {
    let name = "a_tag_comes_when_the_last_operation_on_a_file_has_ended";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ring.register_files(&[reader.as_raw_fd(), -1], &[77, 0])
        .expect("a table with a tag");
    let mut byte = 0;
    push(
        &mut ring,
        IoUringSqe::read(0, &raw mut byte, 1, u64::MAX)
            .fixed_file()
            .user_data(1),
    );
    ring.submit().expect("a read that waits");
    assert_eq!(ring.update_files(0, &[-1], &[]), Ok(1));
    ring.submit().expect("what there is");
    assert!(ring.pop().is_none(), "the file is in use");
    writer.write_all(b"x").expect("a reader");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        ring.submit_and_wait(1).expect("a completion");
        seen.extend(ring.completions());
    }
    seen.sort_by_key(|cqe| cqe.user_data);
    let tag = IoUringCqe {
        user_data: 77,
        ..IoUringCqe::default()
    };
    assert_eq!((seen[0].user_data, seen[0].res), (1, 1));
    assert_eq!((seen[1], byte), (tag, b'x'));
}

#[test]
fn the_kernel_picks_slots_in_the_range_that_it_was_given() {
    let name = "the_kernel_picks_slots_in_the_range_that_it_was_given";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    ring.register_files_sparse(8).expect("a table");
    ring.set_file_alloc_range(3..5).expect("slots of the table");
    let open = IoUringSqe::openat(-100, c"/dev/zero".as_ptr(), 0, 0).direct_any();
    let mut slots: Vec<_> = (0..3).map(|_| complete(&mut ring, open).result()).collect();
    slots.sort_by_key(|slot| slot.unwrap_or(u32::MAX));
    assert_eq!(slots, [Ok(3), Ok(4), Err(Errno::ENFILE)]);
    let outside = ring.set_file_alloc_range(7..9).expect_err("8 slots");
    assert_eq!(outside.to_errno(), Errno::EINVAL);
}

#[test]
fn a_table_outlives_the_descriptors_it_was_made_of() {
    let name = "a_table_outlives_the_descriptors_it_was_made_of";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let mut file = file_with(9);
    let same = file.try_clone().expect("a second descriptor");
    ring.register_files(&[same.as_raw_fd()], &[])
        .expect("a table");
    drop(same);
    let cqe = complete(
        &mut ring,
        IoUringSqe::write(0, [5_u8].as_ptr(), 1, 0).fixed_file(),
    );
    assert_eq!(cqe.result(), Ok(1));
    let mut byte = [0];
    file.rewind().expect("a file can be rewound");
    file.read_exact(&mut byte).expect("a byte");
    assert_eq!(byte, [5]);
    ring.unregister_files().expect("a table");
    assert_eq!(byte_of(&mut ring, 0), Err(Errno::EBADF));
}
