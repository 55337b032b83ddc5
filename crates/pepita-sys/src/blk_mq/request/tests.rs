#![expect(unsafe_code, reason = "plays a front end")]
//! Requests end once, however that comes about; their data is reached as it lies, and in one direction.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::vec::Vec;
use std::{panic, ptr, thread, vec};

use super::*;
use crate::blk_mq::ShortData;

/// How requests ended: tag and result.
type Ends = Mutex<Vec<(u16, Result<(), Errno>)>>;

static NOTE: CompletionVtable = CompletionVtable::new(note);

/// Takes over one reference to the [`Ends`].
unsafe fn note(context: *const (), tag: u16, result: Result<(), Errno>) {
    // SAFETY: *callable*: `completion` leaked this reference for this call.
    let ends = unsafe { Arc::from_raw(context.cast::<Ends>()) };
    ends.lock().expect("no panic").push((tag, result));
}

fn completion(ends: &Arc<Ends>, tag: u16) -> Completion {
    let context = Arc::into_raw(Arc::clone(ends)).cast();
    // SAFETY: *callable*: the reference lives until `note` drops it; a mutex may be locked by any thread.
    unsafe { Completion::new(context, &NOTE, tag) }
}

/// A request whose data is `segments`.
///
/// # Safety
/// * *backed* and *listed*.
unsafe fn request(ends: &Arc<Ends>, op: RequestOp, segments: &[Segment]) -> Request {
    let parts = RequestParts {
        op,
        flags: RequestFlags::SYNC,
        queue_id: 3,
        sector: 8,
        nr_sectors: u32::try_from(Segment::total_len(segments) / 512).expect("a short request"),
        segments,
    };
    // SAFETY: *backed* and *listed*, by the caller.
    unsafe { Request::new(&parts, completion(ends, 7)) }
}

fn flush(ends: &Arc<Ends>) -> Request {
    // SAFETY: no segment.
    unsafe { request(ends, RequestOp::Flush, &[]) }
}

/// A way for a request to end, and what is heard of it.
type Way = (fn(Request), Result<(), Errno>);

#[test]
fn a_request_ends_once_and_says_how() {
    let failed = Err(Errno::ENOSPC);
    let ways: [Way; 5] = [
        (|request| request.complete(Ok(())), Ok(())),
        (|request| request.complete(Err(Errno::ENOSPC)), failed),
        (drop, Err(Errno::EIO)),
        (
            |request| {
                drop(panic::catch_unwind(move || {
                    panic!("device with {request:?}")
                }))
            },
            Err(Errno::EIO),
        ),
        (
            |request| {
                thread::spawn(move || request.complete(Ok(())))
                    .join()
                    .expect("no panic");
            },
            Ok(()),
        ),
    ];
    for (end, want) in ways {
        let ends = Arc::new(Ends::default());
        end(flush(&ends));
        assert_eq!(*ends.lock().expect("no panic"), [(7, want)]);
        assert_eq!(Arc::strong_count(&ends), 1, "the context is back");
    }
}

#[test]
fn a_request_tells_what_it_was_made_of() {
    let ends = Arc::new(Ends::default());
    let mut memory = [0; 1024];
    let list = [Segment::new(memory.as_mut_ptr(), 1024)];
    // SAFETY: both live longer than the request, and are not looked at meanwhile.
    let request = unsafe { request(&ends, RequestOp::Read, &list) };
    assert_eq!(
        (request.op(), request.tag(), request.queue_id()),
        (RequestOp::Read, 7, 3)
    );
    assert_eq!((request.sector(), request.nr_sectors()), (8, 2));
    assert_eq!(
        (request.flags(), request.segments()),
        (RequestFlags::SYNC, &list[..])
    );
    let shown = std::format!("{request:?}");
    assert!(
        shown.contains("Read") && shown.contains("tag: 7"),
        "{shown}"
    );
}

