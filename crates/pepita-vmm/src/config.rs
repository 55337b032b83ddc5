//! [`VmConfig`]: what a VM is to be.

use std::fs;
use std::path::{Path, PathBuf};

use pepita_sys::error::{Errno, KernelError};

use crate::KernelEntry;

/// The most virtual CPUs: APIC ids of 8 bits, without the one that means all.
pub const MAX_VCPUS: u32 = 254;

/// The most memory, in MiB: 1 TiB.
pub const MAX_MEMORY_MIB: u64 = 1 << 20;

/// What a [`MicroVm`](crate::MicroVm) is to be. Made by [`VmConfig::builder`], and right by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    vcpus: u32,
    memory_mib: u64,
    kernel: Option<Kernel>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Kernel {
    path: PathBuf,
    entry: KernelEntry,
    cmdline: String,
    initrd: Option<PathBuf>,
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
            kernel_path: None,
            entry: None,
            cmdline: None,
            initrd_path: None,
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

    /// The kernel that boots; without one a tiny guest that halts.
    #[must_use]
    pub fn kernel_path(&self) -> Option<&Path> {
        self.kernel.as_ref().map(|kernel| kernel.path.as_path())
    }

    /// Where the kernel begins.
    #[must_use]
    pub fn kernel_entry(&self) -> KernelEntry {
        self.kernel
            .as_ref()
            .map_or_else(KernelEntry::default, |kernel| kernel.entry)
    }

    /// The kernel's command line.
    #[must_use]
    pub fn kernel_cmdline(&self) -> &str {
        self.kernel.as_ref().map_or("", |kernel| &kernel.cmdline)
    }

    /// The kernel's initial ramdisk.
    #[must_use]
    pub fn initrd_path(&self) -> Option<&Path> {
        self.kernel.as_ref()?.initrd.as_deref()
    }
}

/// Collects what a VM is to be; [`build`](Self::build) checks it.
#[derive(Debug, Clone)]
pub struct VmConfigBuilder {
    vcpus: u32,
    memory_mib: u64,
    kernel_path: Option<PathBuf>,
    entry: Option<KernelEntry>,
    cmdline: Option<String>,
    initrd_path: Option<PathBuf>,
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

    /// Sets the kernel: a bzImage, as distributions have it at `/boot/vmlinuz`, or an ELF executable (vmlinux).
    #[must_use]
    pub fn kernel_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.kernel_path = Some(path.into());
        self
    }

    /// Sets where the kernel begins, if not at [`KernelEntry::Linux64`].
    #[must_use]
    pub const fn kernel_entry(mut self, entry: KernelEntry) -> Self {
        self.entry = Some(entry);
        self
    }

    /// Sets the kernel's command line.
    #[must_use]
    pub fn kernel_cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.cmdline = Some(cmdline.into());
        self
    }

    /// Sets the kernel's initial ramdisk, as the kernel takes it: an archive of cpio, compressed or not.
    #[must_use]
    pub fn initrd_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.initrd_path = Some(path.into());
        self
    }

    /// Checks it all. Files are looked for, and read when the VM boots.
    ///
    /// # Errors
    /// [`ConfigError`] says what is wrong, and what would be right.
    pub fn build(self) -> Result<VmConfig, ConfigError> {
        let Self {
            vcpus, memory_mib, ..
        } = self;
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(ConfigError::Vcpus { vcpus });
        }
        if !(1..=MAX_MEMORY_MIB).contains(&memory_mib) {
            return Err(ConfigError::Memory { memory_mib });
        }
        let kernel = self.kernel()?;
        Ok(VmConfig {
            vcpus,
            memory_mib,
            kernel,
        })
    }

    fn kernel(self) -> Result<Option<Kernel>, ConfigError> {
        let Some(path) = self.kernel_path else {
            let what = if self.cmdline.is_some() {
                "a command line"
            } else if self.initrd_path.is_some() {
                "an initial ramdisk"
            } else if self.entry.is_some() {
                "an entry"
            } else {
                return Ok(None);
            };
            return Err(ConfigError::NoKernel { what });
        };
        let cmdline = self.cmdline.unwrap_or_default();
        if let Some(at) = cmdline.find('\0') {
            return Err(ConfigError::CommandLine { at });
        }
        check_file("kernel", &path)?;
        if let Some(path) = &self.initrd_path {
            check_file("initial ramdisk", path)?;
        }
        Ok(Some(Kernel {
            path,
            entry: self.entry.unwrap_or_default(),
            cmdline,
            initrd: self.initrd_path,
        }))
    }
}

fn check_file(what: &'static str, path: &Path) -> Result<(), ConfigError> {
    let found = fs::metadata(path).map_err(Errno::from).and_then(|found| {
        if found.is_dir() {
            return Err(Errno::EISDIR);
        }
        found.is_file().then_some(()).ok_or(Errno::EINVAL)
    });
    found.map_err(|errno| ConfigError::File {
        what,
        path: path.to_owned(),
        errno,
    })
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
    /// There is no kernel that would take it.
    #[error("{what} without a kernel: name one by `kernel_path`")]
    NoKernel {
        /// What there is.
        what: &'static str,
    },
    /// The command line would end early.
    #[error("the command line has a zero at byte {at}: leave it out")]
    CommandLine {
        /// Where.
        at: usize,
    },
    /// A file is not there.
    #[error("the {what} {}: {errno}: name a file", path.display())]
    File {
        /// What it is to be.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
}

impl From<ConfigError> for KernelError {
    fn from(error: ConfigError) -> Self {
        let errno = match error {
            ConfigError::File { errno, .. } => errno,
            _ => Errno::EINVAL,
        };
        Self::from_errno("configuring a VM", errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(builder: VmConfigBuilder, says: &str) {
        assert_eq!(builder.build().expect_err(says).to_string(), says);
    }

    #[test]
    fn what_a_vm_cannot_be_is_said_with_what_would_be_right() {
        let vm = VmConfig::builder;
        refused(vm().vcpus(0), "0 virtual CPUs: 1 to 254 are possible");
        refused(vm().vcpus(255), "255 virtual CPUs: 1 to 254 are possible");
        refused(
            vm().memory_mb(0),
            "0 MiB of memory: 1 to 1048576 are possible",
        );
        refused(
            vm().memory_mb(u64::MAX),
            "18446744073709551615 MiB of memory: 1 to 1048576 are possible",
        );
        refused(
            vm().kernel_cmdline("quiet"),
            "a command line without a kernel: name one by `kernel_path`",
        );
        refused(
            vm().initrd_path("/"),
            "an initial ramdisk without a kernel: name one by `kernel_path`",
        );
        refused(
            vm().kernel_entry(KernelEntry::Pvh),
            "an entry without a kernel: name one by `kernel_path`",
        );
        let exe = || vm().kernel_path("/proc/self/exe");
        refused(
            exe().kernel_cmdline("a\0b"),
            "the command line has a zero at byte 1: leave it out",
        );
        let errno = Errno::ENOENT;
        refused(
            vm().kernel_path("/nowhere"),
            &format!("the kernel /nowhere: {errno}: name a file"),
        );
        let errno = Errno::EISDIR;
        refused(
            exe().initrd_path("/proc"),
            &format!("the initial ramdisk /proc: {errno}: name a file"),
        );
        assert!(exe().kernel_cmdline("quiet").build().is_ok());
    }
}
