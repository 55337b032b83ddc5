#![expect(unsafe_code, reason = "takes buffers of completions")]
//! Streams through one pool, against the bytes that were sent.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

use pepita_io::ring::{Buffer, BufferPool, BufferUse, Ring, RingConfig};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::{
    IORING_FEAT_RECVSEND_BUNDLE, IORING_RECV_MULTISHOT, IORING_RECVSEND_BUNDLE, IoUringCqe,
    IoUringSqe,
};
use proptest::prelude::*;

use super::{push, ring_for};

/// Count of streams.
const STREAMS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Send { stream: usize, bytes: usize },
    Reap,
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..STREAMS, 1..200_usize).prop_map(|(stream, bytes)| Step::Send { stream, bytes }),
        3 => Just(Step::Reap),
        3 => any::<usize>().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..120)
}

/// Byte `position` of a stream.
fn byte_at(stream: usize, position: usize) -> u8 {
    (position * 7 + position / 251 + 89 * stream).to_le_bytes()[0]
}

/// A piece of a stream, and where it is in it.
struct Held {
    stream: usize,
    position: usize,
    buffer: Buffer,
}

impl Held {
    fn check(&self) {
        let want = (self.position..).map(|position| byte_at(self.stream, position));
        assert!(self.buffer.iter().copied().eq(want.take(self.buffer.len())));
    }
}

struct Streams {
    ring: Ring,
    pool: BufferPool,
    sockets: Vec<(UnixStream, UnixStream)>,
    ioprio: u16,
    sent: [usize; STREAMS],
    received: [usize; STREAMS],
    /// Whether the stream's receive has to be submitted.
    idle: [bool; STREAMS],
    held: Vec<Held>,
}

impl Streams {
    fn new(test: &str, buffer_use: BufferUse, bundle: bool) -> Option<Self> {
        let mut ring = ring_for(test, &RingConfig::new(8).cq_entries(256))?;
        let bundles = ring.features() & IORING_FEAT_RECVSEND_BUNDLE != 0;
        let pool = BufferPool::new(&mut ring, 1, 8, 48, buffer_use);
        let Some(pool) = pool.ok().filter(|_| bundles || !bundle) else {
            println!("SKIPPED: {test}: this kernel has no such buffers (Linux 6.12)");
            return None;
        };
        let bundle = if bundle { IORING_RECVSEND_BUNDLE } else { 0 };
        Some(Self {
            ring,
            pool,
            sockets: (0..STREAMS)
                .map(|_| UnixStream::pair().expect("two sockets"))
                .collect(),
            ioprio: IORING_RECV_MULTISHOT | bundle,
            sent: [0; STREAMS],
            received: [0; STREAMS],
            idle: [true; STREAMS],
            held: Vec::new(),
        })
    }

    fn send(&mut self, stream: usize, bytes: usize) {
        let start = self.sent[stream];
        let bytes: Vec<u8> = (start..start + bytes)
            .map(|position| byte_at(stream, position))
            .collect();
        self.sockets[stream]
            .1
            .write_all(&bytes)
            .expect("it is connected");
        self.sent[stream] += bytes.len();
    }

    fn reap(&mut self) {
        for stream in 0..STREAMS {
            if std::mem::take(&mut self.idle[stream]) {
                let fd = self.sockets[stream].0.as_raw_fd();
                let recv = IoUringSqe::recv(fd, null_mut(), 0, 0)
                    .buffer_select(1)
                    .ioprio(self.ioprio);
                push(&mut self.ring, recv.user_data(stream as u64));
            }
        }
        self.ring.submit().expect("what there is");
        let cqes: Vec<_> = self.ring.completions().collect();
        for cqe in cqes {
            self.take(cqe);
        }
    }

    fn take(&mut self, cqe: IoUringCqe) {
        let stream = usize::try_from(cqe.user_data).expect("a stream");
        self.idle[stream] = !cqe.has_more();
        match cqe.errno() {
            None => {}
            Some(errno) => assert_eq!(errno, Errno::ENOBUFS),
        }
        // SAFETY: the ring's own completion, of a receive that picks and completes in one go.
        let buffers = unsafe { self.pool.take(&self.ring, cqe) };
        let mut bytes = 0;
        for buffer in buffers.expect("what the kernel says can be") {
            let position = self.received[stream];
            self.received[stream] += buffer.len();
            bytes += buffer.len();
            let held = Held {
                stream,
                position,
                buffer,
            };
            held.check();
            self.held.push(held);
        }
        assert_eq!(bytes, cqe.result().unwrap_or(0) as usize);
    }

    fn drop_one(&mut self, index: usize) {
        if !self.held.is_empty() {
            let held = self.held.swap_remove(index % self.held.len());
            held.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_stream_arrives_whole_whatever_is_held(
        steps in steps(),
        incremental in any::<bool>(),
        bundle in any::<bool>(),
    ) {
        let name = "every_stream_arrives_whole_whatever_is_held";
        let buffer_use = if incremental { BufferUse::Incremental { min_left: 1 } } else { BufferUse::Once };
        let Some(mut streams) = Streams::new(name, buffer_use, bundle) else {
            return Ok(());
        };
        for step in steps {
            match step {
                // A socket that is full would block.
                Step::Send { stream, bytes } if streams.sent[stream] < 8192 => {
                    streams.send(stream, bytes);
                }
                Step::Send { .. } => {}
                Step::Reap => streams.reap(),
                Step::Drop(index) => streams.drop_one(index),
            }
        }
        while streams.received != streams.sent {
            streams.reap();
            streams.drop_one(0);
        }
        for held in &streams.held {
            held.check();
        }
        streams.held.clear();
        prop_assert_eq!(streams.pool.available(), 8);
    }
}
