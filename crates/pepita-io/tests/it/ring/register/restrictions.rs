use pepita_io::ring::register::Restrictions;
use pepita_io::ring::{Ring, RingConfig, SetupError};
use pepita_sys::error::{Errno, KernelError};
use pepita_sys::io_uring::{
    IORING_OP_NOP, IORING_OP_TIMEOUT_REMOVE, IORING_REGISTER_FILES2, IORING_REGISTER_PROBE,
    IOSQE_ASYNC, IOSQE_IO_DRAIN, IoUringSqe,
};

use super::super::{complete, ring_for};

fn restricted(test: &str, restrictions: Restrictions) -> Option<Ring> {
    ring_for(test, &RingConfig::new(8).restrict(restrictions))
}

#[test]
fn only_the_named_operations_and_flags_are_done() {
    let name = "only_the_named_operations_and_flags_are_done";
    let restrictions = Restrictions::new()
        .allow_op(IORING_OP_NOP)
        .allow_flags(IOSQE_ASYNC);
    let Some(mut ring) = restricted(name, restrictions) else {
        return;
    };
    for (sqe, want) in [
        (IoUringSqe::nop(), None),
        (IoUringSqe::nop().force_async(), None),
        (IoUringSqe::nop().flags(IOSQE_IO_DRAIN), Some(Errno::EACCES)),
        (IoUringSqe::timeout_remove(1), Some(Errno::EACCES)),
    ] {
        assert_eq!(complete(&mut ring, sqe).errno(), want, "{sqe:?}");
    }
}

#[test]
fn required_flags_are_demanded() {
    let name = "required_flags_are_demanded";
    let restrictions = Restrictions::new()
        .allow_op(IORING_OP_NOP)
        .allow_op(IORING_OP_TIMEOUT_REMOVE)
        .require_flags(IOSQE_ASYNC);
    let Some(mut ring) = restricted(name, restrictions) else {
        return;
    };
    for (sqe, want) in [
        (IoUringSqe::nop(), Some(Errno::EACCES)),
        (IoUringSqe::nop().force_async(), None),
        (IoUringSqe::timeout_remove(1), Some(Errno::EACCES)),
    ] {
        assert_eq!(complete(&mut ring, sqe).errno(), want, "{sqe:?}");
    }
}

#[test]
fn only_the_named_register_operations_are_done() {
    let name = "only_the_named_register_operations_are_done";
    let restrictions = Restrictions::new().allow_register_op(IORING_REGISTER_FILES2);
    let Some(mut ring) = restricted(name, restrictions) else {
        return;
    };
    ring.register_files_sparse(1).expect("it is allowed");
    let probe = ring.probe().expect_err("it is not");
    assert_eq!(probe.to_errno(), Errno::EACCES);
    let allowed = Restrictions::new().allow_register_op(IORING_REGISTER_PROBE);
    let ring = restricted(name, allowed).expect("as before");
    assert!(ring.probe().is_ok());
}

#[test]
fn restricted_rings_give_their_place_with_the_thread_up() {
    let name = "restricted_rings_give_their_place_with_the_thread_up";
    for _ in 0..40 {
        let Some(ring) = restricted(name, Restrictions::new()) else {
            return;
        };
        assert!(ring.is_registered());
    }
}

#[test]
fn a_restriction_that_the_kernel_does_not_know_makes_no_ring() {
    let name = "a_restriction_that_the_kernel_does_not_know_makes_no_ring";
    if ring_for(name, &RingConfig::new(8)).is_none() {
        return;
    }
    let config = RingConfig::new(8).restrict(Restrictions::new().allow_op(255));
    let error = config.build().expect_err("no kernel has 256 operations");
    assert!(matches!(error, SetupError::Kernel(_)), "{error:?}");
    assert_eq!(KernelError::from(error).to_errno(), Errno::EINVAL);
}
