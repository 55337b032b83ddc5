//! Codecs of pages, one page at a time: LZ4 and what is denser.

mod coders;
mod work;

use crate::case::{Bar, Case, Home, Role, Settings, Suite};
use crate::corpus::Corpus;
use coders::{CLz4, CZstd, Coder, Deflate, Flex, Lz4, Lz4Low, Miniz};
use work::{Kind, Work};

/// `cargo xtask bench codec`.
pub const SUITE: Suite = Suite {
    name: "codec",
    about: "codecs of pages: there, back, and how small",
    cases,
};

const CORPORA: [Corpus; 5] = [
    Corpus::Vmlinux,
    Corpus::Core,
    Corpus::RustcDriver,
    Corpus::Text,
    Corpus::Compressed,
];

/// Pages of a corpus, spread over it, when the command line does not say.
const PAGES: usize = 2000;

fn cases(settings: &Settings) -> Vec<Case> {
    let pages = settings.size.unwrap_or(PAGES);
    let mut cases = Vec::new();
    for corpus in CORPORA {
        let lz4 = |kind| against_lz4::<Lz4>("", kind, corpus, pages);
        // What is packed already is not LZ4's to make faster: a device stores such a page as it is.
        let has_bar = corpus != Corpus::Compressed;
        let bar = |case: Case| {
            if has_bar {
                case.bar(Bar::Ratio(1.0))
            } else {
                case
            }
        };
        cases.push(bar(lz4(Kind::Compress)));
        cases.push(bar(lz4(Kind::Decompress)));
        let ratio = lz4(Kind::Ratio);
        let low = |kind| against_lz4::<Lz4Low>("-low", kind, corpus, pages);
        cases.push(low(Kind::Compress));
        cases.push(low(Kind::Decompress));
        cases.push(low(Kind::Ratio));
        let dense = |kind| dense(kind, corpus, pages);
        cases.push(dense(Kind::Compress));
        cases.push(dense(Kind::Decompress));
        let dense_ratio = dense(Kind::Ratio);
        if corpus == Corpus::Vmlinux {
            cases.push(ratio.bar(Bar::Ratio(0.98)));
            // 3.2 with its same-filled pages, four of ten, which take nothing.
            cases.push(dense_ratio.bar(Bar::AtLeast(1.9)));
        } else {
            cases.extend([ratio, dense_ratio]);
        }
    }
    cases
}

fn case<C: Coder + 'static>(name: &str, kind: Kind, corpus: Corpus, pages: usize) -> Case {
    let name = format!("{}{name}-{}", kind.name(), corpus.name());
    let what = format!("{}: {}", corpus.about(), kind.about());
    Case::new(name, kind.unit(), what).contender(Role::Ours, Home::Shared, C::NAME, move || {
        Work::<C>::new(corpus, kind, pages)
    })
}

fn peer<C: Coder + 'static>(case: Case, kind: Kind, corpus: Corpus, pages: usize) -> Case {
    case.contender(Role::Peer, Home::Shared, C::NAME, move || {
        Work::<C>::new(corpus, kind, pages)
    })
}

fn against_lz4<C: Coder + 'static>(name: &str, kind: Kind, corpus: Corpus, pages: usize) -> Case {
    let case = case::<C>(name, kind, corpus, pages);
    let case = peer::<Flex>(case, kind, corpus, pages);
    peer::<CLz4>(case, kind, corpus, pages)
}

/// Zstd is another format, faster and larger; miniz_oxide is the same one.
fn dense(kind: Kind, corpus: Corpus, pages: usize) -> Case {
    let case = case::<Deflate>("-dense", kind, corpus, pages);
    let case = peer::<Miniz>(case, kind, corpus, pages);
    peer::<CZstd>(case, kind, corpus, pages)
}
