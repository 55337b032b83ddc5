#![expect(unsafe_code, reason = "the instruction that enters the kernel")]
//! System calls by number: up to six words in, one word out.
//!
//! # Invariants
//! * call-clobbers: a call changes the result register, and on x86-64 `rcx` and `r11`, and no other;
//!   the kernel uses no part of the caller's stack. (syscall(2))

use crate::error::Errno;

/// What the kernel's result word says: from `-Errno::MAX` to -1 it is an error number with its sign turned.
fn outcome(result: usize) -> Result<usize, Errno> {
    const LEAST: i32 = -Errno::MAX;
    match i32::try_from(result.cast_signed()) {
        Ok(res @ LEAST..0) => Err(Errno::from_raw(-res)),
        _ => Ok(result),
    }
}

/// Defines a function for each count of arguments, with the registers of both architectures.
macro_rules! syscalls {
    ($($name:ident, $count:literal: $($argument:ident $x86_64:tt $aarch64:tt),*;)*) => { $(
        #[doc = concat!("System call `number` with ", $count, " arguments.")]
        ///
        /// # Errors
        /// What the kernel says.
        ///
        /// # Safety
        /// * The arguments are what the call `number` takes: pointers lead to memory of the size that it
        ///   reads or writes, for as long as it does.
        /// * What the call does to this process, its memory and its descriptors, the program allows.
        #[inline]
        pub unsafe fn $name(number: usize, $($argument: usize),*) -> Result<usize, Errno> {
            let result: usize;
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's duty, and call-clobbers.
            unsafe {
                core::arch::asm!(
                    "syscall",
                    inlateout("rax") number => result,
                    $(in($x86_64) $argument,)*
                    lateout("rcx") _, lateout("r11") _,
                    options(nostack),
                );
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: the caller's duty, and call-clobbers.
            unsafe {
                core::arch::asm!(
                    "svc 0",
                    in("x8") number,
                    $(in($aarch64) $argument,)*
                    lateout("x0") result,
                    options(nostack),
                );
            }
            outcome(result)
        }
    )* };
}

syscalls! {
    syscall0, "no": ;
    syscall1, "1": a "rdi" "x0";
    syscall2, "2": a "rdi" "x0", b "rsi" "x1";
    syscall3, "3": a "rdi" "x0", b "rsi" "x1", c "rdx" "x2";
    syscall4, "4": a "rdi" "x0", b "rsi" "x1", c "rdx" "x2", d "r10" "x3";
    syscall5, "5": a "rdi" "x0", b "rsi" "x1", c "rdx" "x2", d "r10" "x3", e "r8" "x4";
    syscall6, "6": a "rdi" "x0", b "rsi" "x1", c "rdx" "x2", d "r10" "x3", e "r8" "x4", f "r9" "x5";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_4095_results_are_errors() {
        for (result, want) in [
            (0, Ok(0)),
            (usize::MAX, Err(Errno::from_raw(1))),
            (usize::MAX - 4094, Err(Errno::from_raw(4095))),
            (usize::MAX - 4095, Ok(usize::MAX - 4095)),
            (0x7fff_ffff_ffff_f000, Ok(0x7fff_ffff_ffff_f000)),
        ] {
            assert_eq!(outcome(result), want, "{result:#x}");
        }
    }
}
