//! Streams of deflate that nobody made, with dictionaries and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pepita_zram::codec::deflate::{Decoder, Encoder};

const PAGE: usize = 4096;

fuzz_target!(|data: &[u8]| {
    let split = data.first().map_or(0, |byte| usize::from(*byte) * 16);
    let (dictionary, stream) = data.split_at(split.min(data.len()));
    let text: [u8; PAGE] = std::array::from_fn(|at| stream.get(at % 700).copied().unwrap_or(7));
    for dictionary in [&[], dictionary] {
        let mut decoder = Decoder::new(dictionary);
        let mut page = [0; PAGE];
        // Whatever this says, the next stream is read as ever.
        let taken = decoder.decompress(stream, &mut page);
        if taken.is_ok() {
            let mut again = [1; PAGE];
            let fresh = Decoder::new(dictionary).decompress(stream, &mut again);
            assert!(
                fresh.is_ok() && again == page,
                "it depends on what came before"
            );
        }
        let mut room = [0; 2 * PAGE];
        let len = Encoder::new(dictionary).compress(&text, &mut room);
        let made = &room[..len.expect("there is room for any stream")];
        decoder
            .decompress(made, &mut page)
            .expect("ours reads ours");
        assert!(page == text);
    }
});
