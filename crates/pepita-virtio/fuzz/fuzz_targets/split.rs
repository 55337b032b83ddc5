//! A split ring that a hostile driver writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pepita_virtio_fuzz::run(data, false));
