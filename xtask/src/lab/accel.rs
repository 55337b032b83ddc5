//! Whether the host's KVM can be the lab's processor.
//!
//! A KVM that opens is not yet one that boots a stock kernel: one inside another hypervisor may lack
//! the emulation of some instructions. So the lab's own kernel is started once, without a root, and must
//! get as far as to miss it. The verdict is kept beside the kernel, for this host's kernel.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::child;
use super::kernel::Kernel;
use super::{Accel, Options};
use crate::debian;

/// How long a usable KVM may take to the end of the boot.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// What the kernel says when it has come up and misses its first process.
const CAME_UP: &str = "Requested init /none failed";

/// The accelerator that `options` ask for, or the best one for `auto`.
///
/// # Errors
/// When the probe itself cannot run.
pub(super) fn choose(options: &Options, kernel: &Kernel) -> Result<Accel> {
    if options.accel != Accel::Auto {
        return Ok(options.accel);
    }
    if options.icount
        || !nested()
        || OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
    {
        return Ok(Accel::Tcg);
    }
    let host = fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release")?;
    let verdict = kernel.file("kvm-verdict");
    let usable = match fs::read_to_string(&verdict)
        .ok()
        .as_deref()
        .and_then(|text| text.split_once(' '))
    {
        Some((verdict, known)) if known == host => verdict == "usable",
        _ => {
            let usable = boots(kernel, &kernel.file("kvm-probe.log"))?;
            fs::write(
                verdict,
                format!("{} {host}", if usable { "usable" } else { "unusable" }),
            )?;
            usable
        }
    };
    Ok(if usable { Accel::Kvm } else { Accel::Tcg })
}

/// Whether the host's KVM gives a KVM to the lab, which must have one.
fn nested() -> bool {
    ["kvm_amd", "kvm_intel"].iter().any(|module| {
        let parameter = fs::read_to_string(format!("/sys/module/{module}/parameters/nested"));
        parameter.is_ok_and(|value| matches!(value.trim(), "1" | "Y"))
    })
}

/// Boots the kernel on the host's KVM until it misses its first process.
fn boots(kernel: &Kernel, log: &Path) -> Result<bool> {
    let qemu = debian::find("qemu-system-x86_64").context("no qemu-system-x86_64")?;
    let file = File::create(log)?;
    let mut command = child::command(&qemu, false)?;
    command.args([
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-M",
        "q35",
        "-m",
        "512M",
        "-serial",
        "stdio",
    ]);
    command.args([
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-append",
        "console=ttyS0 panic=-1 rdinit=/none init=/none",
    ]);
    command.arg("-kernel").arg(kernel.image());
    let mut qemu = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let started = Instant::now();
    let said =
        |text: &str| fs::read(log).is_ok_and(|log| String::from_utf8_lossy(&log).contains(text));
    let mut running = true;
    while running && started.elapsed() < PROBE_LIMIT && !said("KVM internal error") {
        thread::sleep(Duration::from_millis(20));
        running = qemu.try_wait()?.is_none();
    }
    // It fails only when QEMU has ended by itself.
    let _ = qemu.kill();
    qemu.wait()?;
    Ok(said(CAME_UP) || said("Unable to mount root fs"))
}
