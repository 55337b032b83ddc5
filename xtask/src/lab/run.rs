//! Starts the lab's processes, passes the command's output on, and decides how the run ended.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::kernel::Kernel;
use super::machine::{self, SCRATCH_BYTES, Wires};
use super::oops::Oops;
use super::protocol::{Job, PING, Report};
use super::share::{Share, inherit};
use super::{Options, accel, child, share};
use crate::debian::{self, Tool};

/// How long the kernel may take until the command starts.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// How often the lab is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The exit status of a lab whose kernel panicked.
pub(crate) const PANICKED: u8 = 120;

/// Why a lab gave no exit status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// The kernel inside gave up.
    #[error("the lab's kernel panicked: {0}")]
    Panic(Oops),
    /// Process 1 inside no longer answers.
    #[error("the lab hangs: no answer for {seconds} s")]
    Hang { seconds: u64 },
    /// The command took too long.
    #[error("the time limit of {seconds} s was reached")]
    Timeout { seconds: u64 },
    /// The lab did not come up, or broke.
    #[error("{0:#}")]
    Setup(#[from] anyhow::Error),
}

impl LabError {
    /// The exit status that stands for this error.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Panic(_) => PANICKED,
            Self::Hang { .. } => 121,
            Self::Timeout { .. } => 124,
            Self::Setup(_) => 125,
        }
    }
}

/// The folder of one run, locked while this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    cache: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes and empties the folder `name` in `labs`, or the first free one.
    ///
    /// # Errors
    /// When the name is not a plain one, or another lab uses it.
    pub(crate) fn take(labs: &Path, name: Option<&str>) -> Result<Self> {
        if let Some(name) = name {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            ensure!(
                name.chars().all(plain)
                    && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && name != "cache",
                "--name {name:?}: letters, digits, '-', '_' and '.' only, and not \"cache\""
            );
            return Self::lock(labs, name)?
                .with_context(|| format!("another lab runs under the name {name}"));
        }
        for number in 1..=64 {
            let name = if number == 1 {
                "run".to_owned()
            } else {
                format!("run-{number}")
            };
            if let Some(folder) = Self::lock(labs, &name)? {
                return Ok(folder);
            }
        }
        bail!("64 labs are running");
    }

    fn lock(labs: &Path, name: &str) -> Result<Option<Self>> {
        let path = labs.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        let lock = File::open(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).context(path.display().to_string());
            }
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let remove = if entry.file_type()?.is_dir() {
                fs::remove_dir_all
            } else {
                fs::remove_file
            };
            remove(entry.path()).with_context(|| format!("cannot empty {}", path.display()))?;
        }
        Ok(Some(Self {
            path,
            cache: labs.join("cache"),
            _lock: lock,
        }))
    }

    /// What the kernel inside said.
    pub(crate) fn kernel_log(&self) -> PathBuf {
        self.path.join("kernel.log")
    }
}

/// A machine that is running; dropping it switches it off.
struct Machine {
    qemu: Child,
    log: PathBuf,
    _shares: [Share; 2],
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Runs the command of `options` in a new lab; its output goes to this process's.
///
/// # Errors
/// When the command gave no exit status.
pub(crate) fn run(options: &Options, folder: &Folder) -> Result<u8, LabError> {
    ensure_programs()?;
    let kernel = Kernel::prepare(&folder.cache, options.kernel)?;
    let (control, control_end) = pair()?;
    let (stdout, stdout_end) = pair()?;
    let (stderr, stderr_end) = pair()?;
    let machine = start(
        options,
        folder,
        &kernel,
        [control_end, stdout_end, stderr_end],
    )?;
    let pumps = [
        thread::spawn(move || pump(stdout, io::stdout())),
        thread::spawn(move || pump(stderr, io::stderr())),
    ];
    let mut line =
        serde_json::to_vec(&job(options, folder, &kernel)?).context("cannot describe the job")?;
    line.push(b'\n');
    (&control).write_all(&line).context("cannot send the job")?;
    let done = supervise(options, machine, control);
    for pump in pumps {
        // They end when the machine, dropped above, no longer holds the other ends.
        let _ = pump.join();
    }
    done
}

/// Checks that this process may start a lab, and that the programs are here.
fn ensure_programs() -> Result<()> {
    // overlayfs opens with O_NOATIME, which the host grants to a file's owner and to root only.
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can show the host's files to a lab: use sudo"
    );
    let server = Tool {
        program: "/usr/libexec/virtiofsd",
        package: "virtiofsd",
    };
    let mut tools = vec![
        Tool {
            program: "qemu-system-x86_64",
            package: "qemu-system-x86",
        },
        Tool {
            program: "busybox",
            package: "busybox-static",
        },
        Tool {
            program: "modprobe",
            package: "kmod",
        },
        Tool {
            program: "xz",
            package: "xz-utils",
        },
    ];
    debian::ensure_tools(&tools)?;
    if share::program().is_none() {
        // Debian 12 has it in QEMU's package, later ones in its own.
        tools.push(server);
        debian::ensure_tools(&tools)?;
    }
    Ok(())
}

fn pair() -> Result<(UnixStream, UnixStream)> {
    UnixStream::pair().context("cannot make a socket pair")
}

