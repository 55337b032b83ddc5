#![expect(unsafe_code, reason = "the symbol where the kernel enters")]
//! How the program begins and ends.

use core::panic::PanicInfo;

use pepita::syscall;

use crate::out;

/// The status after a panic, as with std.
const PANICKED: i32 = 101;

// The stack pointer is a multiple of 16 at the entry, and no return address is on the stack (System V ABI,
// AMD64 supplement 3.4.1; AAPCS64 6.4.5). A frame pointer of 0 ends backtraces.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    main = sym main
);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "bl {main}",
    "brk #1",
    main = sym main
);

/// Runs the program and ends the process.
extern "C" fn main() -> ! {
    let status = match crate::run() {
        Ok(()) => 0,
        Err(failure) => {
            out::complain(format_args!("{failure}"));
            failure.status()
        }
    };
    syscall::exit_group(status)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    out::complain(format_args!("{info}"));
    syscall::exit_group(PANICKED)
}

/// What the unwind tables of the compiled `core` name. With `panic = "abort"` nobody unwinds, so nobody
/// calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    syscall::exit_group(PANICKED)
}
