//! A pure-Rust toolkit at the edge of the Linux kernel.
//!
//! This crate is a facade: each part is a crate of its own, and stands here as modules, behind a
//! feature. It holds no code.
//!
//! | modules | crate | feature |
//! |---|---|---|
//! | `io_uring`, `ublk`, `blk_mq`, `blkzoned`, `error`, `syscall` | `pepita-sys` | `kernel` (part of `std`) |
//! | `io` | `pepita-io` | `kernel` for the ring; owned operations with `std` |
//! | `memory` | `pepita-mem` | `kernel`; mappings of the host with `std` |
//! | `task`, `executor`, `pool`, `scheduler`, `fault` | `pepita-sched` | `sched` (default) |
//! | `zram` | `pepita-zram` | `zram` (default) |
//! | `simd` | `pepita-simd` | `simd` (default) |
//! | `virtio` | `pepita-virtio` | `virtio` (default); the driver's side without `std` |
//! | `vmm` | `pepita-vmm` | `vmm` (default), on x86-64 |
//!
#![cfg_attr(
    feature = "sched",
    doc = r#"
```
use pepita::scheduler::Scheduler;
use pepita::task::{Priority, Task};

let scheduler = Scheduler::with_workers(4);
let task = Task::builder().binary("echo").arg("hello").priority(Priority::High).build()?;
assert_eq!(scheduler.submit(task).wait()?.stdout_string(), "hello\n");
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
#![cfg_attr(
    feature = "sched",
    doc = r#"
Parts can be mixed under one error type, which keeps the system's number:

```
use pepita::error::{Errno, Result};
use pepita::memory::Mapping;
use pepita::pool::Pool;
use pepita::task::Task;

fn output_in_memory(program: &str, bytes: usize) -> Result<Mapping> {
    let mut memory = Mapping::anonymous(bytes)?;
    let pool = Pool::builder().cpu_workers(1).build()?;
    let result = pool.submit(Task::binary(program).arg("hello").build()?)?.wait()?;
    memory.write_at(0, &result.stdout.bytes)?;
    Ok(memory)
}

assert!(output_in_memory("echo", 100)?.as_slice().is_some_and(|text| text.starts_with(b"hello\n")));
let errno_of = |outcome: Result<Mapping>| outcome.map_err(|error| error.to_errno()).err();
assert_eq!(errno_of(output_in_memory("/nowhere/tool", 100)), Some(Errno::ENOENT)); // of the task
assert_eq!(errno_of(output_in_memory("echo", 0)), Some(Errno::EINVAL)); // of the memory
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
#![cfg_attr(
    feature = "std",
    doc = r#"
Files and sockets through io_uring, without `unsafe`: operations own their buffers and give them back.

```
use pepita::error::Result;
use pepita::io::{LocalRing, ops};
use std::{fs::File, rc::Rc, time::Duration};

fn first_bytes(ring: &LocalRing, path: &str) -> Result<Vec<u8>> {
    let file = Rc::new(File::open(path)?);
    let read = ops::read(&file, Vec::with_capacity(16), 0);
    let (count, bytes) = ring.block_on(ring.submit_for(read, Duration::from_secs(5)));
    count.map(|_| bytes)
}

let ring = match LocalRing::new(64) {
    Err(error) => panic!("{error}"), // says who refuses io_uring, and what to change
    Ok(ring) => ring,
};
assert!(first_bytes(&ring, "/proc/self/exe")?.starts_with(b"\x7fELF"));
# Ok::<(), pepita::error::KernelError>(())
```
"#
)]
#![cfg_attr(
    feature = "zram",
    doc = r#"
Compressed memory:

```
use pepita::zram::{ZramDevice, ZramConfig, ZramCompressor};

// Create a 1GB compressed RAM device
let config = ZramConfig::with_size(1024 * 1024 * 1024)
    .compressor(ZramCompressor::Lz4);
let device = ZramDevice::new(config)?;

// Write a page (4KB)
let data = [0u8; 4096];
device.write_page(0, &data)?;

// Check compression stats
let stats = device.stats();
println!("Compression ratio: {:.2}x", stats.compression_ratio());
# Ok::<(), pepita::error::KernelError>(())
```
"#
)]
#![cfg_attr(
    all(feature = "vmm", target_arch = "x86_64"),
    doc = r#"
