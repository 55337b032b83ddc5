use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

/// An object that tells its number and length.
#[expect(clippy::cast_possible_truncation, reason = "a byte of a number")]
fn object(number: u32, len: usize) -> Vec<u8> {
    let bytes = number.to_le_bytes();
    (0..len).map(|at| bytes[at % 4] ^ (at / 4) as u8).collect()
}

/// A store, and what should be in it: by owner, the place and the length.
struct Checked {
    store: Store,
    places: HashMap<u32, (Place, usize)>,
    next: u32,
    arena: usize,
}

impl Checked {
    fn new() -> Self {
        Self {
            store: Store::new(1 << 20).unwrap(),
            places: HashMap::new(),
            next: 0,
            arena: 0,
        }
    }

    fn insert(&mut self, len: usize) -> Result<(), StoreError> {
        let owner = self.next;
        let arena = self.arena;
        let place = self.store.insert_in(arena, owner, &object(owner, len), 0)?;
        self.next += 1;
        self.places.insert(owner, (place, len));
        Ok(())
    }

    fn remove_nth(&mut self, nth: usize) {
        let mut owners: Vec<_> = self.places.keys().copied().collect();
        owners.sort_unstable();
        if let Some(owner) = owners.get(nth % owners.len().max(1)) {
            let (place, _) = self.places.remove(owner).unwrap();
            self.store.remove(place);
        }
    }

    fn compact(&mut self) -> u64 {
        let (store, places) = (&self.store, &mut self.places);
        store.compact(|owner, from| {
            let (place, len) = places.get_mut(&owner).expect("it lives");
            assert_eq!(*place, from);
            let bytes = store.reader(from).object(*len).to_vec();
            if let Ok(to) = store.insert(owner, &bytes) {
                store.remove(std::mem::replace(place, to));
            }
        })
    }

    fn check(&self) {
        for (owner, (place, len)) in &self.places {
            let reader = self.store.reader(*place);
            assert_eq!(reader.object(*len), object(*owner, *len), "of {owner}");
        }
        assert!(self.store.mapped_bytes() >= self.bytes());
        assert!(self.store.mapped_bytes() <= self.store.mapped_bytes_max());
    }

