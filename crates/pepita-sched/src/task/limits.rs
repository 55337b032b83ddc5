//! What a task may use, and where it may run.

/// Limits of what a task may use; each is off when `None`.
///
/// The first four are the kernel's per-process limits (`setrlimit(2)`), so every process of the
/// task has them for itself; they work everywhere. `memory_bytes` and `processes` hold for the
/// task's processes together; they need a cgroup v2 hierarchy in which this process may make
/// groups, and a task that asks for them where that is missing is refused, not run without.
///
/// ```
/// use pepita_sched::task::Limits;
///
/// let limits = Limits { cpu_time_s: Some(60), open_files: Some(256), ..Limits::default() };
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "plain data, built with `..Limits::default()`"
)]
pub struct Limits {
    /// Bytes of address space of a process (`RLIMIT_AS`): beyond it, allocations fail.
    pub address_space_bytes: Option<u64>,
    /// Seconds of CPU time of a process (`RLIMIT_CPU`): `SIGXCPU` at the limit, `SIGKILL` one
    /// second later.
    pub cpu_time_s: Option<u64>,
    /// One more than the highest file descriptor (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Bytes of a file that a process writes (`RLIMIT_FSIZE`): `SIGXFSZ` beyond it.
    pub file_size_bytes: Option<u64>,
    /// Bytes of memory of the whole task, swap not counted (`memory.max`, with `memory.swap.max`
    /// at 0): beyond it the kernel kills the task, and its result says so.
    pub memory_bytes: Option<u64>,
    /// Processes and threads of the whole task (`pids.max`): beyond it, `fork` fails.
    pub processes: Option<u64>,
}

impl Limits {
    /// Whether a limit is set that only a cgroup can hold.
    #[must_use]
    pub fn need_cgroup(&self) -> bool {
        self.memory_bytes.is_some() || self.processes.is_some()
    }

    /// Each limit that is set, by the name of its field.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("address_space_bytes", self.address_space_bytes),
            ("cpu_time_s", self.cpu_time_s),
            ("open_files", self.open_files),
            ("file_size_bytes", self.file_size_bytes),
            ("memory_bytes", self.memory_bytes),
            ("processes", self.processes),
        ]
        .into_iter()
        .filter_map(|(name, limit)| Some((name, limit?)))
    }
}

/// The CPUs that a task may run on.
///
/// ```
/// use pepita_sched::task::CpuAffinity;
///
/// let first_two = CpuAffinity::cpus([0, 1]);
/// assert!(first_two.contains(1) && !first_two.contains(2));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuAffinity {
    /// Sorted, without repeats; empty means any CPU.
    cpus: Vec<u32>,
}

impl CpuAffinity {
    /// Any CPU.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// These CPUs, by the kernel's numbers; none given means any.
    #[must_use]
    pub fn cpus(cpus: impl IntoIterator<Item = u32>) -> Self {
        let mut cpus: Vec<u32> = cpus.into_iter().collect();
        cpus.sort_unstable();
        cpus.dedup();
        Self { cpus }
    }

    /// Whether the task may run on `cpu`.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.is_any() || self.cpus.binary_search(&cpu).is_ok()
    }

    /// Whether every CPU is allowed.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.cpus.is_empty()
    }

    /// The CPUs, in order; empty when any is allowed.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        &self.cpus
    }
}
