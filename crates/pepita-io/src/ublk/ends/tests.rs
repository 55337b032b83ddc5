#![expect(unsafe_code, reason = "plays a queue of the driver")]
//! Requests without a driver.

use std::sync::Weak;
use std::thread;

use pepita_sys::blk_mq::{RequestFlags, RequestOp};

use super::*;

const BYTES: usize = 4096;

fn queue() -> (OwnDesk, Arc<Memory>) {
    let mut desk = OwnDesk::new().expect("an eventfd");
    desk.reserve(4);
    let memory = Memory::new(&desk, 3, 4, BYTES).expect("memory");
    (desk, memory)
}

/// A read of one page into the memory of `tag`.
fn request(memory: &Arc<Memory>, tag: u16) -> Request {
    let parts = RequestParts {
        op: RequestOp::Read,
        flags: RequestFlags::NONE,
        queue_id: 0,
        sector: 0,
        nr_sectors: 8,
        segments: &[],
    };
    // SAFETY: one-request: each test makes one for a tag; kept: the tests keep the memory, or leave it.
    let request = unsafe { memory.request(tag, BYTES, &parts, |_| Ok(())) };
    request.expect("a request")
}

fn notes(desk: &mut OwnDesk) -> Vec<(u16, u16, Result<(), Errno>)> {
    let notes = std::iter::from_fn(|| desk.take());
    notes
        .map(|note| (note.queue, note.tag, note.result))
        .collect()
}

/// Whether the thread has been rung since the last time.
fn is_rung(desk: &OwnDesk) -> bool {
    rustix::io::read(&desk.shared().bell, &mut [0; 8]).is_ok()
}

#[test]
fn an_end_on_the_queue_s_thread_is_a_note_and_rings_nobody() {
    let (mut desk, memory) = queue();
    request(&memory, 1).complete(Ok(()));
    request(&memory, 2).complete(Err(Errno::ENOSPC));
    drop(request(&memory, 0));
    assert!(!is_rung(&desk));
    let ends = [
        (3, 0, Err(Errno::EIO)),
        (3, 2, Err(Errno::ENOSPC)),
        (3, 1, Ok(())),
    ];
    assert_eq!(notes(&mut desk), ends);
    // A tag's memory may be used again, and is its own.
    let sink = request(&memory, 1);
    sink.sink().write(&[7; BYTES]).expect("a page");
    sink.complete(Ok(()));
    // SAFETY: one-request: both have ended.
    let bytes = unsafe { memory.with_bytes(1, BYTES, |bytes| bytes.to_vec()) };
    assert!(bytes.iter().all(|byte| *byte == 7));
    // SAFETY: one-request: as above.
    let bytes = unsafe { memory.with_bytes(2, usize::MAX, |bytes| bytes.to_vec()) };
    assert_eq!(bytes, [0; BYTES]);
}

#[test]
fn an_append_that_landed_is_known_by_its_note_and_no_other() {
    let (mut desk, memory) = queue();
    let append = |tag| {
        memory.forget_landed(tag);
        let parts = RequestParts {
            op: RequestOp::ZoneAppend,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector: 64,
            nr_sectors: 8,
            segments: &[],
        };
        // SAFETY: one-request: each has ended before the next; kept: the test keeps the memory.
        let request = unsafe { memory.request(tag, BYTES, &parts, |_| Ok(())) };
        request.expect("a request")
    };
    append(1).complete_at(72);
    let elsewhere = append(2);
    thread::scope(|scope| {
        scope.spawn(|| elsewhere.complete_at(0));
    });
    desk.take_others();
    assert_eq!(notes(&mut desk), [(3, 2, Ok(())), (3, 1, Ok(()))]);
    assert_eq!((memory.landed(1), memory.landed(2)), (Some(72), Some(0)));
    append(1).complete(Ok(()));
    assert_eq!((memory.landed(1), memory.landed(2)), (None, Some(0)));
    assert_eq!(notes(&mut desk), [(3, 1, Ok(()))]);
}

