#![expect(unsafe_code, reason = "makes eventfds, and sends completions")]
//! What a ring is told once.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::time::Duration;

use pepita_io::ring::register::{self, WaitClock, WorkerLimits};
use pepita_io::ring::{Ring, RingConfig, Wait};
use pepita_sys::error::Errno;
use pepita_sys::io_uring::IoUringSqe;

use super::super::{complete, push, ring_for, user_data};
use super::has;

/// An eventfd that does not block.
fn eventfd() -> File {
    // SAFETY: takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    assert!(fd >= 0, "no eventfd");
    // SAFETY: the call just made it.
    unsafe { File::from_raw_fd(fd) }
}

/// Whether it has counted up since it was last asked.
fn signalled(mut eventfd: &File) -> bool {
    match eventfd.read(&mut [0; 8]) {
        Ok(8) => true,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        other => panic!("{other:?}"),
    }
}

/// A read that does not complete within its submission.
fn late_read(ring: &mut Ring) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut byte = 0;
    let read = IoUringSqe::read(reader.as_raw_fd(), &raw mut byte, 1, u64::MAX);
    push(ring, read);
    ring.submit().expect("a submission");
    writer.write_all(b"x").expect("a reader");
    ring.submit_and_wait(1).expect("a completion");
    assert_eq!((ring.pop().map(|cqe| cqe.res), byte), (Some(1), b'x'));
}

#[test]
fn an_eventfd_counts_up_when_completions_come() {
    let name = "an_eventfd_counts_up_when_completions_come";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let event = eventfd();
    ring.register_eventfd(event.as_raw_fd())
        .expect("an eventfd");
    let second = ring.register_eventfd(event.as_raw_fd());
    assert_eq!(second.map_err(|error| error.to_errno()), Err(Errno::EBUSY));
    assert!(!signalled(&event));
    complete(&mut ring, IoUringSqe::nop());
    assert!(signalled(&event));
    late_read(&mut ring);
    assert!(signalled(&event));
    ring.unregister_eventfd().expect("there is one");
    late_read(&mut ring);
    assert!(!signalled(&event));
    let none = ring.unregister_eventfd();
    assert_eq!(none.map_err(|error| error.to_errno()), Err(Errno::ENXIO));
}

#[test]
fn an_eventfd_can_be_told_of_late_completions_only() {
    let name = "an_eventfd_can_be_told_of_late_completions_only";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let event = eventfd();
    ring.register_eventfd_async(event.as_raw_fd())
        .expect("an eventfd");
    complete(&mut ring, IoUringSqe::nop());
    assert!(!signalled(&event));
    // In a worker: what the submitting thread finds by itself is no asynchronous completion.
    let zero = File::open("/dev/zero").expect("there is one everywhere");
    let mut byte = 1;
    let read = IoUringSqe::read(zero.as_raw_fd(), &raw mut byte, 1, 0).force_async();
    assert_eq!(complete(&mut ring, read).result(), Ok(1));
    assert!(signalled(&event));
}

#[test]
fn limits_of_workers_are_what_was_set() {
    let name = "limits_of_workers_are_what_was_set";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    // There is a pool of workers from the first submission on.
    complete(&mut ring, IoUringSqe::nop());
    let before = ring.worker_limits().expect("limits");
    assert!(before.bounded > 0 && before.unbounded > 0, "{before:?}");
    let limits = WorkerLimits {
        bounded: 3,
        unbounded: 2,
    };
    assert_eq!(ring.set_worker_limits(limits), Ok(before));
    assert_eq!(ring.worker_limits(), Ok(limits));
    let one = WorkerLimits {
        bounded: 0,
        unbounded: 5,
    };
    assert_eq!(ring.set_worker_limits(one), Ok(limits));
    let both = WorkerLimits {
        bounded: 3,
        unbounded: 5,
    };
    assert_eq!(ring.worker_limits(), Ok(both));
}

/// The CPUs that the thread may use whose folder in procfs is `task`.
fn cpus_of(task: &Path) -> String {
    let status = std::fs::read_to_string(task.join("status")).expect("a thread's status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("its CPUs").trim().to_owned()
}

/// The CPUs that the worker of this thread may use.
fn worker_cpus() -> Option<String> {
    // SAFETY: takes no pointer.
    let worker = format!("iou-wrk-{}\n", unsafe { libc::gettid() });
    let tasks = std::fs::read_dir("/proc/self/task").expect("a list of threads");
    let mut paths = tasks.flatten().map(|task| task.path());
    let path = paths
        .find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == worker));
    path.map(|path| cpus_of(&path))
}

