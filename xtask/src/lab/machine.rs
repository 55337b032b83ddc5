//! The emulated machine: QEMU's command line.

use std::os::fd::RawFd;
use std::process::Command;

use anyhow::{Result, ensure};

use super::kernel::Kernel;
use super::protocol::{OUT_TAG, ROOT_TAG, port};
use super::{Accel, Options};

/// The scratch disk, sparse.
pub(crate) const SCRATCH_BYTES: u64 = 4 << 30;

/// What an instruction takes by the lab's clock under `--icount`: 2 to the power of QEMU's `shift`.
pub(super) const INSTRUCTION_NS: u32 = 2;

/// The inherited descriptors that QEMU takes over, by role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wires {
    /// The share of the host's root.
    pub(crate) root: RawFd,
    /// The share of the writable folder.
    pub(crate) out: RawFd,
    /// The control port.
    pub(crate) control: RawFd,
    /// The port of the command's standard output.
    pub(crate) stdout: RawFd,
    /// The port of the command's standard error.
    pub(crate) stderr: RawFd,
    /// The scratch disk's file.
    pub(crate) scratch: RawFd,
    /// The kernel log's file.
    pub(crate) log: RawFd,
}

/// The name by which QEMU can open a descriptor that it has inherited.
fn path_of(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// Adds to `command`, which runs QEMU, the whole machine.
///
/// # Errors
/// When the options contradict each other.
pub(crate) fn describe(
    command: &mut Command,
    options: &Options,
    accel: Accel,
    kernel: &Kernel,
    wires: Wires,
) -> Result<()> {
    let own = std::env::current_exe()?.display().to_string();
    ensure!(
        !own.contains([' ', '"', ',']),
        "the lab cannot run a program whose path has a blank, quote or comma: {own}"
    );
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-M",
        "q35",
    ]);
    processor(command, options, accel)?;
    memory(command, options)?;
    // An oops in a driver must be an error of the run, not a line in a log. On a busy host, ticks come too late for
    // the kernel's test of the timer, which then panics.
    let line = format!(
        "console=ttyS0 panic=-1 oops=panic no_timer_check loglevel={} lab.init={own}",
        options.log_level
    );
    command
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(kernel.initramfs())
        .args(["-append", &line]);
    command.args([
        "-chardev",
        &format!("file,id=log,path={}", path_of(wires.log)),
        "-serial",
        "chardev:log",
    ]);
    share(command, ROOT_TAG, wires.root);
    share(command, OUT_TAG, wires.out);
    command.args(["-device", "virtio-serial-pci"]);
    for (name, fd) in [
        (port::CONTROL, wires.control),
        (port::STDOUT, wires.stdout),
        (port::STDERR, wires.stderr),
    ] {
        command.args(["-chardev", &format!("socket,id={name},fd={fd}")]);
        command.args([
            "-device",
            &format!("virtserialport,name={name},chardev={name}"),
        ]);
    }
    let scratch = path_of(wires.scratch);
    command.args([
        "-drive",
        &format!("file={scratch},format=raw,if=none,id=scratch,cache=unsafe,discard=unmap"),
    ]);
    command.args(["-device", "virtio-blk-pci,drive=scratch,serial=scratch"]);
    command.args(["-device", "virtio-rng-pci"]);
    Ok(())
}

fn processor(command: &mut Command, options: &Options, accel: Accel) -> Result<()> {
    ensure!(options.cpus >= 1, "--cpus must be at least 1");
    ensure!(
        !(options.icount && accel == Accel::Kvm),
        "--icount counts emulated instructions: it needs --accel tcg"
    );
    command.args(["-smp", &options.cpus.to_string()]);
    if accel == Accel::Kvm {
        command.args(["-accel", "kvm", "-cpu", "host"]);
    } else if options.icount {
        command.args([
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=1,sleep=off",
            "-cpu",
            "max",
        ]);
    } else {
        command.args(["-accel", "tcg,thread=multi", "-cpu", "max"]);
    }
    Ok(())
}

/// One shared memory file a NUMA node: virtio-fs servers map the machine's memory.
fn memory(command: &mut Command, options: &Options) -> Result<()> {
    let (nodes, cpus) = (options.numa, options.cpus);
    ensure!(
        (1..=cpus).contains(&nodes),
        "--numa {nodes} needs at least {nodes} --cpus, not {cpus}"
    );
    let mebibytes = options.memory / nodes;
    command.args(["-m", &format!("{}M", mebibytes * nodes)]);
    for node in 0..nodes {
        command.args([
            "-object",
            &format!("memory-backend-memfd,id=mem{node},size={mebibytes}M,share=on"),
        ]);
        let (first, end) = (node * cpus / nodes, (node + 1) * cpus / nodes);
        command.args([
            "-numa",
            &format!(
                "node,nodeid={node},memdev=mem{node},cpus={first}-{}",
                end - 1
            ),
        ]);
    }
    Ok(())
}

fn share(command: &mut Command, tag: &str, fd: RawFd) {
    command.args(["-chardev", &format!("socket,id={tag},fd={fd}")]);
    command.args([
        "-device",
        &format!("vhost-user-fs-pci,chardev={tag},tag={tag}"),
    ]);
}
