//! The names that a program written for 0.1.1 knows, under the modules where it knows them; each
//! is used as its documentation says.

#![cfg(all(feature = "kernel", feature = "sched", feature = "zram"))]

use std::time::Duration;

use pepita::executor::{Backend, CpuExecutor, Executor};
use pepita::fault::{
    CallWindow, CircuitBreaker, CircuitState, Failure, FailureDetector, HealthStatus, RetryPolicy,
};
use pepita::memory::{
    AllocFlags, BuddyAllocator, DmaBuffer, DmaDirection, FrameState, Order, PAGE_SIZE,
    PageAllocator, Pfn, PfnRange, PhysAddr, Protection, VirtAddr,
};
use pepita::pool::{Pool, PoolBuilder, PoolStats, Shutdown};
use pepita::scheduler::{Scheduler, WorkerDeque, WorkerId};
use pepita::task::{CpuAffinity, ExecutionResult, Priority, Program, Task, TaskId, TaskState};
use pepita::zram::{ZramCompressor, ZramConfig, ZramDevice, ZramStats};

#[test]
fn the_names_of_tasks_and_pools_are_here() {
    let retry: RetryPolicy = RetryPolicy::no_retry();
    let builder: PoolBuilder = Pool::builder()
        .cpu_workers(1)
        .queue_capacity(8)
        .retry_policy(retry)
        .default_timeout(Duration::from_secs(60));
    let pool = builder.build().unwrap();
    let task = Task::builder()
        .binary("echo")
        .arg("x")
        .priority(Priority::High);
    let task = task
        .affinity(CpuAffinity::any())
        .backend(Backend::Cpu)
        .build()
        .unwrap();
    let id: TaskId = task.id();
    let handle = pool.submit(task).unwrap();
    assert!([TaskState::Queued, TaskState::Running, TaskState::Done].contains(&handle.state()));
    let result: ExecutionResult = handle.wait().unwrap();
    assert_eq!((result.id, result.is_success()), (id, true));
    assert_eq!(
        (result.stdout_string(), result.stderr_string()),
        ("x\n".into(), String::new())
    );
    let pipeline = Task::pipeline([Program::new("true"), Program::new("cat")])
        .build()
        .unwrap();
    assert!(pool.submit(pipeline).unwrap().wait().unwrap().is_success());
    let stats: PoolStats = pool.stats();
    assert_eq!(
        (stats.succeeded, pool.num_workers(), pool.pending_tasks()),
        (2, 1, 0)
    );
    pool.shutdown(Shutdown::Drain);
    let cpu: CpuExecutor = CpuExecutor::builder().slots(1).build().unwrap();
    assert_eq!(cpu.backend(), Backend::Cpu);
}

#[test]
fn the_names_of_the_scheduler_are_here() {
    let scheduler = Scheduler::with_workers(2);
    let worker: Option<WorkerId> = scheduler.spawn(WorkerId::current).wait().unwrap();
    assert!(worker.is_some());
    let deque: WorkerDeque<u32> = WorkerDeque::new();
    assert!(deque.is_empty());
    let counts = (
        scheduler.num_workers(),
        scheduler.pending_tasks(),
        scheduler.worker_loads(),
    );
    assert_eq!((counts.0, counts.1, counts.2.len()), (2, 0, 2));
}

#[test]
fn the_names_of_memory_are_here() {
    let (phys, virt) = (
        PhysAddr::new(0x1000_0000),
        VirtAddr::new(0xffff_8000_0000_0000),
    );
    let pfn = Pfn::from_addr(phys);
    assert_eq!((pfn.to_addr(), PAGE_SIZE), (phys, 4096));
    assert_ne!(phys.as_u64(), virt.as_u64());
    assert!(DmaDirection::ToDevice.to_device() && !DmaDirection::ToDevice.from_device());
    assert!((Protection::READ | Protection::WRITE).is_writable());
    let names_a_buffer: fn(DmaBuffer) = |_| ();
    let _ = names_a_buffer;

    let range = PfnRange::new(pfn, 16);
    let mut states = [const { FrameState::new() }; 16];
    let mut words = vec![0; BuddyAllocator::words_for(range)];
    let mut frames = BuddyAllocator::new(range, &mut states, &mut words).unwrap();
    frames.add(range).unwrap();
    let allocator: &mut dyn PageAllocator = &mut frames;
    let block = allocator
        .alloc_pages(Order::new(1), AllocFlags::NONE)
        .unwrap();
    assert_eq!(allocator.free_count(), 14);
    allocator.free_pages(block, Order::new(1)).unwrap();
}

