//! The registers with which a virtual CPU begins.

use kvm_bindings::{kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

use crate::VmError;
use crate::boot::{self, Descriptor, Start};

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

/// Bits of the control registers and of `EFER`: Intel SDM volume 3, 2.5 and 2.2.1.
const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// Where a kernel begins, in the mode that its entry wants, without interrupts.
pub(crate) fn enter_kernel(vcpu: &VcpuFd, start: Start) -> Result<(), VmError> {
    let failed = VmError::kvm("setting the registers of a virtual CPU");
    let mut sregs = vcpu.get_sregs().map_err(&failed)?;
    let mut regs = kvm_regs {
        rflags: RFLAGS_FIXED,
        ..kvm_regs::default()
    };
    let code = match start {
        Start::Linux64 { rip, rsi } => {
            regs.rip = rip;
            regs.rsi = rsi;
            regs.rsp = boot::STACK;
            sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
            sregs.cr3 = boot::PML4;
            sregs.cr4 = CR4_PAE;
            sregs.efer = EFER_LME | EFER_LMA;
            Descriptor::Code64
        }
        Start::Pvh { rip, rbx } => {
            regs.rip = rip;
            regs.rbx = rbx;
            sregs.cr0 = CR0_PE | CR0_ET;
            sregs.cr4 = 0;
            sregs.efer = 0;
            Descriptor::Code32
        }
    };
    sregs.cs = code.segment();
    sregs.tr = Descriptor::Task.segment();
    let data = Descriptor::Data.segment();
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    (sregs.fs, sregs.gs) = (data, data);
    sregs.gdt.base = boot::GDT;
    sregs.gdt.limit = boot::GDT_LIMIT;
    // An exception before the kernel has a table is a triple fault.
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    vcpu.set_sregs(&sregs).map_err(&failed)?;
    vcpu.set_regs(&regs).map_err(&failed)
}
