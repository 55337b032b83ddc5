//! [`Guest`]: what a VM begins with.

use std::path::Path;

use kvm_ioctls::VcpuFd;
use pepita_sys::error::Errno;
use pepita_virtio::GuestRam;

use crate::boot::{self, Start};
use crate::{VmConfig, VmError, registers};

/// Where code without a boot loader lies: behind the first page, which real mode has its interrupt table in.
const CODE: u16 = 0x1000;

/// `hlt`, again and again.
pub(crate) const HALTING: &[u8] = &[0xf4, 0xeb, 0xfd];

/// What a VM begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guest<'a> {
    /// Instructions for real mode, which every virtual CPU runs from their first. There is no interrupt controller.
    RealMode(&'a [u8]),
    /// A kernel, which the first virtual CPU begins; the others wait until it wakes them by their interrupt
    /// controllers.
    Kernel(&'a Path),
}

/// A guest that is in memory: where its virtual CPUs begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loaded {
    RealMode,
    Kernel(Start),
}

impl<'a> Guest<'a> {
    /// The kernel of the configuration, or else `code`.
    pub(crate) fn of(config: &'a VmConfig, code: &'a [u8]) -> Self {
        config
            .kernel_path()
            .map_or(Self::RealMode(code), Self::Kernel)
    }

    /// Puts it into memory.
    pub(crate) fn load(self, config: &VmConfig, ram: &GuestRam) -> Result<Loaded, VmError> {
        match self {
            Self::RealMode(code) => {
                let put = ram.write(CODE.into(), code);
                put.map_err(|_| VmError::Kvm {
                    operation: "loading the guest",
                    errno: Errno::EFAULT,
                })?;
                Ok(Loaded::RealMode)
            }
            Self::Kernel(path) => boot::load(path, config, ram).map(Loaded::Kernel),
        }
    }
}

impl Loaded {
    /// Sets virtual CPU `id` to its first instruction.
    pub(crate) fn enter(self, vcpu: &VcpuFd, id: u32) -> Result<(), VmError> {
        match self {
            Self::RealMode => registers::enter_real_mode(vcpu, CODE),
            Self::Kernel(start) if id == 0 => registers::enter_kernel(vcpu, start),
            Self::Kernel(_) => Ok(()),
        }
    }
}
