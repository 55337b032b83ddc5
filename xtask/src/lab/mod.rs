//! `cargo xtask lab -- COMMAND`: a real kernel for what this machine's kernel lacks.
//!
//! The command runs as root on a Debian kernel in QEMU. It sees the host's files as they are, in the
//! directory where the lab was started; what it changes is gone afterwards, except in the one
//! writable folder, `target/lab/NAME`, which `$PEPITA_LAB_OUT` names on both sides.
//!
//! Reading order: [`run`] starts everything and watches; [`machine`] is the hardware, [`accel`] how fast;
//! [`kernel`] fetches the kernel; [`share`] shows the host's files; [`guest`] is process 1 inside;
//! [`protocol`] is what the two sides say.
//!
//! # Invariants
//! * Nothing outlives the lab: each helper process dies with this one ([`child`]), sockets have
//!   abstract names or none, and the scratch disk has no name.
//! * The command's standard output and error pass byte for byte; the lab's own words go to standard
//!   error, before the command starts or after it has ended.

mod accel;
pub(crate) mod child;
mod cpio;
pub(crate) mod guest;
mod kernel;
mod machine;
mod oops;
mod protocol;
mod run;
mod share;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use kernel::Series;
use run::LabError;
pub(crate) use run::PANICKED;

/// What kind of lab, and what to run in it.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit status: the command's own (128 + N for signal N), or\n  \
    120  the lab's kernel panicked\n  121  the lab stopped answering\n  \
    124  the time limit was reached\n  125  the lab could not be started"
)]
pub(crate) struct Options {
    /// The kernel series.
    #[arg(long, value_enum, default_value = "6.12")]
    kernel: Series,
    /// Processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 2048, value_name = "MIB")]
    memory: u32,
    /// NUMA nodes, over which processors and memory are spread.
    #[arg(long, default_value_t = 1, value_name = "NODES")]
    numa: u32,
    /// Lets the lab's clock count executed instructions: slower, but repeatable within 1 %.
    #[arg(long)]
    icount: bool,
    /// Time limit of the whole run.
    #[arg(long, default_value_t = 900, value_name = "SECONDS")]
    timeout: u64,
    /// How long the lab may fail to answer before it counts as hung.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    hang: u64,
    /// The writable folder's name under `target/lab`; it is emptied first. Without a name: the first
    /// of `run`, `run-2`, … that no other lab uses.
    #[arg(long)]
    name: Option<String>,
    /// How processors are made.
    #[arg(long, value_enum, default_value = "auto")]
    accel: Accel,
    /// What the kernel writes to its log: 4 is errors, 7 everything but debugging.
    #[arg(long, default_value_t = 5, value_name = "LEVEL")]
    log_level: u8,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// How the lab's processors are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// The host's KVM where it boots the lab's kernel and can nest, else emulation.
    Auto,
    /// By emulation: everywhere, with AMD-V inside.
    Tcg,
    /// By the host's KVM.
    Kvm,
}

/// Runs a lab for the command line.
pub(crate) fn main(options: &Options) -> ExitCode {
    let folder = match run::Folder::take(&folders(), options.name.as_deref()) {
        Ok(folder) => folder,
        Err(error) => return fail(&LabError::Setup(error)),
    };
    let done = run::run(options, &folder);
    match &done {
        Ok(0) => return ExitCode::SUCCESS,
        Ok(_) | Err(LabError::Panic(_) | LabError::Hang { .. } | LabError::Setup(_)) => {
            show_log(&folder)
        }
        Err(LabError::Timeout { .. }) => {}
    }
    match done {
        Ok(code) => {
            eprintln!("lab: the command ended with status {code}");
            ExitCode::from(code)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &LabError) -> ExitCode {
    eprintln!("lab: {error}");
    ExitCode::from(error.status())
}

/// Shows the kernel's log from its first fault, else the end of it, on standard error.
fn show_log(folder: &run::Folder) {
    const LINES_MAX: usize = 60;
    let path = folder.kernel_log();
    let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
    let fault = oops::fault(&log);
    let lines: Vec<&str> = fault
        .unwrap_or(&log)
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        return;
    }
    let (what, from) = match fault {
        Some(_) => ("the first fault in", 0),
        None => ("the end of", lines.len().saturating_sub(LINES_MAX)),
    };
    eprintln!("lab: {what} {}:", path.display());
    for line in lines.iter().skip(from).take(LINES_MAX) {
        eprintln!("    {line}");
    }
}

/// Where the labs' folders are.
fn folders() -> PathBuf {
    crate::workspace_root().join("target/lab")
}
