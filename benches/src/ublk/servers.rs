//! Who serves a disk: [`Served`] by ours or by libublk's examples, or the kernel's [`LoopDevice`] or zram.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pepita_io::ublk::Control;
use pepita_sys::ublk::UBLK_S_DEV_LIVE;

use super::DEPTH;
use super::load::BLOCKS;
use crate::kernel_zram::Device;

/// Where `cargo xtask bench` installs libublk's examples.
const LIBUBLK: &str = "target/peers/libublk/bin";

/// The lab's scratch disk.
const SCRATCH: &str = "/dev/vda";

/// How long a disk may take to be there.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The number of the next disk.
static NEXT_ID: AtomicU32 = AtomicU32::new(10);

/// What an instruction takes by the lab's clock.
///
/// # Errors
/// If this is no lab whose clock counts instructions, which says so.
pub(super) fn nanoseconds_of_instruction() -> Result<f64> {
    let told = std::env::var("PEPITA_LAB_INSTRUCTION_NS");
    let told = told.context("only in the lab: cargo xtask bench ublk")?;
    Ok(told.parse()?)
}

/// What a disk keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Ram,
    File,
    Zram,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Ram => "ram",
            Self::File => "file",
            Self::Zram => "zram",
        }
    }

    /// Ours, for people.
    pub(super) const fn ours(self) -> &'static str {
        match self {
            Self::Null => "pepita ublk, null",
            Self::Ram => "pepita ublk, ram",
            Self::File => "pepita ublk, file",
            Self::Zram => "pepita ublk, zram",
        }
    }

    /// Its example in libublk.
    pub(super) const fn libublk(self) -> Option<&'static str> {
        match self {
            Self::Null => Some("null"),
            Self::Ram => Some("ramdisk"),
            Self::File => Some("loop"),
            Self::Zram => None,
        }
    }

    /// Whether what is written can be read.
    pub(super) const fn keeps(self) -> bool {
        !matches!(self, Self::Null)
    }

    /// The size of the disk: that of libublk's `null`, or what the load needs. A file has its own.
    pub(super) const fn bytes(self) -> u64 {
        match self {
            Self::Null => 250 << 30,
            Self::Ram | Self::File | Self::Zram => (BLOCKS * 4096) as u64,
        }
    }
}

/// What a load needs of a disk.
pub(super) trait Server {
    /// The disk.
    fn path(&self) -> &Path;

    /// The time that all threads of the server have run until now.
    fn nanoseconds(&self) -> Result<u64>;
}

/// A ublk disk, deleted when this is dropped.
pub(super) struct Served {
    control: Control,
    id: u32,
    path: PathBuf,
    pid: i32,
}

impl Served {
    pub(super) fn ours(kind: Kind, bytes: u64, pepita: &Path) -> Result<Self> {
        let mut command = Command::new(pepita);
        command.args(["ublk", "add", "--type", kind.name()]);
        command.args(["--queues", "1", "--depth", &DEPTH.to_string()]);
        match kind {
            Kind::Null | Kind::Ram | Kind::Zram => command.args(["--size", &format!("{bytes}B")]),
            Kind::File => command.args(["--file", SCRATCH, "--direct"]),
        };
        Self::start(command, "--id")
    }

    pub(super) fn by_libublk(kind: Kind) -> Result<Self> {
        let program = kind.libublk().context("libublk has no such example")?;
        let option = match kind {
            Kind::Ram => "",
            _ => "--number",
        };
        let program = Path::new(LIBUBLK).join(program);
        ensure!(program.exists(), "there is no {}", program.display());
        let mut command = Command::new(program);
        command.arg("add");
        if kind != Kind::Ram {
            command.args(["--queues", "1", "--depth", &DEPTH.to_string()]);
        }
        if kind == Kind::File {
            command.args(["--backing_file", SCRATCH]);
        }
        Self::start(command, option)
    }

    /// Runs `command`, whose last arguments say that it is to leave a process behind that serves a disk of a new
    /// number, told by `option`.
    fn start(mut command: Command, option: &str) -> Result<Self> {
        let control = Control::open()?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        if !option.is_empty() {
            command.arg(option);
        }
        command.arg(id.to_string());
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("{command:?}"))?;
        ensure!(started.success(), "{command:?}: {started}");
        let path = PathBuf::from(format!("/dev/ublkb{id}"));
        let begin = Instant::now();
        loop {
            let info = control.info(id);
            if let Ok(info) = info
                && info.state == UBLK_S_DEV_LIVE
                && path.exists()
            {
                ensure!(
                    (info.nr_hw_queues, info.queue_depth, info.max_io_buf_bytes)
                        == (1, DEPTH, 512 << 10),
                    "{command:?} made another disk: {info:?}"
                );
                return Ok(Self {
                    control,
                    id,
                    path,
                    pid: info.ublksrv_pid,
                });
            }
            if begin.elapsed() > START_LIMIT {
                bail!("{command:?}: no disk after {START_LIMIT:?}: {info:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Server for Served {
    fn path(&self) -> &Path {
        &self.path
    }

    fn nanoseconds(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let line = fs::read_to_string(thread?.path().join("schedstat"))?;
            let ran = line
                .split_whitespace()
                .next()
                .context("schedstat is empty")?;
            sum += ran.parse::<u64>()?;
        }
        Ok(sum)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It is in the lab, which ends soon.
        if let Err(error) = self.control.delete(self.id) {
            eprintln!("bench: {}: {error}", self.path.display());
        }
    }
}

/// The scratch disk by the kernel's loop device.
pub(super) struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    pub(super) fn new() -> Result<Self> {
        // The module may be built in, or losetup says what is missing.
        let _ = Command::new("modprobe").arg("loop").status();
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show", "--direct-io=on", SCRATCH]);
        let output = losetup.output().context("losetup does not start")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "losetup: {}", told.trim());
        let path = String::from_utf8_lossy(&output.stdout).trim().into();
        Ok(Self { path })
    }
}

impl Server for LoopDevice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn nanoseconds(&self) -> Result<u64> {
        bail!("the kernel's threads are everybody's")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
    }
}

/// The kernel's zram.
pub(super) struct KernelZram {
    path: PathBuf,
    /// Gone with this.
    _device: Device,
}

impl KernelZram {
    pub(super) fn new() -> Result<Self> {
        let mut device = Device::new()?;
        let bytes = usize::try_from(Kind::Zram.bytes())?;
        device.renew(bytes)?;
        Ok(Self {
            path: device.path(),
            _device: device,
        })
    }
}

impl Server for KernelZram {
    fn path(&self) -> &Path {
        &self.path
    }

    fn nanoseconds(&self) -> Result<u64> {
        bail!("it works in the threads that ask it")
    }
}
