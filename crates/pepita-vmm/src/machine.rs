#![expect(unsafe_code, reason = "lends memory to KVM")]
//! [`Machine`]: a VM of KVM with its memory, and the virtual CPUs that are ready to run on it.
//!
//! # Invariants
//! * *outlives*: the memory that KVM knows is mapped until nobody can run the VM any more: a machine closes its VM
//!   before it unmaps, and a virtual CPU keeps its machine until its own descriptor is closed.

use std::sync::Arc;

use kvm_bindings::{KVM_API_VERSION, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VmFd};
use pepita_sys::error::Errno;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::console::{self, Console};
use crate::cpuid;
use crate::guest::{Guest, Loaded};
use crate::kick::Kick;
use crate::memory::Memory;
use crate::vcpu::Vcpu;
use crate::{VmConfig, VmError};

/// Four pages below the firmware's place, which Intel's CPUs want for real mode, and no memory region has.
/// Source: Documentation/virt/kvm/api.rst, `KVM_SET_TSS_ADDR` and `KVM_SET_IDENTITY_MAP_ADDR`.
const IDENTITY_MAP: u64 = 0xfffb_c000;
const TSS: usize = 0xfffb_d000;

/// A VM, not to be run but by its virtual CPUs.
pub(crate) struct Machine {
    // The order of the fields is *outlives*.
    vm: VmFd,
    memory: Memory,
    console: Arc<Console>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.console.unplug();
    }
}

impl Machine {
    /// A machine with its guest loaded and its virtual CPUs at their first instructions.
    pub(crate) fn boot(
        config: &VmConfig,
        guest: Guest<'_>,
        console: &Arc<Console>,
    ) -> Result<Vec<Vcpu>, VmError> {
        let kvm = open()?;
        let max = u32::try_from(kvm.get_max_vcpus()).unwrap_or(u32::MAX);
        let vcpus = config.vcpus();
        if vcpus > max {
            return Err(VmError::Vcpus { vcpus, max });
        }
        let memory = Memory::new(config.memory_mib())?;
        let loaded = guest.load(config, &memory.ram)?;
        let vm = create(&kvm)?;
        let interrupt = console.reset()?;
        let console = Arc::clone(console);
        let machine = Self {
            vm,
            memory,
            console,
        };
        machine.lend()?;
        machine.make_room_for_intel()?;
        let mut cpuid = None;
        if let Loaded::Kernel(_) = loaded {
            let made = machine.vm.create_irq_chip();
            made.map_err(VmError::kvm("making the interrupt controllers"))?;
            let wired = machine.vm.register_irqfd(&interrupt, console::IRQ);
            wired.map_err(VmError::kvm("wiring an interrupt"))?;
            cpuid = Some(cpuid::supported(&kvm)?);
        }
        let machine = Arc::new(machine);
        let vcpu = |id| {
            let fd = machine.vm.create_vcpu(u64::from(id));
            let fd = fd.map_err(VmError::kvm("making a virtual CPU"))?;
            if let Some(cpuid) = &cpuid {
                let set = fd.set_cpuid2(&cpuid::of_vcpu(cpuid, id, vcpus));
                set.map_err(VmError::kvm("setting the features of a virtual CPU"))?;
            }
            loaded.enter(&fd, id)?;
            let kick = Kick::new(&fd).map_err(|errno| VmError::Kvm {
                operation: "mapping a virtual CPU",
                errno,
            })?;
            Ok(Vcpu::new(fd, Arc::new(kick), Arc::clone(&machine)))
        };
        (0..vcpus).map(vcpu).collect()
    }

    pub(crate) fn console(&self) -> &Console {
        &self.console
    }

    /// Tells KVM where the guest's memory is.
    fn lend(&self) -> Result<(), VmError> {
        for (slot, region) in (0..).zip(self.memory.mapped.iter()) {
            let host = region.get_host_address(MemoryRegionAddress(0));
            let host = host.map_err(|_| VmError::Kvm {
                operation: "finding the guest's memory",
                errno: Errno::EFAULT,
            })?;
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: host as u64,
            };
            // SAFETY: *outlives*; regions of one memory do not overlap.
            let lent = unsafe { self.vm.set_user_memory_region(slot) };
            lent.map_err(VmError::kvm("giving memory to the VM"))?;
        }
        Ok(())
    }

    fn make_room_for_intel(&self) -> Result<(), VmError> {
        let failed = VmError::kvm("making room for real mode");
        self.vm
            .set_identity_map_address(IDENTITY_MAP)
            .map_err(&failed)?;
        self.vm.set_tss_address(TSS).map_err(&failed)
    }
}

fn open() -> Result<Kvm, VmError> {
    let kvm = Kvm::new().map_err(|error| VmError::NoKvm {
        errno: Errno::from_raw(error.errno()),
    })?;
    let version = kvm.get_api_version();
    if u32::try_from(version) == Ok(KVM_API_VERSION) {
        Ok(kvm)
    } else {
        Err(VmError::Version { version })
    }
}

/// A VM. Making one makes a kernel thread, which a signal to this program interrupts.
fn create(kvm: &Kvm) -> Result<VmFd, VmError> {
    loop {
        match kvm.create_vm() {
            Err(error) if error.errno() == Errno::EINTR.raw() => {}
            made => return made.map_err(VmError::kvm("making a VM")),
        }
    }
}
