//! [`VmState`] and [`ExitReason`]: where a VM stands, and why it ended.

/// Where a VM stands.
///
/// ```text
/// Created ──start──▶ Running ◀──resume── Paused
///    ▲                │   │ └────pause────▶
///    │    the guest or stop()  the host fails
///    │                ▼   ▼
///    └──(start)── Stopped Error ──stop()──▶ Stopped
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum VmState {
    /// Made, and has not run.
    #[default]
    Created,
    /// Its virtual CPUs run.
    Running,
    /// Its virtual CPUs stand still, and go on from where they are.
    Paused,
    /// It has ended. Starting it boots it afresh.
    Stopped,
    /// The host failed it: [`MicroVm::run`](crate::MicroVm::run) said how. Stopping it makes it startable again.
    Error,
}

impl VmState {
    /// Whether [`MicroVm::start`](crate::MicroVm::start) starts a VM that stands here.
    ///
    /// ```
    /// use pepita_vmm::VmState;
    ///
    /// assert!(VmState::default().can_start() && VmState::Stopped.can_start());
    /// assert!(!VmState::Running.can_start());
    /// ```
    #[must_use]
    pub const fn can_start(self) -> bool {
        matches!(self, Self::Created | Self::Stopped)
    }

    /// Whether the guest has begun and not ended: it runs or is paused.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// Why a VM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// Every virtual CPU halted, and the machine has nothing that could wake one.
    Halt,
    /// The guest switched the power off.
    Shutdown,
    /// The guest asked for a reset.
    Reset,
    /// A virtual CPU met an exception while it began to handle a double fault.
    TripleFault,
    /// KVM could not go on with what the guest did.
    InternalError,
    /// [`MicroVm::stop`](crate::MicroVm::stop) ended it.
    Stopped,
}
