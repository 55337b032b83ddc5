//! What many VMs leave behind in a program: alone in its program, since it counts what that has.

#![cfg(target_arch = "x86_64")]

use std::fs;

use pepita_vmm::{ExitReason, MicroVm, VmConfig};

/// Descriptors, threads, and mappings that memory of the kernel or of a guest is behind.
fn what_there_is() -> (usize, usize, usize) {
    let count = |folder| fs::read_dir(folder).expect("a folder of /proc").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("a file of /proc");
    let of_guests = maps.lines().filter(|line| line.contains("kvm"));
    (
        count("/proc/self/fd"),
        count("/proc/self/task"),
        of_guests.count(),
    )
}

/// Bytes that can be written: without the room that the allocator reserves for each thread.
fn writable() -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").expect("a file of /proc");
    let bytes = |line: &str| {
        let (range, _) = line.split_once(" rw")?;
        let (start, end) = range.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(start, 16).ok()?)
    };
    maps.lines().filter_map(bytes).sum()
}

#[test]
fn many_vms_in_a_row_leave_no_descriptor_thread_or_memory() {
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
        println!(
            "SKIPPED: many_vms_in_a_row_leave_no_descriptor_thread_or_memory: /dev/kvm: {error}"
        );
        return;
    }
    let one = |turn: u32| {
        let config = VmConfig::builder()
            .vcpus(1 + turn % 3)
            .memory_mb(64)
            .build();
        let vm = MicroVm::create(config.expect("in the limits")).expect("KVM makes a VM");
        match turn % 4 {
            0 => assert_eq!(vm.run(), Ok(ExitReason::Halt)),
            1 => vm.start().expect("it is new"),
            2 => {
                assert_eq!(vm.run(), Ok(ExitReason::Halt));
                assert_eq!(vm.run(), Ok(ExitReason::Halt));
                // Already while the VM is there.
                assert_eq!(what_there_is().2, 0);
            }
            _ => {}
        }
    };
    // Stacks of threads and the allocator's arenas are kept for the next ones.
    (0..12).for_each(one);
    let (before, bytes) = (what_there_is(), writable());
    (0..60).for_each(one);
    assert_eq!(what_there_is(), before);
    // Less than the memory of one guest.
    assert!(
        writable() < bytes + (64 << 20),
        "{bytes}, then {}",
        writable()
    );
}