    fn bytes(&self) -> u64 {
        self.places.values().map(|(_, len)| *len as u64).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    fn overhead(&self) -> f64 {
        self.store.mapped_bytes() as f64 / self.bytes() as f64
    }
}

/// Lengths as a real corpus has them: a bell around 2500, some of all others, some raw.
fn lengths(count: usize) -> impl Iterator<Item = usize> {
    let mut state = 1_u64;
    (0..count).map(move |_| {
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let len = match draw(10) {
            0 => 4096,
            1 => 1 + draw(3967),
            _ => 1000 + draw(750) + draw(750) + draw(750) + draw(700),
        };
        usize::try_from(len).unwrap()
    })
}

#[test]
fn objects_take_little_more_than_their_bytes() {
    let mut checked = Checked::new();
    for len in lengths(8_500) {
        checked.insert(len).unwrap();
    }
    checked.check();
    assert!(checked.overhead() < 1.06, "{} at 22 MB", checked.overhead());
}

#[test]
fn half_a_gigabyte_takes_less_than_a_fiftieth_more() {
    // As above, without the copies of the check: bytes of one value for all.
    let store = Store::new(1 << 20).unwrap();
    let (bytes, mut total) = ([1; 4096], 0);
    for (owner, len) in lengths(210_000).enumerate() {
        store
            .insert(u32::try_from(owner).unwrap(), &bytes[..len])
            .unwrap();
        total += len as u64;
    }
    assert!(total > 512 << 20);
    let (mapped, books) = (store.mapped_bytes(), store.metadata_bytes());
    assert!(mapped * 1000 < total * 1022, "{mapped} for {total}");
    assert!(books * 100 < total, "{books} of books");
}

#[test]
fn all_memory_comes_back() {
    let mut checked = Checked::new();
    for len in lengths(20_000) {
        checked.insert(len).unwrap();
    }
    while !checked.places.is_empty() {
        let owner = *checked.places.keys().next().unwrap();
        let (place, _) = checked.places.remove(&owner).unwrap();
        checked.store.remove(place);
    }
    let kept = checked.store.mapped_bytes();
    let classes = checked.store.sizes.shapes().len() as u64;
    assert!(kept <= classes * PAGE_SIZE as u64, "a page for each class");
    checked.compact();
    assert_eq!(checked.store.mapped_bytes(), 0);
}

#[test]
fn compaction_brings_what_was_thinned_out_together() {
    let mut checked = Checked::new();
    for len in lengths(40_000) {
        checked.insert(len).unwrap();
    }
    let owners: Vec<u32> = checked.places.keys().copied().collect();
    for owner in owners.iter().filter(|owner| *owner % 4 != 0) {
        let (place, _) = checked.places.remove(owner).unwrap();
        checked.store.remove(place);
    }
    let before = checked.overhead();
    let freed = checked.compact();
    checked.check();
    let after = checked.overhead();
    assert!(before > 2.0 && freed > 0, "{before}");
    assert!(after < 1.06, "{after}");
    assert_eq!(checked.compact(), 0, "there is nothing left to do");
}

#[test]
fn at_the_limit_what_is_stored_stays_and_places_that_are_free_serve() {
    let mut checked = Checked::new();
    checked.store.set_limit(Some(100 * 4096));
    let full = lengths(10_000).find_map(|len| checked.insert(len).err());
    assert_eq!(full, Some(StoreError::Limit));
    assert!(checked.store.mapped_bytes() <= 100 * 4096);
    checked.check();
    // Of the same length, so that its place serves.
    let (owner, (place, len)) = checked.places.iter().next().map(|(a, b)| (*a, *b)).unwrap();
    checked.store.remove(place);
    checked.places.remove(&owner);
    checked.insert(len).expect("there is room for one");
    checked.store.set_limit(None);
    checked.insert(4096).expect("there is no limit");
    checked.check();
}

#[test]
fn threads_find_their_own_objects() {
    let store = Store::new(1 << 16).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let store = &store;
            scope.spawn(move || {
                let mut mine = Vec::new();
                for (nth, len) in lengths(4_000).enumerate() {
                    let owner = thread * 10_000 + u32::try_from(nth).unwrap();
                    let place = store.insert(owner, &object(owner, len)).unwrap();
                    mine.push((owner, place, len));
                    if nth % 3 == 0 {
                        let (owner, place, len) = mine.swap_remove(nth % mine.len());
                        let is = store.reader(place).object(len).to_vec();
                        assert_eq!(is, object(owner, len));
                        store.remove(place);
                    }
                }
                for (owner, place, len) in mine {
                    let is = store.reader(place).object(len).to_vec();
                    assert_eq!(is, object(owner, len));
                    store.remove(place);
                }
            });
        }
    });
    store.compact(|_, _| unreachable!("nothing is left"));
    assert_eq!(store.mapped_bytes(), 0);
}

/// `count` objects of 2048 bytes in each of two arenas, in turn.
fn in_two_arenas(store: &Store, count: u32) -> Vec<Place> {
    let insert = |owner: u32| {
        let arena = owner as usize % 2;
        store
            .insert_in(arena, owner, &object(owner, 2048), 0)
            .unwrap()
    };
    (0..count * 2).map(insert).collect()
}

#[test]
fn arenas_that_are_used_in_turn_have_spans_of_their_own() {
    let store = Store::new(1 << 16).unwrap();
    for (owner, place) in in_two_arenas(&store, 8).iter().enumerate() {
        assert_eq!(place.span as usize, owner % 2);
    }
}

