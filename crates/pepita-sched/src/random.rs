//! Randomness for ids and jitter: drawn once from the kernel.

use std::hash::{BuildHasher, Hasher, RandomState};

/// 64 random bits; not for secrets.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::INSECURE) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // The standard library seeds its hash maps by other means where the call is refused.
        _ => RandomState::new().build_hasher().finish(),
    }
}
