//! Dictionaries for a device's dense objects, trained on its pages.

use pepita_mem::PAGE_SIZE;

use crate::codec::{deflate, dictionary};
use crate::device::ZramDevice;
use crate::dictionaries::DICTIONARIES_MAX;
use crate::error::ZramError;
use crate::objects::Form;
use crate::page::Page;
use crate::sync::atomic::Ordering;

/// Pages that are looked at: 4 MiB.
const SAMPLE_PAGES: u64 = 1024;

/// Of so many pages that are looked at, one is for the trial, and the others for the training.
const TRIAL_ONE_IN: usize = 8;

/// Fewer pages for the trial say nothing.
const TRIAL_PAGES_MIN: usize = 16;

/// A dictionary has to save this many hundredths.
const GAIN_PERCENT: u64 = 2;

/// Upkeep trains again when so many pages were written for each that there was.
const WRITES_PER_PAGE: u64 = 4;

/// What came of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Training {
    /// Pages that were looked at.
    pub pages: u64,
    /// Bytes of the dictionary.
    pub dictionary_bytes: u64,
    /// What pages for the trial are compressed to without it.
    pub without_bytes: u64,
    /// And with it.
    pub with_bytes: u64,
    /// Whether it is used from now on: it saves at least a fiftieth.
    pub is_used: bool,
}

impl ZramDevice {
    /// Trains a dictionary of at most `len` bytes (24 KiB for more, 16 KiB are a good choice) on up to 1024 of the pages
    /// that are stored, and tries it on others of them. If it saves something, [`recompress`](Self::recompress) uses it
    /// from now on, also for what it has compressed before, which then lets go of its older dictionary. It takes
    /// about 0.2 s.
    ///
    /// A dictionary is kept in memory, as part of [`metadata_bytes`](crate::ZramStats::metadata_bytes), as long as an
    /// object was made with it, or it is the newest. Each stream that compresses has a copy.
    ///
    /// ```
    /// use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};
    ///
    /// let device = ZramDevice::new(ZramConfig::with_size(4 << 20))?;
    /// for index in 0..256_u64 {
    ///     let text: String = (0..).map(|n| format!("record {index}.{n}: status=ok, ")).take(200).collect();
    ///     device.write_page(index, text.as_bytes().first_chunk().unwrap())?;
    /// }
    /// let training = device.train_dictionary(4096)?;
    /// assert!(training.is_used && training.with_bytes < training.without_bytes);
    /// device.mark_idle(Idle::All);
    /// assert_eq!(device.recompress(PageKind::Idle, u64::MAX)?, 256);
    /// # Ok::<(), pepita_zram::ZramError>(())
    /// ```
    ///
    /// # Errors
    /// [`ZramError::Dictionaries`] while objects have as many older ones as there can be.
    pub fn train_dictionary(&self, len: usize) -> Result<Training, ZramError> {
        let sample = self.sample();
        let (trial, pages): (Vec<_>, Vec<_>) = sample
            .iter()
            .enumerate()
            .partition(|(index, _)| index % TRIAL_ONE_IN == 0);
        let pages: Vec<Page> = pages.into_iter().map(|(_, page)| *page).collect();
        let dictionary = dictionary::train(&pages, len.min(deflate::DICTIONARY_LEN));
        let compressed = |dictionary: &[u8]| {
            let mut encoder = deflate::Encoder::new(dictionary);
            let mut out = [0; PAGE_SIZE];
            let lens = trial.iter().map(|(_, page)| {
                let len = encoder.compress(page, &mut out);
                len.unwrap_or(PAGE_SIZE) as u64
            });
            lens.sum::<u64>()
        };
        let (without_bytes, with_bytes) = (compressed(&[]), compressed(&dictionary));
        let is_used = trial.len() >= TRIAL_PAGES_MIN
            && with_bytes * 100 <= without_bytes * (100 - GAIN_PERCENT);
        let training = Training {
            pages: sample.len() as u64,
            dictionary_bytes: dictionary.len() as u64,
            without_bytes,
            with_bytes,
            is_used,
        };
        let stats = self.stats();
        let next_at = stats.num_writes + WRITES_PER_PAGE * stats.pages_stored.max(SAMPLE_PAGES);
        let dictionaries = &self.objects.dictionaries;
        dictionaries.next_at.store(next_at, Ordering::Relaxed);
        if is_used && !dictionaries.set(dictionary) {
            return Err(ZramError::Dictionaries {
                max: DICTIONARIES_MAX,
            });
        }
        Ok(training)
    }

