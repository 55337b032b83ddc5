//! [`Vcpu`]: a virtual CPU, and what its exits mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvm_bindings::{KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{VcpuExit, VcpuFd};
use pepita_sys::error::Errno;

use crate::ExitReason;
use crate::console::Console;
use crate::kick::Kick;
use crate::machine::Machine;
use crate::ports;

/// A virtual CPU. Whoever has it may run it.
pub(crate) struct Vcpu {
    // The order of the fields is *outlives* of `machine.rs`.
    fd: VcpuFd,
    kick: Arc<Kick>,
    machine: Arc<Machine>,
}

/// How often a virtual CPU left the guest, on a cache line of its own: its thread alone writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Exits(AtomicU64);

impl Exits {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one_more(&self) {
        self.0.store(self.count() + 1, Ordering::Relaxed);
    }
}

/// Why a virtual CPU does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody wants its attention.
    Kicked,
    /// The guest is through, or this virtual CPU of it for [`ExitReason::Halt`].
    Ended(ExitReason),
}

impl Vcpu {
    pub(crate) fn new(fd: VcpuFd, kick: Arc<Kick>, machine: Arc<Machine>) -> Self {
        Self { fd, kick, machine }
    }

    pub(crate) fn kick(&self) -> &Arc<Kick> {
        &self.kick
    }

    /// Runs the guest until it ends or somebody kicks.
    pub(crate) fn run(&mut self, exits: &Exits) -> Result<Stop, Errno> {
        loop {
            let exit = self.fd.run();
            let exit = match exit {
                Ok(exit) => exit,
                Err(error) => match Errno::from_raw(error.errno()) {
                    Errno::EINTR => return Ok(Stop::Kicked),
                    // One that waited for its first instruction has been told it.
                    Errno::EAGAIN => continue,
                    errno => return Err(errno),
                },
            };
            exits.one_more();
            if let Some(reason) = serve(exit, self.machine.console()) {
                return Ok(Stop::Ended(reason));
            }
        }
    }
}

/// Does what the guest left for. What the guest wants of a device that is not there comes to nothing.
fn serve(exit: VcpuExit<'_>, console: &Console) -> Option<ExitReason> {
    match exit {
        VcpuExit::IoOut(port, data) => ports::write(port, data, console),
        VcpuExit::IoIn(port, data) => {
            ports::read(port, data, console);
            None
        }
        VcpuExit::MmioRead(_, data) => {
            data.fill(0xff);
            None
        }
        VcpuExit::MmioWrite(..) => None,
        VcpuExit::Hlt => Some(ExitReason::Halt),
        VcpuExit::Shutdown => Some(ExitReason::TripleFault),
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SHUTDOWN, _) => Some(ExitReason::Shutdown),
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET, _) => Some(ExitReason::Reset),
        _ => Some(ExitReason::InternalError),
    }
}
