//! Objects that are freed, replaced and read while compaction moves them, in every order with up to three preemptions that
//! the memory model allows (loom).
//!
//! An object is a page here, and a span has room for two.

use loom::sync::Arc;
use loom::thread;

use super::*;

impl Objects {
    fn page(&self, value: u8) -> ObjectId {
        let page = vec![value; PAGE_SIZE];
        self.insert(Form::Raw, &page, value.into(), 0)
            .expect("memory")
    }

    fn check_page(&self, id: ObjectId, value: u8) {
        self.read(id, |form, bytes| {
            assert_eq!(form, Form::Raw);
            assert!(*bytes == *vec![value; PAGE_SIZE], "another page");
        });
    }
}

/// Pages 1 and 2, each in the first place of a span with room for another.
fn halves() -> (Arc<Objects>, [ObjectId; 2]) {
    let objects = Objects::new(8, None, None).expect("memory");
    let [a, b, c, d] = [1, 0, 2, 0].map(|value| objects.page(value));
    objects.release(b);
    objects.release(d);
    (Arc::new(objects), [a, c])
}

/// Objects, and what they are.
type Left<const N: usize> = [(ObjectId, u8); N];

/// Compaction, which moves page 1 to page 2, and `other` at once, which says which pages there are in the end.
fn check_compaction<const N: usize>(other: fn(&Objects, [ObjectId; 2]) -> Left<N>) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 10_000;
    // Every order would take minutes.
    model.preemption_bound = Some(3);
    model.check(move || {
        let (objects, ids) = halves();
        let thread = thread::spawn({
            let objects = Arc::clone(&objects);
            move || other(&objects, ids)
        });
        objects.compact();
        let left = thread.join().expect("no panic");
        for (id, value) in left {
            objects.check_page(id, value);
        }
        assert_eq!(objects.store.check(), N, "objects with a place");
        assert_eq!(objects.stored(), N as u64);
    });
}

#[test]
fn loom_an_object_is_freed_while_it_moves() {
    check_compaction(|objects, [a, c]| {
        objects.release(a);
        [(c, 2)]
    });
}

#[test]
fn loom_an_object_is_stored_anew_while_it_moves() {
    check_compaction(|objects, [a, c]| {
        let page = vec![3; PAGE_SIZE];
        objects.replace(a, Form::Raw, &page).expect("memory");
        [(a, 3), (c, 2)]
    });
}

#[test]
fn loom_an_object_is_read_while_it_moves() {
    check_compaction(|objects, [a, c]| {
        objects.check_page(a, 1);
        [(a, 1), (c, 2)]
    });
}

/// The new one has the number, the place and the length of the old one.
#[test]
fn loom_an_object_is_freed_and_another_is_stored_in_its_place_while_it_moves() {
    check_compaction(|objects, [a, c]| {
        let first = objects.page(3);
        objects.release(a);
        let second = objects.page(4);
        [(c, 2), (first, 3), (second, 4)]
    });
}

/// An object whose number is free and that is still among the duplicates would be there twice with the next page, and the
/// chain of duplicates would have no end.
#[test]
fn loom_an_object_is_written_back_while_it_is_stored() {
    loom::model(|| {
        let blocks = Blocks::new(64).expect("memory");
        let objects = Objects::new(8, Some(Duplicates::new()), Some(blocks));
        let objects = Arc::new(objects.expect("memory"));
        objects.release(objects.page(2));
        let thread = thread::spawn({
            let objects = Arc::clone(&objects);
            move || objects.page(1)
        });
        for (id, _) in objects.pin_each(0) {
            let block = objects.take_block().expect("one is free");
            assert!(objects.set_backed(id, block));
            objects.release(id);
        }
        let id = thread.join().expect("no panic");
        objects.release(id);
        let duplicates = objects.duplicates.as_ref().expect("they are found");
        assert_eq!(duplicates.objects(), 0, "among the duplicates");
        assert_eq!((objects.blocks_in_use(), objects.stored()), (0, 0));
    });
}
