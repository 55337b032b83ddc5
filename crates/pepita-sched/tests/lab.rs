//! What needs a kernel with cgroup v2 controllers: limits on memory and processes, and what a
//! task used.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]
#![expect(unsafe_code, reason = "maps memory to make this process large")]

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use pepita_sched::executor::CpuExecutor;
use pepita_sched::pool::Pool;
use pepita_sched::task::{
    ExecutionResult, Exit, Limits, Program, Stop, Task, TaskBuilder, TreeKill,
};

/// Whether the test runs; says why not.
fn in_lab(test: &str) -> bool {
    let is_lab = std::env::var_os("PEPITA_LAB").is_some();
    if !is_lab {
        println!("SKIPPED: {test}: only in the lab");
    }
    is_lab
}

fn run(task: TaskBuilder) -> ExecutionResult {
    let pool = Pool::builder().cpu_workers(1).build().unwrap();
    let handle = pool.submit(task.build().unwrap()).unwrap();
    handle.wait().unwrap()
}

fn sh(script: &str) -> TaskBuilder {
    Task::binary("sh").args(["-c", script])
}

#[test]
fn every_means_to_end_a_tree_is_here() {
    if !in_lab("every_means_to_end_a_tree_is_here") {
        return;
    }
    use TreeKill::{Cgroup, PidNamespace, ProcessGroup, Subreaper};
    for level in [Cgroup, PidNamespace, Subreaper, ProcessGroup] {
        let executor = CpuExecutor::builder().slots(1).tree_kill(level).build();
        assert_eq!(executor.unwrap().tree_kill(), level);
    }
    let surest = CpuExecutor::builder().slots(1).build().unwrap();
    assert_eq!(surest.tree_kill(), Cgroup);
}

#[test]
fn a_task_beyond_its_memory_limit_is_killed_whole_and_says_so() {
    if !in_lab("a_task_beyond_its_memory_limit_is_killed_whole_and_says_so") {
        return;
    }
    let hungry = || sh("sleep 1000 & head -c 100M /dev/zero | tail -n 1 | wc -c");
    let limit = |bytes| Limits {
        memory_bytes: Some(bytes),
        ..Limits::default()
    };
    let result = run(hungry().limits(limit(32 << 20)));
    assert_eq!(result.stopped, Some(Stop::MemoryLimit), "{result:?}");
    let peak = result.usage.peak_memory_bytes.unwrap();
    assert!((30 << 20..=32 << 20).contains(&peak), "{peak}");

    let result = run(hungry().limits(limit(512 << 20)));
    assert_eq!(
        (result.exit, result.stopped),
        (Exit::Code(0), None),
        "{result:?}"
    );
    assert!(
        result.usage.peak_memory_bytes.unwrap() > 100 << 20,
        "{result:?}"
    );
}

/// The kernel ends whoever shares the memory of what dies with a group, and a child that is on its
/// way to its program shares ours.
#[test]
fn a_pipeline_over_its_memory_limit_does_not_take_this_process_along() {
    if !in_lab("a_pipeline_over_its_memory_limit_does_not_take_this_process_along") {
        return;
    }
    for _ in 0..5 {
        let mut stages = vec![Program::new("tail").arg("/dev/zero")];
        stages.extend((0..30).map(|_| Program::new("cat")));
        let limits = Limits {
            memory_bytes: Some(16 << 20),
            ..Limits::default()
        };
        let result = run(Task::pipeline(stages).limits(limits));
        assert_eq!(result.stopped, Some(Stop::MemoryLimit), "{result:?}");
    }
}

#[test]
fn a_task_cannot_have_more_processes_than_its_limit() {
    if !in_lab("a_task_cannot_have_more_processes_than_its_limit") {
        return;
    }
    let bomb = || sh("for n in 1 2 3 4 5 6 7 8; do sleep 0.01 & done; wait; echo all");
    assert_eq!(run(bomb()).stdout_string(), "all\n");
    let limits = Limits {
        processes: Some(4),
        ..Limits::default()
    };
    let result = run(bomb().limits(limits));
    assert!(!result.stdout_string().contains("all"), "{result:?}");
    assert!(result.stderr_string().contains("fork"), "{result:?}");
}

/// Makes this process as large as `bytes` while it lives, by one small file mapped many times.
struct Ballast {
    maps: Vec<*mut std::ffi::c_void>,
}

const FILE_BYTES: usize = 64 << 20;

impl Ballast {
    fn new(bytes: usize) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        rustix::fs::ftruncate(&file, FILE_BYTES as u64).unwrap();
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        let map = |_| {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping touches no other memory.
            let map = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    FILE_BYTES,
                    protection,
                    flags,
                    &file,
                    0,
                )
            };
            map.unwrap()
        };
        Self {
            maps: (0..bytes / FILE_BYTES).map(map).collect(),
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        for &map in &self.maps {
            // SAFETY: made in `new` with this length, and never used.
            unsafe { rustix::mm::munmap(map, FILE_BYTES) }.unwrap();
        }
    }
}

#[test]
fn the_peak_memory_of_a_small_program_is_small_though_its_parent_is_large() {
    if !in_lab("the_peak_memory_of_a_small_program_is_small_though_its_parent_is_large") {
        return;
    }
    let ballast = Ballast::new(4 << 30);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes >= 4 << 20, "{resident}");
    let limits = Limits {
        processes: Some(10),
        ..Limits::default()
    };
    let result = run(Task::binary("/bin/true")
        .limits(limits)
        .timeout(Duration::from_secs(1000)));
    drop(ballast);
    let peak = result.usage.peak_memory_bytes.unwrap();
    assert!(peak < 16 << 20, "{peak}");
}

/// As under `systemd-run --scope -p Delegate=yes`: a group of our own that is not the root, with
/// this process in it. Run by the test below, in a process of its own.
#[test]
fn inside_a_delegated_group() {
    let Some(group) = std::env::var_os("PEPITA_TEST_GROUP") else {
        return;
    };
    let procs = std::path::Path::new(&group).join("cgroup.procs");
    fs::write(procs, "0").unwrap();
    let task = || {
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            ..Limits::default()
        };
        Task::binary("true").limits(limits).build().unwrap()
    };
    let stays = CpuExecutor::builder().slots(1).build().unwrap();
    let pool = Pool::builder().executor(stays).build().unwrap();
    assert!(pool.submit(task()).is_err());
    drop(pool);
    let moves = CpuExecutor::builder()
        .slots(1)
        .move_to_leaf_group()
        .build()
        .unwrap();
    let pool = Pool::builder().executor(moves).build().unwrap();
    let result = pool.submit(task()).unwrap().wait().unwrap();
    assert!(result.usage.peak_memory_bytes.is_some_and(|peak| peak > 0));
}

#[test]
fn limits_hold_in_a_delegated_group_if_this_process_may_move() {
    if !in_lab("limits_hold_in_a_delegated_group_if_this_process_may_move") {
        return;
    }
    let group = "/sys/fs/cgroup/delegated";
    fs::create_dir_all(group).unwrap();
    let inner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "inside_a_delegated_group", "--nocapture"])
        .env("PEPITA_TEST_GROUP", group)
        .output()
        .unwrap();
    assert!(inner.status.success(), "{inner:?}");
}
