#![expect(unsafe_code, reason = "puts a seccomp filter on a thread")]
//! Where io_uring is refused.

use pepita_io::ring::{Refusal, RingConfig, SetupError};
use pepita_sys::error::{Errno, KernelError};

/// What io_uring_setup(2) says in a thread whose filter answers it with `errno`; `None` where no filter can
/// be set.
fn under_filter(errno: Errno) -> Option<SetupError> {
    let thread = std::thread::spawn(move || {
        let load_number = stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
        let setup = u32::try_from(libc::SYS_io_uring_setup).expect("a number");
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let refuse = libc::SECCOMP_RET_ERRNO | u32::try_from(errno.raw()).expect("a number");
        let mut filter = [
            load_number,
            libc::sock_filter {
                jf: 1,
                ..stmt(equal, setup)
            },
            stmt(libc::BPF_RET | libc::BPF_K, refuse),
            stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: 4,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the call takes numbers.
        let mut set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the program lives as long as the call, which copies it.
        set |= unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        (set == 0).then(|| RingConfig::new(8).build().expect_err("a refusal"))
    });
    thread.join().expect("the thread")
}

fn stmt(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("a short code"),
        jt: 0,
        jf: 0,
        k,
    }
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
