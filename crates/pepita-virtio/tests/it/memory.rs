//! The memory of a guest.

use std::sync::Arc;

use pepita_virtio::{GuestRam, MemoryError};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Adjacent regions, then a hole, then another one; and the same bytes as one vector.
const RANGES: [(u64, usize); 3] = [(0x1000, 0x1000), (0x2000, 0x3000), (0x7000, 0x1000)];

fn ram() -> (Arc<GuestMemoryMmap>, GuestRam) {
    let ranges = RANGES.map(|(start, len)| (GuestAddress(start), len));
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).expect("there is memory"));
    let ram = GuestRam::new(Arc::clone(&memory)).expect("it is ours");
    (memory, ram)
}

fn is_mapped(addr: u64) -> bool {
    RANGES
        .iter()
        .any(|(start, len)| (*start..*start + *len as u64).contains(&addr))
}

proptest! {
    #[test]
    fn bytes_are_where_the_backend_has_them_or_refused(
        addr in prop_oneof![0..0x9000_u64, 0x1ff0..0x2010_u64, Just(u64::MAX - 3)],
        len in 0..0x1800_usize,
    ) {
        let (memory, ram) = ram();
        let bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] | 1).collect();
        let all = addr.checked_add(len as u64).is_some();
        let fits = len == 0 || all && (addr..addr + len as u64).all(is_mapped);
        let written = ram.write(addr, &bytes);
        if !fits {
            let want = MemoryError::Unmapped { addr, len: len as u64 };
            prop_assert_eq!(written, Err(want));
            prop_assert_eq!(ram.read(addr, &mut vec![0; len]), Err(want));
            return Ok(());
        }
        prop_assert_eq!(written, Ok(()));
        let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
        prop_assert_eq!(ram.read(addr, &mut ours), Ok(()));
        if len > 0 {
            memory.read_slice(&mut theirs, GuestAddress(addr)).expect("it is there");
        }
        prop_assert_eq!(&ours, &bytes);
        prop_assert_eq!(&theirs, &bytes);
    }
}

#[test]
fn a_refused_write_leaves_the_bytes_before_the_hole_alone() {
    let (_, ram) = ram();
    assert!(ram.write(0x4ffe, &[1; 4]).is_err());
    let mut before = [9; 2];
    ram.read(0x4ffe, &mut before).expect("it is there");
    assert_eq!(before, [0; 2]);
}

#[test]
fn shared_memory_is_of_one_region() {
    let (_, ram) = ram();
    assert_eq!(ram.shared(0x2ffe, 4).map(|one| one.address()), Ok(0x2ffe));
    assert_eq!(
        ram.shared(0x1ffe, 4).map(|_| ()),
        Err(MemoryError::Pieces {
            addr: 0x1ffe,
            len: 4
        })
    );
    assert_eq!(
        ram.shared(0x4ffe, 4).map(|_| ()),
        Err(MemoryError::Unmapped {
            addr: 0x4ffe,
            len: 4
        })
    );
    assert_eq!(
        ram.shared(0, usize::MAX).map(|_| ()),
        Err(MemoryError::Unmapped {
            addr: 0,
            len: u64::MAX
        })
    );
}

#[test]
fn memory_outlives_the_backend_that_its_owner_has_let_go() {
    let (memory, ram) = ram();
    let clone = ram.clone();
    drop((memory, ram));
    clone.write(0x7fff, &[5]).expect("it is there");
    let mut back = [0];
    clone.read(0x7fff, &mut back).expect("it is there");
    assert_eq!((back, clone.len()), ([5], 0x5000));
}

#[test]
fn plain_memory_is_zero_and_made_of_pages() {
    let ram = GuestRam::zeroed(4097);
    let mut bytes = vec![1; 8192];
    ram.read(0, &mut bytes).expect("it is there");
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert!(ram.read(8192, &mut [0]).is_err());
    assert_eq!((ram.len(), ram.is_empty()), (8192, false));
    assert_eq!(format!("{ram:?}"), "[0x0 + 0x2000]");
}
