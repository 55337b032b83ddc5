//! Tests on the running kernel.

mod syscall;
