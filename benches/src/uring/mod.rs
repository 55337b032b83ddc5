//! io_uring, against the `io-uring` crate, tokio, and threads that block; and beside compio and tokio-uring.

mod device;
mod echo;
mod handle;
mod nops;
mod owned;
mod reads;
mod rings;
mod runtimes;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use device::DeviceReads;
use echo::{Echo, Figure, serve_local_ring, serve_tokio};
use handle::HandleReads;
use nops::{Nops, Share};
use owned::{OwnedNops, OwnedReads, OwnedShare};
use reads::{Cache, Reads};
use rings::{Ours, Peer};
use runtimes::{Compio, RuntimeReads, TokioUring, TokioUringNops, serve_compio, serve_tokio_uring};

/// `cargo xtask bench uring`.
pub const SUITE: Suite = Suite {
    name: "uring",
    about: "io_uring: round trips, our share of them, random reads, an echo server",
    cases,
};

/// Reads in flight.
const DEPTH: u16 = 64;

fn cases(_: &Settings) -> Vec<Case> {
    let mut cases: Vec<Case> = [1, 32, 256].map(nops).into();
    cases.extend([1, 32, 256].map(owned_nops));
    cases.extend([share(), owned_share()]);
    cases.extend([Cache::Warm, Cache::Bypassed].map(reads));
    cases.extend([Cache::Warm, Cache::Bypassed].map(owned_reads));
    cases.extend([Figure::ServerCpu, Figure::Rate].map(echo));
    cases.extend([2, 64].map(handle_reads));
    cases.extend([Cache::Warm, Cache::Bypassed].map(device_reads));
    cases
}

fn nops(batch: u32) -> Case {
    let work = format!("no-ops handed over and taken back {batch} at a time, the time of one");
    Case::new(format!("nop-{batch}"), Unit::Time("ns"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "Ring", move || {
            Nops::<Ours>::new(batch)
        })
        .contender(Role::Peer, Home::Shared, "io-uring", move || {
            Nops::<Peer>::new(batch)
        })
}

fn share() -> Case {
    let work = "no-ops 32 at a time, without the system call: filling and taking, the time of one";
    Case::new("share-32", Unit::Time("ns"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "Ring", Share::<Ours>::new)
        .contender(Role::Peer, Home::Shared, "io-uring", Share::<Peer>::new)
}

fn owned_nops(batch: u32) -> Case {
    let work = format!("operations that do nothing, {batch} at a time, the time of one");
    Case::new(format!("owned-nop-{batch}"), Unit::Time("ns"), work)
        .bar(Bar::Ratio(0.9))
        .contender(Role::Ours, Home::Shared, "LocalRing", move || {
            OwnedNops::new(batch)
        })
        .contender(Role::Peer, Home::Shared, "io-uring, bare", move || {
            Nops::<Peer>::new(batch)
        })
        .contender(Role::Beside, Home::Shared, "tokio-uring", move || {
            TokioUringNops::new(batch)
        })
}

fn owned_share() -> Case {
    let work = "operations that do nothing, 32 at a time, without the system call, the time of one";
    Case::new("owned-share-32", Unit::Time("ns"), work)
        .bar(Bar::Below(8.0))
        .contender(Role::Ours, Home::Shared, "LocalRing", OwnedShare::new)
        .contender(
            Role::Peer,
            Home::Shared,
            "io-uring, bare",
            Share::<Peer>::new,
        )
}

fn handle_reads(tasks: usize) -> Case {
    let work = format!("cached reads of 4 KiB by {tasks} tasks on the 2 threads of tokio");
    Case::new(format!("handle-read-{tasks}"), Unit::Rate("reads/s"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Own, "RingHandle", move || {
            HandleReads::by_ring(tasks)
        })
        .contender(Role::Peer, Home::Own, "tokio, spawn_blocking", move || {
            HandleReads::by_pool(tasks)
        })
}

fn reads(cache: Cache) -> Case {
    reads_of(cache, "", 1.0).contender(Role::Ours, Home::Shared, "Ring", move || {
        Reads::<Ours>::new(cache, DEPTH.into())
    })
}

fn device_reads(cache: Cache) -> Case {
    reads_of(cache, "file-device-", 0.95).contender(
        Role::Ours,
        Home::Shared,
        "FileDevice",
        move || DeviceReads::new(cache, DEPTH),
    )
}

fn owned_reads(cache: Cache) -> Case {
    reads_of(cache, "owned-", 0.95)
        .contender(Role::Ours, Home::Shared, "LocalRing", move || {
            OwnedReads::new(cache, DEPTH.into())
        })
        .contender(Role::Beside, Home::Shared, "compio", move || {
            RuntimeReads::<Compio>::new(cache, DEPTH.into())
        })
        .contender(Role::Beside, Home::Shared, "tokio-uring", move || {
            RuntimeReads::<TokioUring>::new(cache, DEPTH.into())
        })
}

fn reads_of(cache: Cache, prefix: &str, bar: f64) -> Case {
    let (name, how) = match cache {
        Cache::Warm => ("read-cached", "in the page cache"),
        Cache::Bypassed => ("read-direct", "with O_DIRECT"),
    };
    let work = format!("random reads of 4 KiB {how}, {DEPTH} in flight");
    Case::new(format!("{prefix}{name}"), Unit::Rate("reads/s"), work)
        .bar(Bar::Ratio(bar))
        .contender(Role::Peer, Home::Shared, "io-uring, bare", move || {
            Reads::<Peer>::new(cache, DEPTH.into())
        })
}

fn echo(figure: Figure) -> Case {
    let work = "64 bytes there and back on 64 connections, a blocking client on the other CPU";
    let (name, unit, bar) = match figure {
        // At most 0.8 of the peer's time.
        Figure::ServerCpu => ("echo-cpu", Unit::Time("ns"), 1.25),
        Figure::Rate => ("echo-rate", Unit::Rate("messages/s"), 1.0),
    };
    Case::new(name, unit, work)
        .bar(Bar::Ratio(bar))
        .contender(Role::Ours, Home::Own, "LocalRing", move || {
            Echo::new(serve_local_ring, figure)
        })
        .contender(Role::Peer, Home::Own, "tokio", move || {
            Echo::new(serve_tokio, figure)
        })
        .contender(Role::Beside, Home::Own, "compio", move || {
            Echo::new(serve_compio, figure)
        })
        .contender(Role::Beside, Home::Own, "tokio-uring", move || {
            Echo::new(serve_tokio_uring, figure)
        })
}
