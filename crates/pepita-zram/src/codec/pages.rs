//! Pages for property tests: what memory is like, and what it is not.

use pepita_mem::PAGE_SIZE;
use proptest::collection::vec;
use proptest::prelude::*;

pub(super) type Page = [u8; PAGE_SIZE];

/// Any kind of page. A page is drawn as one number, because thousands of small draws take longer than all coders.
pub(super) fn page() -> impl Strategy<Value = Page> {
    any::<u64>().prop_map(|seed| {
        let mut random = Random(seed | 1);
        match random.below(6) {
            0 | 1 => repeats(&mut random),
            2 | 3 => words(&mut random),
            4 => {
                let mut page = repeats(&mut random);
                let split = random.below(PAGE_SIZE);
                page[split..].copy_from_slice(&words(&mut random)[split..]);
                page
            }
            _ => {
                let mask = random.byte();
                std::array::from_fn(|_| random.byte() & mask)
            }
        }
    })
}

/// What an LZ77 decoder could have made: literals, and repeats of all distances and lengths.
fn repeats(random: &mut Random) -> Page {
    let mut bytes = vec![random.byte()];
    let literals = random.below(40);
    while bytes.len() < PAGE_SIZE {
        bytes.extend((0..random.below(literals + 1)).map(|_| random.byte()));
        let reach = [20, 4096][random.below(2)].min(bytes.len());
        let distance = 1 + random.below(reach);
        let longest = [20, 20, 20, 300, PAGE_SIZE][random.below(5)];
        for _ in 0..random.below(longest) {
            bytes.push(bytes[bytes.len() - distance]);
        }
    }
    std::array::from_fn(|at| bytes[at])
}

/// Like tables of pointers: few different words of 8 bytes, with small changes.
fn words(random: &mut Random) -> Page {
    let words: Vec<u64> = (0..=random.below(30)).map(|_| random.next()).collect();
    let mut bytes = words.iter().cycle().flat_map(|word| word.to_le_bytes());
    let mut page = std::array::from_fn(|_| bytes.next().unwrap_or_default());
    for _ in 0..random.below(300) {
        page[random.below(PAGE_SIZE)] = random.byte();
    }
    page
}

/// Bytes that no coder makes shorter, the same each time.
pub(super) fn noise() -> Page {
    let mut random = Random(1);
    std::array::from_fn(|_| random.byte())
}

/// xorshift64, from a number that is not 0.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[4]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }
}

/// A change of compressed bytes.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u32),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Append(Vec<u8>),
}

/// A few changes.
pub(super) fn damages() -> impl Strategy<Value = Vec<Damage>> {
    use prop::sample::Index;
    let one = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0..8_u32).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Remove),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        vec(any::<u8>(), 1..20).prop_map(Damage::Append),
    ];
    vec(one, 1..6)
}

/// `bytes` with the changes made, as far as there is something left to change.
pub(super) fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        let len = bytes.len();
        match damage {
            Damage::Append(more) => bytes.extend(more),
            _ if len == 0 => {}
            Damage::Set(at, byte) => bytes[at.index(len)] = byte,
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Remove(at) => {
                bytes.remove(at.index(len));
            }
            Damage::Insert(at, byte) => bytes.insert(at.index(len), byte),
            Damage::Cut(at) => bytes.truncate(at.index(len)),
        }
    }
    bytes
}
