//! The first process inside the lab: sets the system up, runs the command, reports its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{Pid, Signal, WaitOptions};

use super::protocol::{Job, OUT_TAG, PING, Report, port};

/// The modules that are loaded for every command. The kernel may have none of one name; then it is
/// noted in the kernel's log.
const MODULES: [&str; 5] = [
    "virtio_blk",
    "virtio_mmio",
    "ublk_drv",
    "zram",
    "vhost_vsock",
];

/// How long the kernel may take to show the ports.
const PORTS_LIMIT: Duration = Duration::from_secs(20);

/// Runs as process 1; ends by switching the machine off.
///
/// # Errors
/// When this is not process 1 of a lab.
pub(crate) fn init() -> Result<()> {
    ensure!(std::process::id() == 1, "only the lab's kernel runs this");
    let done = serve();
    if let Err(error) = &done {
        // Reaches the kernel log: the console is standard error here.
        eprintln!("lab: {error:#}");
    }
    rustix::fs::sync();
    rustix::system::reboot(rustix::system::RebootCommand::PowerOff)?;
    done
}

fn serve() -> Result<()> {
    mount_kernel_views(Path::new("/"))?;
    let mut control = open_port(port::CONTROL)?;
    let mut reader = BufReader::new(control.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line).context("cannot read the job")?;
    let job: Job = serde_json::from_str(&line).context("cannot understand the job")?;
    let report = match prepare(&job) {
        Ok(()) => {
            let pongs = control.try_clone()?;
            send(&mut control, &Report::Ready)?;
            thread::spawn(move || answer_pings(reader, pongs));
            run(&job).map_or_else(|error| Report::Broken(format!("{error:#}")), Report::Exit)
        }
        Err(error) => Report::Broken(format!("{error:#}")),
    };
    // What was written to the shared folder must be there when the host sees the report.
    rustix::fs::sync();
    send(&mut control, &report)
}

fn send(control: &mut File, report: &Report) -> Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    // One write: reports of two threads must not mix.
    control
        .write_all(&line)
        .context("cannot write to the control port")
}

fn answer_pings(mut pings: impl Read, mut pongs: File) {
    let mut byte = [0];
    while matches!(pings.read(&mut byte), Ok(1)) {
        if byte[0] == PING && send(&mut pongs, &Report::Pong).is_err() {
            return;
        }
    }
}

/// Opens the port `name`, which the kernel may not have found yet.
fn open_port(name: &str) -> Result<File> {
    let started = Instant::now();
    loop {
        let found = port_device(name).context("cannot list the ports");
        match found.and_then(|device| Ok(OpenOptions::new().read(true).write(true).open(device)?)) {
            Ok(file) => return Ok(file),
            Err(_) if started.elapsed() < PORTS_LIMIT => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error).context(format!("no port {name}")),
        }
    }
}

