#![expect(unsafe_code, reason = "symbols that the compiler calls")]
//! The five functions that compiled code calls by name, and that the C library has elsewhere.
//!
//! They go byte by byte. `#![no_builtins]` of the crate keeps the compiler from recognising a loop as the
//! function that it is in.
//!
//! # Invariants
//! * callers-bytes: the caller vouches for `count` bytes at each pointer, to read or to write, as C does.
//! * below-count: an index is below `count`.

use core::cmp::Ordering;
use core::hint::black_box;

use crate::{Failure, expect};

/// Copies `count` bytes that do not overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut index = 0;
    while index < count {
        // SAFETY: callers-bytes; below-count.
        let byte = unsafe { from.wrapping_add(index).read() };
        // SAFETY: callers-bytes; below-count.
        unsafe { to.wrapping_add(index).write(byte) };
        index += 1;
    }
    to
}

/// Copies `count` bytes that may overlap.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // Upwards is right as long as no byte is read after it was written.
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: callers-bytes.
        return unsafe { memcpy(to, from, count) };
    }
    let mut index = count;
    while index > 0 {
        index -= 1;
        // SAFETY: callers-bytes; below-count.
        let byte = unsafe { from.wrapping_add(index).read() };
        // SAFETY: callers-bytes; below-count.
        unsafe { to.wrapping_add(index).write(byte) };
    }
    to
}

/// Fills `count` bytes with the lowest byte of `value`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, count: usize) -> *mut u8 {
    let byte = value.to_le_bytes()[0];
    let mut index = 0;
    while index < count {
        // SAFETY: callers-bytes; below-count.
        unsafe { to.wrapping_add(index).write(byte) };
        index += 1;
    }
    to
}

/// Says by its sign which of two runs of `count` bytes is less; 0 if neither is.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    let mut index = 0;
    while index < count {
        // SAFETY: callers-bytes; below-count.
        let one = unsafe { left.wrapping_add(index).read() };
        // SAFETY: callers-bytes; below-count.
        let other = unsafe { right.wrapping_add(index).read() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
        index += 1;
    }
    0
}

/// Says whether two runs of `count` bytes differ.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: callers-bytes.
    unsafe { memcmp(left, right, count) }
}

/// Calls all five as compiled code does.
pub(crate) fn check() -> Result<(), Failure> {
    const LEN: usize = 100;
    let right = |question, is_right| expect("bytes", question, is_right);
    let mut counted = [0_u8; LEN];
    for (byte, count) in counted.iter_mut().zip(0..) {
        *byte = count;
    }
    for len in 0..LEN {
        let len = black_box(len);
        let mut bytes = black_box([0xee; LEN]);
        bytes[..len].copy_from_slice(&counted[..len]);
        right("a copy", bytes[..len] == counted[..len])?;
        right("what follows", bytes[len..].iter().all(|b| *b == 0xee))?;
        bytes[..len].fill(7);
        right("a filling", bytes[..len].iter().all(|b| *b == 7))?;
        right("beyond a filling", bytes[len..].iter().all(|b| *b == 0xee))?;

        let mut up = black_box(counted);
        up.copy_within(..len, LEN - len);
        right("a move up", up[LEN - len..] == counted[..len])?;
        let mut down = black_box(counted);
        down.copy_within(LEN - len.., 0);
        right("a move down", down[..len] == counted[LEN - len..])?;

        let mut more = black_box(counted);
        more[len] += 1;
        right("an order", counted[..].cmp(&more[..]) == Ordering::Less)?;
        right(
            "its reverse",
            more[..].cmp(&counted[..]) == Ordering::Greater,
        )?;
        right("a prefix", more[..len] == counted[..len])?;
        right("a difference", more[..=len] != counted[..=len])?;
    }
    Ok(())
}
