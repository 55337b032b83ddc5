//! Threads that use one page at once, in every order with up to three preemptions that the memory model allows (loom).

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::ZramCompressor;

/// Pages of two halves, each of one object; they take no memory.
fn page(value: u64) -> Box<Page> {
    let mut page: Box<Page> = vec![0; PAGE_SIZE].try_into().expect("a page");
    page::fill(&mut page, value << 32 | 7);
    page
}

/// A device with page 0 written, whose clock stands still.
fn device() -> Arc<ZramDevice> {
    let config = ZramConfig::with_size(8 * PAGE_SIZE as u64)
        .compressor(ZramCompressor::None)
        .num_streams(1);
    let mut device = ZramDevice::new(config).expect("memory");
    device.born_ns = i64::MAX;
    device.write_page(0, &page(1)).expect("memory");
    Arc::new(device)
}

/// A thread with more than loom's usual 32 KiB of stack, which codecs want.
fn spawn(work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let thread = thread::Builder::new().stack_size(32 << 10);
    thread.spawn(work).expect("a thread")
}

fn value(device: &ZramDevice) -> u64 {
    let mut back = page(0);
    device
        .read_page(0, &mut back)
        .expect("it is as it was written");
    let value = page::filled_with(&back).expect("of one write");
    value >> 32
}

/// `one` and `other` at once, and what they leave: `end` says how many objects that are.
fn check_both(
    one: fn(&ZramDevice),
    other: fn(&ZramDevice),
    end: impl Fn(&ZramDevice) -> usize + Copy + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.max_branches = 10_000;
    // Every order would take minutes.
    model.preemption_bound = Some(3);
    model.check(move || {
        let body = spawn(move || {
            let device = device();
            let thread = spawn({
                let device = Arc::clone(&device);
                move || other(&device)
            });
            one(&device);
            thread.join().expect("no panic");
            let objects = end(&device);
            assert_eq!(device.objects.pin_each(0).count(), objects, "objects");
        });
        body.join().expect("no panic");
    });
}

/// The same, where page 0 has one of `values` in the end.
fn check(one: fn(&ZramDevice), other: fn(&ZramDevice), values: &'static [u64]) {
    check_both(one, other, |device| {
        let value = value(device);
        assert!(values.contains(&value), "{value}");
        let pages = usize::from(value != 0);
        assert_eq!(device.stored_pages(), pages as u64);
        pages
    });
}

fn write<const VALUE: u64>(device: &ZramDevice) {
    device.write_page(0, &page(VALUE)).expect("memory");
}

#[test]
fn loom_of_two_writes_one_is_the_last() {
    check(write::<2>, write::<3>, &[2, 3]);
}

#[test]
fn loom_a_discard_comes_before_a_write_or_after_it() {
    let discard = |device: &ZramDevice| device.discard_page(0).expect("in range");
    check(write::<2>, discard, &[0, 2]);
}

#[test]
fn loom_a_read_sees_the_page_before_a_write_or_after_it() {
    let read = |device: &ZramDevice| assert!([1, 2].contains(&value(device)));
    check(write::<2>, read, &[2]);
}

#[test]
fn loom_a_change_of_a_part_is_not_lost_to_another() {
    fn add<const VALUE: u64>(device: &ZramDevice) {
        let change = |page: &mut Page| {
            let was = page::filled_with(page).expect("of one write") >> 32;
            page::fill(page, (was + VALUE) << 32 | 7);
        };
        let changed = device.update_page(0, &mut page(0), change);
        changed.expect("memory");
    }
    check(add::<10>, add::<20>, &[31]);
}

/// A page that takes memory.
fn raw() -> Box<Page> {
    let mut page = page(0);
    page[0] = 1;
    page
}

#[test]
fn loom_a_page_is_shared_while_its_only_user_lets_it_go() {
    let write = |device: &ZramDevice| device.write_page(0, &raw()).expect("memory");
    let write_and_discard = |device: &ZramDevice| {
        device.write_page(1, &raw()).expect("memory");
        device.discard_page(1).expect("in range");
    };
    check_both(write, write_and_discard, |device| {
        let mut back = page(0);
        device
            .read_page(0, &mut back)
            .expect("it is as it was written");
        assert!(back == raw());
        assert_eq!(device.objects.store.check(), 1, "places");
        1
    });
}
