//! Guests of a few instructions on this machine's KVM.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::NamedTempFile;
use vmm_sys_util::signal::{SIGRTMIN, block_signal};

use super::*;
use crate::KernelEntry;
use crate::image::tests::elf;

const SPIN: &[u8] = &[0xeb, 0xfe]; // jmp $
/// Leaves for the host again and again.
const CALL: &[u8] = &[0xe6, 0x80, 0xeb, 0xfc]; // out 0x80, al; jmp $-2
const WILD: &[u8] = &[
    0xba, 0xff, 0xff, // mov dx, 0xffff
    0xb0, 0x00, //       mov al, 0
    0xee, //             out dx, al
    0xec, //             in al, dx
    0x81, 0xea, 0xff, 0x00, // sub dx, 255
    0x75, 0xf6, //       jnz to mov al
    0xb8, 0xff, 0xff, // mov ax, 0xffff
    0x8e, 0xd8, //       mov ds, ax
    0xa2, 0x10, 0x00, // mov [0x10], al: 1 MiB, behind the memory
    0x30, 0xc0, //       xor al, al
    0xa0, 0x10, 0x00, // mov al, [0x10]
    0x3c, 0xff, //       cmp al, 0xff
    0x75, 0x01, //       jne over hlt
    0xf4, //             hlt
    0xb0, 0xfe, 0xe6, 0x64, // reset
];

/// Whether the test runs; says why not.
fn has_kvm(test: &str) -> bool {
    let has = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm");
    if let Err(error) = &has {
        println!("SKIPPED: {test}: /dev/kvm: {error}");
    }
    has.is_ok()
}

fn vm(vcpus: u32, code: &'static [u8]) -> MicroVm {
    let config = VmConfig::builder().vcpus(vcpus).memory_mb(1).build();
    MicroVm::of(config.expect("in the limits"), code, Box::new(io::sink())).expect("KVM makes a VM")
}

#[track_caller]
fn ends(code: &'static [u8], want: ExitReason) {
    let vm = vm(1, code);
    assert_eq!(vm.state(), VmState::Created);
    for _ in 0..3 {
        assert_eq!(vm.run(), Ok(want));
        assert_eq!(vm.state(), VmState::Stopped);
    }
}

#[test]
fn what_a_guest_does_ends_it_with_the_reason_each_time() {
    if !has_kvm("what_a_guest_does_ends_it_with_the_reason_each_time") {
        return;
    }
    ends(HALTING, ExitReason::Halt);
    // mov al, 0x34; mov dx, 0x600; out dx, al
    ends(
        &[0xb0, 0x34, 0xba, 0x00, 0x06, 0xee, 0xeb, 0xfe],
        ExitReason::Shutdown,
    );
    // mov al, 0xfe; out 0x64, al
    ends(&[0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe], ExitReason::Reset);
    // jmp 0xffff:0x10, where no memory is
    ends(&[0xea, 0x10, 0x00, 0xff, 0xff], ExitReason::InternalError);
}

#[test]
fn what_is_not_there_reads_as_ones_and_takes_no_writes() {
    if has_kvm("what_is_not_there_reads_as_ones_and_takes_no_writes") {
        let vm = vm(1, WILD);
        assert_eq!(vm.run(), Ok(ExitReason::Halt));
        // 257 ports written and read, two accesses to memory, one halt.
        assert_eq!(vm.exit_count(), 2 * 257 + 2 + 1);
    }
}

#[test]
fn a_vm_of_several_cpus_halts_when_the_last_one_has() {
    if has_kvm("a_vm_of_several_cpus_halts_when_the_last_one_has") {
        let vm = vm(4, HALTING);
        assert_eq!(vm.run(), Ok(ExitReason::Halt));
        assert_eq!(
            (vm.vcpu_count(), vm.exit_count(), vm.memory_size()),
            (4, 4, 1 << 20)
        );
        assert_eq!(vm.run(), Ok(ExitReason::Halt));
        assert_eq!(vm.exit_count(), 8);
    }
}

