//! Compressed memory, against the kernel's zram on the same pages.

mod kernel;
mod ours;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use crate::corpus::Corpus;
use kernel::{Kernel, Request};
use ours::{Codec, Ours};
use pepita_zram::ZramCompressor;

/// `cargo xtask bench zram`.
pub const SUITE: Suite = Suite {
    name: "zram",
    about: "compressed memory: pages in and out, what they take, two threads",
    cases,
};

/// What a round does, and what its figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Writes all pages to a device that has none; µs for one.
    Write,
    /// Reads all pages; µs for one.
    Read,
    /// MB of memory that all pages take.
    Held,
    /// Memory for objects over bytes of objects.
    Overhead,
    /// Bytes stored over bytes of objects, once all were compressed again.
    DenseRatio,
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Held => "held",
            Self::Overhead => "overhead",
            Self::DenseRatio => "dense-ratio",
        }
    }

    const fn unit(self) -> Unit {
        match self {
            Self::Write | Self::Read => Unit::Time("µs/page"),
            Self::Held => Unit::Time("MB"),
            Self::Overhead => Unit::Time("bytes/byte"),
            Self::DenseRatio => Unit::Rate("ratio"),
        }
    }
}

fn cases(_: &Settings) -> Vec<Case> {
    let mut cases = Vec::new();
    for (request, write, read) in [
        (Request::Page, 1.0 / 0.75, 1.0 / 0.5),
        (Request::MiB, 1.0 / 0.85, 1.0 / 0.6),
    ] {
        cases.push(case(Work::Write, Corpus::Vmlinux, request).bar(Bar::Ratio(write)));
        cases.push(case(Work::Read, Corpus::Vmlinux, request).bar(Bar::Ratio(read)));
    }
    for corpus in [
        Corpus::Core,
        Corpus::RustcDriver,
        Corpus::Text,
        Corpus::Compressed,
        Corpus::SameFilled,
    ] {
        cases.push(case(Work::Write, corpus, Request::Page));
        cases.push(case(Work::Read, corpus, Request::Page));
    }
    let held = |corpus| case(Work::Held, corpus, Request::MiB);
    cases.push(held(Corpus::Vmlinux).bar(Bar::Ratio(1.0)));
    cases.push(held(Corpus::Core));
    cases.push(held(Corpus::RustcDriver));
    cases.push(fast(Work::Write).bar(Bar::Ratio(2.0)));
    cases.push(fast(Work::Read));
    cases.push(fast(Work::Held).bar(Bar::Ratio(1.0 / 1.15)));
    let overhead = case(Work::Overhead, Corpus::Vmlinux, Request::MiB);
    cases.push(overhead.bar(Bar::Below(1.06)));
    cases.push(dense());
    cases.push(two_threads(Work::Write));
    cases.push(two_threads(Work::Read));
    cases
}

/// A device of ours in the fast mode, and the kernel's.
fn fast(work: Work) -> Case {
    let (corpus, request) = (Corpus::Vmlinux, Request::Page);
    let name = format!("fast-{}-{}", work.name(), corpus.name());
    against_kernel(name, ZramCompressor::Lz4Fast, work, corpus, request)
}

/// A device of ours, and the kernel's.
fn case(work: Work, corpus: Corpus, request: Request) -> Case {
    let name = match (work, request) {
        (Work::Write | Work::Read, Request::MiB) => {
            format!("{}-{}-mib", work.name(), corpus.name())
        }
        _ => format!("{}-{}", work.name(), corpus.name()),
    };
    against_kernel(name, ZramCompressor::Lz4, work, corpus, request)
}

fn against_kernel(
    name: String,
    compressor: ZramCompressor,
    work: Work,
    corpus: Corpus,
    request: Request,
) -> Case {
    let what = format!("{}: {}", corpus.about(), work.name());
    Case::new(name, work.unit(), what)
        .contender(Role::Ours, Home::Shared, "ZramDevice", move || {
            Ours::new(corpus, work, 1, compressor)
        })
        .contender(
            Role::Peer,
            Home::Shared,
            format!("kernel zram lz4, {}", request.name()),
            move || Kernel::new(corpus, work, request),
        )
}

/// What compressing again comes to; nobody else's.
fn dense() -> Case {
    let (corpus, work) = (Corpus::VmlinuxWhole, Work::DenseRatio);
    let what = format!("{}: compressed again", corpus.about());
    let name = format!("{}-{}", work.name(), corpus.name());
    Case::new(name, work.unit(), what)
        .rounds(1)
        .bar(Bar::AtLeast(3.2))
        .contender(Role::Ours, Home::Shared, "ZramDevice", move || {
            Ours::new(corpus, work, 1, ZramCompressor::Lz4)
        })
}

/// Two threads of ours beside one; what the machine gives to two threads that share nothing stands beside.
fn two_threads(work: Work) -> Case {
    let corpus = Corpus::Vmlinux;
    let name = format!("two-threads-{}", work.name());
    let what = format!(
        "{}: {} by two threads, beside one",
        corpus.about(),
        work.name()
    );
    let alone = move |threads: usize| {
        let name = format!("C lz4 alone, threads: {threads}");
        (name, move || Codec::new(corpus, work, threads))
    };
    let ((one_name, one), (two_name, two)) = (alone(1), alone(2));
    Case::new(name, work.unit(), what)
        .bar(Bar::Ratio(1.85))
        .contender(Role::Ours, Home::Shared, "2 threads", move || {
            Ours::new(corpus, work, 2, ZramCompressor::Lz4)
        })
        .contender(Role::Peer, Home::Shared, "1 thread", move || {
            Ours::new(corpus, work, 1, ZramCompressor::Lz4)
        })
        .contender(Role::Reference, Home::Shared, one_name, one)
        .contender(Role::Reference, Home::Shared, two_name, two)
}

/// Microseconds of one of `pages`, of `ms` milliseconds for all.
#[expect(clippy::cast_precision_loss, reason = "pages of a corpus")]
fn us_of(ms: f64, pages: usize) -> f64 {
    ms * 1e3 / pages as f64
}