#[test]
fn data_is_reached_in_the_operations_direction_alone() {
    let mut memory = [1; 512];
    let list = [Segment::new(memory.as_mut_ptr(), 512)];
    for (op, source, sink) in [
        (RequestOp::Read, 0, 512),
        (RequestOp::ZoneReport, 0, 512),
        (RequestOp::Write, 512, 0),
        (RequestOp::ZoneAppend, 512, 0),
        (RequestOp::Discard, 0, 0),
        (RequestOp::Flush, 0, 0),
    ] {
        let ends = Arc::new(Ends::default());
        // SAFETY: both live longer than the request, and are not looked at meanwhile.
        let request = unsafe { request(&ends, op, &list) };
        let lens = (request.source().len(), request.sink().len());
        assert_eq!(lens, (source, sink), "{op:?}");
        assert_eq!(request.source().is_empty(), source == 0);
        assert_eq!(request.sink().is_empty(), sink == 0);
    }
    assert_eq!(memory, [1; 512]);
}

/// Lists of segments in 64 bytes of memory: offset and length. Some overlap, some are empty, some lie
/// backwards.
const LISTS: [&[(usize, usize)]; 7] = [
    &[],
    &[(5, 0)],
    &[(3, 20)],
    &[(0, 8), (8, 8), (16, 8)],
    &[(40, 9), (1, 7), (20, 1), (33, 0), (63, 1)],
    &[(10, 12), (16, 12)],
    &[(0, 64), (0, 64)],
];

fn segments(base: *mut u8, list: &[(usize, usize)]) -> Vec<Segment> {
    list.iter()
        .map(|(offset, len)| Segment::new(base.wrapping_add(*offset), *len))
        .collect()
}

#[test]
fn a_source_reads_what_lies_there_in_pieces_of_any_size() {
    let ends = Arc::new(Ends::default());
    let mut memory: Vec<u8> = (100..164).collect();
    let naive = memory.clone();
    let base = memory.as_mut_ptr();
    for list in LISTS {
        let segments = segments(base, list);
        let want: Vec<u8> = list
            .iter()
            .flat_map(|(offset, len)| naive[*offset..offset + len].to_vec())
            .collect();
        // SAFETY: inside of `memory`, which like the list outlives the request, and is not looked at
        // meanwhile.
        let request = unsafe { request(&ends, RequestOp::Write, &segments) };
        for piece in 1..=want.len() + 1 {
            let mut source = request.source();
            let mut got = vec![];
            while source.len() >= piece {
                let mut into = vec![0; piece];
                source.read(&mut into).expect("enough is left");
                got.extend(into);
            }
            let (wanted, left) = (source.len() + 1, source.len());
            let mut into = vec![9; wanted];
            assert_eq!(source.read(&mut into), Err(ShortData { wanted, left }));
            assert_eq!(into, vec![9; wanted], "nothing is taken then");
            let mut rest = vec![0; left];
            source.read(&mut rest).expect("all that is left");
            got.extend(rest);
            assert_eq!(got, want, "{list:?} by {piece}");
        }
    }
}

#[test]
fn a_sink_writes_where_the_segments_are_and_nowhere_else() {
    let ends = Arc::new(Ends::default());
    let fresh: Vec<u8> = (100..164).collect();
    for (list, zeroes) in LISTS.into_iter().flat_map(|list| [(list, 0), (list, 5)]) {
        let total: usize = list.iter().map(|(_, len)| len).sum();
        for piece in 1..=total + 1 {
            let mut memory = fresh.clone();
            let segments = segments(memory.as_mut_ptr(), list);
            // SAFETY: inside of `memory`, which like the list outlives the request, and is not looked at
            // meanwhile.
            let request = unsafe { request(&ends, RequestOp::Read, &segments) };
            let mut sink = request.sink();
            let zeroes = zeroes.min(total);
            sink.write_zeroes(zeroes).expect("enough is left");
            let data: Vec<u8> = (1..).take(total - zeroes).collect();
            for part in data.chunks(piece) {
                sink.write(part).expect("enough is left");
            }
            let short = ShortData { wanted: 1, left: 0 };
            assert_eq!(
                (sink.write(&[1]), sink.write_zeroes(1)),
                (Err(short), Err(short))
            );
            drop(request);

            let mut want = fresh.clone();
            let places = list.iter().flat_map(|(offset, len)| *offset..offset + len);
            let bytes = vec![0; zeroes].into_iter().chain(data);
            places
                .zip(bytes)
                .for_each(|(place, byte)| want[place] = byte);
            assert_eq!(memory, want, "{list:?} by {piece}");
        }
    }
}

