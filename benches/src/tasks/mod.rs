//! Processes and functions as tasks, against `xargs`, GNU parallel, `std` and thread pools.

mod command;
mod functions;
mod idle;
mod processes;

use crate::case::{Bar, Case, Home, Role, Settings, Suite, Unit};
use command::CommandLine;
use functions::{PeerFunctions, PoolFunctions};
use idle::IdlePool;
use processes::{MappedProcesses, PoolProcesses, StdProcesses};

/// `cargo xtask bench tasks`.
pub const SUITE: Suite = Suite {
    name: "tasks",
    about: "processes and functions as tasks, an idle pool, and the start of the program",
    cases,
};

/// Processes of a round of whole programs that need little beside them: start-up then weighs as it
/// does in a run that takes seconds.
const MANY_PROCESSES: usize = 4000;

/// Processes of the other rounds, which alternate more often for it.
const PROCESSES: usize = 400;

/// Functions of a round.
const FUNCTIONS: usize = 100_000;

/// At the same time, in every contender.
const WORKERS: usize = 2;

/// Rounds of the idle case: each takes five seconds, and what it counts does not depend on others.
const IDLE_ROUNDS: usize = 3;

/// The memory of the big parent.
const BIG_GIB: usize = 4;

fn cases(settings: &Settings) -> Vec<Case> {
    let count = settings.size.unwrap_or(PROCESSES);
    let many = settings.size.unwrap_or(MANY_PROCESSES);
    let xargs = move || CommandLine::xargs(WORKERS, many);
    let parallel = move || CommandLine::parallel(WORKERS, count);
    vec![
        over_lines(settings, many, "processes-xargs", Bar::Ratio(1.35)).contender(
            Role::Peer,
            Home::Shared,
            "xargs -P2 -n1",
            xargs,
        ),
        over_lines(settings, count, "processes-parallel", Bar::Ratio(5.0)).contender(
            Role::Peer,
            Home::Shared,
            "GNU parallel -j2",
            parallel,
        ),
        in_process(count),
        mapped(count),
        big_parent(count),
        functions(settings),
        idle(),
        start_up(settings),
    ]
}

/// `pepita run` over lines, without its peer.
fn over_lines(settings: &Settings, count: usize, name: &str, bar: Bar) -> Case {
    let settings = settings.clone();
    let work = format!(
        "{count} × /bin/true in the C locale over lines of standard input, from the start to the exit"
    );
    Case::new(name, Unit::Time("ms"), work).bar(bar).contender(
        Role::Ours,
        Home::Shared,
        "pepita run -j2",
        move || CommandLine::pepita(&settings, WORKERS, count),
    )
}

fn in_process(count: usize) -> Case {
    let work = format!("{count} × /bin/true from inside a program, outputs captured");
    Case::new("processes-std", Unit::Time("ms"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Own, "Pool, 2 workers", move || {
            PoolProcesses::new(count)
        })
        .contender(
            Role::Peer,
            Home::Own,
            "std Command::output, 2 threads",
            move || Ok(StdProcesses { count }),
        )
}

fn mapped(count: usize) -> Case {
    let work = format!("{count} × /bin/true from inside a program, outcomes taken in order");
    Case::new("processes-map", Unit::Time("ms"), work)
        .bar(Bar::Ratio(1.0))
        .contender(Role::Ours, Home::Own, "Pool::map, 2 workers", move || {
            MappedProcesses::new(count)
        })
        .contender(
            Role::Peer,
            Home::Own,
            "std Command::output, 2 threads",
            move || Ok(StdProcesses { count }),
        )
}

fn big_parent(count: usize) -> Case {
    let work = format!("{count} × /bin/true from a program with {BIG_GIB} GiB resident");
    Case::new("processes-big-parent", Unit::Time("ms"), work)
        .bar(Bar::Ratio(0.9))
        .contender(Role::Ours, Home::Own, "Pool, 4 GiB resident", move || {
            PoolProcesses::beside(BIG_GIB, count)
        })
        .contender(Role::Peer, Home::Own, "Pool, small", move || {
            PoolProcesses::new(count)
        })
}

fn functions(settings: &Settings) -> Case {
    let count = settings.size.unwrap_or(FUNCTIONS);
    let work = format!("{count} functions, results collected in order");
    Case::new("functions", Unit::Rate("tasks/s"), work)
        .bar(Bar::AtLeast(500_000.0))
        .contender(Role::Ours, Home::Own, "Pool, 2 workers", move || {
            PoolFunctions::new(count)
        })
        .contender(Role::Peer, Home::Own, "rayon spawn + mpsc", move || {
            PeerFunctions::<rayon::ThreadPool>::new(count)
        })
        .contender(Role::Peer, Home::Own, "threadpool + mpsc", move || {
            PeerFunctions::<threadpool::ThreadPool>::new(count)
        })
}

fn idle() -> Case {
    let work = "CPU time of the workers over 5 s without a task, after some tasks";
    Case::new("idle", Unit::Time("µs"), work)
        .rounds(IDLE_ROUNDS)
        .bar(Bar::Below(1000.0))
        .contender(Role::Ours, Home::Own, "Pool, 2 workers", IdlePool::new)
}

fn start_up(settings: &Settings) -> Case {
    let settings = settings.clone();
    let work = "one /bin/true, from the start to the exit of the program that runs it";
    Case::new("start-up", Unit::Time("ms"), work)
        .bar(Bar::BelowOverReference(10.0))
        .contender(Role::Ours, Home::Shared, "pepita run -j1", move || {
            CommandLine::pepita_once(&settings)
        })
        .contender(Role::Peer, Home::Shared, "xargs -P1 -n1", || {
            CommandLine::xargs(1, 1)
        })
        .contender(
            Role::Reference,
            Home::Shared,
            "/bin/true alone",
            CommandLine::alone,
        )
}
