//! Where io_uring is refused.

use pepita_io::ring::{Refusal, RingConfig, SetupError};
use pepita_sys::error::{Errno, KernelError};

use crate::filter::refuse;

/// What io_uring_setup(2) says in a thread whose filter answers it with `errno`; `None` where no filter can
/// be set.
fn under_filter(errno: Errno) -> Option<SetupError> {
    let thread = std::thread::spawn(move || {
        refuse(libc::SYS_io_uring_setup, errno)
            .then(|| RingConfig::new(8).build().expect_err("a refusal"))
    });
    thread.join().expect("the thread")
}

#[test]
fn a_filter_that_refuses_io_uring_is_named() {
    for (errno, want) in [
        (Errno::EPERM, Refusal::Filter),
        (Errno::ENOSYS, Refusal::Absent),
    ] {
        let Some(error) = under_filter(errno) else {
            println!("SKIPPED: a_filter_that_refuses_io_uring_is_named: no seccomp here");
            return;
        };
        assert_eq!(error, SetupError::Refused(want));
        assert_eq!(KernelError::from(error).to_errno(), errno);
        assert!(error.to_string().contains("seccomp"), "{error}");
    }
}
