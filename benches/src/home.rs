//! [`Runner`]: a contender, wherever it lives.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::de::DeserializeOwned;

use crate::case::{Contender, Entry, Home, Settings};
use crate::server::{Reply, Request};

/// A contender that was made.
pub(crate) enum Runner {
    Shared(Box<dyn Contender>),
    Own(Server),
}

impl Runner {
    /// Makes the contender of `entry`, in the process it asks for.
    pub(crate) fn start(
        suite: &str,
        case: &str,
        entry: &Entry,
        settings: &Settings,
    ) -> Result<Self> {
        match entry.home {
            Home::Shared => (entry.make)().map(Self::Shared),
            Home::Own => Server::start(suite, case, &entry.name, settings).map(Self::Own),
        }
    }

    pub(crate) fn answer(&mut self) -> Result<String> {
        match self {
            Self::Shared(contender) => contender.answer(),
            Self::Own(server) => server.turn(Request::Answer),
        }
    }

    pub(crate) fn round(&mut self) -> Result<f64> {
        match self {
            Self::Shared(contender) => contender.round(),
            Self::Own(server) => server.turn(Request::Round),
        }
    }
}

/// This program again, with one contender.
///
/// # Invariants
/// * Between turns the process is stopped: `start` and `turn` wait until it is.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Server {
    fn start(suite: &str, case: &str, contender: &str, settings: &Settings) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", suite, case, contender]);
        command.arg("--pepita").arg(&settings.pepita);
        if let Some(size) = settings.size {
            command.arg("--size").arg(size.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a process without the pipes that it was given");
        };
        let mut server = Self {
            child,
            requests,
            replies: BufReader::new(replies),
        };
        server.reply::<()>()?;
        server.stop()?;
        Ok(server)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets it run for one request.
    fn turn<T: DeserializeOwned + Debug>(&mut self, request: Request) -> Result<T> {
        kill_process(self.pid(), Signal::CONT)?;
        writeln!(self.requests, "{}", serde_json::to_string(&request)?)?;
        let reply = self.reply();
        self.stop()?;
        reply
    }

    fn reply<T: DeserializeOwned + Debug>(&mut self) -> Result<T> {
        let mut line = String::new();
        let read = self.replies.read_line(&mut line)?;
        ensure!(read > 0, "its process ended");
        let reply: Reply<T> =
            serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        reply.map_err(|error| anyhow!("{error}"))
    }

    /// Stops it, and waits until it has stopped.
    fn stop(&self) -> Result<()> {
        let pid = self.pid();
        kill_process(pid, Signal::STOP)?;
        match waitpid(Some(pid), WaitOptions::UNTRACED)? {
            Some((_, status)) if status.stopped() => Ok(()),
            status => bail!("its process ended: {status:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Works on a stopped process too; one that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
