//! LZ4 blocks that nobody made, and pages that everybody makes the same of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pepita_zram::codec::lz4::{self, Effort};

const PAGE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    decode(data);
    encode(&page_of(data));
});

/// A block that may be anything.
fn decode(block: &[u8]) {
    let mut page = [0xA5; PAGE];
    if lz4::decompress(block, &mut page).is_ok() {
        let mut theirs = [0; PAGE];
        let len = lz4_flex::block::decompress_into(block, &mut theirs);
        assert_eq!(len.ok(), Some(PAGE), "only ours takes it");
        assert!(page == theirs, "the decoders differ");
    }
}

fn encode(page: &[u8; PAGE]) {
    for effort in [Effort::Usual, Effort::Moderate, Effort::Low] {
        let mut block = [0; 2 * PAGE];
        let len = lz4::Encoder::new(effort).compress(page, &mut block);
        let block = &block[..len.expect("there is room for any block")];
        let mut back = [0; PAGE];
        lz4::decompress(block, &mut back).expect("ours reads ours");
        assert!(back == *page);
        let len = lz4_flex::block::decompress_into(block, &mut back);
        assert_eq!(len.ok(), Some(PAGE), "theirs reads ours");
        assert!(back == *page);
    }
    let theirs = lz4_flex::block::compress(page);
    let mut back = [0; PAGE];
    lz4::decompress(&theirs, &mut back).expect("ours reads theirs");
    assert!(back == *page);
}

/// The data again and again, each time a little different.
fn page_of(data: &[u8]) -> [u8; PAGE] {
    let len = data.len().max(1);
    std::array::from_fn(|at| {
        let turn = (at / len).to_le_bytes()[0];
        let byte = data.get(at % len).copied().unwrap_or_default();
        if at % 7 == 0 { byte ^ turn } else { byte }
    })
}
