#![doc = include_str!("../README.md")]
// KVM's interface to other CPUs is another one.
#![cfg(target_arch = "x86_64")]

mod boot;
mod config;
mod console;
mod cpuid;
mod error;
mod guest;
mod image;
mod kick;
mod machine;
mod memory;
mod ports;
mod registers;
mod rounds;
mod state;
mod vcpu;
mod vm;

pub use config::{ConfigError, MAX_MEMORY_MIB, MAX_VCPUS, VmConfig, VmConfigBuilder};
pub use error::VmError;
pub use image::{ImageError, KernelEntry};
pub use memory::MemoryRegion;
pub use state::{ExitReason, VmState};
pub use vm::MicroVm;
