#![expect(unsafe_code, reason = "puts a seccomp filter on a thread")]
//! A filter that lets system calls fail.

use pepita_sys::error::Errno;

/// From now on, the system call `number` fails with `errno` in this thread; `false` where no filter can be
/// set.
pub(crate) fn refuse(number: i64, errno: Errno) -> bool {
    let load_number = stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0);
    let number = u32::try_from(number).expect("a number");
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let answer = libc::SECCOMP_RET_ERRNO | errno.raw().cast_unsigned();
    let mut filter = [
        load_number,
        libc::sock_filter {
            jf: 1,
            ..stmt(equal, number)
        },
        stmt(libc::BPF_RET | libc::BPF_K, answer),
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
    set == 0
}

fn stmt(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("a short code"),
        jt: 0,
        jf: 0,
        k,
    }
}