#[test]
fn a_guest_that_spins_is_stopped() {
    if !has_kvm("a_guest_that_spins_is_stopped") {
        return;
    }
    let vm = vm(3, SPIN);
    for _ in 0..20 {
        vm.start().expect("it stands still");
        vm.stop();
        assert_eq!(vm.state(), VmState::Stopped);
    }
    thread::scope(|scope| {
        let waiter = scope.spawn(|| vm.run());
        while !vm.state().is_active() {
            thread::yield_now();
        }
        vm.stop();
        assert_eq!(waiter.join().expect("no panic"), Ok(ExitReason::Stopped));
    });
    vm.start().expect("it stands still");
    drop(vm);
}

#[test]
fn a_thread_that_blocks_the_signal_makes_virtual_cpus_that_hear_it() {
    if has_kvm("a_thread_that_blocks_the_signal_makes_virtual_cpus_that_hear_it") {
        let blocked = thread::spawn(|| {
            block_signal(SIGRTMIN()).expect("a signal");
            let vm = vm(2, CALL);
            vm.start().expect("it stands still");
            while vm.exit_count() < 100 {
                thread::yield_now();
            }
            vm.stop();
        });
        blocked.join().expect("no panic");
    }
}

#[test]
fn a_paused_guest_stands_still_and_goes_on() {
    if !has_kvm("a_paused_guest_stands_still_and_goes_on") {
        return;
    }
    let vm = vm(2, CALL);
    vm.start().expect("it stands still");
    for _ in 0..20 {
        vm.pause().expect("it runs");
        vm.pause().expect("it is paused");
        assert_eq!(vm.state(), VmState::Paused);
        let count = vm.exit_count();
        for _ in 0..100 {
            thread::yield_now();
            assert_eq!(vm.exit_count(), count);
        }
        vm.resume().expect("it is paused");
        vm.resume().expect("it runs");
        while vm.exit_count() == count {
            thread::yield_now();
        }
    }
    vm.pause().expect("it runs");
    vm.stop();
    assert_eq!(vm.state(), VmState::Stopped);
}

#[test]
fn what_a_vm_cannot_do_where_it_stands_is_an_error_that_says_where() {
    if !has_kvm("what_a_vm_cannot_do_where_it_stands_is_an_error_that_says_where") {
        return;
    }
    let refused = |operation, state| Err(VmError::State { operation, state });
    let vm = vm(1, SPIN);
    assert_eq!(vm.pause(), refused("pausing the VM", VmState::Created));
    assert_eq!(vm.resume(), refused("resuming the VM", VmState::Created));
    vm.start().expect("it is new");
    assert_eq!(vm.start(), refused("starting the VM", VmState::Running));
    vm.pause().expect("it runs");
    assert_eq!(vm.start(), refused("starting the VM", VmState::Paused));
    vm.stop();
    vm.stop();
    assert_eq!(vm.pause(), refused("pausing the VM", VmState::Stopped));
    let text = vm.resume().expect_err("it has ended").to_string();
    assert_eq!(text, "resuming the VM: the VM is Stopped");
}

#[test]
fn a_vm_that_is_stopped_before_it_ran_boots_when_it_is_started() {
    if has_kvm("a_vm_that_is_stopped_before_it_ran_boots_when_it_is_started") {
        let vm = vm(2, HALTING);
        vm.stop();
        assert_eq!((vm.state(), vm.exit_count()), (VmState::Stopped, 0));
        assert_eq!(vm.run(), Ok(ExitReason::Halt));
    }
}

#[test]
fn threads_that_call_everything_at_once_find_every_round_ended() {
    if !has_kvm("threads_that_call_everything_at_once_find_every_round_ended") {
        return;
    }
    let vm = vm(2, CALL);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(vm.run(), Ok(ExitReason::Stopped));
                }
                is_over.store(true, Ordering::Release);
            });
        }
        for seed in 0..2_u32 {
            let (vm, is_over) = (&vm, &is_over);
            scope.spawn(move || {
                let mut turn = seed;
                while !is_over.load(Ordering::Acquire) {
                    turn = turn.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                    // Whether it can is up to the others.
                    let _ = match (turn >> 16) % 4 {
                        0 => vm.pause(),
                        1 => vm.resume(),
                        2 => vm.start(),
                        _ => Ok(()),
                    };
                }
            });
        }
        scope.spawn(|| {
            // One who waits may begin when the other is through.
            while !is_over.load(Ordering::Acquire) || vm.state().is_active() {
                vm.stop();
                thread::yield_now();
            }
        });
    });
    vm.stop();
    assert_eq!(vm.state(), VmState::Stopped);
}

