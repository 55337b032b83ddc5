//! What a virtual CPU says of itself: what KVM supports on this host, with each CPU's own numbers.
//!
//! Sources: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Documentation/virt/kvm/x86/cpuid.rst.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};

use crate::VmError;

/// Features of leaf 1, `ECX`, that KVM has if its interrupt controller is used, and does not list.
const TSC_DEADLINE: u32 = 1 << 24;
/// The CPU runs under a hypervisor.
const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, `EDX`: the count of logical CPUs is valid.
const HTT: u32 = 1 << 28;

/// What is the same for all CPUs of a VM.
pub(crate) fn supported(kvm: &Kvm) -> Result<CpuId, VmError> {
    let all = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
    let mut cpuid = all.map_err(VmError::kvm("asking KVM for the CPU's features"))?;
    let has_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    for entry in cpuid.as_mut_slice() {
        if entry.function == 1 {
            entry.ecx |= HYPERVISOR | if has_deadline { TSC_DEADLINE } else { 0 };
        }
    }
    Ok(cpuid)
}

/// What CPU `id` of `count` says: each is a core of its own, and all are in one package.
pub(crate) fn of_vcpu(supported: &CpuId, id: u32, count: u32) -> CpuId {
    let mut cpuid = supported.clone();
    for entry in cpuid.as_mut_slice() {
        number(entry, id, count);
    }
    cpuid
}

fn number(entry: &mut kvm_cpuid_entry2, id: u32, count: u32) {
    // How many bits of an APIC id tell the cores of a package apart.
    let core_bits = count.next_power_of_two().trailing_zeros();
    match entry.function {
        1 => {
            entry.ebx = (entry.ebx & 0xffff) | (1 << core_bits.min(7)) << 16 | id << 24;
            entry.edx = (entry.edx & !HTT) | if count > 1 { HTT } else { 0 };
        }
        // Caches: cores in the package, and CPUs that share the cache: one, unless it is the last level's.
        4 if entry.eax & 0x1f != 0 => {
            let is_last = (entry.eax >> 5) & 0b111 >= 3;
            let sharing = if is_last { (1 << core_bits) - 1 } else { 0 };
            let cores = ((1 << core_bits) - 1) & 0x3f;
            entry.eax = (entry.eax & 0x3fff) | (sharing & 0xfff) << 14 | cores << 26;
        }
        // Levels: threads of a core, one; cores of the package.
        0xb | 0x1f => {
            let (bits, cpus, kind) = match entry.index {
                0 => (0, 1, 1),
                1 => (core_bits, count, 2),
                _ => (0, 0, 0),
            };
            entry.eax = bits;
            entry.ebx = cpus;
            entry.ecx = entry.index | kind << 8;
            entry.edx = id;
        }
        0x8000_0008 => entry.ecx = (entry.ecx & !0xf0ff) | core_bits << 12 | (count - 1),
        // AMD: the APIC id, a thread a core, one node.
        0x8000_001e => {
            entry.eax = id;
            entry.ebx = id & 0xff;
            entry.ecx = 0;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(function: u32, index: u32, id: u32, count: u32) -> [u32; 4] {
        let mut entry = kvm_cpuid_entry2 {
            function,
            index,
            eax: 0x21,
            ebx: 0x1234,
            ecx: 0,
            ..kvm_cpuid_entry2::default()
        };
        number(&mut entry, id, count);
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    }

    #[test]
    fn each_cpu_has_its_number_and_all_agree_on_the_rest() {
        for count in [1_u32, 2, 3, 4, 254] {
            let bits = count.next_power_of_two().ilog2();
            for id in 0..count {
                assert_eq!(numbered(1, 0, id, count)[1] >> 24, id);
                assert_eq!(numbered(1, 0, id, count)[3] & HTT != 0, count > 1);
                assert_eq!(numbered(0xb, 0, id, count), [0, 1, 1 << 8, id]);
                assert_eq!(numbered(0xb, 1, id, count), [bits, count, 1 | 2 << 8, id]);
                assert_eq!(numbered(0xb, 2, id, count), [0, 0, 2, id]);
                assert_eq!(numbered(0x8000_001e, 0, id, count)[0], id);
            }
            assert_eq!(
                numbered(0x8000_0008, 0, 0, count)[2],
                bits << 12 | (count - 1)
            );
            // A cache of the first level is one CPU's.
            assert_eq!((numbered(4, 0, 0, count)[0] >> 14) & 0xfff, 0);
        }
    }
}
