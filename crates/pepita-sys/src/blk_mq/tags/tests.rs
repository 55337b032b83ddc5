//! Tags one at a time, by many threads, and in every order that the memory model allows (loom).

use std::vec::Vec;

use super::*;

fn storage(config: TagSetConfig) -> Vec<TagWord> {
    let words = TagSetConfig::words(config.queue_depth, config.reserved_tags);
    (0..words).map(|_| TagWord::new()).collect()
}

#[cfg(not(pepita_loom))]
mod plain {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_valid_configuration_makes_a_set_with_its_tags(config: TagSetConfig, index: u32) {
            prop_assert_eq!(config.validate(), Ok(()));
            let words = storage(config);
            let tags = TagSet::new(config, &words).expect("a set");
            prop_assert_eq!((tags.depth(), tags.in_use()), (config.queue_depth, 0));
            let mut hint = TagHint::new(index);
            let tag = tags.alloc(&mut hint).expect("all are free");
            prop_assert!((config.reserved_tags..config.queue_depth).contains(&tag));
            let reserved = (config.reserved_tags > 0).then_some(0);
            prop_assert_eq!(tags.alloc_reserved(), reserved);
            prop_assert_eq!(tags.free(tag, &mut hint), Ok(()));
        }
    }

    #[test]
    fn an_error_has_the_number_that_a_call_would_give() {
        let depth = TagError::Depth {
            depth: 0,
            reserved: 0,
        };
        let storage = TagError::Storage {
            words: 0,
            needed: 1,
        };
        for (error, errno) in [
            (TagError::NoQueue, Errno::EINVAL),
            (depth, Errno::EINVAL),
            (storage, Errno::EINVAL),
            (TagError::StorageInUse, Errno::EBUSY),
            (TagError::NotInUse { tag: 1 }, Errno::EINVAL),
        ] {
            assert_eq!(KernelError::from(error).to_errno(), errno, "{error}");
        }
    }

    #[test]
    fn every_tag_is_given_out_once_whatever_the_depth() {
        for depth in [
            1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 63, 64, 65, 100, 128, 255, 256, 257, 1000, 4096, 32768,
        ] {
            for reserved in [0, 1.min(depth - 1), depth / 3, depth - 1] {
                let config = TagSetConfig::new(1, depth).reserved(reserved);
                let words = storage(config);
                let tags = TagSet::new(config, &words).expect("a set");
                let mut hint = TagHint::new(u32::from(depth));
                let normal: Vec<u16> = std::iter::from_fn(|| tags.alloc(&mut hint)).collect();
                let kept: Vec<u16> = std::iter::from_fn(|| tags.alloc_reserved()).collect();
                assert_eq!(kept, (0..reserved).collect::<Vec<_>>());
                let set: BTreeSet<u16> = normal.iter().copied().collect();
                assert_eq!(
                    set,
                    (reserved..depth).collect(),
                    "depth {depth}, {reserved} reserved"
                );
                assert_eq!((normal.len(), tags.in_use()), (set.len(), u32::from(depth)));
                for tag in 0..depth {
                    assert_eq!(tags.free(tag, &mut hint), Ok(()));
                    assert_eq!(tags.free(tag, &mut hint), Err(TagError::NotInUse { tag }));
                }
                assert_eq!(tags.in_use(), 0);
                assert_eq!(
                    tags.free(depth, &mut hint),
                    Err(TagError::NotInUse { tag: depth })
                );
            }
        }
    }

    #[test]
    fn few_tags_spread_over_four_words_and_callers_start_apart() {
        for (depth, words) in [
            (1, 1),
            (3, 1),
            (4, 4),
            (64, 4),
            (128, 4),
            (256, 4),
            (257, 5),
            (4096, 64),
        ] {
            assert_eq!(TagSetConfig::words(depth, 0), words, "{depth}");
        }
        let config = TagSetConfig::new(1, 64);
        let words = storage(config);
        let tags = TagSet::new(config, &words).expect("a set");
        let lines: BTreeSet<u16> = (0..4)
            .filter_map(|cpu| Some(tags.alloc(&mut TagHint::new(cpu))? / 16))
            .collect();
        assert!(lines.len() >= 3, "{lines:?}");
    }

    #[test]
    fn a_freed_tag_comes_back_to_who_freed_it() {
        let config = TagSetConfig::new(1, 64);
        let words = storage(config);
        let tags = TagSet::new(config, &words).expect("a set");
        let mut hint = TagHint::new(3);
        let tag = tags.alloc(&mut hint).expect("all are free");
        tags.free(tag, &mut hint).expect("held");
        assert_eq!(tags.alloc(&mut hint), Some(tag));
    }

    #[test]
    fn a_smaller_depth_gives_out_no_tag_above_it() {
        let config = TagSetConfig::new(1, 100).reserved(2);
        let words = storage(config);
        let tags = TagSet::new(config, &words).expect("a set");
        let mut hint = TagHint::new(0);
        let held: Vec<u16> = std::iter::from_fn(|| tags.alloc(&mut hint)).collect();
        tags.set_depth(10).expect("below 100");
        assert_eq!((tags.depth(), tags.alloc(&mut hint)), (10, None));
        for tag in held {
            tags.free(tag, &mut hint)
                .expect("held, also above the depth");
        }
        let given: BTreeSet<u16> = std::iter::from_fn(|| tags.alloc(&mut hint)).collect();
        assert_eq!(given, (2..10).collect());
        tags.set_depth(100).expect("as it was made");
        assert_eq!(std::iter::from_fn(|| tags.alloc(&mut hint)).count(), 90);
        for depth in [0, 2, 101] {
            assert_eq!(
                tags.set_depth(depth),
                Err(TagError::Depth { depth, reserved: 2 })
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_numbers() {
        let refused = |config: TagSetConfig, words| {
            let storage: Vec<TagWord> = (0..words).map(|_| TagWord::new()).collect();
            let error = TagSet::new(config, &storage).expect_err("refused");
            std::string::ToString::to_string(&error)
        };
        assert_eq!(
            refused(TagSetConfig::new(0, 1), 1),
            "a device needs at least 1 hardware queue"
        );
        let all = TagSetConfig::new(1, 8).reserved(8);
        assert_eq!(
            refused(all, 9),
            "queue depth 8 is not in 9..=32768: 8 tags are reserved"
        );
        let deep = TagSetConfig::new(1, 40_000);
        assert_eq!(
            refused(deep, 1000),
            "queue depth 40000 is not in 1..=32768: 0 tags are reserved"
        );
        assert_eq!(
            refused(TagSetConfig::new(1, 64), 3),
            "3 words of storage, 4 are needed"
        );
        assert_eq!(TagSetConfig::new(4, 256).total_tags(), 1024);

        let config = TagSetConfig::new(1, 8);
        let words = storage(config);
        let tags = TagSet::new(config, &words).expect("a set");
        tags.alloc(&mut TagHint::new(0)).expect("all are free");
        assert_eq!(
            TagSet::new(config, &words).err(),
            Some(TagError::StorageInUse)
        );
    }

    #[test]
    fn threads_never_hold_the_same_tag() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let config = TagSetConfig::new(1, 24);
        let words = storage(config);
        let tags = TagSet::new(config, &words).expect("a set");
        let held: Vec<AtomicBool> = (0..24).map(|_| AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (tags, held) = (&tags, &held);
                scope.spawn(move || {
                    let mut hint = TagHint::new(thread);
                    let mut mine = Vec::new();
                    for round in 0..20_000_u32 {
                        if round % 7 < 4 {
                            if let Some(tag) = tags.alloc(&mut hint) {
                                assert!(
                                    !held[usize::from(tag)].swap(true, Ordering::Relaxed),
                                    "{tag} twice"
                                );
                                mine.push(tag);
                            }
                        } else if let Some(tag) = mine.pop() {
                            held[usize::from(tag)].store(false, Ordering::Relaxed);
                            tags.free(tag, &mut hint).expect("held");
                        }
                    }
                    for tag in mine {
                        held[usize::from(tag)].store(false, Ordering::Relaxed);
                        tags.free(tag, &mut hint).expect("held");
                    }
                });
            }
        });
        assert_eq!(tags.in_use(), 0, "none is lost");
    }
}

