//! Mappings of the host, and DMA to a peer that has the same memory.

#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod dma;
mod host;
mod mapping;

/// Says that the test cannot run here, in the words that CI counts.
fn skip(test: &str, reason: &str) {
    println!("SKIPPED: {test}: {reason}");
}
