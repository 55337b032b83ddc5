//! What a hostile driver writes into its rings, numbered as in the list of known cases.

mod chains;
mod packed;
mod rings;
mod tables;

use pepita_virtio::{
    QueueError, RingFeatures, VIRTQ_DESC_F_AVAIL, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE, VirtqDesc,
};

use crate::rig::{DATA, DEVICE, Rig};

const NEXT: u16 = VIRTQ_DESC_F_NEXT;
const WRITE: u16 = VIRTQ_DESC_F_WRITE;
const INDIRECT: u16 = VIRTQ_DESC_F_INDIRECT;
const AVAIL: u16 = VIRTQ_DESC_F_AVAIL;
const USED: u16 = VIRTQ_DESC_F_USED;
/// Where tables are.
const TABLE: u64 = DATA + 0x8000;

type Lens = (Vec<usize>, Vec<usize>);

/// What comes of a table of descriptors, whose first one is available; an error silences the queue.
#[track_caller]
fn check(
    features: RingFeatures,
    table: &[VirtqDesc],
    want: Result<(&[usize], &[usize]), QueueError>,
) {
    let mut rig = Rig::new(8, features);
    for (desc, index) in table.iter().zip(0..) {
        rig.desc(crate::rig::TABLE, index, *desc);
    }
    rig.offer(0);
    expect(&mut rig, want);
}

#[track_caller]
fn expect(rig: &mut Rig, want: Result<(&[usize], &[usize]), QueueError>) {
    let got: Result<Lens, QueueError> = rig.pop().map(|popped| {
        assert!(popped, "a buffer is available");
        rig.lens()
    });
    assert_eq!(
        got,
        want.map(|(readable, writable)| (readable.to_vec(), writable.to_vec()))
    );
    if let Err(error) = want {
        is_silent(rig, error);
    }
}

/// A queue that has failed does nothing, and says why.
#[track_caller]
fn is_silent(rig: &mut Rig, error: QueueError) {
    assert_eq!(rig.queue.failure(), Some(error));
    assert!(error.is_guests() && !error.clause().is_empty());
    rig.offer(0);
    assert_eq!(rig.pop(), Ok(false));
    assert!(!rig.chain.is_taken());
    assert!(!rig.queue.enable_kicks());
    rig.queue.disable_kicks();
    assert!(!rig.queue.needs_notification());
    assert_eq!(rig.read16(DEVICE), 0, "nothing is written any more");
}

/// The same with a table of `bytes` bytes, at `table`, that the only descriptor leads to.
#[track_caller]
fn check_table(
    features: RingFeatures,
    at: u64,
    bytes: u32,
    table: &[VirtqDesc],
    want: Result<(&[usize], &[usize]), QueueError>,
) {
    let mut rig = Rig::new(8, features);
    for (desc, index) in table.iter().zip(0..) {
        rig.desc(at, index, *desc);
    }
    let head = VirtqDesc {
        addr: at,
        len: bytes,
        flags: INDIRECT,
        next: 0,
    };
    rig.desc(crate::rig::TABLE, 0, head);
    rig.offer(0);
    expect(&mut rig, want);
}

#[test]
fn errors_tell_what_and_where() {
    let error = QueueError::Next {
        next: 9,
        entries: 8,
    };
    assert_eq!(
        error.to_string(),
        "next 9 is not below the table's 8 entries"
    );
    assert_eq!(error.clause(), "2.7.5");
    let size = QueueError::Size {
        size: 3,
        max: 256,
        packed: false,
    };
    assert_eq!(
        size.to_string(),
        "queue size 3 is not a power of two in 1..=256"
    );
}