    /// Whether what is stored is other than what was trained on, or enough for the first time.
    pub(crate) fn wants_training(&self) -> bool {
        let stats = self.stats();
        let next_at = self.objects.dictionaries.next_at.load(Ordering::Relaxed);
        let enough = (TRIAL_ONE_IN * TRIAL_PAGES_MIN) as u64;
        stats.num_writes >= next_at && stats.pages_stored >= enough
    }

    /// Compressible pages, evenly from all that are stored.
    fn sample(&self) -> Vec<Page> {
        let is_compressible = |form| matches!(form, Form::Lz4 | Form::Deflate(_));
        let compressible = self.objects.stored().saturating_sub(self.objects.raw());
        let step = compressible.div_ceil(SAMPLE_PAGES).max(1);
        let mut pages = Vec::new();
        let mut number = 0;
        for (id, object) in self.objects.pin_each(0) {
            if is_compressible(self.objects.form(id)) {
                number += 1;
                if number % step == 0 && (pages.len() as u64) < SAMPLE_PAGES {
                    let mut page = [0; PAGE_SIZE];
                    let (_, read) = self.read_dense(id, &mut page);
                    let hash = object.hash.load(Ordering::Relaxed);
                    if read.is_ok() && (self.hash)(&page) == hash {
                        pages.push(page);
                    }
                }
            }
            self.objects.release(id);
        }
        pages
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::device::tests::{holds, page_of};
    use crate::{Idle, PageKind, ZramConfig};

    /// A page of records of a kind, which have their names in common.
    pub(crate) fn record(kind: u64, number: u64) -> Page {
        let mut text = String::new();
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while text.len() < PAGE_SIZE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = (state >> 20) % 50;
            // Words that stand in many pages, but seldom twice in one.
            let name = (kind * 1_000_003 + word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            text += &format!("{name:016x}={:x};", state % 65_536);
        }
        *text.as_bytes().first_chunk().expect("long enough")
    }

    fn filled(pages: u64) -> ZramDevice {
        let device = ZramDevice::new(ZramConfig::with_size(pages * 4096)).expect("memory");
        for index in 0..pages {
            device.write_page(index, &record(1, index)).expect("room");
        }
        device
    }

    fn make_dense(device: &ZramDevice) -> u64 {
        device.mark_idle(Idle::All);
        device.recompress(PageKind::Idle, u64::MAX).expect("room")
    }

    #[test]
    fn pages_are_denser_with_a_dictionary_and_come_back() {
        let device = filled(200);
        assert_eq!(make_dense(&device), 200);
        let without = device.stats();
        assert_eq!((make_dense(&device), without.dictionaries), (0, 0));
        let training = device.train_dictionary(2048).expect("there is a place");
        assert!(training.is_used, "{training:?}");
        assert_eq!(
            (training.pages, training.dictionary_bytes > 512),
            (200, true)
        );
        assert!(make_dense(&device) > 150, "what was tried is tried with it");
        let with = device.stats();
        assert!(with.compr_data_size * 100 < without.compr_data_size * 95);
        assert_eq!(with.dictionaries, 1);
        assert!(with.metadata_bytes >= without.metadata_bytes + training.dictionary_bytes);
        for index in 0..200 {
            holds(&device, index, &record(1, index));
        }
        device.reset();
        assert_eq!(device.stats().dictionaries, 0);
    }

    #[test]
    fn an_older_dictionary_goes_when_no_object_has_it_and_at_most_four_are_there() {
        let device = filled(128);
        for round in 1..=4 {
            assert!(device.train_dictionary(2048).expect("a place").is_used);
            device.mark_idle(Idle::All);
            // Fewer each time: those behind keep the one before.
            device
                .recompress(PageKind::Idle, 50 - 10 * round)
                .expect("room");
            assert_eq!(device.stats().dictionaries, round);
        }
        let none_free = device.train_dictionary(2048);
        assert_eq!(none_free, Err(ZramError::Dictionaries { max: 4 }));
        make_dense(&device);
        assert_eq!(device.stats().dictionaries, 1, "all have the newest");
        for index in 0..128 {
            holds(&device, index, &record(1, index));
            device.write_page(index, &record(2, index)).expect("room");
        }
        assert!(device.train_dictionary(2048).expect("a place").is_used);
        assert_eq!(device.stats().dictionaries, 1, "nothing has the first");
        make_dense(&device);
        holds(&device, 127, &record(2, 127));
    }

    #[test]
    fn a_dictionary_is_never_longer_than_what_pages_can_make_use_of() {
        let device = ZramDevice::new(ZramConfig::with_size(512 * 4096)).expect("memory");
        for index in 0..512 {
            let page = record(index / 8, index);
            device.write_page(index, &page).expect("room");
        }
        for len in [32 << 10, usize::MAX] {
            let training = device.train_dictionary(len).expect("a place");
            assert_eq!(training.dictionary_bytes, 24 << 10);
        }
    }

    #[test]
    fn an_older_dictionary_goes_though_there_is_no_memory_for_objects_with_the_newest() {
        let device = filled(128);
        let set = |number| device.objects.dictionaries.set(record(1, number).to_vec());
        assert!(set(1));
        device.mark_idle(Idle::All);
        assert_eq!(device.recompress(PageKind::Idle, 64), Ok(64));
        assert!(set(2));
        for index in 0..64 {
            device.discard_page(index).expect("in range");
        }
        assert_eq!(device.stats().dictionaries, 2, "nobody has looked");
        device.set_mem_limit(Some(4096));
        let ended = device.recompress(PageKind::Idle, u64::MAX).unwrap_err();
        assert_eq!(ended.error, ZramError::MemLimit { limit_bytes: 4096 });
        assert_eq!(device.stats().dictionaries, 1);
    }

    #[test]
    fn pages_that_only_an_older_dictionary_makes_smaller_do_not_keep_it() {
        let device = ZramDevice::new(ZramConfig::with_size(1 << 20)).expect("memory");
        for kind in 0..8 {
            let noise = page_of(3, kind);
            device.write_page(kind, &noise).expect("room");
            let set = device.objects.dictionaries.set(noise.to_vec());
            assert!(set, "there is a place for dictionary {kind}");
            assert_eq!(make_dense(&device), 1);
            let stats = device.stats();
            assert_eq!((stats.dictionaries, stats.huge_pages), (1, kind));
        }
        assert_eq!(make_dense(&device), 0, "all were tried");
        for kind in 0..8 {
            holds(&device, kind, &page_of(3, kind));
        }
    }

    #[test]
    fn a_dictionary_that_saves_nothing_is_not_used() {
        let device = ZramDevice::new(ZramConfig::with_size(64 * 4096)).expect("memory");
        let none = device.train_dictionary(4096).expect("a place");
        assert_eq!((none.pages, none.is_used), (0, false));
        for index in 0..64 {
            // Each is nothing like the others.
            let mut page = [0; PAGE_SIZE];
            for (at, byte) in page.iter_mut().enumerate().take(2000) {
                *byte = ((at * at) as u64 * (2 * index + 1)).to_le_bytes()[1];
            }
            device.write_page(index, &page).expect("room");
        }
        let training = device.train_dictionary(4096).expect("a place");
        assert!(!training.is_used, "{training:?}");
        assert_eq!(device.stats().dictionaries, 0);
    }

    #[test]
    fn pages_are_read_and_written_while_dictionaries_come_and_go() {
        let device = filled(64);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let trainer = scope.spawn(|| {
                let mut used = 0;
                while !over.load(Ordering::Relaxed) {
                    used += u64::from(device.objects.dictionaries.set(record(1, used).to_vec()));
                    make_dense(&device);
                }
                used
            });
            for round in 0..30 {
                for index in 0..64 {
                    holds(&device, index, &record(1, index));
                    if (index + round) % 3 == 0 {
                        device.write_page(index, &record(1, index)).expect("room");
                    }
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(trainer.join().expect("no panic") > 0);
        });
        assert_eq!(device.stats().corrupt_reads, 0);
    }
}
