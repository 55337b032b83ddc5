//! [`VmConfig`]: what a VM is to be.

use pepita_sys::error::{Errno, KernelError};

/// The most virtual CPUs: APIC ids of 8 bits, without the one that means all.
pub const MAX_VCPUS: u32 = 254;

/// The most memory, in MiB: 1 TiB.
pub const MAX_MEMORY_MIB: u64 = 1 << 20;

/// What a [`MicroVm`](crate::MicroVm) is to be. Made by [`VmConfig::builder`], and right by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    vcpus: u32,
    memory_mib: u64,
}

impl VmConfig {
    /// A builder of a VM with one virtual CPU and 128 MiB.
    ///
    /// ```
    /// use pepita_vmm::VmConfig;
    ///
    /// let config = VmConfig::builder().vcpus(2).memory_mb(256).build()?;
    /// assert_eq!((config.vcpus(), config.memory_mib()), (2, 256));
    /// let error = VmConfig::builder().vcpus(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "0 virtual CPUs: 1 to 254 are possible");
    /// # Ok::<(), pepita_vmm::ConfigError>(())
    /// ```
    #[must_use]
    pub const fn builder() -> VmConfigBuilder {
        VmConfigBuilder {
            vcpus: 1,
            memory_mib: 128,
        }
    }

    /// Virtual CPUs.
    #[must_use]
    pub const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// Memory of the guest in MiB.
    #[must_use]
    pub const fn memory_mib(&self) -> u64 {
        self.memory_mib
    }
}

/// Collects what a VM is to be; [`build`](Self::build) checks it.
#[derive(Debug, Clone)]
pub struct VmConfigBuilder {
    vcpus: u32,
    memory_mib: u64,
}

impl VmConfigBuilder {
    /// Sets how many virtual CPUs the guest has, 1 to [`MAX_VCPUS`].
    #[must_use]
    pub const fn vcpus(mut self, vcpus: u32) -> Self {
        self.vcpus = vcpus;
        self
    }

    /// Sets the guest's memory in MiB, 1 to [`MAX_MEMORY_MIB`].
    #[must_use]
    pub const fn memory_mb(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Checks it all.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong, and what would be right.
    pub fn build(self) -> Result<VmConfig, ConfigError> {
        let Self { vcpus, memory_mib } = self;
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(ConfigError::Vcpus { vcpus });
        }
        if !(1..=MAX_MEMORY_MIB).contains(&memory_mib) {
            return Err(ConfigError::Memory { memory_mib });
        }
        Ok(VmConfig { vcpus, memory_mib })
    }
}

/// Why a VM cannot be as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None, or too many.
    #[error("{vcpus} virtual CPUs: 1 to {MAX_VCPUS} are possible")]
    Vcpus {
        /// How many were asked for.
        vcpus: u32,
    },
    /// None, or too much.
    #[error("{memory_mib} MiB of memory: 1 to {MAX_MEMORY_MIB} are possible")]
    Memory {
        /// How much was asked for.
        memory_mib: u64,
    },
}

impl From<ConfigError> for KernelError {
    fn from(_: ConfigError) -> Self {
        Self::from_errno("configuring a VM", Errno::EINVAL)
    }
}
