//! Disks by ublk, against libublk's examples and the kernel's loop device.
//!
//! It runs in the lab, whose only processor serves and loads in turn. The clock of the lab of [`SUITE`] counts
//! instructions: a rate is then what the way of a request costs everybody together, and repeats within 1 %. That
//! clock leaps while the scratch disk works, so how many requests a second reach that disk is for the lab of
//! [`DISK_SUITE`], whose clock is the host's. `cargo xtask bench` builds libublk's examples and boots the labs.
//!
//! All disks have one queue of [`DEPTH`] requests of at most 512 KiB and leave the copying to the driver. The load is
//! the same for all: [`load`].

mod load;
mod servers;

use std::process::Command;

use anyhow::{Result, ensure};

use crate::case::{Bar, Case, Contender, Home, Role, Settings, Suite, Unit};
use crate::corpus::Corpus;
use crate::timing::per_second;
use load::{Content, Direction, Load};
use servers::{KernelZram, Kind, LoopDevice, Served, Server};

/// `cargo xtask bench ublk`.
pub const SUITE: Suite = Suite {
    name: "ublk",
    about: "disks served from user space: instructions of the server, requests a second, latency",
    cases,
};

/// `cargo xtask bench ublk-disk`.
pub const DISK_SUITE: Suite = Suite {
    name: "ublk-disk",
    about: "the lab's scratch disk served from user space: requests a second",
    cases: disk_cases,
};

/// `cargo xtask bench ublk-zram`.
pub const ZRAM_SUITE: Suite = Suite {
    name: "ublk-zram",
    about: "compressed memory served from user space, beside the kernel's zram: requests a second",
    cases: zram_cases,
};

/// Requests in flight that a queue has room for: libublk's `ramdisk` takes no other.
const DEPTH: u16 = 128;

/// Requests before the first round.
const WARMING: usize = 1024;

/// What the figure of a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    /// Instructions of all threads of the server, in user space and in the kernel, for one request.
    Instructions,
    /// Requests a second.
    Rate,
    /// The latency that half of the requests are below, in microseconds.
    Median,
    /// The latency that 99.9 % of the requests are below, in microseconds.
    Tail,
}

impl Figure {
    const fn unit(self) -> Unit {
        match self {
            Self::Instructions => Unit::Time("instructions"),
            Self::Rate => Unit::Rate("requests/s"),
            Self::Median | Self::Tail => Unit::Time("µs"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Rate => "rate",
            Self::Median => "p50",
            Self::Tail => "p99.9",
        }
    }
}

/// The load of a case.
#[derive(Debug, Clone, Copy)]
struct Work {
    figure: Figure,
    direction: Direction,
    /// Requests in flight.
    depth: u32,
}

impl Work {
    const fn requests(self) -> usize {
        match (self.figure, self.depth) {
            (Figure::Tail, _) => 2048,
            (_, 1) => 512,
            _ => 1024,
        }
    }

