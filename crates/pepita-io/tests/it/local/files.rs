//! Files and folders: whole transfers, several buffers, names.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use pepita_io::buf::Part;
use pepita_io::ops::{self, AtFlags, Cwd, POSITION, RenameFlags};
use pepita_sys::error::{Errno, Result};

use super::{file_with, local_ring};

fn errno<T: PartialEq>(result: Result<T>) -> std::result::Result<T, Errno> {
    result.map_err(|error| error.to_errno())
}

/// Bytes of which no two pieces are the same.
fn numbered(len: u32) -> Vec<u8> {
    (0..len / 4).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_write_through_a_pipe_goes_on_until_all_is_written() {
    let name = "a_write_through_a_pipe_goes_on_until_all_is_written";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("all bytes");
        bytes
    });
    // More than a pipe holds.
    let bytes = numbered(1 << 20);
    let writer = Rc::new(writer);
    let (result, back) = ring.block_on(ring.write_all(&writer, bytes, POSITION));
    drop(writer);
    assert_eq!(result, Ok(()));
    assert_eq!(reading.join().expect("the reader"), back);
}

#[test]
fn a_read_through_a_pipe_goes_on_until_the_buffer_is_full() {
    let name = "a_read_through_a_pipe_goes_on_until_the_buffer_is_full";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let bytes = numbered(1 << 18);
    let expected = bytes.clone();
    let writing = thread::spawn(move || {
        for piece in bytes.chunks(1000) {
            writer.write_all(piece).expect("bytes");
        }
        writer
    });
    let reader = Rc::new(reader);
    let room = vec![0; 1 << 18].into_boxed_slice();
    let (result, back) = ring.block_on(ring.read_exact(&reader, room, POSITION));
    assert_eq!(result, Ok(()));
    assert!(*back == *expected);
    drop(writing.join().expect("the writer"));
    // Nothing more comes.
    let (result, _) = ring.block_on(ring.read_exact(&reader, vec![0; 4], POSITION));
    assert_eq!(errno(result), Err(Errno::ENODATA));
}

#[test]
fn a_whole_transfer_gives_its_buffer_back_with_an_error_too() {
    let name = "a_whole_transfer_gives_its_buffer_back_with_an_error_too";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let file = file_with(b"0123456789");
    ring.block_on(async {
        let (result, buf) = ring.read_exact(&file, Vec::with_capacity(64), 4).await;
        assert_eq!(
            (errno(result), &buf[..]),
            (Err(Errno::ENODATA), &b"456789"[..])
        );
        let part = Part::new(vec![b'.'; 6], 2..5);
        let (result, part) = ring.read_exact(&file, part, 0).await;
        assert_eq!((result, &part.into_inner()[..]), (Ok(()), &b"..012."[..]));
        let (result, buf) = ring.read_exact(&file, Vec::new(), 100).await;
        assert_eq!((result, buf), (Ok(()), vec![]));

        let full = Rc::new(File::options().write(true).open("/dev/full").expect("it"));
        let (result, text) = ring.write_all(&full, "lost", 0).await;
        assert_eq!((errno(result), text), (Err(Errno::ENOSPC), "lost"));
        let (result, _) = ring.write_all(&file, "ab", 8).await;
        assert_eq!(result, Ok(()));
        let (result, text) = ring
            .read_exact(&file, vec![0; 4].into_boxed_slice(), 6)
            .await;
        assert_eq!((result, &*text), (Ok(()), &b"67ab"[..]));
    });
}

#[test]
fn several_buffers_are_written_and_read_at_once() {
    let Some(ring) = local_ring("several_buffers_are_written_and_read_at_once", 8) else {
        return;
    };
    let file = Rc::new(tempfile::tempfile().expect("a temporary file"));
    ring.block_on(async {
        let texts: Vec<Arc<[u8]>> = vec![(*b"012").into(), (*b"").into(), (*b"3456").into()];
        let (count, texts) = ring.submit(ops::writev(&file, texts, 1)).await;
        assert_eq!((count, texts.len()), (Ok(7), 3));

        // Each is filled before the next, and what gets nothing is empty.
        let bufs = vec![vec![b'x'; 2], vec![b'x'; 5], vec![b'x'; 3]];
        let (count, bufs) = ring.submit(ops::readv(&file, bufs, 2)).await;
        assert_eq!(count, Ok(6));
        assert_eq!(bufs, [&b"12"[..], b"3456", b""]);
    });
}

#[test]
fn buffers_of_any_lengths_hold_what_one_would() {
    let Some(ring) = local_ring("buffers_of_any_lengths_hold_what_one_would", 8) else {
        return;
    };
    for len in 0..10 {
        let content = &b"abcdefghij"[..len];
        let file = file_with(content);
        for rooms in 0..4_usize.pow(4) {
            let rooms: Vec<_> = (0..4).map(|nth| rooms / 4_usize.pow(nth) % 4).collect();
            // Some have been used before.
            let bufs: Vec<_> = rooms.iter().map(|room| vec![b'x'; *room]).collect();
            let mut rest = content;
            let expected: Vec<_> = rooms
                .iter()
                .map(|room| {
                    let (here, behind) = rest.split_at(rest.len().min(*room));
                    rest = behind;
                    here
                })
                .collect();
            let (count, bufs) = ring.block_on(ring.submit(ops::readv(&file, bufs, 0)));
            assert_eq!(count, Ok(len - rest.len()));
            assert_eq!(bufs, expected);
        }
    }
}

