//! [`Guest`]: what a VM begins with.

use pepita_virtio::GuestRam;

use crate::VmError;
use crate::registers;
use kvm_ioctls::VcpuFd;
use pepita_sys::error::Errno;

/// Where code without a boot loader lies: behind the first page, which real mode has its interrupt table in.
const CODE: u16 = 0x1000;

/// What a VM begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guest {
    /// Instructions for real mode, which every virtual CPU runs from their first. There is no interrupt controller.
    RealMode(&'static [u8]),
}

/// `hlt`, again and again.
pub(crate) const HALTING: Guest = Guest::RealMode(&[0xf4, 0xeb, 0xfd]);

impl Guest {
    /// Puts it into memory.
    pub(crate) fn load(self, ram: &GuestRam) -> Result<(), VmError> {
        let Self::RealMode(code) = self;
        ram.write(u64::from(CODE), code).map_err(|_| VmError::Kvm {
            operation: "loading the guest",
            errno: Errno::ENOMEM,
        })
    }

    /// Sets a virtual CPU to its first instruction.
    pub(crate) fn enter(self, vcpu: &VcpuFd) -> Result<(), VmError> {
        registers::enter_real_mode(vcpu, CODE)
    }
}