#[test]
fn workers_run_on_the_cpus_that_they_were_given() {
    let name = "workers_run_on_the_cpus_that_they_were_given";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    complete(&mut ring, IoUringSqe::nop());
    let empty = ring.set_worker_affinity(&[]);
    assert_eq!(empty.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
    let ours = cpus_of(Path::new("/proc/thread-self"));
    let first = ours.split(['-', ',']).next().expect("a CPU");
    let cpu: usize = first.parse().expect("its number");
    let mut cpus = [0_u64; 16];
    cpus[cpu / 64] = 1 << (cpu % 64);
    ring.set_worker_affinity(&cpus).expect("a CPU of ours");
    let zero = File::open("/dev/zero").expect("there is one everywhere");
    let mut byte = 1;
    let read = IoUringSqe::read(zero.as_raw_fd(), &raw mut byte, 1, 0).force_async();
    assert_eq!(complete(&mut ring, read).result(), Ok(1));
    match worker_cpus() {
        Some(cpus) => assert_eq!(cpus, first),
        None => println!("SKIPPED: {name}: this kernel shows no workers"),
    }
    ring.clear_worker_affinity().expect("a set of CPUs");
}

#[test]
fn operations_run_with_registered_credentials() {
    let name = "operations_run_with_registered_credentials";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let id = ring.register_personality().expect("an id");
    let nop = IoUringSqe::nop().personality(id);
    assert_eq!(complete(&mut ring, nop).errno(), None);
    ring.unregister_personality(id).expect("they are there");
    assert_eq!(complete(&mut ring, nop).errno(), Some(Errno::EINVAL));
    let gone = ring.unregister_personality(id);
    assert_eq!(gone.map_err(|error| error.to_errno()), Err(Errno::EINVAL));
}

#[test]
fn waits_end_by_either_clock() {
    let name = "waits_end_by_either_clock";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    for clock in [WaitClock::Boottime, WaitClock::Monotonic] {
        let Some(()) = has(name, "6.12", ring.set_wait_clock(clock)) else {
            return;
        };
        let wait = Wait::new().timeout(Duration::from_millis(1));
        let error = ring
            .submit_and_wait_for(1, &wait)
            .expect_err("nothing comes");
        assert_eq!(error.to_errno(), Errno::ETIME);
    }
}

#[test]
fn a_message_comes_from_a_thread_without_a_ring() {
    let name = "a_message_comes_from_a_thread_without_a_ring";
    let Some(mut ring) = ring_for(name, &RingConfig::new(8)) else {
        return;
    };
    let fd = ring.fd();
    // SAFETY: this test takes the ring's completions, and expects these.
    let send = move |number| unsafe { register::send_message(fd, -5, number) };
    let sent = std::thread::spawn(move || send(77)).join();
    let Some(()) = has(name, "6.13", sent.expect("the thread")) else {
        return;
    };
    ring.submit_and_wait(1).expect("the message");
    let cqe = ring.pop().expect("the message");
    assert_eq!((cqe.user_data, cqe.res), (77, -5));
    // SAFETY: nobody gets it.
    let none = unsafe { register::send_message(-1, 0, 0) };
    assert_eq!(none.map_err(|error| error.to_errno()), Err(Errno::EBADF));
}

#[test]
fn rings_send_each_other_completions_and_files() {
    let name = "rings_send_each_other_completions_and_files";
    let (Some(mut from), Some(mut to)) = (
        ring_for(name, &RingConfig::new(8)),
        ring_for(name, &RingConfig::new(8)),
    ) else {
        return;
    };
    let message = IoUringSqe::msg_ring(to.fd(), 9, 77, 0);
    assert_eq!(complete(&mut from, message).result(), Ok(0));
    to.submit_and_wait(1).expect("the message");
    let cqe = to.pop().expect("the message");
    assert_eq!((cqe.user_data, cqe.res), (77, 9));

    let zero = File::open("/dev/zero").expect("there is one everywhere");
    from.register_files(&[zero.as_raw_fd()], &[])
        .expect("a table");
    to.register_files_sparse(3).expect("a table");
    let message = IoUringSqe::msg_ring_fd(to.fd(), 0, 78, 0).direct(2);
    assert!(complete(&mut from, message).is_success());
    to.submit_and_wait(1).expect("the message");
    assert_eq!(user_data(&mut to), [78]);
    let mut byte = 1;
    let read = IoUringSqe::read(2, &raw mut byte, 1, 0).fixed_file();
    assert_eq!(complete(&mut to, read).result(), Ok(1));
    assert_eq!(byte, 0);
}