#[test]
fn more_buffers_than_the_kernel_takes_come_back_with_an_error() {
    let name = "more_buffers_than_the_kernel_takes_come_back_with_an_error";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let file = file_with(b"0123456789");
    ring.block_on(async {
        let (count, _) = ring.submit(ops::writev(&file, vec!["x"; 1024], 0)).await;
        assert_eq!(count, Ok(1024));
        let (count, back) = ring.submit(ops::writev(&file, vec!["x"; 1025], 0)).await;
        assert_eq!((errno(count), back.len()), (Err(Errno::EINVAL), 1025));
        let (count, back) = ring.submit(ops::readv(&file, vec![vec![7]; 1025], 0)).await;
        assert_eq!(
            (errno(count), back),
            (Err(Errno::EINVAL), vec![vec![7]; 1025])
        );
    });
}

#[test]
fn names_are_made_moved_and_removed() {
    let Some(ring) = local_ring("names_are_made_moved_and_removed", 8) else {
        return;
    };
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let folder = Rc::new(File::open(temporary.path()).expect("a handle of it"));
    let path = |name: &str| temporary.path().join(name);
    std::fs::write(path("a"), "of a").expect("a file");
    std::fs::write(path("b"), "of b").expect("a file");
    let rename = |from: &'static str, to: &'static str, flags| {
        let rename = ops::rename_at(&folder, from, &folder, to, flags).expect("a path");
        errno(ring.block_on(ring.submit(rename)))
    };
    assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(rename("a", "b", RenameFlags::EXCHANGE), Ok(()));
    assert_eq!(std::fs::read(path("a")).expect("a"), b"of b");
    assert_eq!(rename("a", "b", RenameFlags::empty()), Ok(()));
    assert_eq!(std::fs::read(path("b")).expect("b"), b"of b");

    ring.block_on(async {
        let mkdir = ops::mkdir_at(&folder, "c", 0o700).expect("a path");
        ring.submit(mkdir).await.expect("a folder");
        let mkdir = ops::mkdir(path("c"), 0o700).expect("a path");
        assert_eq!(errno(ring.submit(mkdir).await), Err(Errno::EEXIST));
        let rename = ops::rename(path("b"), path("c/d")).expect("paths");
        ring.submit(rename).await.expect("a file in the folder");
        // Absolute paths begin at the root, wherever they are seen from.
        for (flags, end) in [
            (AtFlags::empty(), Err(Errno::EISDIR)),
            (AtFlags::REMOVEDIR, Err(Errno::ENOTEMPTY)),
        ] {
            let unlink = ops::unlink_at(&Cwd, path("c"), flags).expect("a path");
            assert_eq!(errno(ring.submit(unlink).await), end);
        }
        let unlink = ops::unlink(path("c/d")).expect("a path");
        ring.submit(unlink).await.expect("the file was there");
        let unlink = ops::unlink_at(&folder, "c", AtFlags::REMOVEDIR).expect("a path");
        ring.submit(unlink).await.expect("the folder was there");
    });
    let left = std::fs::read_dir(temporary.path()).expect("the folder");
    assert_eq!(left.count(), 0);
    assert!(ops::unlink("a\0b").is_err() && ops::mkdir("\0", 0).is_err());
    assert!(ops::rename("a", "b\0").is_err());
}

#[test]
fn what_is_dropped_keeps_several_buffers_and_their_list_until_the_kernel_is_done() {
    let name = "what_is_dropped_keeps_several_buffers_and_their_list_until_the_kernel_is_done";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = UnixStream::pair().expect("a pair");
    let reader = Rc::new(reader);
    for _ in 0..20 {
        let bufs: Vec<_> = (1..40).map(|len| vec![0; len].into_boxed_slice()).collect();
        let read = ring.submit(ops::readv(&reader, bufs, 0));
        ring.turn(None).expect("a turn");
        drop(read);
        assert_eq!(Rc::strong_count(&reader), 2);
        while Rc::strong_count(&reader) > 1 {
            ring.turn(Some(std::time::Duration::from_secs(10)))
                .expect("a turn");
        }
    }
    let bufs = vec![vec![0; 8], vec![0; 8]];
    std::mem::forget(ring.submit(ops::readv(&reader, bufs, 0)));
    ring.turn(None).expect("a turn");
    writer.write_all(b"longer than a buffer").expect("bytes");
    ring.block_on(ring.submit(ops::nop())).expect("a no-op");
    drop(ring);
    assert_eq!(Rc::strong_count(&reader), 2, "what is forgotten is leaked");
}

#[test]
fn a_whole_transfer_that_is_dropped_takes_nothing_more() {
    let name = "a_whole_transfer_that_is_dropped_takes_nothing_more";
    let Some(ring) = local_ring(name, 8) else {
        return;
    };
    let (mut writer, reader) = UnixStream::pair().expect("a pair");
    let reader = Rc::new(reader);
    writer.write_all(b"1234").expect("bytes");
    {
        let mut read = std::pin::pin!(ring.read_exact(&reader, vec![0; 8], POSITION));
        for _ in 0..3 {
            let polled = ring.block_on(std::future::poll_fn(|cx| {
                std::task::Poll::Ready(read.as_mut().poll(cx).is_pending())
            }));
            assert!(polled);
            ring.turn(None).expect("a turn");
        }
    }
    while Rc::strong_count(&reader) > 1 {
        ring.turn(Some(std::time::Duration::from_secs(10)))
            .expect("a turn");
    }
    writer.write_all(b"kept").expect("bytes");
    let (result, buf) = ring.block_on(ring.read_exact(&reader, vec![0; 4], POSITION));
    assert_eq!((result, buf), (Ok(()), b"kept".to_vec()));
}
