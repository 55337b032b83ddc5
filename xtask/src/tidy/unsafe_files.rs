//! Where `unsafe` may stand.

/// The only files with `unsafe`: file, why it cannot do without.
pub(super) const UNSAFE_FILES: &[(&str, &str)] = &[
    ("benches/src/blas/crates.rs", "the peers take pointers"),
    (
        "benches/src/blas/libraries.rs",
        "loads libraries, and calls them with pointers",
    ),
    (
        "benches/src/blas/roof.rs",
        "calls instructions that only some CPUs have",
    ),
    (
        "benches/src/pages/heap.rs",
        "the peer's heap takes memory by its address",
    ),
    (
        "benches/src/ublk/load.rs",
        "a raw ring reads and writes raw buffers",
    ),
    (
        "benches/src/uring/device.rs",
        "plays a front end of a device",
    ),
    (
        "benches/src/uring/reads.rs",
        "raw rings read into raw buffers",
    ),
    ("benches/src/uring/rings.rs", "raw rings take raw entries"),
    (
        "benches/src/uring/runtimes.rs",
        "lends aligned buffers to tokio-uring",
    ),
    (
        "benches/src/virtio/stream.rs",
        "waits for the descriptor of a device",
    ),
    (
        "crates/pepita-cli/src/doctor/raw.rs",
        "questions to the kernel that no safe wrapper asks",
    ),
    (
        "crates/pepita-cli/src/run/closed.rs",
        "looks at standard output before the standard library does",
    ),
    (
        "crates/pepita-cli/src/ublk/descriptors.rs",
        "a system call that no safe wrapper makes",
    ),
    (
        "crates/pepita-io/examples/copy.rs",
        "a front end vouches for the memory of its requests",
    ),
    (
        "crates/pepita-io/src/buf.rs",
        "implementations promise that memory stays where it is",
    ),
    (
        "crates/pepita-io/src/buf/aligned.rs",
        "allocates with an alignment",
    ),
    (
        "crates/pepita-io/src/compose/below.rs",
        "waits for descriptors of lanes",
    ),
    (
        "crates/pepita-io/src/compose/parent.rs",
        "makes requests of parts of a request's memory",
    ),
    (
        "crates/pepita-io/src/file/calls.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/file/threads.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/file/uring.rs",
        "hands the memory of requests to the kernel",
    ),
    (
        "crates/pepita-io/src/handle/mod.rs",
        "starts the operations of other threads",
    ),
    (
        "crates/pepita-io/src/handle/stream.rs",
        "starts the operations of other threads",
    ),
    (
        "crates/pepita-io/src/local/cell.rs",
        "gives out what it holds without keeping count",
    ),
    ("crates/pepita-io/src/local/chain.rs", "starts operations"),
    (
        "crates/pepita-io/src/local/driver.rs",
        "pushes the entries of operations",
    ),
    (
        "crates/pepita-io/src/local/driver/end.rs",
        "pushes a cancellation, and closes pools",
    ),
    (
        "crates/pepita-io/src/local/driver/pools.rs",
        "takes buffers that completions brought",
    ),
    (
        "crates/pepita-io/src/local/mod.rs",
        "passes on who keeps an operation, and lends the descriptor",
    ),
    ("crates/pepita-io/src/local/multi.rs", "starts operations"),
    ("crates/pepita-io/src/local/op.rs", "starts operations"),
    (
        "crates/pepita-io/src/local/park.rs",
        "a waker without a count",
    ),
    (
        "crates/pepita-io/src/local/pool.rs",
        "takes the buffers that completions name",
    ),
    (
        "crates/pepita-io/src/ops/chain.rs",
        "passes on what the operation inside has promised",
    ),
    (
        "crates/pepita-io/src/ops/files.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/messages.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/mod.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/net.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/options.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/paths.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/time.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/vectored.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/wait.rs",
        "operations promise to keep what their entries lead to",
    ),
    (
        "crates/pepita-io/src/ops/whole.rs",
        "a buffer's rest stays where the buffer does",
    ),
    (
        "crates/pepita-io/src/ring/buffer_pool/mod.rs",
        "lends its memory to the kernel",
    ),
    (
        "crates/pepita-io/src/ring/buffer_ring.rs",
        "describes buffers in memory that is shared with the kernel",
    ),
    (
        "crates/pepita-io/src/ring/calls.rs",
        "enters the kernel with what was pushed",
    ),
    (
        "crates/pepita-io/src/ring/descriptor.rs",
        "lends the ring's descriptor",
    ),
    (
        "crates/pepita-io/src/ring/entry.rs",
        "writes and reads entries in shared memory",
    ),
    (
        "crates/pepita-io/src/ring/mod.rs",
        "pushing an entry is a promise about memory",
    ),
    (
        "crates/pepita-io/src/ring/queue.rs",
        "writes and reads entries in shared memory",
    ),
    (
        "crates/pepita-io/src/ring/region.rs",
        "maps the memory of a ring",
    ),
    (
        "crates/pepita-io/src/ring/register/buffers.rs",
        "registers memory by its addresses",
    ),
    (
        "crates/pepita-io/src/ring/register/files.rs",
        "passes lists of descriptors by their addresses",
    ),
    (
        "crates/pepita-io/src/ring/register/message.rs",
        "a completion that is sent is a promise to who takes it",
    ),
    (
        "crates/pepita-io/src/ring/register/operations.rs",
        "pairs register operations with what they take",
    ),
    (
        "crates/pepita-io/src/ring/register/probe.rs",
        "asks with the address of where the answer goes",
    ),
    (
        "crates/pepita-io/src/ring/register/restrictions.rs",
        "passes a list of restrictions by its address",
    ),
    (
        "crates/pepita-io/src/ring/register/workers.rs",
        "passes a set of CPUs by its address",
    ),
    (
        "crates/pepita-io/src/ring/wait_region.rs",
        "writes wait arguments in memory that is shared with the kernel",
    ),
    (
        "crates/pepita-io/src/shared.rs",
        "pushes the entries of those who share a ring",
    ),
    (
        "crates/pepita-io/src/ublk/channel.rs",
        "maps what the driver of ublk writes",
    ),
    (
        "crates/pepita-io/src/ublk/control.rs",
        "commands lead to memory that the driver reads and writes",
    ),
    (
        "crates/pepita-io/src/ublk/ends.rs",
        "requests end by a pointer to what their queue keeps",
    ),
    (
        "crates/pepita-io/src/ublk/ends/tests.rs",
        "plays a queue of the driver",
    ),
    (
        "crates/pepita-io/src/ublk/queue.rs",
        "makes requests of the memory of tags",
    ),
    (
        "crates/pepita-io/src/ublk/thread.rs",
        "pushes the commands of queues",
    ),
    (
        "crates/pepita-io/src/ublk/thread/wakes.rs",
        "pushes entries that wake a thread",
    ),
    (
        "crates/pepita-io/tests/it/file/front.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-io/tests/it/filter.rs",
        "puts a seccomp filter on a thread",
    ),
    (
        "crates/pepita-io/tests/it/local/holes.rs",
        "answers LeakSanitizer by the name of a function",
    ),
    (
        "crates/pepita-io/tests/it/local/reentry.rs",
        "wakers and operations of its own tell what is done to them",
    ),
    (
        "crates/pepita-io/tests/lab/polled.rs",
        "pushes entries that lead to memory",
    ),
    (
        "crates/pepita-io/tests/it/ram.rs",
        "plays a front end of requests without data",
    ),
    (
        "crates/pepita-io/tests/it/ring/buffers.rs",
        "lends buffers to the kernel and takes them back",
    ),
    (
        "crates/pepita-io/tests/it/ring/mod.rs",
        "pushes entries that lead to memory",
    ),
    (
        "crates/pepita-io/tests/it/ring/register/buffers.rs",
        "registers the memory of tests",
    ),
    (
        "crates/pepita-io/tests/it/ring/register/settings.rs",
        "makes eventfds, and sends completions",
    ),
    (
        "crates/pepita-io/tests/it/ring/sizes.rs",
        "pushes entries of all sizes",
    ),
    (
        "crates/pepita-io/tests/it/ring/streams.rs",
        "takes buffers of completions",
    ),
    (
        "crates/pepita-io/tests/it/ring/waits.rs",
        "sends this thread a signal",
    ),
    (
        "crates/pepita-mem/src/dma/coherent.rs",
        "only the driver knows when a device is done",
    ),
    (
        "crates/pepita-mem/src/dma/flight.rs",
        "only the driver knows when a device is done",
    ),
    (
        "crates/pepita-mem/src/dma/list.rs",
        "lets devices at the caller's memory",
    ),
    (
        "crates/pepita-mem/src/dma/platform.rs",
        "implementations vouch for memory and addresses",
    ),
    (
        "crates/pepita-mem/src/dma/region.rs",
        "copies from and to memory that devices share",
    ),
    (
        "crates/pepita-mem/src/host/dma.rs",
        "gives memory of this process to devices",
    ),
    (
        "crates/pepita-mem/src/host/guest.rs",
        "gives memory of a memfd to devices",
    ),
    (
        "crates/pepita-mem/src/host/mapping.rs",
        "maps memory, and reaches it by its address",
    ),
    (
        "crates/pepita-mem/src/host/numa.rs",
        "system calls that rustix lacks",
    ),
    (
        "crates/pepita-mem/src/pages/spin.rs",
        "a lock gives out what it guards",
    ),
    (
        "crates/pepita-mem/tests/it/dma.rs",
        "plays the driver of a device",
    ),
    (
        "crates/pepita-mem/tests/it/host.rs",
        "plays the driver of a device",
    ),
    (
        "crates/pepita-sched/src/process/child.rs",
        "runs in a child that shares memory",
    ),
    (
        "crates/pepita-sched/src/process/namespace.rs",
        "the first process of a pid namespace",
    ),
    (
        "crates/pepita-sched/src/process/raw.rs",
        "system calls that return twice",
    ),
    (
        "crates/pepita-sched/src/process/signals.rs",
        "signal masks by system calls",
    ),
    (
        "crates/pepita-sched/src/process/spawn.rs",
        "makes a child that shares memory",
    ),
    (
        "crates/pepita-sched/src/scheduler/backlog.rs",
        "places of a ring are written by one thread and read by others",
    ),
    (
        "crates/pepita-sched/src/scheduler/frames.rs",
        "frames of joins lie on stacks",
    ),
    (
        "crates/pepita-sched/src/scheduler/install.rs",
        "leads to the stack of who waits",
    ),
    (
        "crates/pepita-sched/src/scheduler/job.rs",
        "keeps closures as words",
    ),
    (
        "crates/pepita-sched/src/scheduler/join.rs",
        "frames of joins lie on stacks",
    ),
    (
        "crates/pepita-sched/src/scheduler/local.rs",
        "a thread finds its worker by an address",
    ),
    (
        "crates/pepita-sched/src/scheduler/parallel.rs",
        "lends a slice to several threads",
    ),
    (
        "crates/pepita-sched/src/scheduler/scope.rs",
        "jobs of a scope borrow from a stack",
    ),
    (
        "crates/pepita-sched/tests/lab.rs",
        "maps memory to make a process large",
    ),
    (
        "crates/pepita-simd/src/isa/avx2.rs",
        "calls instructions that only some CPUs have",
    ),
    (
        "crates/pepita-simd/src/isa/avx512.rs",
        "calls instructions that only some CPUs have",
    ),
    (
        "crates/pepita-simd/src/isa/cpuid.rs",
        "reads a register that only some CPUs have",
    ),
    (
        "crates/pepita-simd/src/isa/neon.rs",
        "calls instructions of NEON",
    ),
    (
        "crates/pepita-simd/src/isa/root.rs",
        "calls instructions that every such CPU has",
    ),
    (
        "crates/pepita-simd/src/isa/shared.rs",
        "the one block of each instruction that every set has, in a macro",
    ),
    (
        "crates/pepita-simd/src/isa/sse41.rs",
        "calls instructions that only some CPUs have",
    ),
    (
        "crates/pepita-sys/src/blk_mq/conformance/front.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-sys/src/blk_mq/conformance/wait.rs",
        "waits for descriptors, which std cannot",
    ),
    (
        "crates/pepita-sys/src/blk_mq/data.rs",
        "copies of a request's data, which its maker vouches for",
    ),
    (
        "crates/pepita-sys/src/blk_mq/request.rs",
        "front ends vouch for memory and completions",
    ),
    (
        "crates/pepita-sys/src/blk_mq/request/tests.rs",
        "plays a front end",
    ),
    (
        "crates/pepita-sys/src/blk_mq/segment.rs",
        "an address may go to any thread",
    ),
    (
        "crates/pepita-sys/src/copy.rs",
        "volatile copies of memory that others write",
    ),
    (
        "crates/pepita-sys/src/syscall/calls.rs",
        "calls the kernel with pointers",
    ),
    (
        "crates/pepita-sys/src/syscall/raw.rs",
        "the instruction that enters the kernel",
    ),
    (
        "crates/pepita-sys/tests/it/blk/ram.rs",
        "a wrong device writes where it should not",
    ),
    (
        "crates/pepita-sys/tests/it/blk/stripe.rs",
        "makes requests of parts of a request's memory",
    ),
    (
        "crates/pepita-sys/tests/it/ops/mod.rs",
        "takes over descriptors that operations made",
    ),
    (
        "crates/pepita-sys/tests/it/ring.rs",
        "maps the rings and reads what the kernel writes",
    ),
    (
        "crates/pepita-sys/tests/it/syscall.rs",
        "maps memory and makes a child",
    ),
    (
        "crates/pepita-virtio/src/block/flight.rs",
        "a front end vouches for the memory of its requests",
    ),
    (
        "crates/pepita-virtio/src/memory.rs",
        "keeps the host's addresses of a guest's memory",
    ),
    (
        "crates/pepita-virtio/src/shared/model.rs",
        "has the signature of what it stands for",
    ),
    (
        "crates/pepita-virtio/src/shared/raw.rs",
        "reads and writes memory that somebody else writes as well",
    ),
    (
        "crates/pepita-virtio/src/shared/raw/descriptors.rs",
        "reads memory that somebody else writes as well",
    ),
    (
        "crates/pepita-virtio/tests/lab/vduse.rs",
        "asks a driver of the kernel by ioctl(2)",
    ),
    (
        "crates/pepita-vmm/src/kick.rs",
        "shares a page with the kernel and the thread of a virtual CPU",
    ),
    ("crates/pepita-vmm/src/machine.rs", "lends memory to KVM"),
    (
        "crates/pepita-zram/src/backing/flight.rs",
        "a front end vouches for the memory of its requests",
    ),
    (
        "crates/pepita-zram/src/codec/lz4/wild.rs",
        "copies in pieces, with one look for room a step",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/bytes.rs",
        "symbols that the compiler calls",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/file.rs",
        "pushes entries that lead to memory",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/frames.rs",
        "maps memory, and lends blocks of it",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/operations.rs",
        "pushes entries that lead to memory",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/out.rs",
        "writes to descriptors that the shell opened",
    ),
    (
        "crates/pepita/tests/kernel-mode/src/start.rs",
        "the symbol where the kernel enters",
    ),
];