/// Ends with a power-off if the flags say "equal", or a reset.
const IF_EQUAL: &[u8] = &[
    0x75, 0x09, //             jne
    0xb0, 0x34, //             mov al, 0x34
    0x66, 0xba, 0x00, 0x06, // mov dx, 0x600
    0xee, 0xeb, 0xfe, //       out dx, al; jmp $
    0xb0, 0xfe, 0xe6, 0x64, 0xeb, 0xfe, // mov al, 0xfe; out 0x64, al; jmp $
];

#[track_caller]
fn kernel_ends(entry: KernelEntry, vcpus: u32, code: &[&[u8]], want: ExitReason) {
    let mut kernel = NamedTempFile::new().expect("a folder for temporary files");
    kernel
        .write_all(&elf(&code.concat()))
        .expect("room for a small file");
    let config = VmConfig::builder()
        .vcpus(vcpus)
        .memory_mb(32)
        .kernel_path(kernel.path())
        .kernel_entry(entry)
        .kernel_cmdline("panic=-1")
        .build();
    let vm = MicroVm::create(config.expect("in the limits")).expect("KVM makes a VM");
    for _ in 0..2 {
        assert_eq!(vm.run(), Ok(want));
    }
}

#[test]
fn a_kernel_begins_where_its_entry_is_with_what_it_expects() {
    if !has_kvm("a_kernel_begins_where_its_entry_is_with_what_it_expects") {
        return;
    }
    for vcpus in [1, 3] {
        // cmp dword [rsi + 0x202], "HdrS"
        let has_params: &[u8] = &[0x81, 0xbe, 0x02, 0x02, 0x00, 0x00, 0x48, 0x64, 0x72, 0x53];
        let code = [has_params, IF_EQUAL];
        kernel_ends(KernelEntry::Linux64, vcpus, &code, ExitReason::Shutdown);
        // mov eax, [rsi + 0x228]; cmp dword [rax], "pani"
        let has_cmdline: &[u8] = &[
            0x8b, 0x86, 0x28, 0x02, 0x00, 0x00, 0x81, 0x38, 0x70, 0x61, 0x6e, 0x69,
        ];
        kernel_ends(
            KernelEntry::Linux64,
            vcpus,
            &[has_cmdline, IF_EQUAL],
            ExitReason::Shutdown,
        );
        // cmp dword [ebx], the magic number
        let has_info: &[u8] = &[0x81, 0x3b, 0x78, 0xc5, 0x6e, 0x33];
        let code = [has_info, IF_EQUAL];
        kernel_ends(KernelEntry::Pvh, vcpus, &code, ExitReason::Shutdown);
    }
    // cmp al, 1, of a register that is 0
    let code: [&[u8]; 2] = [&[0x3c, 0x01], IF_EQUAL];
    kernel_ends(KernelEntry::Linux64, 1, &code, ExitReason::Reset);
}

#[test]
fn an_exception_that_nobody_handles_is_a_triple_fault() {
    if has_kvm("an_exception_that_nobody_handles_is_a_triple_fault") {
        for entry in [KernelEntry::Linux64, KernelEntry::Pvh] {
            kernel_ends(entry, 2, &[&[0x0f, 0x0b]], ExitReason::TripleFault); // ud2
        }
    }
}

