#![expect(
    unsafe_code,
    reason = "plays the driver, which says when a device is done"
)]
//! Physical addresses of this host, where it tells them.

use std::fs::File;
use std::os::unix::fs::FileExt;

use pepita_mem::{
    Bidirectional, DmaBuffer, DmaError, DmaMask, FromDevice, HostDma, Mapping, Memfd, PAGE_SIZE,
    Pagemap, PagemapError, PhysAddr, SgList, ToDevice, VirtAddr,
};

use crate::skip;

/// The platform, or a printed reason.
fn host(test: &str) -> Option<HostDma> {
    // SAFETY: no device gets any address: the test reads the kernel's books.
    match unsafe { HostDma::new() } {
        Ok(host) => Some(host),
        Err(error) => {
            skip(test, &error.to_string());
            None
        }
    }
}

/// How often the kernel says that the frame at `addr` is mapped.
///
/// Source: Documentation/admin-guide/mm/pagemap.rst, /proc/kpagecount.
fn map_count(addr: PhysAddr) -> Option<u64> {
    let mut count = [0; 8];
    let frame = addr.as_u64() / rustix::param::page_size() as u64;
    let counts = File::open("/proc/kpagecount").ok()?;
    counts.read_exact_at(&mut count, frame * 8).ok()?;
    Some(u64::from_ne_bytes(count))
}

#[test]
fn a_page_has_one_physical_address_in_both_its_mappings() {
    let test = "a_page_has_one_physical_address_in_both_its_mappings";
    if host(test).is_none() {
        return;
    }
    let memfd = Memfd::new("two views", 2 * PAGE_SIZE).unwrap();
    let (mut one, mut two) = (memfd.map().unwrap(), memfd.map().unwrap());
    let pagemap = Pagemap::open().unwrap();
    let at = |memory: &Mapping, offset| memory.addr().checked_add(offset).unwrap();
    let absent = pagemap.lookup(one.addr());
    assert!(matches!(absent, Err(PagemapError::Absent { addr }) if addr == one.addr()));
    one.lock().unwrap();
    let place = pagemap.lookup(at(&one, 5)).unwrap();
    assert_eq!(place.page_offset(), 5);
    let before = map_count(place);
    two.lock().unwrap();
    assert_eq!(pagemap.lookup(at(&two, 5)).unwrap(), place);
    assert_ne!(
        pagemap.lookup(at(&one, 4096)).unwrap(),
        pagemap.lookup(one.addr()).unwrap()
    );
    match (before, map_count(place)) {
        (Some(before), Some(after)) => assert_eq!((before, after), (1, 2)),
        _ => skip(
            test,
            "no /proc/kpagecount: the count of mappings is not compared",
        ),
    }
}

#[test]
fn a_host_buffer_is_where_its_address_says() {
    let Some(host) = host("a_host_buffer_is_where_its_address_says") else {
        return;
    };
    let mut buffer = DmaBuffer::<Bidirectional, _>::new(&host, 100, DmaMask::ALL).unwrap();
    buffer.write_at(0, b"here").unwrap();
    let flight = buffer.submit();
    let addr = PhysAddr::new(flight.addr().as_u64());
    assert_eq!(addr.page_offset(), 0);
    if let Some(count) = map_count(addr) {
        assert_eq!(count, 1, "the frame is mapped, by us alone");
    }
    // SAFETY: no device has it.
    let buffer = unsafe { flight.complete() };
    let mut seen = [0; 4];
    buffer.read_at(0, &mut seen).unwrap();
    assert_eq!(&seen, b"here");
}

#[test]
fn pages_in_a_row_come_from_a_huge_page() {
    let test = "pages_in_a_row_come_from_a_huge_page";
    let Some(host) = host(test) else { return };
    match DmaBuffer::<FromDevice, _>::new(&host, 1 << 20, DmaMask::ALL) {
        Ok(buffer) => {
            let flight = buffer.submit();
            assert!(
                flight.addr().as_u64().is_multiple_of(2 << 20),
                "{}",
                flight.addr()
            );
            let ends = [0, (1 << 20) - 1].map(|offset| flight.addr().as_u64() + offset);
            let counts = ends.map(|end| map_count(PhysAddr::new(end)));
            assert!(
                counts[0] == counts[1] || counts.contains(&None),
                "{counts:?}"
            );
            // SAFETY: no device has it.
            drop(unsafe { flight.complete() });
        }
        Err(error @ DmaError::NoMemory { .. }) => skip(test, &format!("no huge page: {error}")),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_mask_that_the_host_cannot_meet_is_an_error() {
    let Some(host) = host("a_mask_that_the_host_cannot_meet_is_an_error") else {
        return;
    };
    let mask = DmaMask::new(13);
    let error = DmaBuffer::<ToDevice, _>::new(&host, 1, mask).unwrap_err();
    assert_eq!(error, DmaError::NoMemory { bytes: 1, mask });
}

#[test]
fn the_segments_of_a_mapping_are_its_pages_runs() {
    let Some(host) = host("the_segments_of_a_mapping_are_its_pages_runs") else {
        return;
    };
    let memory = Mapping::anonymous(16 * PAGE_SIZE).unwrap();
    let first = memory.addr();
    let list: SgList<16, _, ToDevice, _> = SgList::new(&host, memory, DmaMask::ALL).unwrap();
    assert_eq!(list.bounced(), 0);
    let flight = list.submit();
    let pagemap = Pagemap::open().unwrap();
    let mut at = first;
    for (addr, bytes) in flight.segments() {
        for page in (0..bytes as u64).step_by(PAGE_SIZE) {
            let place = pagemap.lookup(at).unwrap();
            assert_eq!(place.as_u64(), addr.as_u64() + page);
            at = at.checked_add(PAGE_SIZE as u64).unwrap();
        }
    }
    assert_eq!(at.checked_bytes_from(first), Some(16 * PAGE_SIZE as u64));
    // SAFETY: no device has it.
    let memory = unsafe { flight.complete() }.into_memory();
    assert_eq!(memory.addr(), first);
}

#[test]
fn an_address_of_nobody_is_absent_or_hidden() {
    let error = Pagemap::open()
        .unwrap()
        .lookup(VirtAddr::new(0))
        .unwrap_err();
    assert!([1, 14].contains(&error.errno().raw()), "{error}");
}
