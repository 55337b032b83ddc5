//! The encoder and the decoder against each other, `lz4_flex` and a naive decoder.

use pepita_mem::PAGE_SIZE;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::CorruptPage;
use crate::codec::pages::{Page, damaged, damages, noise, page};

const EFFORTS: [Effort; 3] = [Effort::Usual, Effort::Moderate, Effort::Low];
/// What a page takes at most.
const WORST: usize = PAGE_SIZE + 18;

fn compressed(effort: Effort, page: &Page) -> Vec<u8> {
    let mut block = vec![0xEE; WORST];
    let len = Encoder::new(effort).compress(page, &mut block).unwrap();
    block.truncate(len);
    block
}

fn decompressed(block: &[u8]) -> Result<Page, CorruptPage> {
    let mut page = [0xEE; PAGE_SIZE];
    let done = decompress(block, &mut page);
    let mut twin = [0xEE; PAGE_SIZE];
    assert_eq!(decode::rest(block, 0, &mut twin), done, "the careful one");
    done?;
    assert!(page == twin, "the careful one has another page");
    Ok(page)
}

/// A sequence as the format's text has it: literals, and distance and length of the match unless it is the last.
type Sequence = (Vec<u8>, Option<(usize, usize)>);

/// Reads a block byte by byte; `None` if it ends too soon.
fn sequences(block: &[u8]) -> Option<Vec<Sequence>> {
    let mut bytes = block.iter().copied();
    let mut all = Vec::new();
    let length = |bytes: &mut dyn Iterator<Item = u8>, half: u8| {
        let mut len = usize::from(half);
        let mut more = half == 15;
        while more {
            let byte = bytes.next()?;
            len += usize::from(byte);
            more = byte == 255;
        }
        Some(len)
    };
    loop {
        let token = bytes.next()?;
        let count = length(&mut bytes, token >> 4)?;
        let literals: Vec<u8> = bytes.by_ref().take(count).collect();
        if literals.len() < count {
            return None;
        }
        if bytes.len() == 0 {
            all.push((literals, None));
            return (token & 15 == 0).then_some(all);
        }
        let distance = usize::from(u16::from_le_bytes([bytes.next()?, bytes.next()?]));
        let len = 4 + length(&mut bytes, token & 15)?;
        all.push((literals, Some((distance, len))));
    }
}

/// The naive decoder.
fn expanded(block: &[u8]) -> Option<Page> {
    let mut page = Vec::new();
    for (literals, repeat) in sequences(block)? {
        page.extend(literals);
        let Some((distance, len)) = repeat else {
            break;
        };
        for _ in 0..len {
            let from = page.len().checked_sub(distance)?;
            page.push(*page.get(from)?);
            if page.len() > PAGE_SIZE {
                return None;
            }
        }
    }
    page.try_into().ok()
}