#[test]
fn a_kernel_that_waits_for_ever_and_cpus_that_were_never_woken_are_paused_and_stopped() {
    if !has_kvm(
        "a_kernel_that_waits_for_ever_and_cpus_that_were_never_woken_are_paused_and_stopped",
    ) {
        return;
    }
    let mut kernel = NamedTempFile::new().expect("a folder for temporary files");
    kernel
        .write_all(&elf(&[0xf4, 0xeb, 0xfd]))
        .expect("room for a small file");
    let config = VmConfig::builder()
        .vcpus(3)
        .memory_mb(32)
        .kernel_path(kernel.path());
    let vm = MicroVm::create(config.build().expect("a file")).expect("KVM makes a VM");
    for _ in 0..3 {
        vm.start().expect("it stands still");
        vm.pause().expect("it runs");
        vm.resume().expect("it is paused");
        vm.stop();
        assert_eq!(vm.state(), VmState::Stopped);
    }
    // What was there at the first boot need not be at the next.
    kernel.as_file().set_len(0).expect("the file is open");
    let error = vm.run().expect_err("no kernel");
    assert!(matches!(error, VmError::Image { .. }), "{error}");
    assert_eq!(vm.state(), VmState::Stopped);
}

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers each byte with the next one, and halts after 'z'.
const ANSWERING: &[u8] = &[
    0xba, 0xfd, 0x03, // mov dx, 0x3fd
    0xec, //             in al, dx
    0xa8, 0x01, //       test al, 1: a byte is there
    0x74, 0xfb, //       jz to in
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, //             in al, dx
    0x40, //             inc ax
    0xee, //             out dx, al
    0x3c, 0x7b, //       cmp al, 'z' + 1
    0x75, 0xee, //       jne to the start
    0xf4, //             hlt
];

#[test]
fn a_guest_is_heard_and_hears_by_its_console_in_every_boot() {
    if !has_kvm("a_guest_is_heard_and_hears_by_its_console_in_every_boot") {
        return;
    }
    let heard = Heard::default();
    let config = VmConfig::builder()
        .memory_mb(1)
        .build()
        .expect("in the limits");
    let vm = MicroVm::of(config, ANSWERING, Box::new(heard.clone())).expect("KVM makes a VM");
    let text = b"a text that is longer than the room that a port has for what it has received, \
                 so that the guest has to take some of it before the rest goes, z";
    for _ in 0..3 {
        thread::scope(|scope| {
            let end = scope.spawn(|| vm.run());
            let mut rest = &text[..];
            while !rest.is_empty() {
                rest = &rest[vm.write_console(rest)..];
                thread::yield_now();
            }
            assert_eq!(end.join().expect("no panic"), Ok(ExitReason::Halt));
        });
        assert_eq!(vm.write_console(b"more"), 0);
        let want: Vec<u8> = text.iter().map(|byte| byte + 1).collect();
        assert_eq!(
            std::mem::take(&mut *heard.0.lock().expect("nobody panics")),
            want
        );
    }
}

/// Has CPU 1 begin at 0x3000, in real mode, with a power-off.
const WAKING: &[&[u8]] = &[
    // mov dword [0x3000], mov al, 0x34; mov dx, 0x600 (its first half)
    &[0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0xb0, 0x34, 0xba, 0x00],
    // mov dword [0x3004], the other half; out dx, al; jmp $
    &[0xc7, 0x05, 0x04, 0x30, 0x00, 0x00, 0x06, 0xee, 0xeb, 0xfe],
    // Switches the interrupt controller on.
    &[0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00],
    // Interrupt command, high: to APIC id 1; low: INIT, then start-up at page 3.
    &[0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01],
    &[0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x45, 0x00, 0x00],
    &[0xc7, 0x05, 0x10, 0x03, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01],
    &[0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x03, 0x46, 0x00, 0x00],
    &[0xeb, 0xfe], // jmp $
];

#[test]
fn a_kernel_wakes_the_other_cpus_by_their_interrupt_controllers() {
    if has_kvm("a_kernel_wakes_the_other_cpus_by_their_interrupt_controllers") {
        kernel_ends(KernelEntry::Pvh, 2, WAKING, ExitReason::Shutdown);
        kernel_ends(KernelEntry::Pvh, 4, WAKING, ExitReason::Shutdown);
    }
}
