//! What needs the lab's kernel: its own virtio drivers, which use our devices through VDUSE.
#![cfg(feature = "std")]

mod block;
mod host;
mod vduse;

/// Whether the long counts are asked for.
fn is_full() -> bool {
    std::env::var("PEPITA_TEST_SET").as_deref() == Ok("full")
}

/// Whether the test runs; says why not.
fn in_lab(test: &str) -> bool {
    let is_lab = std::env::var_os("PEPITA_LAB").is_some();
    if !is_lab {
        println!("SKIPPED: {test}: only in the lab");
    }
    is_lab
}
