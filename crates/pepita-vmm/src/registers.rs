//! The registers with which a virtual CPU begins.

use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

use crate::VmError;

/// The bit of `RFLAGS` that is always set.
const RFLAGS_FIXED: u64 = 1 << 1;

/// Real mode, at an address of the first 64 KiB.
pub(crate) fn enter_real_mode(vcpu: &VcpuFd, ip: u16) -> Result<(), VmError> {
    let failed = VmError::kvm("setting the registers of a virtual CPU");
    let mut sregs = vcpu.get_sregs().map_err(&failed)?;
    let flat = |segment: kvm_segment| kvm_segment {
        base: 0,
        selector: 0,
        ..segment
    };
    sregs.cs = flat(sregs.cs);
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.ss] {
        *segment = flat(*segment);
    }
    vcpu.set_sregs(&sregs).map_err(&failed)?;
    vcpu.set_regs(&kvm_regs {
        rip: u64::from(ip),
        rsp: u64::from(ip),
        rflags: RFLAGS_FIXED,
        ..kvm_regs::default()
    })
    .map_err(&failed)
}
