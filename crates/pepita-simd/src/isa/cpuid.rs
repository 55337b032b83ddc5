//! What the CPU says of itself, and which registers the operating system keeps.
#![expect(unsafe_code, reason = "reads a register that only some CPUs have")]

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::Host;

/// Bits of `XCR0`: which registers a task switch keeps. Intel SDM volume 1, 13.3.
const XMM_YMM: u64 = 0b110;
const XMM_YMM_ZMM: u64 = 0b1110_0110;

/// Asks the CPU. Leaves and bits: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
pub(super) fn look() -> Host {
    let last = __cpuid(0).eax;
    let one = __cpuid(1);
    let seven = if last >= 7 {
        __cpuid_count(7, 0).ebx
    } else {
        0
    };
    let seven_ecx = if last >= 7 {
        __cpuid_count(7, 0).ecx
    } else {
        0
    };
    let seven_one = if last >= 7 {
        __cpuid_count(7, 1).eax
    } else {
        0
    };
    let seven_edx = if last >= 7 {
        __cpuid_count(7, 0).edx
    } else {
        0
    };
    let has = |word: u32, bit: u32| word >> bit & 1 == 1;
    // `XGETBV` is there when the operating system has set `OSXSAVE`.
    let kept = if has(one.ecx, 27) { kept() } else { 0 };
    let ymm = kept & XMM_YMM == XMM_YMM;
    let zmm = kept & XMM_YMM_ZMM == XMM_YMM_ZMM;
    let avx = ymm && has(one.ecx, 28);
    let fma = avx && has(one.ecx, 12);
    let avx2 = fma && has(seven, 5) && has(seven, 3) && has(seven, 8);
    let avx512f = zmm && has(seven, 16);
    let avx512vl = avx512f && has(seven, 31);
    let (l1d_bytes, l2_bytes) = caches(last);
    Host {
        sse41: has(one.ecx, 19),
        sse42: has(one.ecx, 20),
        avx,
        fma,
        avx2,
        avx512f,
        avx512vl,
        avx512: avx2 && avx512vl && has(seven, 17) && has(seven, 30),
        avx512vnni: avx512f && has(seven_ecx, 11),
        avx512bf16: avx512f && has(seven_one, 5),
        avx512fp16: avx512f && has(seven_edx, 23),
        neon: false,
        l1d_bytes,
        l2_bytes,
    }
}

/// `XCR0`.
fn kept() -> u64 {
    #[target_feature(enable = "xsave")]
    fn read() -> u64 {
        // SAFETY: register 0 is there wherever the instruction is.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the caller saw `OSXSAVE`.
    unsafe { read() }
}

/// The sizes of the caches of one core in bytes, or 0: data of the first level, second level.
fn caches(last: u32) -> (usize, usize) {
    // AMD has the same layout in a leaf of its own.
    let extended = __cpuid(0x8000_0000).eax;
    let amd = extended >= 0x8000_001d && __cpuid(0x8000_0001).ecx >> 22 & 1 == 1;
    let leaf = if amd { 0x8000_001d } else { 4 };
    if !amd && last < 4 {
        return (0, 0);
    }
    let mut sizes = (0, 0);
    for index in 0..8 {
        let cache = __cpuid_count(leaf, index);
        let (kind, level) = (cache.eax & 31, cache.eax >> 5 & 7);
        if kind == 0 {
            break;
        }
        let ways = (cache.ebx >> 22) as usize + 1;
        let partitions = (cache.ebx >> 12 & 0x3ff) as usize + 1;
        let line = (cache.ebx & 0xfff) as usize + 1;
        let bytes = ways * partitions * line * (cache.ecx as usize + 1);
        match (level, kind) {
            (1, 1 | 3) => sizes.0 = bytes,
            (2, 1 | 3) => sizes.1 = bytes,
            _ => {}
        }
    }
    sizes
}
