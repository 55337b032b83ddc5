//! Queues of virtio, against `virtio-queue`: the device takes buffers and gives them back. And a disk.

mod bad;
mod disk;
mod queues;
mod stream;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use bad::{Bad, BadBuffers};
use disk::{Kind, Requests};
use queues::{Buffers, Packed, Peer, Split};
use stream::{Plain, Stream};

/// `cargo xtask bench virtio`.
pub const SUITE: Suite = Suite {
    name: "virtio",
    about: "virtqueues: buffers taken and completed, split and packed, and wrong ones; a disk; a stream of a guest's",
    cases,
};

/// How many times the ring is filled in a round, when the command line does not say.
const FILLS: usize = 100;

/// Descriptors of a buffer.
const LENS: [u16; 3] = [1, 3, 16];

fn cases(settings: &Settings) -> Vec<Case> {
    let fills = settings.size.unwrap_or(FILLS);
    let split = LENS.map(|len| against_peer(len, fills));
    let packed = LENS.map(|len| against_split(len, fills));
    let bad = [Bad::OutOfReach, Bad::Loop].map(against_ten);
    let disks =
        [Kind::Read, Kind::Write].map(|kind| [false, true].map(|packed| disk(kind, packed, fills)));
    let queues = split.into_iter().chain(packed).chain(bad);
    let stream = [stream(fills)];
    let devices = disks.into_iter().flatten().chain(stream);
    queues.chain(devices).collect()
}

/// Requests of a disk by the time that the processor had for its thread; the driver's is not counted.
fn disk(kind: Kind, packed: bool, fills: usize) -> Case {
    let ring = if packed { "packed" } else { "split" };
    let (name, verb) = match kind {
        Kind::Read => ("read", "read"),
        Kind::Write => ("write", "written"),
    };
    let name = format!("disk-{name}-{ring}");
    let work = format!(
        "4 KiB of a virtio disk over memory are {verb}, 128 at a time; per second of its thread's processor time"
    );
    Case::new(name, Unit::Rate("requests/s"), work)
        .bar(Bar::AtLeast(3e6))
        .contender(Role::Ours, Home::Own, "VirtioBlock", move || {
            Requests::new(kind, packed, fills * 1000)
        })
}

fn work(len: u16) -> String {
    format!("a buffer of {len} descriptors is popped, its elements walked over, and completed")
}

/// The peer hands out descriptors and looks nothing up; ours has found each element in the guest's memory.
fn against_peer(len: u16, fills: usize) -> Case {
    Case::new(format!("split-{len}"), Unit::Time("ns"), work(len))
        .bar(Bar::Ratio(1.2))
        .contender(Role::Ours, Home::Shared, "split", move || {
            Buffers::<Split>::new(len, fills)
        })
        .contender(Role::Peer, Home::Shared, "virtio-queue", move || {
            Buffers::<Peer>::new(len, fills)
        })
}

fn against_split(len: u16, fills: usize) -> Case {
    Case::new(format!("packed-{len}"), Unit::Time("ns"), work(len))
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "packed", move || {
            Buffers::<Packed>::new(len, fills)
        })
        .contender(Role::Peer, Home::Shared, "ours, split", move || {
            Buffers::<Split>::new(len, fills)
        })
}

/// A wrong buffer costs no more than ten right ones of as many descriptors.
fn against_ten(bad: Bad) -> Case {
    let work = "a wrong buffer of 16 descriptors is refused; beside ten right ones";
    Case::new(bad.name(), Unit::Time("ns"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "one wrong", move || {
            BadBuffers::one(bad)
        })
        .contender(Role::Peer, Home::Shared, "ten right", move || {
            BadBuffers::ten()
        })
}

/// Writes of a round for each filling of a ring.
const WRITES: usize = 16;

/// From the guest's memory to a program of the host, through the device and a Unix socket; and the socket alone.
fn stream(fills: usize) -> Case {
    let writes = fills * WRITES;
    let work = "a guest sends 64 KiB at a time to a program of the host, which reads on a thread of its own";
    Case::new("vsock-64k", Unit::Rate("GB/s"), work)
        .bar(Bar::AtLeast(3.0))
        .contender(Role::Ours, Home::Own, "vsock", move || Stream::new(writes))
        .contender(Role::Reference, Home::Own, "Unix socket", move || {
            Plain::new(writes)
        })
}
