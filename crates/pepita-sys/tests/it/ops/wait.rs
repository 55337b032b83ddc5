use std::io::Write;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pepita_sys::error::Errno;
use pepita_sys::io_uring::*;

use super::{fd, file_with};
use crate::ring::Ring;

const POLLIN: u32 = libc::POLLIN.cast_unsigned() as u32;
const POLLOUT: u32 = libc::POLLOUT.cast_unsigned() as u32;

/// Longer than any test.
fn long() -> Timespec {
    Timespec::from(Duration::from_secs(1000))
}

fn short() -> Timespec {
    Timespec::from(Duration::from_millis(1))
}

/// The next `N` completions, by user data.
fn next<const N: usize>(ring: &mut Ring) -> [IoUringCqe; N] {
    let mut cqes = [(); N].map(|()| ring.next());
    cqes.sort_by_key(|cqe| cqe.user_data);
    cqes
}

#[test]
fn nop_completes_with_nothing_or_what_it_is_told() {
    let test = "ops::wait::nop_completes_with_nothing_or_what_it_is_told";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_NOP) else {
        return;
    };
    let cqe = ring.run(IoUringSqe::nop().user_data(u64::MAX));
    assert_eq!(
        (cqe.user_data, cqe.result(), cqe.is_success()),
        (u64::MAX, Ok(0), true)
    );
    let mut inject = IoUringSqe::nop();
    inject.op_flags = IORING_NOP_INJECT_RESULT;
    inject.len = (-5_i32).cast_unsigned();
    let cqe = ring.run(inject);
    if cqe.errno() == Some(Errno::EINVAL) {
        println!("SKIPPED: {test}: this kernel has no flags of nop");
        return;
    }
    assert_eq!((cqe.errno(), cqe.is_success()), (Some(Errno::EIO), false));
}

#[test]
fn a_ring_of_mixed_completions_has_small_and_large_ones() {
    let test = "ops::wait::a_ring_of_mixed_completions_has_small_and_large_ones";
    let Ok(mut ring) = Ring::with_flags(IORING_SETUP_CQE_MIXED) else {
        println!("SKIPPED: {test}: this kernel has no mixed completions (6.18)");
        return;
    };
    for round in 0..200 {
        let mut large = IoUringSqe::nop().user_data(round);
        large.op_flags = IORING_NOP_CQE32;
        (large.off, large.addr) = (11, 22);
        ring.push(large);
        let mut cqe = ring.next_large();
        // The ring's end has no room for a large one: a small one fills the gap.
        while cqe.cqe.flags & IORING_CQE_F_SKIP != 0 {
            cqe = ring.next_large();
        }
        assert_eq!((cqe.cqe.user_data, cqe.big_cqe), (round, [11, 22]));
        let cqe = ring.run(IoUringSqe::nop().user_data(round));
        assert_eq!((cqe.user_data, cqe.flags & IORING_CQE_F_32), (round, 0));
    }
}

#[test]
fn poll_add_tells_events_once_or_again_and_again() {
    let test = "ops::wait::poll_add_tells_events_once_or_again_and_again";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_POLL_ADD) else {
        return;
    };
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    ring.push(IoUringSqe::poll_add(
        fd(&reader),
        POLLIN,
        IORING_POLL_ADD_MULTI,
    ));
    ring.submit(0);
    for _ in 0..2 {
        writer.write_all(b"x").expect("the pipe has room");
        let cqe = ring.next();
        assert_eq!(
            (cqe.result().map(|events| events & POLLIN), cqe.has_more()),
            (Ok(POLLIN), true)
        );
    }
    let once = ring.run(IoUringSqe::poll_add(fd(&writer), POLLIN | POLLOUT, 0));
    assert_eq!((once.result(), once.has_more()), (Ok(POLLOUT), false));
}

#[test]
fn polls_are_changed_and_removed() {
    let test = "ops::wait::polls_are_changed_and_removed";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_POLL_REMOVE) else {
        return;
    };
    let (reader, writer) = std::io::pipe().expect("a pipe");
    ring.push(IoUringSqe::poll_add(fd(&reader), POLLIN, 0).user_data(1));
    ring.push(IoUringSqe::poll_add(fd(&writer), POLLIN, 0).user_data(2));
    ring.submit(0);
    ring.push(IoUringSqe::poll_remove(1).user_data(10));
    let [removed, remove] = next(&mut ring);
    assert_eq!(
        (removed.errno(), remove.result()),
        (Some(Errno::ECANCELED), Ok(0))
    );
    let flags = IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA;
    ring.push(IoUringSqe::poll_update(2, 3, POLLOUT, flags).user_data(10));
    let [fired, update] = next(&mut ring);
    assert_eq!(
        (fired.user_data, fired.result(), update.result()),
        (3, Ok(POLLOUT), Ok(0))
    );
    assert_eq!(
        ring.run(IoUringSqe::poll_remove(1)).errno(),
        Some(Errno::ENOENT)
    );
}