fn job(options: &Options, folder: &Folder, kernel: &Kernel) -> Result<Job> {
    let mut environment: Vec<_> = std::env::vars_os().collect();
    environment.push(("PEPITA_LAB".into(), kernel.release.clone().into()));
    environment.push(("PEPITA_LAB_OUT".into(), folder.path.clone().into()));
    if options.icount {
        let ns = machine::INSTRUCTION_NS.to_string();
        environment.push(("PEPITA_LAB_INSTRUCTION_NS".into(), ns.into()));
    }
    Ok(Job {
        command: options.command.clone(),
        environment,
        folder: std::env::current_dir().context("no current directory")?,
        out: folder.path.clone(),
        modules: kernel.modules(),
    })
}

/// Starts the file servers and QEMU; `ends` are the far ends of control, output and error.
fn start(
    options: &Options,
    folder: &Folder,
    kernel: &Kernel,
    ends: [UnixStream; 3],
) -> Result<Machine> {
    let log = File::create(folder.kernel_log())?;
    let helpers = File::create(folder.path.join("helpers.log"))?;
    let root = Share::serve(Path::new("/"), "root", true, &helpers)?;
    let out = Share::serve(&folder.path, "out", false, &helpers)?;
    let scratch = tempfile::tempfile_in(&folder.path).context("cannot make the scratch disk")?;
    scratch.set_len(SCRATCH_BYTES)?;
    let wires = Wires {
        root: root.stream.as_raw_fd(),
        out: out.stream.as_raw_fd(),
        control: ends[0].as_raw_fd(),
        stdout: ends[1].as_raw_fd(),
        stderr: ends[2].as_raw_fd(),
        scratch: scratch.as_raw_fd(),
        log: log.as_raw_fd(),
    };
    for stream in [&root.stream, &out.stream].into_iter().chain(&ends) {
        inherit(stream)?;
    }
    for file in [&scratch, &log] {
        inherit(file)?;
    }
    let qemu = debian::find("qemu-system-x86_64").context("no qemu-system-x86_64")?;
    let mut command = child::command(&qemu, false)?;
    machine::describe(
        &mut command,
        options,
        accel::choose(options, kernel)?,
        kernel,
        wires,
    )?;
    command
        .stdin(Stdio::null())
        .stdout(helpers.try_clone()?)
        .stderr(helpers);
    let qemu = command.spawn().context("cannot start QEMU")?;
    Ok(Machine {
        qemu,
        log: folder.kernel_log(),
        _shares: [root, out],
    })
}

/// Passes `from` on to `to` as it comes.
fn pump(mut from: UnixStream, mut to: impl Write) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            // A reader that has gone away must not stop the command.
            Ok(count) => {
                let _ = to.write_all(&buffer[..count]).and_then(|()| to.flush());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Sends on what the lab reports, until the port closes.
fn listen(control: UnixStream, reports: &Sender<Report>) {
    for line in BufReader::new(control).lines().map_while(Result::ok) {
        let report = serde_json::from_str(&line)
            .unwrap_or_else(|_| Report::Broken(format!("it said {line:?}")));
        if reports.send(report).is_err() {
            return;
        }
    }
}

/// Watches the machine until the command has ended or an error is certain.
fn supervise(
    options: &Options,
    mut machine: Machine,
    mut control: UnixStream,
) -> Result<u8, LabError> {
    let reader = control
        .try_clone()
        .context("cannot watch the control port")?;
    let (sender, reports): (_, Receiver<Report>) = channel();
    thread::spawn(move || listen(reader, &sender));
    let started = Instant::now();
    let limit = Duration::from_secs(options.timeout);
    let hang = Duration::from_secs(options.hang);
    let mut ready = false;
    let mut heard = started;
    let mut next_ping = started + PING_EVERY;
    loop {
        match reports.recv_timeout(next_ping.saturating_duration_since(Instant::now())) {
            Ok(Report::Exit(code)) => return Ok(code),
            Ok(Report::Broken(what)) => {
                return Err(anyhow::anyhow!("the lab is broken: {what}").into());
            }
            Ok(Report::Ready) => (ready, heard) = (true, Instant::now()),
            Ok(Report::Pong) => heard = Instant::now(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(machine.post_mortem()),
        }
        let silence = if ready { hang } else { hang.max(BOOT_LIMIT) };
        if started.elapsed() >= limit {
            return Err(LabError::Timeout {
                seconds: options.timeout,
            });
        }
        if heard.elapsed() >= silence {
            return Err(machine.panic().unwrap_or(LabError::Hang {
                seconds: silence.as_secs(),
            }));
        }
        if Instant::now() >= next_ping {
            next_ping = Instant::now() + PING_EVERY;
            // Where it fails, the missing answer tells.
            let _ = control.write(&[PING]);
        }
    }
}

impl Machine {
    /// Why the machine went off without a report.
    fn post_mortem(&mut self) -> LabError {
        let status = self
            .qemu
            .wait()
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        self.panic().unwrap_or_else(|| {
            let helpers =
                fs::read_to_string(self.log.with_file_name("helpers.log")).unwrap_or_default();
            anyhow::anyhow!("the lab's machine went off ({status}): {}", helpers.trim()).into()
        })
    }

    /// The panic that the kernel's log tells of, if any.
    fn panic(&self) -> Option<LabError> {
        let log = fs::read(&self.log).ok()?;
        let log = String::from_utf8_lossy(&log);
        Oops::read(&log).map(LabError::Panic)
    }
}
