//! [`VmError`].

use std::path::PathBuf;

use pepita_sys::error::{Errno, KernelError};

use crate::{ImageError, VmState};

/// Why a VM does not do something. Nothing that a guest does makes one: that is an
/// [`ExitReason`](crate::ExitReason).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// There is no KVM to be had.
    #[error("/dev/kvm: {errno}: {}", advice(*errno))]
    NoKvm {
        /// What the system said.
        errno: Errno,
    },
    /// KVM is of another time.
    #[error("the kernel's KVM speaks version {version} of its interface, not 12")]
    Version {
        /// The version.
        version: i32,
    },
    /// KVM refused something.
    #[error("{operation}: {errno}: {}", advice(*errno))]
    Kvm {
        /// What was asked of it.
        operation: &'static str,
        /// What it said.
        errno: Errno,
    },
    /// KVM has fewer virtual CPUs for a VM.
    #[error("{vcpus} virtual CPUs: this host's KVM has {max} for a VM: ask for no more")]
    Vcpus {
        /// How many the VM is to have.
        vcpus: u32,
        /// The most.
        max: u32,
    },
    /// The host has no memory for the guest.
    #[error(
        "{memory_mib} MiB for the guest: {errno}: ask for less, or raise the host's limits (`ulimit -v`, the \
         cgroup's `memory.max`, `vm.overcommit_memory`)"
    )]
    Memory {
        /// How much the guest is to have.
        memory_mib: u64,
        /// What the system said.
        errno: Errno,
    },
    /// A file cannot be read.
    #[error("{}: {errno}: name a file that can be read", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        errno: Errno,
    },
    /// A file is no kernel that can be booted.
    #[error("{}: {error}", path.display())]
    Image {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        error: ImageError,
    },
    /// The ramdisk does not fit.
    #[error(
        "{}: {bytes} bytes of ramdisk: there is room for {room} beside the kernel: give the guest more memory",
        path.display()
    )]
    Initrd {
        /// Its path.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
        /// Bytes that there are.
        room: u64,
    },
    /// The kernel does not take so long a command line.
    #[error("{bytes} bytes of command line: this kernel takes {max}: shorten it")]
    CommandLine {
        /// Its bytes.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The host has no thread for a virtual CPU, or no signal for it.
    #[error(
        "a thread for virtual CPU {vcpu}: {errno}: raise the limit of threads (`ulimit -u`, `pids.max`)"
    )]
    Thread {
        /// Which virtual CPU.
        vcpu: u32,
        /// What the system said.
        errno: Errno,
    },
    /// A VM that stands there cannot do it.
    #[error("{operation}: the VM is {state:?}")]
    State {
        /// What was asked of it.
        operation: &'static str,
        /// Where it stands.
        state: VmState,
    },
    /// The host could not run a virtual CPU.
    #[error("running virtual CPU {vcpu}: {errno}")]
    Run {
        /// Which one.
        vcpu: u32,
        /// What KVM said.
        errno: Errno,
    },
}

/// What to do about what KVM says.
const fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => {
            "load kvm_intel or kvm_amd, switch virtualization on in the firmware, or on a virtual machine let its \
             host nest"
        }
        Errno::EACCES | Errno::EPERM => {
            "join the group of /dev/kvm (`usermod -aG kvm USER`), or give the user access to it (`setfacl`)"
        }
        Errno::EBUSY => "another hypervisor has the CPU's virtualization: stop it",
        Errno::ENOMEM => "the host has no memory left for it: free some, or ask for less",
        Errno::EMFILE | Errno::ENFILE => "raise the limit of open files (`ulimit -n`)",
        _ => "this host's KVM does not do it: see the kernel's log",
    }
}

impl VmError {
    pub(crate) fn kvm(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |error| Self::Kvm {
            operation,
            errno: Errno::from_raw(error.errno()),
        }
    }

    /// The error number: the system's own where it said one, `EINVAL` and `EBUSY` for what is not to be had.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::NoKvm { errno }
            | Self::Kvm { errno, .. }
            | Self::Memory { errno, .. }
            | Self::File { errno, .. }
            | Self::Thread { errno, .. }
            | Self::Run { errno, .. } => *errno,
            Self::Version { .. } => Errno::ENOSYS,
            Self::Vcpus { .. } | Self::CommandLine { .. } => Errno::EINVAL,
            Self::Image { .. } => Errno::ENOEXEC,
            Self::Initrd { .. } => Errno::ENOMEM,
            Self::State { .. } => Errno::EBUSY,
        }
    }
}

/// With the number that [`VmError::errno`] says.
impl From<VmError> for KernelError {
    fn from(error: VmError) -> Self {
        let operation = match error {
            VmError::Kvm { operation, .. } | VmError::State { operation, .. } => operation,
            VmError::Run { .. } => "running a virtual CPU",
            _ => "making a VM",
        };
        Self::from_errno(operation, error.errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(errno: Errno, says: &str) {
        let text = VmError::NoKvm { errno }.to_string();
        assert!(
            text.starts_with("/dev/kvm: ") && text.contains(says),
            "{text}"
        );
    }

    #[test]
    fn what_the_host_lacks_is_said_with_what_to_do() {
        check(Errno::ENOENT, "load kvm_intel or kvm_amd");
        check(Errno::EACCES, "usermod -aG kvm");
        check(Errno::EBUSY, "stop it");
        check(Errno::EMFILE, "ulimit -n");
    }

    #[test]
    fn the_number_of_the_system_survives_the_common_error() {
        let operation = "making a VM";
        let error = VmError::Kvm {
            operation,
            errno: Errno::ENOMEM,
        };
        let common = KernelError::from(error);
        assert_eq!(
            (common.to_errno(), common.operation()),
            (Errno::ENOMEM, operation)
        );
    }
}
