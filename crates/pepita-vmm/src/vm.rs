//! [`MicroVm`].

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::console::{Console, Output};
use crate::guest::{Guest, HALTING};
use crate::machine::Machine;
use crate::rounds::Rounds;
use crate::vcpu::Vcpu;
use crate::{ExitReason, VmConfig, VmError, VmState};

/// A VM: virtual CPUs, each with a thread, and memory.
///
/// Any number of threads may call it at once. It runs in turns: a boot ends by the guest's doing or by
/// [`stop`](Self::stop), and the next start boots afresh, from new memory. Dropping it stops it.
///
/// The threads are told things by the signal `SIGRTMIN`, whose handler the first VM sets for the whole program.
///
/// ```no_run
/// use pepita_vmm::{MicroVm, VmConfig, VmState};
///
/// let vm = MicroVm::create(VmConfig::builder().vcpus(2).memory_mb(256).build()?)?;
/// vm.start()?;
/// let exit_reason = vm.run()?;
/// println!("{exit_reason:?} after {} exits", vm.exit_count());
/// assert_eq!(vm.state(), VmState::Stopped);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MicroVm {
    config: VmConfig,
    /// What runs if there is no kernel.
    code: &'static [u8],
    console: Arc<Console>,
    rounds: Rounds,
}

impl MicroVm {
    /// Makes a VM, and puts its guest in place: the kernel of the configuration, or a guest that halts.
    ///
    /// # Errors
    /// [`VmError::NoKvm`], [`VmError::Version`] and [`VmError::Kvm`] if the host's KVM cannot, [`VmError::Vcpus`]
    /// if it has fewer, [`VmError::Memory`] if the host has no memory; [`VmError::File`], [`VmError::Image`],
    /// [`VmError::Initrd`] and [`VmError::CommandLine`] if the kernel is not to be booted so. Each says what to do.
    pub fn create(config: VmConfig) -> Result<Self, VmError> {
        Self::of(config, HALTING, Box::new(io::sink()))
    }

    /// The same, with what the guest writes to its serial console (COM1, `console=ttyS0` for Linux) going to
    /// `output`, byte after byte, in all boots.
    ///
    /// The virtual CPU that writes waits for `output`, also if somebody wants to stop it meanwhile. Errors of
    /// `output` lose what was written.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub fn with_console(
        config: VmConfig,
        output: impl Write + Send + 'static,
    ) -> Result<Self, VmError> {
        Self::of(config, HALTING, Box::new(output))
    }

    fn of(config: VmConfig, code: &'static [u8], output: Output) -> Result<Self, VmError> {
        let console = Arc::new(Console::new(output));
        let vcpus = Machine::boot(&config, Guest::of(&config, code), &console)?;
        let rounds = Rounds::new(vcpus);
        Ok(Self {
            config,
            code,
            console,
            rounds,
        })
    }

    /// Sets the virtual CPUs running and returns.
    ///
    /// # Errors
    /// [`VmError::State`] unless it is [`Created`](VmState::Created) or [`Stopped`](VmState::Stopped);
    /// [`VmError::Thread`], and from `Stopped` those of [`create`](Self::create).
    pub fn start(&self) -> Result<(), VmError> {
        self.rounds.start(|| self.boot())
    }

    /// Waits until the guest ends, and says why. Starts it if nobody did. It is [`Stopped`](VmState::Stopped) then.
    ///
    /// # Errors
    /// Those of [`start`](Self::start), but running and paused VMs are waited for; [`VmError::Run`] if the host
    /// cannot run it, which leaves it at [`Error`](VmState::Error).
    pub fn run(&self) -> Result<ExitReason, VmError> {
        self.rounds.run(|| self.boot())
    }

    fn boot(&self) -> Result<Vec<Vcpu>, VmError> {
        Machine::boot(
            &self.config,
            Guest::of(&self.config, self.code),
            &self.console,
        )
    }

    /// Lets the virtual CPUs stand still. When it returns, none runs. Pausing a paused VM is nothing.
    ///
    /// # Errors
    /// [`VmError::State`] if the guest has not begun, or ends meanwhile.
    pub fn pause(&self) -> Result<(), VmError> {
        self.rounds.pause()
    }

    /// Lets them go on. Resuming a running VM is nothing.
    ///
    /// # Errors
    /// [`VmError::State`] if the guest has not begun, or has ended.
    pub fn resume(&self) -> Result<(), VmError> {
        self.rounds.resume()
    }

    /// Ends the guest wherever it is. When it returns, the VM is [`Stopped`](VmState::Stopped), no thread runs, and
    /// the guest's memory is the host's again. Who waits in [`run`](Self::run) gets [`ExitReason::Stopped`].
    pub fn stop(&self) {
        self.rounds.stop();
    }

    /// Lets the guest receive bytes from its serial console. How many of them it has room for: a guest that does
    /// not read takes a few, and one that has ended takes none.
    pub fn write_console(&self, bytes: &[u8]) -> usize {
        self.console.receive(bytes)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> VmState {
        self.rounds.state()
    }

    /// What it was made of.
    #[must_use]
    pub const fn config(&self) -> &VmConfig {
        &self.config
    }

    /// Virtual CPUs.
    #[must_use]
    pub const fn vcpu_count(&self) -> u32 {
        self.config.vcpus()
    }

    /// Memory of the guest, in bytes.
    #[must_use]
    pub const fn memory_size(&self) -> u64 {
        self.config.memory_mib() << 20
    }

    /// How often the guest left for something that the host had to do, in all boots, kicks not counted.
    #[must_use]
    pub fn exit_count(&self) -> u64 {
        self.rounds.exit_count()
    }
}

impl Drop for MicroVm {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for MicroVm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MicroVm")
            .field("config", &self.config)
            .field("state", &self.state())
            .field("exit_count", &self.exit_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