A virtual machine of its own for a kernel:

```no_run
use pepita::vmm::{MicroVm, VmConfig, VmState};

let config = VmConfig::builder()
    .vcpus(2)
    .memory_mb(256)
    .kernel_path("/boot/vmlinuz")
    .build()?;

let vm = MicroVm::create(config)?;
vm.start()?;
let exit_reason = vm.run()?;
# assert_eq!(vm.state(), VmState::Stopped);
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
#![cfg_attr(
    feature = "kernel",
    doc = r#"
An operation for io_uring, and what the kernel says of it:

```
use pepita::io_uring::{IoUringSqe, IoUringCqe, IORING_OP_URING_CMD};
# let (fd, addr, len) = (3, 0, 0);

// Submission queue entry - describes an I/O operation
let sqe = IoUringSqe::new(IORING_OP_URING_CMD, fd, addr, len);
# assert_eq!((sqe.opcode, sqe.fd), (46, 3));

// Completion queue entry - result of the operation
let cqe: IoUringCqe = /* from kernel */ IoUringCqe { user_data: 0, res: 0, flags: 0 };
assert_eq!(cqe.res, 0); // Success
```

A command to the ublk driver, and a request from it:

```
use pepita::ublk::{UblkCtrlCmd, UblkIoDesc, UBLK_U_CMD_ADD_DEV};
# let dev_id = 0;

// Control command - add a new block device
let cmd = UblkCtrlCmd::new(UBLK_U_CMD_ADD_DEV, dev_id);
# assert_eq!(cmd.cmd.queue_id, u16::MAX);

// I/O descriptor - describes a read/write request
let io_desc: UblkIoDesc = /* from kernel */ UblkIoDesc { start_sector: 8, ..UblkIoDesc::default() };
let sector = io_desc.start_sector();
# assert_eq!(sector, 8);
```
"#
)]
//! # Features
//! `proptest` gives the value types of these parts strategies (`Arbitrary`), for property tests of programs that
//! use them.
//!
//! `default` is `std` and every part. `kernel` alone needs neither the standard library nor an
//! allocator. Features only add: with `default-features = false`, name the parts that you want, and
//! nothing else is compiled. `proptest` brings what tests of your own need: the suite for block devices,
//! `blk_mq::conformance`.
#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "kernel")]
pub use pepita_io as io;
#[cfg(feature = "kernel")]
pub use pepita_mem as memory;
#[cfg(feature = "kernel")]
pub use pepita_sys::{blk_mq, blkzoned, error, io_uring, syscall, ublk};

#[cfg(feature = "sched")]
pub use pepita_sched::{executor, fault, pool, scheduler, task};

#[cfg(feature = "simd")]
pub use pepita_simd as simd;
#[cfg(all(feature = "vmm", target_arch = "x86_64"))]
pub use pepita_vmm as vmm;
#[cfg(feature = "zram")]
pub use pepita_zram as zram;

/// Virtqueues, transports and disks of virtio: `pepita-virtio`, without the devices that no kernel's driver has used yet.
#[cfg(feature = "virtio")]
pub mod virtio {
    #[cfg(feature = "std")]
    pub use pepita_virtio::{
        Activation, ActiveQueue, BlockConfig, BlockError, Busy, Chain, Device, GuestRam, Interrupt,
        MemoryError, Message, Mmio, Pci, QueueError, Rate, RateLimiter, RateLimits,
        STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FAILED, STATUS_FEATURES_OK,
        STATUS_NEEDS_RESET, Signal, VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1, VirtioBlock,
    };
    pub use pepita_virtio::{
        AddError, Area, BUFFER_BYTES_MAX, DeviceFault, DriverQueue, Element, PackedDesc,
        QUEUE_SIZE_MAX, RingFeatures, Shared, Slot, Used, VIRTQ_DESC_F_AVAIL,
        VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_USED, VIRTQ_DESC_F_WRITE, VirtQueue,
        VirtqDesc,
    };
}

#[cfg(all(doctest, feature = "sched"))]
#[doc = include_str!("../../../README.md")]
struct Readme;
