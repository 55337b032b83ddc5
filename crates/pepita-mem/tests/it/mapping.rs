//! Mappings: what they hold, what they refuse.

use std::fs;

use pepita_mem::{
    Advice, MapError, Mapping, Memfd, NumaPolicy, PAGE_SIZE, PageSize, Protection, VirtAddr,
};

use crate::skip;

/// Lines of `/proc/self/smaps` about the mapping that holds `addr`: neighbours that are alike are one
/// to the kernel.
fn smaps(addr: VirtAddr) -> String {
    let all = fs::read_to_string("/proc/self/smaps").unwrap();
    let holds = |line: &str| {
        let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
        let [begin, end] = [begin, end].map(|text| u64::from_str_radix(text, 16).ok());
        Some((begin?..end?).contains(&addr.as_u64()))
    };
    let from = all.lines().skip_while(|line| holds(line) != Some(true));
    from.take(26).map(|line| format!("{line}\n")).collect()
}

/// How many kilobytes smaps shows in `field`.
fn kilobytes(addr: VirtAddr, field: &str) -> u64 {
    let smaps = smaps(addr);
    let line = smaps.lines().find_map(|line| line.strip_prefix(field));
    let value = line.unwrap_or_else(|| panic!("no {field} in {smaps}"));
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn anonymous_memory_is_zeroed_whole_pages() {
    let mut memory = Mapping::anonymous(1).unwrap();
    assert!(memory.len() >= PAGE_SIZE && memory.addr().is_aligned(PageSize::SIZE_4K));
    assert!(memory.as_slice().unwrap().iter().all(|byte| *byte == 0));
    memory.as_mut_slice().unwrap()[1] = 7;
    let mut seen = [9; 3];
    memory.read_at(0, &mut seen).unwrap();
    assert_eq!(seen, [0, 7, 0]);
    assert!(smaps(memory.addr()).contains("rw-p"));
}

#[test]
fn a_dropped_mapping_gives_its_addresses_back() {
    let memfd = Memfd::new("to be dropped", PAGE_SIZE).unwrap();
    let is_mapped = || {
        fs::read_to_string("/proc/self/maps")
            .unwrap()
            .contains("to be dropped")
    };
    let mapping = memfd.map().unwrap();
    assert!(is_mapped());
    drop(mapping);
    assert!(!is_mapped());
}

#[test]
fn sizes_and_bounds_are_checked() {
    for bytes in [0, usize::MAX, isize::MAX.unsigned_abs()] {
        assert_eq!(
            Mapping::anonymous(bytes).unwrap_err(),
            MapError::Size { bytes }
        );
        assert_eq!(
            Memfd::new("none", bytes).unwrap_err(),
            MapError::Size { bytes }
        );
    }
    let mut memory = Mapping::anonymous(1).unwrap();
    let len = memory.len();
    for (offset, bytes) in [(len, 1), (len + 1, 0), (usize::MAX, 2)] {
        let error = MapError::Bounds { offset, bytes, len };
        assert_eq!(memory.read_at(offset, &mut vec![0; bytes]), Err(error));
        assert_eq!(memory.write_at(offset, &vec![0; bytes]), Err(error));
    }
    assert_eq!(memory.write_at(len, &[]), Ok(()));
    let too_much = Mapping::anonymous(1 << 46).unwrap_err();
    assert!(
        matches!(too_much, MapError::Map { .. }) && too_much.errno().raw() == 12,
        "{too_much}"
    );
}

#[test]
fn protection_decides_what_may_be_done() {
    let mut memory = Mapping::anonymous(1).unwrap();
    memory.write_at(0, b"kept").unwrap();
    memory.protect(Protection::READ).unwrap();
    assert!(smaps(memory.addr()).contains("r--p"));
    assert_eq!(&memory.as_slice().unwrap()[..4], b"kept");
    assert!(memory.as_mut_slice().is_none());
    let (has, needs) = (Protection::READ, Protection::WRITE);
    assert_eq!(
        memory.write_at(0, b"x"),
        Err(MapError::Protection { has, needs })
    );
    memory.protect(Protection::NONE).unwrap();
    assert!(memory.as_slice().is_none());
    assert!(memory.read_at(0, &mut [0]).is_err());
    memory.protect(Protection::READ_WRITE).unwrap();
    assert_eq!(&memory.as_slice().unwrap()[..4], b"kept");
}

#[test]
fn locked_memory_is_there_until_unlocked() {
    let mut memory = Mapping::anonymous(8 * PAGE_SIZE).unwrap();
    assert_eq!(kilobytes(memory.addr(), "Locked:"), 0);
    memory.lock().unwrap();
    let own = memory.len() as u64 / 1024;
    assert!(kilobytes(memory.addr(), "Locked:") >= own);
    let refused = memory.discard().unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "madvise(MADV_DONTNEED) on a mapping of {} bytes: EINVAL (22): invalid argument",
            memory.len()
        )
    );
    memory.unlock().unwrap();
    assert_eq!(kilobytes(memory.addr(), "Locked:"), 0);
}

