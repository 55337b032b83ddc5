//! What a device should hold, and what is asked of it: ranges, shapes of memory, data.

use std::ops::Range;
use std::vec::Vec;
use std::{format, string::String, vec};

use super::super::{Geometry, SECTOR_SHIFT, SECTOR_SIZE};

/// Sectors of a window at most: 1 MiB.
const WINDOW_SECTORS: u64 = 2048;

/// Numbers without pattern, always the same ones. xorshift64*: Vigna, "An experimental exploration of
/// Marsaglia's xorshift generators, scrambled".
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is above 0.
    pub(super) const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
        bytes
    }
}

/// Bytes of `nr_sectors` sectors.
pub(super) fn bytes_of(nr_sectors: u32) -> usize {
    (nr_sectors as usize) << SECTOR_SHIFT
}

/// A range of sectors: first, count.
pub(super) type Sectors = (u64, u32);

/// A part of the device that the suite knows.
#[derive(Debug)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn nr_sectors(&self) -> u64 {
        self.bytes.len() as u64 / SECTOR_SIZE
    }

    /// Where the bytes of `range` are, if all are in this window.
    fn place(&self, (sector, nr_sectors): Sectors) -> Option<Range<usize>> {
        let first = usize::try_from(sector.checked_sub(self.start)? * SECTOR_SIZE).ok()?;
        let end = first + bytes_of(nr_sectors);
        (end <= self.bytes.len()).then_some(first..end)
    }
}

/// What the beginning and the end of a device should hold.
#[derive(Debug)]
pub(super) struct Model {
    windows: Vec<Window>,
}

impl Model {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let (capacity, block) = (
            geometry.capacity_sectors,
            u64::from(geometry.block_sectors()),
        );
        let window = |start, end: u64| Window {
            start,
            bytes: vec![0; usize::try_from((end - start) * SECTOR_SIZE).unwrap_or(0)],
        };
        let windows = if capacity <= 2 * WINDOW_SECTORS {
            // Two of them, so that what is said of several windows is said of small devices too.
            let half = capacity / 2 / block * block;
            vec![window(0, half), window(half, capacity)]
        } else {
            let last = (capacity - WINDOW_SECTORS) / block * block;
            vec![window(0, WINDOW_SECTORS), window(last, capacity)]
        };
        Self { windows }
    }

    fn find(&self, range: Sectors) -> (&Window, Range<usize>) {
        let mut found = self
            .windows
            .iter()
            .filter_map(|it| Some((it, it.place(range)?)));
        found.next().expect("the suite stays in its windows")
    }

    pub(super) fn get(&self, range: Sectors) -> &[u8] {
        let (window, place) = self.find(range);
        &window.bytes[place]
    }

    pub(super) fn set(&mut self, range: Sectors, bytes: &[u8]) {
        let mut windows = self.windows.iter_mut();
        let found = windows.find_map(|window| {
            let place = window.place(range)?;
            Some(&mut window.bytes[place])
        });
        found
            .expect("the suite stays in its windows")
            .copy_from_slice(bytes);
    }

    /// `got` in place of what `range` should hold?
    pub(super) fn compare(&self, range: Sectors, got: &[u8]) -> Result<(), String> {
        let want = self.get(range);
        if got == want {
            return Ok(());
        }
        let Some(at) = got.iter().zip(want).position(|(got, want)| got != want) else {
            return Ok(());
        };
        Err(format!(
            "byte {at} of {} sectors from {} on reads as {:#04x}, it should be {:#04x}",
            range.1, range.0, got[at], want[at]
        ))
    }

    /// `range` with up to `more` sectors before it and behind it, as far as its window goes.
    pub(super) fn widened(&self, range: Sectors, more: u32) -> Sectors {
        let (window, _) = self.find(range);
        let start = range.0.saturating_sub(u64::from(more)).max(window.start);
        let end = range.0 + u64::from(range.1) + u64::from(more);
        let end = end.min(window.start + window.nr_sectors());
        (start, u32::try_from(end - start).unwrap_or(u32::MAX))
    }

    /// The windows in ranges of at most `max` sectors, whole blocks if `max` is.
    pub(super) fn pieces(&self, max: u32) -> Vec<Sectors> {
        let cut = |window: &Window| {
            let (start, count) = (window.start, window.nr_sectors());
            (0..count).step_by(max as usize).map(move |offset| {
                let left = u32::try_from(count - offset).unwrap_or(u32::MAX);
                (start + offset, left.min(max))
            })
        };
        self.windows.iter().flat_map(cut).collect()
    }

    /// Awkward ranges of at most `max` sectors: one block and one less or more than round counts of them, at
    /// the beginning, at the end, and around round places, of each window.
    pub(super) fn awkward(&self, block: u32, max: u32) -> Vec<Sectors> {
        const COUNTS: [u32; 14] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, u32::MAX];
        const PLACES: [u64; 12] = [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 255, 256];
        let mut ranges = Vec::new();
        for (window, count) in self
            .windows
            .iter()
            .flat_map(|window| COUNTS.map(|count| (window, count)))
        {
            let blocks = window.nr_sectors() / u64::from(block);
            let count = u64::from(count.min(max / block)).min(blocks);
            let last = blocks - count;
            let places = PLACES.into_iter().filter(|place| *place < last);
            for place in places.chain([last]) {
                let nr_sectors = u32::try_from(count).unwrap_or(u32::MAX) * block;
                ranges.push((window.start + place * u64::from(block), nr_sectors));
            }
        }
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    /// A range of at most `max` sectors anywhere.
    pub(super) fn any(&self, random: &mut Random, block: u32, max: u32) -> Sectors {
        let index = random.below(self.windows.len() as u64);
        let window = &self.windows[usize::try_from(index).unwrap_or(0)];
        let blocks = window.nr_sectors() / u64::from(block);
        let most = blocks.min(u64::from(max / block));
        let count = 1 + random.below(most);
        let place = random.below(blocks - count + 1);
        let nr_sectors = u32::try_from(count).unwrap_or(u32::MAX) * block;
        (window.start + place * u64::from(block), nr_sectors)
    }
}

