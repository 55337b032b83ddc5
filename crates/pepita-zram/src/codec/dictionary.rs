//! Dictionaries: bytes that many pages have, so that a page can repeat them without having them.
//!
//! [`train`] picks them from pages like those to come. It is the way of zstd's `fastcover`: what is short and stands
//! in many pages is counted; of each part of the pages the stretch is taken whose short strings count most; and
//! what was taken counts no more.
//!
//! Source: the comment on `COVER_selectSegment` in zstd 1.5, `lib/dictBuilder`.

use pepita_mem::PAGE_SIZE;

/// Bytes that are counted as one string.
const STRING: usize = 8;
/// Bytes that are taken at once.
const STRETCH: usize = 64;
/// Stretches that are taken from each part of the pages, about.
const TURNS: usize = 4;
const TABLE_BITS: u32 = 18;

/// A dictionary of at most `len` bytes for pages like `pages`: shorter if there is not that much that repeats. It
/// takes 20 ms for each MB of them. Pages that come later gain by it as far as they are like these; a page in four
/// or more of what is at hand is a good choice.
///
/// ```
/// use pepita_mem::PAGE_SIZE;
/// use pepita_zram::codec::{deflate, dictionary};
///
/// let page = |number: usize| -> [u8; PAGE_SIZE] { std::array::from_fn(|i| (number + i * i / 7) as u8) };
/// let dictionary = dictionary::train(&[page(1), page(1), page(2), page(2)], 8192);
/// let mut stream = [0; PAGE_SIZE];
/// let without = deflate::Encoder::new(&[]).compress(&page(2), &mut stream);
/// let with = deflate::Encoder::new(&dictionary).compress(&page(2), &mut stream);
/// assert!(with < without);
/// ```
#[must_use]
pub fn train(pages: &[[u8; PAGE_SIZE]], len: usize) -> Vec<u8> {
    let mut counts = Counts::of(pages);
    let parts = (len / STRETCH / TURNS).clamp(1, pages.len().max(1));
    let mut stretches: Vec<&[u8]> = Vec::new();
    let wanted = len / STRETCH;
    while stretches.len() < wanted {
        let before = stretches.len();
        for part in pages.chunks(pages.len().div_ceil(parts).max(1)) {
            if stretches.len() < wanted
                && let Some(stretch) = counts.best(part)
            {
                counts.forget(stretch);
                stretches.push(stretch);
            }
        }
        if stretches.len() == before {
            break;
        }
    }
    // The best come last: what is near has the shorter codes.
    stretches.into_iter().rev().flatten().copied().collect()
}

/// In how many pages each string stands, by its hash.
struct Counts {
    pages: Vec<u32>,
    /// How often each stands in the stretch that is looked at.
    within: Vec<u8>,
}

impl Counts {
    fn of(pages: &[[u8; PAGE_SIZE]]) -> Self {
        let mut counts = vec![0; 1 << TABLE_BITS];
        let mut seen = vec![0; 1 << TABLE_BITS];
        for (number, page) in (1_u32..).zip(pages) {
            for string in page.windows(STRING) {
                let hash = hash(string);
                if seen[hash] != number {
                    seen[hash] = number;
                    counts[hash] += 1;
                }
            }
        }
        // What stands in one page only saves nothing.
        for count in &mut counts {
            *count -= u32::from(*count == 1);
        }
        Self {
            pages: counts,
            within: vec![0; 1 << TABLE_BITS],
        }
    }

    /// The stretch of a page of `part` whose strings count most; `None` if none counts anything.
    fn best<'a>(&mut self, part: &'a [[u8; PAGE_SIZE]]) -> Option<&'a [u8]> {
        let mut best = None;
        let mut most = 0;
        for page in part {
            let mut score = 0;
            let hashes: Vec<usize> = page.windows(STRING).map(hash).collect();
            let strings = STRETCH - STRING + 1;
            for (last, &hash) in hashes.iter().enumerate() {
                if self.within[hash] == 0 {
                    score += u64::from(self.pages[hash]);
                }
                self.within[hash] += 1;
                let Some(first) = (last + 1).checked_sub(strings) else {
                    continue;
                };
                if score > most {
                    most = score;
                    best = Some(&page[first..first + STRETCH]);
                }
                let gone = hashes[first];
                self.within[gone] -= 1;
                if self.within[gone] == 0 {
                    score -= u64::from(self.pages[gone]);
                }
            }
            for hash in &hashes[hashes.len() + 1 - strings..] {
                self.within[*hash] = 0;
            }
        }
        best
    }

    fn forget(&mut self, stretch: &[u8]) {
        for string in stretch.windows(STRING) {
            self.pages[hash(string)] = 0;
        }
    }
}

fn hash(string: &[u8]) -> usize {
    let mut bytes = [0; STRING];
    bytes.copy_from_slice(string);
    let mixed = u64::from_le_bytes(bytes).wrapping_mul(0x9E37_79B1_85EB_CA87);
    // At most 18 bits.
    usize::try_from(mixed >> (64 - TABLE_BITS)).unwrap_or_default()
}
