use pepita_io::ring::{RingConfig, register};
use pepita_sys::io_uring::{
    IORING_OP_NOP, IORING_OP_READ, IORING_OP_SEND_ZC, IORING_REGISTER_QUERY, IoUringSqe,
};

use super::super::{complete, ring_for};
use super::has;

#[test]
fn the_probe_tells_what_a_submission_would() {
    let name = "the_probe_tells_what_a_submission_would";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let probe = ring.probe().expect("a probe");
    for op in [IORING_OP_NOP, IORING_OP_READ, IORING_OP_SEND_ZC] {
        assert!(probe.supports(op), "Linux 6.1 has operation {op}");
    }
    // An operation with nothing in it fails in many ways; an unknown one fails in one.
    let after = probe.last_op() + 1;
    assert!(!probe.supports(after));
    let unknown = complete(&mut ring, IoUringSqe::new(after, -1, 0, 0));
    let past_all = complete(&mut ring, IoUringSqe::new(255, -1, 0, 0));
    assert_eq!(unknown.errno(), past_all.errno());
    assert!(unknown.errno().is_some());
}

#[test]
fn the_query_agrees_with_the_probe_and_the_ring() {
    let name = "the_query_agrees_with_the_probe_and_the_ring";
    let Some(ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let Some(answer) = has(name, "6.18", register::query()) else {
        return;
    };
    let probe = ring.probe().expect("a probe");
    assert_eq!(answer.nr_request_opcodes, u32::from(probe.last_op()) + 1);
    assert!(answer.nr_register_opcodes > IORING_REGISTER_QUERY);
    assert_eq!(answer.feature_flags, u64::from(ring.features()));
    let setup_flags = u64::from(ring.setup_flags());
    assert_eq!(answer.ring_setup_flags & setup_flags, setup_flags);
}