#[test]
fn what_is_split_off_is_the_front() {
    let ends = Arc::new(Ends::default());
    let mut memory: Vec<u8> = (0..16).collect();
    let segments = segments(memory.as_mut_ptr(), &[(8, 8), (0, 8)]);
    // SAFETY: inside of `memory`, which like the list outlives the request, and is not looked at meanwhile.
    let request = unsafe { request(&ends, RequestOp::Write, &segments) };
    let mut source = request.source();
    let mut front = source.split_to(10).expect("of 16");
    let (mut first, mut second) = ([0; 10], [0; 6]);
    front.read(&mut first).expect("10 of them");
    source.read(&mut second).expect("6 of them");
    assert_eq!((front.len(), source.len()), (0, 0));
    assert_eq!(first, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1]);
    assert_eq!(second, [2, 3, 4, 5, 6, 7]);
}

#[test]
fn who_is_called_by_many_threads_at_once_is_called_once_for_each() {
    unsafe fn count(context: *const (), _tag: u16, _result: Result<(), Errno>) {
        // SAFETY: *callable*: the counter outlives the threads.
        let counter = unsafe { &*context.cast::<AtomicUsize>() };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    static COUNT: CompletionVtable = CompletionVtable::new(count);
    let counter = AtomicUsize::new(0);
    thread::scope(|scope| {
        for tag in 0..8 {
            // SAFETY: *callable*: the counter outlives the scope, whose threads complete.
            let completion = unsafe { Completion::new((&raw const counter).cast(), &COUNT, tag) };
            scope.spawn(move || completion.complete(Ok(())));
        }
    });
    assert_eq!(counter.into_inner(), 8);
}

#[test]
#[should_panic(expected = "not at address 0")]
fn a_segment_at_address_0_is_its_makers_fault() {
    let ends = Arc::new(Ends::default());
    let list = [Segment::new(ptr::null_mut(), 1)];
    // SAFETY: no byte is reached: that is what this looks at.
    let request = unsafe { request(&ends, RequestOp::Write, &list) };
    let _ = request.source().read(&mut [0]);
}

/// Where an append landed, by the tag, and then how it ended.
#[derive(Default)]
struct Heard {
    landed: Vec<(u16, u64)>,
    ended: Vec<(u16, Result<(), Errno>)>,
}

unsafe fn hear_landed(context: *const (), tag: u16, sector: u64) {
    // SAFETY: *callable*: the test's, which lives longer than the request.
    let heard = unsafe { &*context.cast::<Mutex<Heard>>() };
    let mut heard = heard.lock().expect("no panic");
    assert_eq!(heard.ended, [], "it is told before the end");
    heard.landed.push((tag, sector));
}

unsafe fn hear_end(context: *const (), tag: u16, result: Result<(), Errno>) {
    // SAFETY: as above.
    let heard = unsafe { &*context.cast::<Mutex<Heard>>() };
    heard.lock().expect("no panic").ended.push((tag, result));
}

#[test]
fn an_append_tells_where_it_is_before_it_ends() {
    static BOTH: CompletionVtable = CompletionVtable::new(hear_end).with_landed(hear_landed);
    static ENDS: CompletionVtable = CompletionVtable::new(hear_end);
    for (table, landed) in [(&BOTH, &[(9_u16, 4711_u64)] as &[_]), (&ENDS, &[])] {
        let heard = Mutex::new(Heard::default());
        let parts = RequestParts {
            op: RequestOp::ZoneAppend,
            flags: RequestFlags::NONE,
            queue_id: 0,
            sector: 4096,
            nr_sectors: 0,
            segments: &[],
        };
        // SAFETY: *callable*: `heard` lives until the request has ended.
        let completion = unsafe { Completion::new((&raw const heard).cast(), table, 9) };
        // SAFETY: *backed*, *listed*: no segment.
        unsafe { Request::new(&parts, completion) }.complete_at(4711);
        let heard = heard.into_inner().expect("no panic");
        assert_eq!(heard.landed, landed);
        assert_eq!(heard.ended, [(9, Ok(()))]);
    }
}