/// The device file of the port `name`.
fn port_device(name: &str) -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("name"))?.trim_end() == name {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Mounts what the kernel shows of itself below `root`.
fn mount_kernel_views(root: &Path) -> Result<()> {
    for (target, kind) in [
        ("proc", "proc"),
        ("sys", "sysfs"),
        ("dev", "devtmpfs"),
        ("run", "tmpfs"),
    ] {
        mount_new(kind, &root.join(target), kind, MountFlags::empty())?;
    }
    Ok(())
}

/// Turns the read-only host root into a system where the command can do what it wants.
fn prepare(job: &Job) -> Result<()> {
    let root = PathBuf::from("/run/root");
    for folder in ["/run/upper", "/run/work", "/run/root"] {
        fs::create_dir(folder)?;
    }
    let layers = c"lowerdir=/,upperdir=/run/upper,workdir=/run/work";
    mount("overlay", &root, "overlay", MountFlags::empty(), layers)
        .context("cannot mount the overlay")?;
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    mount_new(OUT_TAG, &below(&job.out), "virtiofs", MountFlags::empty())?;
    let modules = below(Path::new("/lib/modules"));
    fs::create_dir_all(&modules)?;
    mount_bind(&job.modules, &modules).context("cannot show the kernel's modules")?;

    // As switch_root does, so that the command is not in a chroot (which forbids user namespaces).
    std::env::set_current_dir(&root)?;
    mount_move(".", "/").context("cannot move to the new root")?;
    rustix::process::chroot(".")?;
    std::env::set_current_dir("/")?;
    mount_kernel_views(Path::new("/"))?;
    for (target, kind) in [
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/sys/fs/cgroup", "cgroup2"),
    ] {
        fs::create_dir_all(target)?;
        mount_new(kind, Path::new(target), kind, MountFlags::empty())?;
    }
    fs::write(
        "/sys/fs/cgroup/cgroup.subtree_control",
        "+cpu +memory +pids",
    )
    .context("cannot enable the controllers")?;
    for (link, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        std::os::unix::fs::symlink(target, Path::new("/dev").join(link))?;
    }
    rustix::system::sethostname(b"lab")?;
    configure(job)
}

/// Loads the modules and brings the loopback device up.
fn configure(job: &Job) -> Result<()> {
    let path = job
        .environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.clone());
    let path = path.unwrap_or_default().into_string().unwrap_or_default();
    let path = format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin");
    let helper = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .env("PATH", &path)
            .stdin(Stdio::null())
            .status()
    };
    let intel = fs::read_to_string("/proc/cpuinfo")?.contains("GenuineIntel");
    for module in MODULES
        .into_iter()
        .chain([if intel { "kvm-intel" } else { "kvm-amd" }])
    {
        if !helper("modprobe", &["--quiet", module])
            .context("cannot run modprobe")?
            .success()
        {
            eprintln!("lab: no module {module} for this kernel or processor");
        }
    }
    // Not every command needs a network; one that does fails with its own error.
    if !helper("ip", &["link", "set", "lo", "up"]).is_ok_and(|status| status.success()) {
        eprintln!("lab: the loopback device stays down: no ip (package iproute2)");
    }
    Ok(())
}

fn mount_new(source: &str, target: &Path, kind: &str, flags: MountFlags) -> Result<()> {
    fs::create_dir_all(target).with_context(|| target.display().to_string())?;
    mount(source, target, kind, flags, None)
        .with_context(|| format!("cannot mount {kind} at {}", target.display()))
}

/// Runs the command and sends all of its output; returns its status as a shell would give it.
fn run(job: &Job) -> Result<u8> {
    let mut stderr_port = open_port(port::STDERR)?;
    let stdout_port = open_port(port::STDOUT)?;
    let (program, arguments) = job.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(job.environment.iter().map(|(name, value)| (name, value)));
    command
        .current_dir(&job.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            writeln!(
                stderr_port,
                "lab: cannot run {} in {}: {error}",
                program.display(),
                job.folder.display()
            )?;
            return Ok(if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            });
        }
    };
    let pumps = [
        pump(
            child.stdout.take().context("no standard output")?,
            stdout_port,
        ),
        pump(
            child.stderr.take().context("no standard error")?,
            stderr_port,
        ),
    ];
    let status = reap_until(child.id())?;
    // What the command left running may hold its output open, which would then never end.
    while !pumps.iter().all(JoinHandle::is_finished) {
        kill_all()?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(code_of(status))
}

/// Passes `from` on to `to`. Not by `io::copy`, which would splice: the port ends that too early.
fn pump(mut from: impl Read + Send + 'static, mut to: File) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if let Err(error) = to.write_all(&buffer[..count]) {
                        eprintln!("lab: output is lost: {error}");
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return eprintln!("lab: output is lost: {error}"),
            }
        }
    })
}

/// Waits for every child and orphan until `pid` ends.
fn reap_until(pid: u32) -> Result<ExitStatus> {
    let wanted = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("bad process id")?;
    loop {
        let ended =
            rustix::process::wait(WaitOptions::empty()).context("cannot wait for the command")?;
        if let Some((pid, status)) = ended
            && pid == wanted
        {
            return Ok(ExitStatus::from_raw(status.as_raw()));
        }
    }
}

/// The status as a shell gives it: a signal counts as 128 + its number.
fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// Kills every process but this one. Kernel threads do not heed it.
fn kill_all() -> Result<()> {
    for entry in fs::read_dir("/proc")? {
        let pid = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| *pid != Pid::INIT) {
            // It may have ended since.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_counts_as_128_and_its_number() {
        assert_eq!(code_of(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}