proptest! {
    #[test]
    fn a_page_comes_back_by_every_decoder(page in page()) {
        for effort in EFFORTS {
            let block = compressed(effort, &page);
            prop_assert!(decompressed(&block) == Ok(page));
            prop_assert!(expanded(&block) == Some(page));
            let flex = lz4_flex::block::decompress(&block, PAGE_SIZE).unwrap();
            prop_assert!(flex == page);
        }
    }

    #[test]
    fn a_page_that_lz4_flex_compressed_comes_back(page in page()) {
        let block = lz4_flex::block::compress(&page);
        prop_assert!(decompressed(&block) == Ok(page));
    }

    #[test]
    fn the_end_of_a_block_is_as_the_format_wants_it(page in page()) {
        for effort in EFFORTS {
            let sequences = sequences(&compressed(effort, &page)).unwrap();
            prop_assert!(sequences.last().unwrap().0.len() >= 5);
            let mut at = 0;
            for (literals, repeat) in sequences {
                at += literals.len();
                if let Some((distance, len)) = repeat {
                    prop_assert!((1..=at).contains(&distance));
                    prop_assert!(at <= PAGE_SIZE - 12);
                    at += len;
                }
            }
        }
    }

    #[test]
    fn a_block_that_does_not_fit_is_none(page in page(), behind in 0..200_usize) {
        for effort in EFFORTS {
            let block = compressed(effort, &page);
            let mut encoder = Encoder::new(effort);
            let mut short = vec![0; block.len() - 1];
            prop_assert_eq!(encoder.compress(&page, &mut short), None);
            let mut room = vec![0; block.len() + behind];
            prop_assert_eq!(encoder.compress(&page, &mut room), Some(block.len()));
            prop_assert_eq!(&room[..block.len()], &block[..]);
        }
    }

    #[test]
    fn a_block_does_not_depend_on_the_pages_before(pages in vec(page(), 2..5)) {
        for effort in EFFORTS {
            let mut encoder = Encoder::new(effort);
            for page in &pages {
                let mut block = vec![0; WORST];
                let len = encoder.compress(page, &mut block).unwrap();
                prop_assert!(block[..len] == compressed(effort, page));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_block_gives_what_the_naive_decoder_gives(
        page in page(),
        damages in damages(),
    ) {
        let block = damaged(compressed(Effort::Usual, &page), damages);
        prop_assert!(decompressed(&block).ok() == expanded(&block));
    }

    /// Tokens and distances that fit each other more often than in noise.
    #[test]
    fn a_block_of_any_sequences_gives_what_the_naive_decoder_gives(
        sequences in vec((vec(any::<u8>(), 0..40), 0..70_u16, 4..60_usize), 0..100),
        last in 0..40_usize,
        is_filled in any::<bool>(),
    ) {
        let mut block = Vec::new();
        let mut len = 0;
        for (literals, distance, more) in sequences {
            push(&mut block, &literals, Some((distance, more)));
            len += literals.len() + more;
        }
        let last = if is_filled { PAGE_SIZE.saturating_sub(len) } else { last };
        push(&mut block, &vec![7; last], None);
        prop_assert!(decompressed(&block).ok() == expanded(&block));
    }
}

/// Appends a sequence.
fn push(block: &mut Vec<u8>, literals: &[u8], repeat: Option<(u16, usize)>) {
    let more = repeat.map_or(0, |(_, len)| len - 4);
    let half = |len: usize| u8::try_from(len.min(15)).unwrap();
    let rest = |block: &mut Vec<u8>, len: usize| {
        if len >= 15 {
            block.extend(std::iter::repeat_n(255, (len - 15) / 255));
            block.push(u8::try_from((len - 15) % 255).unwrap());
        }
    };
    block.push(half(literals.len()) << 4 | half(more));
    rest(block, literals.len());
    block.extend(literals);
    if let Some((distance, _)) = repeat {
        block.extend(distance.to_le_bytes());
        rest(block, more);
    }
}

#[test]
fn blocks_that_are_not_a_page_are_errors() {
    /// A block of one literal, a match, and the last literals.
    fn with(distance: u16, len: usize, last: usize) -> Vec<u8> {
        let mut block = Vec::new();
        push(&mut block, &[1], Some((distance, len)));
        push(&mut block, &vec![2; last], None);
        block
    }
    assert_eq!(decompressed(&with(1, 4000, 95)).map(|page| page[95]), Ok(1));
    let mut cut = with(1, 4000, 95);
    cut.pop();
    let mut behind = with(1, 4000, 95);
    behind.push(0);
    let mut no_last = Vec::new();
    push(&mut no_last, &[1], Some((1, 4095)));
    let lengths_without_end = [vec![0xF0], vec![255; 100_000]].concat();
    let mut announced = with(1, 4081, 14);
    assert!(decompressed(&announced).is_ok());
    *announced.iter_mut().rev().nth(14).unwrap() |= 1;
    let cases: [(&str, Vec<u8>); 13] = [
        ("nothing", vec![]),
        ("a token alone", vec![0x10]),
        ("no distance", vec![0x10, 1]),
        ("half a distance", vec![0x10, 1, 1]),
        ("a distance of 0", with(0, 4000, 95)),
        ("a distance before the page", with(2, 4000, 95)),
        ("a byte too few", with(1, 3999, 95)),
        ("a byte too many", with(1, 4001, 95)),
        ("a match behind the page", with(1, 5000, 95)),
        ("a block cut short", cut),
        ("a byte behind the end", behind),
        ("no last literals", no_last),
        ("a match announced behind the last literals", announced),
    ];
    for (name, block) in cases {
        assert_eq!(decompressed(&block), Err(CorruptPage), "{name}");
    }
    assert_eq!(decompressed(&lengths_without_end), Err(CorruptPage));
}

#[test]
fn noise_takes_its_own_length_and_18_bytes() {
    for effort in EFFORTS {
        assert_eq!(compressed(effort, &noise()).len(), WORST);
    }
}

#[test]
fn a_page_of_one_byte_is_one_match() {
    for effort in EFFORTS {
        let block = compressed(effort, &[7; PAGE_SIZE]);
        let sequences = sequences(&block).unwrap();
        assert_eq!(sequences.len(), 2);
        assert_eq!(sequences[0].1, Some((1, 4090)));
    }
}