#[test]
fn an_end_elsewhere_rings_the_thread_once() {
    let (mut desk, memory) = queue();
    let requests = [0, 1, 2].map(|tag| request(&memory, tag));
    thread::scope(|scope| {
        scope.spawn(|| requests.map(|request| request.complete(Ok(()))));
    });
    assert!(is_rung(&desk) && !is_rung(&desk));
    assert_eq!(notes(&mut desk), []);
    desk.take_others();
    assert_eq!(notes(&mut desk).len(), 3);
    let last = request(&memory, 3);
    thread::spawn(move || drop(last)).join().expect("no panic");
    assert!(is_rung(&desk));
    desk.take_others();
    assert_eq!(notes(&mut desk), [(3, 3, Err(Errno::EIO))]);
}

/// The memory of a queue that went while requests were out, some of which end where `end` has them end.
fn left_behind(end: fn(Vec<Request>)) {
    let (mut desk, memory) = queue();
    let here = request(&memory, 0);
    let elsewhere = request(&memory, 1);
    let late = vec![request(&memory, 2), request(&memory, 3)];
    // Two have ended, and their notes were not taken.
    here.complete(Ok(()));
    thread::spawn(move || drop(elsewhere))
        .join()
        .expect("no panic");
    let left: Weak<Memory> = Arc::downgrade(&memory);
    memory.leave(&mut desk, 4);
    assert!(left.upgrade().is_some(), "two requests have its memory");
    late[0].sink().write(&[1; BYTES]).expect("a page");
    end(late);
    assert!(left.upgrade().is_none(), "nobody has it any more");
    desk.take_others();
    assert_eq!(notes(&mut desk), [], "and nobody hears of them");
}

#[test]
fn the_last_late_request_frees_the_memory_of_its_queue() {
    left_behind(drop);
    left_behind(|late| thread::spawn(|| drop(late)).join().expect("no panic"));
    left_behind(|mut late| {
        let last = late.pop().expect("two");
        thread::spawn(|| drop(late)).join().expect("no panic");
        last.complete(Ok(()));
    });
}

#[test]
fn room_for_notes_grows_with_the_tags_that_are_there() {
    let (depth, queues) = (64_u16, 128);
    let mut desk = OwnDesk::new().expect("an eventfd");
    for _ in 0..queues {
        desk.reserve(depth);
    }
    for queue in 0..queues {
        Memory::new(&desk, queue, depth, BYTES)
            .map(|memory| memory.leave(&mut desk, 0))
            .expect("memory");
        desk.reserve(depth);
    }
    let tags = usize::from(depth) * usize::from(queues);
    // SAFETY: owner-only: this thread's, for one look.
    let noted = unsafe { &*desk.shared().noted.get() }.capacity();
    let others = desk.shared().others().capacity();
    for room in [noted, others] {
        assert!((tags..=2 * tags).contains(&room), "{room} for {tags}");
    }
}

#[test]
fn a_queue_without_requests_goes_at_once() {
    let (mut desk, memory) = queue();
    request(&memory, 0).complete(Ok(()));
    let left = Arc::downgrade(&memory);
    memory.leave(&mut desk, 1);
    assert!(left.upgrade().is_none());
    assert_eq!(notes(&mut desk), []);
}

#[test]
fn what_does_not_fit_is_no_request() {
    let (_desk, memory) = queue();
    let parts = RequestParts {
        op: RequestOp::Flush,
        flags: RequestFlags::NONE,
        queue_id: 0,
        sector: u64::MAX,
        nr_sectors: 0,
        segments: &[],
    };
    for (tag, len) in [(4, 0), (u16::MAX, 0), (0, BYTES + 1), (0, usize::MAX)] {
        // SAFETY: one-request, kept: there will be none.
        let refused = unsafe { memory.request(tag, len, &parts, |_| Ok(())) };
        assert_eq!(
            refused.map(drop),
            Err(Errno::EINVAL),
            "{len} bytes of tag {tag}"
        );
    }
    // SAFETY: as above.
    let refused = unsafe { memory.request(0, 0, &parts, |_| Err(Errno::EPERM)) };
    assert_eq!(refused.map(drop), Err(Errno::EPERM));
    assert_eq!(memory.scrap(), memory.address(4));
    assert_eq!(memory.address(1) - memory.address(0), BYTES as u64);
}