#[test]
fn timeout_ends_by_time_or_by_count() {
    let test = "ops::wait::timeout_ends_by_time_or_by_count";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_TIMEOUT) else {
        return;
    };
    let (short, long) = (short(), long());
    let cqe = ring.run(IoUringSqe::timeout(
        &raw const short,
        0,
        IORING_TIMEOUT_BOOTTIME,
    ));
    assert_eq!(cqe.errno(), Some(Errno::ETIME));
    ring.push(IoUringSqe::timeout(&raw const long, 2, 0).user_data(9));
    ring.push(IoUringSqe::nop().user_data(1));
    ring.push(IoUringSqe::nop().user_data(2));
    let [_, _, counted] = next(&mut ring);
    assert_eq!((counted.user_data, counted.result()), (9, Ok(0)));
}

#[test]
fn timeouts_are_changed_and_removed() {
    let test = "ops::wait::timeouts_are_changed_and_removed";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_TIMEOUT_REMOVE) else {
        return;
    };
    let (short, long) = (short(), long());
    ring.push(IoUringSqe::timeout(&raw const long, 0, 0).user_data(1));
    ring.push(IoUringSqe::timeout(&raw const long, 0, 0).user_data(2));
    ring.push(IoUringSqe::timeout_remove(1).user_data(10));
    let [removed, remove] = next(&mut ring);
    assert_eq!(
        (removed.errno(), remove.result()),
        (Some(Errno::ECANCELED), Ok(0))
    );
    ring.push(IoUringSqe::timeout_update(&raw const short, 2, 0).user_data(10));
    let [fired, update] = next(&mut ring);
    assert_eq!(
        (fired.user_data, fired.errno(), update.result()),
        (2, Some(Errno::ETIME), Ok(0))
    );
}

#[test]
fn link_timeout_cancels_what_it_is_linked_to() {
    let test = "ops::wait::link_timeout_cancels_what_it_is_linked_to";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_LINK_TIMEOUT) else {
        return;
    };
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let (mut byte, short) = ([0], short());
    ring.push(
        IoUringSqe::read(fd(&reader), byte.as_mut_ptr(), 1, u64::MAX)
            .user_data(1)
            .link(),
    );
    ring.push(IoUringSqe::link_timeout(&raw const short, 0).user_data(2));
    let [read, timeout] = next(&mut ring);
    assert_eq!(
        (read.errno(), timeout.errno()),
        (Some(Errno::ECANCELED), Some(Errno::ETIME))
    );
}

#[test]
fn chains_stop_at_a_failure_unless_they_are_hard() {
    let test = "ops::wait::chains_stop_at_a_failure_unless_they_are_hard";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_NOP) else {
        return;
    };
    let bad = IoUringSqe::close(-1);
    ring.push(bad.user_data(1).link());
    ring.push(IoUringSqe::nop().user_data(2));
    let [failed, cancelled] = next(&mut ring);
    assert_eq!(
        (failed.errno(), cancelled.errno()),
        (Some(Errno::EBADF), Some(Errno::ECANCELED))
    );
    ring.push(bad.user_data(1).hardlink());
    ring.push(IoUringSqe::nop().user_data(2));
    let [failed, ran] = next(&mut ring);
    assert_eq!((failed.errno(), ran.result()), (Some(Errno::EBADF), Ok(0)));
}

#[test]
fn flags_of_an_entry_reach_the_kernel() {
    let test = "ops::wait::flags_of_an_entry_reach_the_kernel";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_NOP) else {
        return;
    };
    let unknown = ring.run(IoUringSqe::nop().personality(9));
    assert_eq!(
        unknown.errno(),
        Some(Errno::EINVAL),
        "nobody registered these credentials"
    );
    let me = ring
        .register(IORING_REGISTER_PERSONALITY, 0, 0)
        .expect("credentials");
    let me = u16::try_from(me).expect("a small number");
    assert_eq!(ring.good(IoUringSqe::nop().personality(me)), 0);
    let file = file_with(b"async");
    let mut buf = [0; 5];
    let read = IoUringSqe::read(fd(&file), buf.as_mut_ptr(), 5, 0);
    assert_eq!(ring.good(read.force_async().drain()), 5);
    // The kernel refuses to drain a ring that has kept silent once: so this is last.
    ring.push(IoUringSqe::nop().user_data(1).skip_success());
    assert_eq!(
        ring.run(IoUringSqe::nop().user_data(2)).user_data,
        2,
        "the first one says nothing"
    );
}