#[test]
fn advice_reaches_the_kernel_and_discard_zeroes() {
    let mut memory = Mapping::anonymous(4 << 20).unwrap();
    for (advice, flag) in [
        (Advice::DontFork, " dc"),
        (Advice::DontDump, " dd"),
        (Advice::Random, " rr"),
        (Advice::Sequential, " sr"),
        (Advice::BasePages, " nh"),
    ] {
        match memory.advise(advice) {
            Ok(()) => assert!(smaps(memory.addr()).contains(flag), "{advice:?}"),
            Err(error) => assert_eq!(
                (advice, error.errno().raw()),
                (Advice::BasePages, 22),
                "{error}"
            ),
        }
    }
    memory.advise(Advice::WillNeed).unwrap();
    memory.write_at(5, b"gone").unwrap();
    memory.discard().unwrap();
    assert_eq!(memory.as_slice().unwrap()[5], 0);
}

#[test]
fn transparent_huge_pages_come_where_asked() {
    let mut memory = Mapping::anonymous(8 << 20).unwrap();
    if let Err(error) = memory.advise(Advice::HugePages) {
        return skip(
            "transparent_huge_pages_come_where_asked",
            &error.to_string(),
        );
    }
    memory.lock().unwrap();
    if kilobytes(memory.addr(), "AnonHugePages:") == 0 {
        skip(
            "transparent_huge_pages_come_where_asked",
            "memory is fragmented, or they are off",
        );
    }
}

#[test]
fn huge_pages_are_there_or_the_error_says_how() {
    match Mapping::huge_pages(1, PageSize::SIZE_2M) {
        Ok(memory) => {
            assert_eq!(memory.len(), 2 << 20);
            assert_eq!(kilobytes(memory.addr(), "KernelPageSize:"), 2048);
        }
        Err(error) => {
            assert_eq!(error.errno().raw(), 12);
            let text = error.to_string();
            assert!(
                text.starts_with("mapping 1 bytes in huge pages of 2 MiB: "),
                "{text}"
            );
            assert!(text.contains("vm.nr_hugepages"), "{text}");
        }
    }
}

#[test]
fn mappings_of_a_memfd_share_their_bytes_and_are_no_slices() {
    let memfd = Memfd::new("two views", PAGE_SIZE + 1).unwrap();
    let (mut one, mut two) = (memfd.map().unwrap(), memfd.map().unwrap());
    assert_eq!(
        (one.len(), memfd.len() >= 2 * PAGE_SIZE),
        (memfd.len(), true)
    );
    one.write_at(PAGE_SIZE - 2, b"across").unwrap();
    let mut seen = [0; 6];
    two.read_at(PAGE_SIZE - 2, &mut seen).unwrap();
    assert_eq!(&seen, b"across");
    assert!(one.as_slice().is_none() && two.as_mut_slice().is_none());
    two.discard().unwrap();
    two.read_at(PAGE_SIZE - 2, &mut seen).unwrap();
    assert_eq!(&seen, b"across", "the memfd keeps its contents");
}

#[test]
fn nobody_can_shrink_a_memfd_under_a_mapping() {
    let memfd = Memfd::new("sealed", PAGE_SIZE).unwrap();
    for len in [0, 1 << 20] {
        let error = rustix::fs::ftruncate(&memfd, len).unwrap_err();
        assert_eq!(error, rustix::io::Errno::PERM, "{len}");
    }
}

#[test]
fn pages_come_from_the_nodes_that_were_asked_for() {
    let test = "pages_come_from_the_nodes_that_were_asked_for";
    let mut memory = Mapping::anonymous(4 * PAGE_SIZE).unwrap();
    for policy in [
        NumaPolicy::Bind,
        NumaPolicy::Preferred,
        NumaPolicy::Interleave,
    ] {
        match memory.bind(policy, &[0]) {
            Ok(()) => assert_eq!(memory.node_at(PAGE_SIZE), Ok(0), "{policy:?}"),
            Err(error) if error.errno().raw() == 38 => return skip(test, "the kernel has no NUMA"),
            Err(error) => panic!("{policy:?}: {error}"),
        }
    }
    let error = memory.bind(NumaPolicy::Bind, &[1023]).unwrap_err();
    assert!(error.to_string().starts_with("mbind(MPOL_BIND)"), "{error}");
    assert!(memory.bind(NumaPolicy::Bind, &[1024]).is_err());
    assert!(memory.node_at(memory.len()).is_err());
}