#[test]
fn the_names_of_fault_handling_are_here() {
    let policy = RetryPolicy::builder(3, Duration::from_millis(10))
        .build()
        .unwrap();
    assert_eq!(policy.delay_for_attempt(1), Duration::from_millis(10));
    assert!(policy.should_retry(1, &Failure::Exit(1)));
    let breaker = CircuitBreaker::builder(CallWindow::Calls(10))
        .build()
        .unwrap();
    assert!(breaker.allows_execution());
    breaker.record_success();
    breaker.record_failure();
    breaker.reset();
    assert_eq!(breaker.state(), CircuitState::Closed);
    let detector: FailureDetector<&str> = FailureDetector::builder(Duration::from_secs(1))
        .build()
        .unwrap();
    assert_eq!(detector.status(&"nobody"), HealthStatus::Unknown);
}

#[test]
fn the_names_of_zram_are_here() {
    let config = ZramConfig::with_size(1 << 20)
        .compressor(ZramCompressor::None)
        .mem_limit(1 << 19)
        .num_streams(2);
    let device = ZramDevice::new(config).unwrap();
    assert_eq!(device.config(), &config);
    assert_eq!(ZramConfig::default().compressor.name(), "lz4");
    let mut page = std::array::from_fn(|at| u8::try_from(at % 251).unwrap());
    device.write_page(0, &page).unwrap();
    device.write_page(1, &[0; 4096]).unwrap();
    device.read_page(0, &mut page).unwrap();
    assert_eq!((page[250], device.stored_pages()), (250, 2));
    let stats: ZramStats = device.stats();
    assert_eq!((stats.orig_data_size, stats.compr_data_size), (8192, 4096));
    assert_eq!((stats.mem_used_total, stats.pages_stored), (4096, 2));
    assert_eq!((stats.zero_pages, stats.same_pages), (1, 1));
    assert_eq!((stats.huge_pages, stats.num_reads), (1, 1));
    assert_eq!((stats.num_writes, stats.failed_reads), (2, 0));
    assert_eq!((stats.failed_writes, stats.compression_ratio()), (0, 2.0));
    device.discard_page(1).unwrap();
    device.reset();
    assert_eq!(device.stored_pages(), 0);
}

#[test]
fn the_names_of_the_kernels_interfaces_are_here() {
    use pepita::blk_mq::{Request, RequestFlags, RequestOp, TagSetConfig};
    use pepita::error::{Errno, KernelError, Result};
    use pepita::io_uring::{IORING_OP_READ, IOSQE_IO_LINK, IoUringCqe, IoUringSqe};
    use pepita::ublk::{UBLK_IO_OP_WRITE_ZEROES, UblkIoCmd, UblkIoDesc};

    let error = KernelError::from_errno("io_uring_enter", Errno::EINTR);
    let failed: Result<()> = Err(error);
    assert_eq!(failed.map_err(KernelError::to_errno), Err(Errno::EINTR));
    assert!(error.is_retriable());

    let read = IoUringSqe::read(3, std::ptr::null_mut(), 0, 0).flags(IOSQE_IO_LINK);
    assert_eq!((read.opcode, read.flags), (IORING_OP_READ, 4));
    assert_eq!(IoUringSqe::write(3, std::ptr::null(), 0, 0).opcode, 23);
    assert_eq!(IoUringSqe::nop().opcode, 0);
    assert_eq!(IoUringSqe::uring_cmd(3, 9, [0; 16]).off, 9);
    let cqe = IoUringCqe {
        user_data: 1,
        res: -4,
        flags: 2,
    };
    assert_eq!((cqe.is_success(), cqe.has_more()), (false, true));
    assert_eq!(
        (cqe.errno(), cqe.result()),
        (Some(Errno::EINTR), Err(Errno::EINTR))
    );

    let op_flags = u32::from(UBLK_IO_OP_WRITE_ZEROES) | 1 << 13;
    let desc = UblkIoDesc {
        op_flags,
        nr_sectors: 2,
        start_sector: 3,
        addr: 4,
    };
    assert_eq!((desc.op(), desc.flags()), (5, 1 << 13));
    assert_eq!(
        (desc.start_sector(), desc.nr_sectors(), desc.addr()),
        (3, 2, 4)
    );
    assert_eq!((desc.byte_offset(), desc.byte_len()), (1536, 1024));
    let config = TagSetConfig::new(2, 64);
    assert_eq!((config.validate(), config.total_tags()), (Ok(()), 128));
    assert!(RequestOp::ZoneReset.is_zone_op());
    type Numbers = (RequestOp, RequestFlags, u16, u16, u64, u32);
    let names_the_numbers: fn(&Request) -> Numbers = |it| {
        let (queue_id, sector) = (it.queue_id(), it.sector());
        (
            it.op(),
            it.flags(),
            it.tag(),
            queue_id,
            sector,
            it.nr_sectors(),
        )
    };
    let _ = names_the_numbers;
    assert!((RequestFlags::FUA | RequestFlags::SYNC).contains(RequestFlags::FUA));
    assert_eq!(UblkIoCmd::new(1, 2).cmd, UblkIoCmd::completed(1, 2, 0).cmd);
}