/// How many shapes of memory there are.
pub(super) const SHAPES: usize = 6;

/// Where the segments of `bytes` bytes lie in a request's memory: in `shape` number 0 as one, else in
/// pieces of odd sizes at odd addresses, in falling order, with empty ones between.
pub(super) fn shape(shape: usize, bytes: usize, max_segments: u16) -> Vec<Range<usize>> {
    let sizes: &[usize] = match shape % SHAPES {
        0 => &[usize::MAX],
        1 => &[512],
        2 => &[1, 511, 513, 7, 4096, 3],
        3 => &[4096],
        4 => &[0, 100, 0, 412],
        _ => &[512, 1536, 24],
    };
    let most = usize::from(max_segments);
    let mut lens = Vec::new();
    let mut left = bytes;
    for size in sizes.iter().cycle() {
        let len = if lens.len() + 1 == most {
            left
        } else {
            left.min(*size)
        };
        lens.push(len);
        left -= len;
        if left == 0 {
            break;
        }
    }
    let odd = shape % SHAPES == 2 || shape % SHAPES == 4;
    let mut at = 64;
    let mut places = vec![0..0; lens.len()];
    let falling = shape % SHAPES == 5;
    for index in 0..lens.len() {
        let index = if falling {
            lens.len() - 1 - index
        } else {
            index
        };
        at += if odd { 3 } else { 0 };
        places[index] = at..at + lens[index];
        at += lens[index];
    }
    places
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_all_bytes_once_and_few_segments() {
        for (number, bytes, most) in (0..SHAPES).flat_map(|number| {
            [0, 512, 4096, 70_000]
                .into_iter()
                .flat_map(move |bytes| [1, 2, 128].map(|most| (number, bytes, most)))
        }) {
            let places = shape(number, bytes, most);
            assert!(places.len() <= usize::from(most), "{number} {bytes} {most}");
            let total: usize = places.iter().map(Range::len).sum();
            assert_eq!(total, bytes, "{number} {most}");
            let mut sorted: Vec<Range<usize>> = places.clone();
            sorted.sort_by_key(|place| (place.start, place.end));
            assert!(sorted.windows(2).all(|two| two[0].end <= two[1].start));
        }
    }

    #[test]
    fn awkward_ranges_are_whole_blocks_of_the_device() {
        for (capacity, block) in [(64, 1), (512, 8), (1 << 40, 1), (5000, 8)] {
            let geometry = Geometry {
                logical_block_size: block * 512,
                physical_block_size: 4096,
                ..Geometry::new(capacity)
            };
            let model = Model::new(&geometry);
            let ranges = model.awkward(block, 256);
            assert!(ranges.contains(&(0, block)));
            let behind = capacity - u64::from(block);
            assert!(ranges.contains(&(behind, block)), "{capacity} {block}");
            for (sector, nr_sectors) in ranges {
                assert!(nr_sectors > 0 && nr_sectors <= 256);
                assert!((sector | u64::from(nr_sectors)).is_multiple_of(u64::from(block)));
                assert_eq!(model.get((sector, nr_sectors)).len(), bytes_of(nr_sectors));
            }
            let all: u64 = model
                .pieces(64)
                .iter()
                .map(|(_, count)| u64::from(*count))
                .sum();
            assert_eq!(
                all,
                capacity.min(4096) / u64::from(block) * u64::from(block)
            );
        }
    }
}
