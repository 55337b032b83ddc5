//! pepita: a pure-Rust toolkit at the edge of the Linux kernel.