#[cfg(feature = "proptest")]
#[test]
fn the_suite_for_block_devices_is_here() {
    use pepita::blk_mq::conformance::Conformance;
    use pepita::io::RamDevice;

    let report = Conformance::new().run(&RamDevice::new(1024)).unwrap();
    assert!(report.left_out.is_empty(), "{report:?}");
}

#[cfg(feature = "simd")]
#[test]
fn the_names_of_simd_are_here() {
    use pepita::simd::{MatrixOps, SimdCapabilities, SimdOps};

    let caps = SimdCapabilities::detect();
    let fields = [caps.sse41, caps.sse42, caps.avx, caps.avx2, caps.fma];
    let more = [caps.avx512f, caps.avx512vl, caps.neon];
    assert!(caps.has_simd() == fields.into_iter().chain(more).any(|it| it));
    let description: &'static str = caps.description();
    let (bits, width): (u32, usize) = (caps.best_vector_width(), caps.best_f32_width());
    assert!(!description.is_empty() && bits as usize == 32 * width);
    assert_eq!(caps.best_f64_width() * 2, width);
    let ops = SimdOps::with_caps(*SimdOps::new().caps());
    let (mut sum, mut product, mut wide) = ([0.0_f32; 2], [0.0_f32; 2], [0.0_f64; 2]);
    ops.vadd_f32(&[1.0, 2.0], &[3.0, 4.0], &mut sum);
    ops.vmul_f32(&[1.0, 2.0], &[3.0, 4.0], &mut product);
    ops.vadd_f64(&[1.0, 2.0], &[3.0, 4.0], &mut wide);
    assert_eq!((sum, product, wide), ([4.0, 6.0], [3.0, 8.0], [4.0, 6.0]));
    assert_eq!(ops.dot_f32(&sum, &product), 60.0);
    let matrices = MatrixOps::new();
    let (mut c, mut back) = ([0.0; 2], [0.0; 4]);
    matrices.matmul_f32(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], &mut c, 2, 2, 1);
    assert_eq!(c, [17.0, 39.0]);
    matrices.transpose_f32(&[1.0, 2.0, 3.0, 4.0], &mut back, 2, 2);
    assert_eq!(back, [1.0, 3.0, 2.0, 4.0]);
}

#[cfg(feature = "virtio")]
#[test]
fn the_names_of_virtqueues_are_here() {
    use pepita::virtio::{BlockConfig, VirtQueue, VirtioBlock, VirtqDesc};
    let mut queue = VirtQueue::with_size(256);
    assert!(!queue.is_ready());
    queue.set_ready(true);
    assert_eq!((queue.size(), queue.is_ready()), (256, true));
    let desc = VirtqDesc {
        addr: 0x1000,
        len: 512,
        flags: 0,
        next: 0,
    };
    assert_eq!(VirtqDesc::from_bytes(desc.to_bytes()), desc);
    let disk = VirtioBlock::new(std::sync::Arc::new(pepita::io::RamDevice::new(64)));
    assert_eq!(disk.map(|disk| disk.capacity()).ok(), Some(64));
    assert_eq!(BlockConfig::BYTES % 4, 0);
}

#[cfg(all(feature = "vmm", target_arch = "x86_64"))]
#[test]
fn the_names_of_virtual_machines_are_here() {
    use pepita::vmm::{ConfigError, ExitReason, MemoryRegion, MicroVm, VmConfig, VmError, VmState};

    fn is_shared<T: std::fmt::Debug + Send + Sync>() {}
    is_shared::<MicroVm>();
    let config: Result<VmConfig, ConfigError> = VmConfig::builder()
        .vcpus(2)
        .memory_mb(64)
        .kernel_path("/proc/self/exe")
        .initrd_path("/proc/self/exe")
        .kernel_cmdline("quiet")
        .build();
    let config = config.unwrap();
    assert_eq!(MemoryRegion::of(config.memory_mib())[0].size, 64 << 20);
    let created: fn(VmConfig) -> Result<MicroVm, VmError> = MicroVm::create;
    let run: fn(&MicroVm) -> Result<ExitReason, VmError> = MicroVm::run;
    let _ = (created, run, MicroVm::config, MicroVm::vcpu_count);
    let _ = (MicroVm::memory_size, MicroVm::exit_count);
    assert!(VmState::default().can_start() && !VmState::Created.is_active());
    let reasons = [ExitReason::Halt, ExitReason::Shutdown];
    assert!(!reasons.contains(&ExitReason::TripleFault));
    assert_ne!(ExitReason::InternalError, ExitReason::Halt);
}
