//! io_uring, against the `io-uring` crate.

mod device;
mod nops;
mod owned;
mod reads;
mod rings;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use device::DeviceReads;
use nops::{Nops, Share};
use owned::{OwnedNops, OwnedShare};
use reads::{Cache, Reads};
use rings::{Ours, Peer};

/// `cargo xtask bench uring`.
pub const SUITE: Suite = Suite {
    name: "uring",
    about: "io_uring: round trips, our share of them, random reads",
    cases,
};

/// Reads in flight.
const DEPTH: u16 = 64;

fn cases(_: &Settings) -> Vec<Case> {
    let mut cases: Vec<Case> = [1, 32, 256].map(nops).into();
    cases.extend([1, 32, 256].map(owned_nops));
    cases.extend([share(), owned_share()]);
    cases.extend([Cache::Warm, Cache::Bypassed].map(reads));
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
}

fn owned_share() -> Case {
    let work = "operations that do nothing, 32 at a time, less the system call, the time of one";
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

fn reads(cache: Cache) -> Case {
    let (name, how) = match cache {
        Cache::Warm => ("read-cached", "in the page cache"),
        Cache::Bypassed => ("read-direct", "with O_DIRECT"),
    };
    let work = format!("random reads of 4 KiB {how}, {DEPTH} in flight");
    Case::new(name, Unit::Rate("reads/s"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Shared, "Ring", move || {
            Reads::<Ours>::new(cache, DEPTH.into())
        })
        .contender(Role::Peer, Home::Shared, "io-uring", move || {
            Reads::<Peer>::new(cache, DEPTH.into())
        })
}

fn device_reads(cache: Cache) -> Case {
    let (name, how) = match cache {
        Cache::Warm => ("file-device-read-cached", "in the page cache"),
        Cache::Bypassed => ("file-device-read-direct", "with O_DIRECT"),
    };
    let work = format!("random reads of 4 KiB {how} by a device and a lane, {DEPTH} in flight");
    Case::new(name, Unit::Rate("reads/s"), work)
        .bar(Bar::Ratio(0.95))
        .contender(Role::Ours, Home::Shared, "FileDevice", move || {
            DeviceReads::new(cache, DEPTH)
        })
        .contender(Role::Peer, Home::Shared, "io-uring, bare", move || {
            Reads::<Peer>::new(cache, DEPTH.into())
        })
}