#[cfg(pepita_loom)]
mod model {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    use super::*;

    /// Who holds a tag owns its cell: loom fails where two do, or where one does not see the other's end.
    type Owned = Arc<Vec<UnsafeCell<u32>>>;

    fn alloc_and_free(tags: &TagSet<'_>, owned: &Owned, index: u32, rounds: u32) {
        let mut hint = TagHint::new(index);
        for _ in 0..rounds {
            let Some(tag) = tags.alloc(&mut hint) else {
                continue;
            };
            owned[usize::from(tag)].with_mut(|_| ());
            tags.free(tag, &mut hint).expect("held");
        }
    }

    /// `threads` threads that each allocate and free `rounds` times among `depth` tags.
    fn check(threads: u32, rounds: u32, depth: u16) {
        loom::model(move || {
            let config = TagSetConfig::new(1, depth);
            let words: &'static [TagWord] = Vec::leak(storage(config));
            let tags = Arc::new(TagSet::new(config, words).expect("a set"));
            let owned: Owned = Arc::new((0..depth).map(|_| UnsafeCell::new(0)).collect());
            let others: Vec<_> = (1..threads)
                .map(|index| {
                    let (tags, owned) = (Arc::clone(&tags), Arc::clone(&owned));
                    loom::thread::spawn(move || alloc_and_free(&tags, &owned, index, rounds))
                })
                .collect();
            alloc_and_free(&tags, &owned, 0, rounds);
            for thread in others {
                thread.join().expect("no panic");
            }
            assert_eq!(tags.in_use(), 0, "none is lost");
            let mut hint = TagHint::new(0);
            let left = std::iter::from_fn(|| tags.alloc(&mut hint)).count();
            assert_eq!(left, usize::from(depth));
        });
    }

    #[test]
    fn loom_two_threads_and_one_tag() {
        check(2, 2, 1);
    }

    #[test]
    fn loom_two_threads_and_two_tags() {
        check(2, 2, 2);
    }

    #[test]
    fn loom_three_threads_and_two_tags() {
        check(3, 1, 2);
    }
}
