//! Tables of ACPI: a machine of reduced hardware, with its CPUs and the power switch. Source: ACPI 6.5, chapters 4, 5.

use acpi_tables::Aml;
use acpi_tables::aml::{Device, EISAName, IO, Interrupt, Name, Package, ResourceTemplate, Scope};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;

use crate::{console, ports};

/// Where kernels that are not told look for it too.
pub(super) const RSDP: u64 = 0xe_0000;
/// Where the other tables begin.
const TABLES: u64 = 0xe_0040;

const OEM: [u8; 6] = *b"PEPITA";
const OEM_TABLE: [u8; 8] = *b"PEPITAVM";
const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;

/// `IAPC_BOOT_ARCH` (5.2.9.3): no VGA is to be looked for, no CMOS clock is there. No 8042 is there either, or
/// the kernel would wait for a keyboard; that it can reset the machine needs no telling.
const BOOT_ARCH: u16 = 1 << 2 | 1 << 5;

/// Addresses and bytes of the tables of a machine with `vcpus` CPUs.
pub(super) fn tables(vcpus: u32) -> Vec<(u64, Vec<u8>)> {
    let mut addr = TABLES;
    let mut tables = Vec::new();
    let mut place = |bytes: Vec<u8>| {
        let here = addr;
        addr += (bytes.len() as u64).next_multiple_of(16);
        tables.push((here, bytes));
        here
    };
    let dsdt = place(dsdt());
    let fadt = place(fadt(dsdt));
    let madt = place(madt(vcpus));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(bytes(&xsdt));
    tables.push((RSDP, bytes(&Rsdp::new(OEM, xsdt))));
    tables
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// What the machine has: soft off, and a serial port.
fn dsdt() -> Vec<u8> {
    let zero = 0_u8;
    let soft_off = Package::new(vec![&ports::S5, &zero, &zero, &zero]);
    let mut table = Sdt::new(*b"DSDT", 36, 6, OEM, OEM_TABLE, 1);
    table.append_slice(&bytes(&Name::new("_S5_".into(), &soft_off)));
    let ports = IO::new(console::PORT, console::PORT, 1, console::PORTS);
    // A consumer's, on an edge, high, not shared.
    let interrupt = Interrupt::new(true, true, false, false, console::IRQ);
    let name = Name::new("_HID".into(), &EISAName::new("PNP0501"));
    let number = Name::new("_UID".into(), &zero);
    let resources = ResourceTemplate::new(vec![&ports, &interrupt]);
    let resources = Name::new("_CRS".into(), &resources);
    let port = Device::new("COM1".into(), vec![&name, &number, &resources]);
    table.append_slice(&bytes(&Scope::new("_SB_".into(), vec![&port])));
    table.as_slice().to_vec()
}

fn fadt(dsdt: u64) -> Vec<u8> {
    let port = |port: u16| {
        GAS::new(
            AddressSpace::SystemIo,
            8,
            0,
            AccessSize::ByteAccess,
            port.into(),
        )
    };
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup);
    table.iapc_boot_arch = BOOT_ARCH.into();
    table.reset_reg = port(ports::I8042_COMMAND);
    table.reset_value = ports::I8042_RESET;
    table.sleep_control_reg = port(ports::SLEEP_CONTROL);
    table.sleep_status_reg = port(ports::SLEEP_STATUS);
    bytes(&table.finalize())
}

fn madt(vcpus: u32) -> Vec<u8> {
    let address = LocalInterruptController::Address(LOCAL_APIC);
    let mut table = MADT::new(OEM, OEM_TABLE, 1, address);
    // A VM has 254 at most.
    for id in (0..=u8::MAX).take(usize::try_from(vcpus).unwrap_or(0)) {
        table.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(0, IO_APIC, 0));
    bytes(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    #[test]
    fn from_the_root_every_table_is_found_and_sums_to_zero() {
        for vcpus in [1, 4, 254] {
            let tables = tables(vcpus);
            let find = |addr: u64| {
                &tables
                    .iter()
                    .find(|(at, _)| *at == addr)
                    .expect("a table")
                    .1
            };
            let checked = |addr: u64, signature: &[u8; 4]| {
                let table = find(addr);
                assert_eq!(&table[..4], signature);
                let length = u32::from_le_bytes(table[4..8].try_into().expect("four bytes"));
                assert_eq!(length as usize, table.len());
                assert_eq!(
                    table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)),
                    0
                );
                table
            };
            let rsdp = find(RSDP);
            assert_eq!(&rsdp[..8], b"RSD PTR ");
            let xsdt = checked(u64_at(rsdp, 24), b"XSDT");
            let fadt = checked(u64_at(xsdt, 36), b"FACP");
            checked(u64_at(fadt, 140), b"DSDT");
            let madt = checked(u64_at(xsdt, 44), b"APIC");
            assert_eq!(madt.len(), 44 + 8 * vcpus as usize + 12);
            // In the firmware's place, and apart.
            let mut ends: Vec<(u64, u64)> = tables
                .iter()
                .map(|(addr, bytes)| (*addr, addr + bytes.len() as u64))
                .collect();
            ends.sort_unstable();
            assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            assert!(ends[0].0 >= 0xe_0000 && ends[ends.len() - 1].1 <= 0x10_0000);
        }
    }
}
