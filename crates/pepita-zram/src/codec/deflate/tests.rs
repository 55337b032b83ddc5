//! Round trips, dictionaries, and streams that are none.

use proptest::prelude::*;

use super::*;
use crate::codec::dictionary;
use crate::codec::pages::{Page, damaged, damages, noise, page};

fn compressed(encoder: &mut Encoder, page: &Page) -> Vec<u8> {
    let mut stream = vec![0; ROOM];
    let len = encoder.compress(page, &mut stream).unwrap();
    stream.truncate(len);
    stream
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_page_comes_back_with_and_without_a_dictionary(
        pages in proptest::collection::vec(page(), 3),
        dictionary in proptest::collection::vec(any::<u8>(), 0..40_000),
    ) {
        for dictionary in [&[][..], &dictionary, &pages.concat()] {
            let (mut encoder, mut decoder) = (Encoder::new(dictionary), Decoder::new(dictionary));
            for page in &pages {
                let stream = compressed(&mut encoder, page);
                let mut back = [0xEE; PAGE_SIZE];
                prop_assert_eq!(decoder.decompress(&stream, &mut back), Ok(()));
                prop_assert!(back == *page);
                prop_assert!(compressed(&mut Encoder::new(dictionary), page) == stream);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_stream_that_does_not_fit_is_none_however_often(page in page()) {
        let mut encoder = Encoder::new(&[]);
        let stream = compressed(&mut encoder, &page);
        let mut short = vec![0; stream.len() - 1];
        // zlib-rs 0.6.8 panics after so many streams that it had no room for.
        for _ in 0..200 {
            prop_assert_eq!(encoder.compress(&page, &mut short), None);
        }
        let mut exact = vec![0; stream.len()];
        prop_assert_eq!(encoder.compress(&page, &mut exact), Some(stream.len()));
        prop_assert!(exact == stream);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_page_is_right_after_a_damaged_stream(
        page in page(),
        damages in damages(),
        has_dictionary in any::<bool>(),
    ) {
        let dictionary = if has_dictionary { noise().to_vec() } else { Vec::new() };
        let stream = compressed(&mut Encoder::new(&dictionary), &page);
        let mut decoder = Decoder::new(&dictionary);
        let mut back = [0; PAGE_SIZE];
        // Damage can make another page of it, which is no error here.
        let _ = decoder.decompress(&damaged(stream.clone(), damages), &mut back);
        prop_assert_eq!(decoder.decompress(&stream, &mut back), Ok(()));
        prop_assert!(back == page);
    }
}

#[test]
fn streams_of_another_length_than_a_page_are_errors() {
    let mut encoder = Encoder::new(&[]);
    let stream = compressed(&mut encoder, &[1; PAGE_SIZE]);
    let cut = stream[..stream.len() - 1].to_vec();
    let behind = [&stream[..], &[0]].concat();
    let mut shorter = vec![0; ROOM];
    let mut zlib = Deflate::new(9, false, 15);
    let status = zlib.compress(&[1; PAGE_SIZE - 1], &mut shorter, DeflateFlush::Finish);
    assert_eq!(status, Ok(Status::StreamEnd));
    shorter.truncate(usize::try_from(zlib.total_out()).unwrap());
    let mut longer = vec![0; ROOM];
    zlib.reset();
    let status = zlib.compress(&[1; PAGE_SIZE + 1], &mut longer, DeflateFlush::Finish);
    assert_eq!(status, Ok(Status::StreamEnd));
    longer.truncate(usize::try_from(zlib.total_out()).unwrap());
    let mut decoder = Decoder::new(&[]);
    let mut page = [0; PAGE_SIZE];
    for wrong in [&[][..], &cut, &behind, &shorter, &longer] {
        assert_eq!(decoder.decompress(wrong, &mut page), Err(CorruptPage));
    }
    assert_eq!(decoder.decompress(&stream, &mut page), Ok(()));
}

#[test]
fn a_page_of_the_dictionary_is_a_few_matches() {
    let page = noise();
    assert!(compressed(&mut Encoder::new(&[]), &page).len() > PAGE_SIZE);
    let stream = compressed(&mut Encoder::new(&page), &page);
    assert!(stream.len() < 100, "{} bytes", stream.len());
    let mut back = [0; PAGE_SIZE];
    let without = Decoder::new(&[]).decompress(&stream, &mut back);
    assert_eq!(without, Err(CorruptPage));
}

#[test]
fn of_a_long_dictionary_the_end_counts() {
    let page = noise();
    let mut long = vec![0; 60_000];
    long.extend(page);
    let stream = compressed(&mut Encoder::new(&long), &page);
    let mut back = [0; PAGE_SIZE];
    let short = &long[long.len() - DICTIONARY_LEN..];
    assert_eq!(Decoder::new(short).decompress(&stream, &mut back), Ok(()));
    assert!(back == page && stream.len() < 100);
}

#[test]
fn a_trained_dictionary_makes_pages_like_those_smaller() {
    /// A page of stretches of the same noise in an order of its own.
    fn shuffled(seed: usize) -> Page {
        let noise = noise();
        let mut bytes = (0_usize..).flat_map(|i| {
            let at = (i * i * 31 + seed * 17 + i) % 64 * 64;
            noise[at..at + 64].to_vec()
        });
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }
    let pages: Vec<Page> = (0..50).map(shuffled).collect();
    let dictionary = dictionary::train(&pages, 8192);
    assert!(dictionary.len() <= 8192);
    let new = shuffled(1000);
    let without = compressed(&mut Encoder::new(&[]), &new).len();
    let with = compressed(&mut Encoder::new(&dictionary), &new).len();
    assert!(3 * with < without, "{with} bytes with, {without} without");
}

#[test]
fn what_repeats_nowhere_gives_no_dictionary() {
    assert_eq!(dictionary::train(&[], 4096), []);
    assert_eq!(dictionary::train(&[noise()], 4096), []);
    assert_eq!(dictionary::train(&[noise(), noise()], 0), []);
    let twice = dictionary::train(&[noise(), noise()], 1024);
    assert_eq!(twice.len(), 1024);
}