#[test]
fn cancel_ends_what_waits_by_user_data_descriptor_or_all() {
    let test = "ops::wait::cancel_ends_what_waits_by_user_data_descriptor_or_all";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_SENDMSG_ZC) else {
        return;
    };
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let any = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
    for (cancel, result) in [
        (IoUringSqe::cancel(1, 0), 0),
        (IoUringSqe::cancel_fd(fd(&reader), 0), 0),
        (
            IoUringSqe::cancel_fd(fd(&reader), IORING_ASYNC_CANCEL_ALL),
            1,
        ),
        (IoUringSqe::cancel(0, any), 1),
    ] {
        ring.push(IoUringSqe::poll_add(fd(&reader), POLLIN, 0).user_data(1));
        ring.submit(0);
        ring.push(cancel.user_data(2));
        let [ended, cancel] = next(&mut ring);
        assert_eq!(
            (ended.errno(), cancel.result()),
            (Some(Errno::ECANCELED), Ok(result))
        );
    }
    assert_eq!(
        ring.run(IoUringSqe::cancel(1, 0)).errno(),
        Some(Errno::ENOENT)
    );
}

#[test]
fn waitid_waits_for_a_child() {
    let test = "ops::wait::waitid_waits_for_a_child";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_WAITID) else {
        return;
    };
    let mut child = std::process::Command::new("true").spawn().expect("a child");
    let id = i32::try_from(child.id()).expect("a small number");
    // A `siginfo_t` has 128 bytes: signal, error, code, then the process. sigaction(2)
    let mut info = [0_i32; 32];
    let (kind, options) = (libc::P_PID, (libc::WEXITED | libc::WNOWAIT).cast_unsigned());
    ring.good(IoUringSqe::waitid(
        kind,
        id,
        info.as_mut_ptr().cast(),
        options,
    ));
    assert_eq!(
        (info[0], info[2], info[4]),
        (libc::SIGCHLD, libc::CLD_EXITED, id)
    );
    assert!(child.wait().expect("not taken").success());
    let gone = ring.run(IoUringSqe::waitid(kind, id, null_mut(), options));
    assert_eq!(gone.errno(), Some(Errno::ECHILD));
}

#[test]
fn futexes_are_waited_for_and_woken() {
    let test = "ops::wait::futexes_are_waited_for_and_woken";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_FUTEX_WAIT) else {
        return;
    };
    let (one, two) = (AtomicU32::new(7), AtomicU32::new(8));
    let flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;
    let all = u64::from(u32::MAX);
    let changed = ring.run(IoUringSqe::futex_wait(one.as_ptr(), 6, all, flags));
    assert_eq!(changed.errno(), Some(Errno::EAGAIN), "it is not 6");
    ring.push(IoUringSqe::futex_wait(one.as_ptr(), 7, 0b01, flags).user_data(1));
    ring.submit(0);
    assert_eq!(
        ring.good(IoUringSqe::futex_wake(one.as_ptr(), 1, 0b10, flags)),
        0,
        "another mask"
    );
    ring.push(IoUringSqe::futex_wake(one.as_ptr(), 1, 0b11, flags).user_data(2));
    let [woken, wake] = next(&mut ring);
    assert_eq!((woken.result(), wake.result()), (Ok(0), Ok(1)));

    let waiter = |futex: &AtomicU32| FutexWaitv {
        val: u64::from(futex.load(Ordering::Relaxed)),
        uaddr: futex.as_ptr().expose_provenance() as u64,
        flags,
        reserved: 0,
    };
    let waiters = [waiter(&one), waiter(&two)];
    ring.push(IoUringSqe::futex_waitv(waiters.as_ptr(), 2).user_data(1));
    ring.submit(0);
    ring.push(IoUringSqe::futex_wake(two.as_ptr(), 1, all, flags).user_data(2));
    let [woken, wake] = next(&mut ring);
    assert_eq!(
        (woken.result(), wake.result()),
        (Ok(1), Ok(1)),
        "the second one was woken"
    );
}

#[test]
fn messages_and_files_reach_another_ring() {
    let test = "ops::wait::messages_and_files_reach_another_ring";
    let Some(mut ring) = Ring::for_test(test, IORING_OP_MSG_RING) else {
        return;
    };
    let mut other = Ring::with_flags(0).expect("a second ring");
    ring.good(IoUringSqe::msg_ring(other.fd(), 33, 44, 0));
    let told = other.next();
    assert_eq!((told.result(), told.user_data), (Ok(33), 44));

    let file = file_with(b"handed over");
    let (full, empty) = ([fd(&file), -1], [-1; 4]);
    ring.register(IORING_REGISTER_FILES, full.as_ptr().expose_provenance(), 2)
        .expect("a file table");
    other
        .register(IORING_REGISTER_FILES, empty.as_ptr().expose_provenance(), 4)
        .expect("a file table");
    ring.good(IoUringSqe::msg_ring_fd(other.fd(), 0, 55, 0).direct(3));
    assert_eq!(other.next().user_data, 55);
    let mut buf = [0; 11];
    assert_eq!(
        other.good(IoUringSqe::read(3, buf.as_mut_ptr(), 11, 0).fixed_file()),
        11
    );
    assert_eq!(&buf, b"handed over");
}