    /// A case without contenders, of disks that are called `disk`.
    fn case(self, disk: &str) -> Case {
        let Self {
            figure,
            direction,
            depth,
        } = self;
        let (figure, direction) = (figure.name(), direction.name());
        let what =
            format!("random {direction}s of 4 KiB, {depth} in flight, disk {disk}: {figure}");
        let name = format!("{disk}-{direction}-{depth}-{figure}");
        Case::new(name, self.figure.unit(), what)
    }
}

fn cases(settings: &Settings) -> Vec<Case> {
    let of = |kind| move |work| compared(work, kind, settings);
    let mut cases = Vec::new();
    // At most 0.8 of the peer's instructions.
    let bar = Bar::Ratio(1.25);
    each(&mut cases, Figure::Instructions, &[1, 64], |work| {
        of(Kind::Null)(work).bar(bar)
    });
    each(&mut cases, Figure::Rate, &[1, 64], |work| {
        of(Kind::Null)(work).bar(Bar::Ratio(1.05))
    });
    each(&mut cases, Figure::Median, &[1], of(Kind::Null));
    each(&mut cases, Figure::Tail, &[1], of(Kind::Null));
    each(&mut cases, Figure::Rate, &[1, 64], |work| {
        ram_over_empty(work, settings)
    });
    each(&mut cases, Figure::Rate, &[1, 64], of(Kind::Ram));
    each(&mut cases, Figure::Instructions, &[1, 64], of(Kind::File));
    cases
}

fn disk_cases(settings: &Settings) -> Vec<Case> {
    let mut cases = Vec::new();
    each(&mut cases, Figure::Rate, &[1, 64], |work| {
        let reference = "kernel loop, direct";
        compared(work, Kind::File, settings)
            .bar(Bar::Ratio(1.0))
            .contender(Role::Reference, Home::Shared, reference, move || {
                Disk::new(LoopDevice::new()?, work, true)
            })
    });
    cases
}

/// Adds a case for reads and writes, and for so many in flight.
fn each(cases: &mut Vec<Case>, figure: Figure, depths: &[u32], make: impl Fn(Work) -> Case) {
    for direction in [Direction::Read, Direction::Write] {
        for &depth in depths {
            cases.push(make(Work {
                figure,
                direction,
                depth,
            }));
        }
    }
}

/// Ours and libublk's.
fn compared(work: Work, kind: Kind, settings: &Settings) -> Case {
    let pepita = settings.pepita.clone();
    let bytes = kind.bytes();
    work.case(kind.name())
        .contender(Role::Ours, Home::Shared, kind.ours(), move || {
            Disk::new(Served::ours(kind, bytes, &pepita)?, work, kind.keeps())
        })
        .contender(
            Role::Peer,
            Home::Shared,
            format!("libublk {}", kind.libublk().unwrap_or_default()),
            move || Disk::new(Served::by_libublk(kind)?, work, kind.keeps()),
        )
}

/// Pages of a corpus, written to an empty disk and read from a full one. The kernel's works in the thread that asks it,
/// without a switch of threads.
fn zram_cases(settings: &Settings) -> Vec<Case> {
    let mut cases = Vec::new();
    each(&mut cases, Figure::Rate, &[1, 64], |work| {
        let pepita = settings.pepita.clone();
        let kind = Kind::Zram;
        work.case(kind.name())
            .contender(Role::Ours, Home::Shared, kind.ours(), move || {
                Compressed::new(Served::ours(kind, kind.bytes(), &pepita)?, work)
            })
            .contender(Role::Peer, Home::Shared, "kernel zram lz4", move || {
                Compressed::new(KernelZram::new()?, work)
            })
    });
    cases
}

/// What memory costs over a disk that keeps nothing, so that only their sizes are compared.
fn ram_over_empty(work: Work, settings: &Settings) -> Case {
    let disk = |kind: Kind| {
        let pepita = settings.pepita.clone();
        move || Disk::new(Served::ours(kind, Kind::Ram.bytes(), &pepita)?, work, false)
    };
    work.case("ram-over-empty")
        .bar(Bar::Ratio(0.85))
        .contender(Role::Ours, Home::Shared, Kind::Ram.ours(), disk(Kind::Ram))
        .contender(
            Role::Peer,
            Home::Shared,
            Kind::Null.ours(),
            disk(Kind::Null),
        )
}

/// A disk and its load.
struct Disk<S> {
    load: Load,
    work: Work,
    /// Whether it keeps what is written.
    keeps: bool,
    /// Gone after its load.
    server: S,
}

impl<S: Server> Disk<S> {
    fn new(server: S, work: Work, keeps: bool) -> Result<Self> {
        // A write to every place that the server has for a request: from here on it has all of its memory.
        let load = |direction, depth| Load::new(server.path(), direction, depth, Content::Numbers);
        load(Direction::Write, DEPTH.into())?.run(WARMING, |_| {})?;
        let mut load = load(work.direction, work.depth)?;
        load.fill()?;
        load.run(WARMING, |_| {})?;
        Ok(Self {
            load,
            work,
            keeps,
            server,
        })
    }
}

impl<S: Server> Contender for Disk<S> {
    fn answer(&mut self) -> Result<String> {
        let bytes = self.load.bytes();
        if self.keeps {
            let wrong = self.load.wrong_blocks()?;
            return Ok(format!("{bytes} bytes, {wrong} wrong blocks"));
        }
        Ok(format!("{bytes} bytes"))
    }

    fn round(&mut self) -> Result<f64> {
        let count = self.work.requests();
        match self.work.figure {
            Figure::Rate => per_second(count, || self.load.run(count, |_| {})),
            Figure::Instructions => {
                let before = self.server.nanoseconds()?;
                self.load.run(count, |_| {})?;
                let took = self.server.nanoseconds()?.saturating_sub(before);
                let instructions = figure(took) / servers::nanoseconds_of_instruction()?;
                Ok(instructions / figure(count as u64))
            }
            Figure::Median | Figure::Tail => {
                let mut took = Vec::with_capacity(count);
                self.load.run(count, |latency| took.push(latency))?;
                took.sort_unstable();
                let rank = match self.work.figure {
                    Figure::Tail => count * 999 / 1000,
                    _ => count / 2,
                };
                Ok(took[rank].as_secs_f64() * 1e6)
            }
        }
    }
}

/// A disk of compressed memory and its load, requests a second.
struct Compressed<S> {
    load: Load,
    work: Work,
    /// Gone after its load.
    server: S,
}

impl<S: Server> Compressed<S> {
    /// Pages of the corpus that are used.
    const PAGES: usize = 2048;

    fn new(server: S, work: Work) -> Result<Self> {
        let all = Corpus::Vmlinux.pages()?;
        ensure!(all.len() >= Self::PAGES, "the corpus is too small");
        let pages = all.iter().step_by(all.len() / Self::PAGES);
        let pages = Content::Pages(pages.take(Self::PAGES).collect());
        let mut load = Load::new(server.path(), work.direction, work.depth, pages)?;
        load.fill()?;
        Ok(Self { load, work, server })
    }
}

impl<S: Server> Contender for Compressed<S> {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("{} wrong blocks", self.load.wrong_blocks()?))
    }

    fn round(&mut self) -> Result<f64> {
        if self.work.direction == Direction::Read {
            let count = self.work.requests();
            return per_second(count, || self.load.run(count, |_| {}));
        }
        let mut discard = Command::new("blkdiscard");
        let output = discard.arg("--force").arg(self.server.path()).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "blkdiscard: {}", told.trim());
        per_second(Self::PAGES, || self.load.run(Self::PAGES, |_| {}))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn figure(count: u64) -> f64 {
    count as f64
}
