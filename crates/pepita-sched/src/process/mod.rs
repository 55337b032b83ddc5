//! Processes: looked up, spawned, served and ended.
//!
//! `lookup` finds the executable and `image` lays out what `execve` takes; `spawn` makes the
//! child, which runs `child` until it is the new program, by the system calls of `raw`; `serve`
//! feeds its input, drains its outputs (`stream`) and waits, all in one `poll`; `tree` ends every
//! process of a task, by `cgroup`, by a pid `namespace`, or by session and `descendants`.

mod cgroup;
mod child;
mod descendants;
mod image;
mod lookup;
mod namespace;
mod raw;
mod serve;
mod signals;
mod spawn;
mod stream;
mod tree;

pub(crate) use cgroup::MayMove;
pub(crate) use serve::{Runner, run};
pub(crate) use tree::{MayChange, TreeKiller};

/// The name of a signal, as `kill -l` shows it.
pub(crate) fn signal_name(signal: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES
        .get(usize::try_from(signal).ok()?.checked_sub(1)?)
        .copied()
}
