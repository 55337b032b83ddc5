//! Threads that store and free objects at once, in every order that the memory model allows (loom).
//!
//! Here a span has two pages, an object is a page, and there are two arenas.

use std::collections::HashSet;

use loom::sync::Arc;
use loom::thread;

use super::*;

impl Store {
    /// Checks what the books say about each other, while nobody else uses the store; gives the objects that there are.
    pub(crate) fn check(&self) -> usize {
        let unused: Vec<u32> = lock(&self.unused).clone();
        let mut free: HashSet<u32> = unused.iter().copied().collect();
        assert_eq!(free.len(), unused.len(), "unused twice: {unused:?}");
        for (lists, number) in self.lists.iter().zip(0..) {
            let lists = lock(&lists.0);
            for (quarter, spans) in lists.open.iter().enumerate() {
                for (at, id) in spans.iter().enumerate() {
                    let span = self.span(*id);
                    let book = lock(&span.book);
                    assert_eq!(span.lists.load(Ordering::Relaxed), number, "of other lists");
                    assert_eq!(book.listed, Some((quarter, at)), "listed elsewhere");
                    assert_eq!(book.quarter(), quarter);
                    assert!(book.free() > 0, "listed and full");
                    assert!(free.insert(*id), "listed and unused, or twice");
                }
            }
        }
        let (mut live, mut touched) = (0, 0);
        for id in 0..self.spans_used.load(Ordering::Relaxed) {
            let book = lock(&self.span(id).book);
            assert!(book.free() == 0 || free.contains(&id), "lost: {book:?}");
            live += book.live();
            touched += book.touched as u64;
        }
        assert_eq!(self.mapped.load(Ordering::Relaxed), touched);
        live
    }

    /// Stores pages of their owners' numbers.
    fn fill<const N: usize>(&self, arena: usize, owners: [u32; N]) -> [Place; N] {
        owners.map(|owner| {
            self.insert_in(arena, owner, &page(owner), 0)
                .expect("memory")
        })
    }

    fn check_page(&self, owner: u32, place: Place) {
        assert!(*self.reader(place).object(PAGE_SIZE) == *page(owner));
    }
}

fn page(owner: u32) -> Box<[u8]> {
    vec![owner.to_le_bytes()[0]; PAGE_SIZE].into()
}

/// Two spans of arena 0 with a page each, the first in its second place: what is removed there, from a span of two pages
/// that were touched, closes it.
fn halves() -> (Arc<Store>, [Place; 2]) {
    let store = Store::new(8).expect("memory");
    let [a, b, c, d] = store.fill(0, [1, 2, 3, 4]);
    assert!(a.span == b.span && b.span != c.span && c.span == d.span);
    store.remove(a);
    store.remove(c);
    (Arc::new(store), [b, d])
}

/// `one` and `other` at once, on what [`halves`] makes; `left` pages are there in the end.
fn check(one: fn(&Store, [Place; 2]), other: fn(&Store, [Place; 2]), left: usize) {
    loom::model(move || {
        let (store, places) = halves();
        let thread = thread::spawn({
            let store = Arc::clone(&store);
            move || other(&store, places)
        });
        one(&store, places);
        thread.join().expect("no panic");
        assert_eq!(store.check(), left);
    });
}

fn insert_in_the_other_arena(store: &Store, _: [Place; 2]) {
    let [place] = store.fill(1, [5]);
    store.check_page(5, place);
}

#[test]
fn loom_a_span_loses_its_last_object_while_another_arena_takes_it_over() {
    let remove = |store: &Store, [b, d]: [Place; 2]| {
        store.remove(b);
        store.check_page(4, d);
    };
    check(insert_in_the_other_arena, remove, 2);
}

#[test]
fn loom_a_span_becomes_full_while_another_arena_looks_for_one() {
    let insert = |store: &Store, _: [Place; 2]| {
        let [place] = store.fill(0, [6]);
        store.check_page(6, place);
    };
    check(insert_in_the_other_arena, insert, 4);
}

#[test]
fn loom_two_arenas_take_over_spans_of_a_third_that_frees_them() {
    let remove = |store: &Store, [b, d]: [Place; 2]| {
        store.remove(b);
        store.remove(d);
    };
    check(insert_in_the_other_arena, remove, 1);
}

#[test]
fn loom_a_span_is_emptied_while_another_arena_takes_it_over() {
    // Nothing moves, as if each were on its way out.
    let compact = |store: &Store, _: [Place; 2]| {
        store.compact(|_, _| {});
    };
    check(insert_in_the_other_arena, compact, 3);
}

#[test]
fn loom_a_span_that_is_emptied_loses_its_objects_to_who_frees_them() {
    let compact = |store: &Store, _: [Place; 2]| {
        store.compact(|_, _| {});
    };
    let remove = |store: &Store, [b, d]: [Place; 2]| {
        store.remove(b);
        store.remove(d);
    };
    check(compact, remove, 0);
}
