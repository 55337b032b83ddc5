//! A folder of the host shown to the lab: one `virtiofsd` each.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use rustix::io::FdFlags;

use super::child;
use crate::debian;

/// Where Debian puts `virtiofsd`: the one in Rust (13 and later), then QEMU's (12).
const PROGRAMS: [&str; 2] = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];

/// A running server and the connection that the machine monitor takes over.
#[derive(Debug)]
pub(crate) struct Share {
    /// Connected to the server.
    pub(crate) stream: UnixStream,
    server: Child,
}

impl Share {
    /// Serves `folder`; `read_only` means that the server itself cannot write anywhere.
    ///
    /// # Errors
    /// When the server is missing or does not start.
    pub(crate) fn serve(folder: &Path, name: &str, read_only: bool, log: &File) -> Result<Self> {
        // An abstract address leaves no file behind. Connected here, so that nobody else can be first.
        let address = format!("pepita-lab-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(address)?;
        let listener =
            UnixListener::bind_addr(&address).context("cannot listen for the lab's file system")?;
        let stream = UnixStream::connect_addr(&address)?;
        inherit(&listener)?;
        let program = program().context("no virtiofsd")?;
        let rust = program.starts_with("/usr/libexec");
        let mut command = child::command(&program, read_only)?;
        command.arg(format!("--fd={}", listener.as_raw_fd()));
        if rust {
            command
                .arg(format!("--shared-dir={}", folder.display()))
                .args(["--sandbox=chroot", "--cache=auto"]);
        } else {
            command
                .arg("-o")
                .arg(format!("source={}", folder.display()));
            command.args([
                "-o",
                "sandbox=chroot",
                "-o",
                "cache=auto",
                "-o",
                "log_level=err",
            ]);
        }
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()?;
        Ok(Self { stream, server })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Both fail only when the server has ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Where the server's program is, if anywhere.
pub(crate) fn program() -> Option<PathBuf> {
    PROGRAMS.iter().find_map(debian::find)
}

/// Lets child processes keep `fd`.
pub(crate) fn inherit(fd: impl AsFd) -> Result<()> {
    rustix::io::fcntl_setfd(fd, FdFlags::empty()).context("cannot hand a descriptor to a child")
}
