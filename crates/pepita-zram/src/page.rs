//! What is asked of the bytes of a page.

use pepita_mem::PAGE_SIZE;
use rapidhash::v3::rapidhash_v3;

/// The bytes of a page.
pub(crate) type Page = [u8; PAGE_SIZE];

/// The 8 bytes that a page repeats, if it does.
pub(crate) fn filled_with(page: &Page) -> Option<u64> {
    // The last word first, since many a page begins with zeroes; then each byte with the one 8 before it.
    let first = page.first_chunk()?;
    let repeats = page.last_chunk::<8>()? == first && page[8..] == page[..PAGE_SIZE - 8];
    repeats.then(|| u64::from_ne_bytes(*first))
}

/// Writes `word` all over `page`.
pub(crate) fn fill(page: &mut Page, word: u64) {
    for place in page.as_chunks_mut().0 {
        *place = word.to_ne_bytes();
    }
}

/// A number that another page has with a probability of 2⁻⁶⁴: the check of what comes back, and by which
/// duplicates are found. Who wants to can make two pages with the same one, so duplicates are compared.
pub(crate) fn hash(page: &Page) -> u64 {
    rapidhash_v3(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_repeats_a_word_is_seen_and_one_with_a_wrong_byte_is_not() {
        for word in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut page = [1; PAGE_SIZE];
            fill(&mut page, word);
            assert_eq!(filled_with(&page), Some(word));
            for wrong in [0, 7, 8, 2049, 4095] {
                page[wrong] ^= 1;
                assert_eq!(filled_with(&page), None, "at {wrong}");
                page[wrong] ^= 1;
            }
        }
    }
}