#[test]
fn an_arena_takes_over_what_another_one_no_longer_uses() {
    let store = Store::new(1 << 16).unwrap();
    let first = store.insert_in(0, 0, &object(0, 2048), 0).unwrap();
    let others = (1..32).map(|owner| {
        let place = store.insert_in(1, owner, &object(owner, 2048), 0).unwrap();
        place.span
    });
    // It is left to its arena once, in case that is about to write.
    let others: Vec<u32> = others.collect();
    assert!(others.iter().all(|span| *span != first.span));
    let more = (32..64).map(|owner| {
        let place = store.insert_in(1, owner, &object(owner, 2048), 0).unwrap();
        place.span
    });
    assert_eq!(more.filter(|span| *span == first.span).count(), 31);
    store.remove(first);
    assert_eq!(store.insert_in(1, 64, &object(64, 2048), 0), Ok(first));
}

#[test]
fn at_the_limit_a_place_in_another_arena_serves() {
    let store = Store::new(1 << 16).unwrap();
    store.set_limit(Some(4096));
    let first = store.insert_in(0, 0, &object(0, 2048), 0).unwrap();
    let second = store.insert_in(1, 1, &object(1, 2048), 0).unwrap();
    assert_eq!(first.span, second.span);
    let third = store.insert_in(2, 2, &object(2, 2048), 0);
    assert_eq!(third, Err(StoreError::Limit));
    store.remove(first);
    assert_eq!(store.insert_in(3, 3, &object(3, 2048), 0), Ok(first));
}

#[test]
fn compaction_brings_arenas_together() {
    let store = Store::new(1 << 16).unwrap();
    let mut places = in_two_arenas(&store, 9);
    let pages = |store: &Store| store.mapped_bytes() / 4096;
    assert_eq!(pages(&store), 10);
    store.compact(|owner, from| {
        let bytes = store.reader(from).object(2048).to_vec();
        let to = store.insert(owner, &bytes).unwrap();
        store.remove(std::mem::replace(&mut places[owner as usize], to));
    });
    assert_eq!(pages(&store), 9);
    for (owner, place) in (0..).zip(&places) {
        assert_eq!(store.reader(*place).object(2048), object(owner, 2048));
        store.remove(*place);
    }
    store.compact(|_, _| unreachable!("nothing is left"));
    assert_eq!(store.mapped_bytes(), 0);
}

#[test]
fn objects_are_theirs_while_spans_change_arenas_and_are_emptied() {
    let store = Store::new(1 << 16).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [1_u32, 2].map(|thread| {
            let store = &store;
            scope.spawn(move || {
                let mut mine = std::collections::VecDeque::new();
                for nth in 0..20_000_u32 {
                    let (owner, len) = (thread * 100_000 + nth, 1500 + (nth / 50 % 8) as usize);
                    let arena = (nth / 100 + thread) as usize % ARENAS;
                    let place = store
                        .insert_in(arena, owner, &object(owner, len), 0)
                        .unwrap();
                    mine.push_back((owner, place, len));
                    while mine.len() > 100 || nth % 1000 == 999 && !mine.is_empty() {
                        let (owner, place, len) = mine.pop_front().unwrap();
                        assert_eq!(store.reader(place).object(len), object(owner, len));
                        store.remove(place);
                    }
                }
            })
        });
        let (store, done) = (&store, &done);
        // Spans are emptied, but nothing moves: the owners keep their places.
        let compactor = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                store.compact(|_, _| {});
            }
        });
        let ended = writers.map(std::thread::ScopedJoinHandle::join);
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok) && compactor.join().is_ok());
    });
    store.compact(|_, _| unreachable!("nothing is left"));
    assert_eq!(store.mapped_bytes(), 0);
}

proptest! {
    #[test]
    fn whatever_is_done_each_object_is_as_it_was_stored(
        steps in proptest::collection::vec((0..10_u8, 0..10_000_usize), 1..400)
    ) {
        let mut checked = Checked::new();
        for (step, number) in steps {
            match step {
                0..=5 => {
                    checked.arena = number % 2;
                    checked.insert(1 + number % 4096).unwrap();
                }
                6..=8 => checked.remove_nth(number),
                _ => { checked.compact(); }
            }
        }
        checked.check();
    }
}
