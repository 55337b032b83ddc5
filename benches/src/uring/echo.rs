//! A server that sends back what it gets, under the same client.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use pepita_io::ring::Buffer;
use pepita_io::{LocalRing, Submitted, ops};
use rustix::thread::{CpuSet, Pid, gettid, sched_setaffinity};

use crate::case::Contender;

/// Connections of the client.
const CONNECTIONS: usize = 64;
/// Bytes of a message.
const MESSAGE: usize = 64;
/// Messages of a round on each connection.
const TURNS: usize = 400;

/// Serves every connection to `listener` until the process ends.
pub(super) type Serve = fn(TcpListener) -> Result<()>;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Figure {
    /// CPU time of the server's thread for a message, in nanoseconds.
    ServerCpu,
    /// Messages in a second.
    Rate,
}

/// A server on the first CPU, and its client on the second.
pub(super) struct Echo {
    connections: Vec<TcpStream>,
    server: Pid,
    figure: Figure,
    next: u8,
}

impl Echo {
    pub(super) fn new(serve: Serve, figure: Figure) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let pinned = pin_to(0).map(|()| gettid());
            let _ = sender.send(pinned);
            if let Err(error) = serve(listener) {
                eprintln!("the server ends: {error:#}");
            }
        });
        let server = receiver.recv()??;
        pin_to(1)?;
        let connections = (0..CONNECTIONS).map(|_| connect(address));
        Ok(Self {
            connections: connections.collect::<Result<_>>()?,
            server,
            figure,
            next: 0,
        })
    }

    /// Sends a message on every connection and takes it back, over and over; says whether all came back.
    fn run(&mut self, turns: usize) -> Result<bool> {
        let mut back = [0; MESSAGE];
        let mut is_right = true;
        for _ in 0..turns {
            self.next = self.next.wrapping_add(1);
            let message = [self.next; MESSAGE];
            for connection in &mut self.connections {
                connection.write_all(&message)?;
            }
            for connection in &mut self.connections {
                connection.read_exact(&mut back)?;
                is_right &= back == message;
            }
        }
        Ok(is_right)
    }

    /// CPU time of the server's thread so far, in nanoseconds.
    fn server_cpu_ns(&self) -> Result<f64> {
        let path = format!("/proc/self/task/{}/schedstat", self.server.as_raw_nonzero());
        let text = std::fs::read_to_string(path)?;
        let first = text.split_whitespace().next().context("no figure")?;
        Ok(first.parse()?)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("pinning to CPU {cpu}"))
}

impl Contender for Echo {
    fn answer(&mut self) -> Result<String> {
        Ok(format!("all messages came back: {}", self.run(2)?))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a bench are far below 2^53"
    )]
    fn round(&mut self) -> Result<f64> {
        let messages = (TURNS * CONNECTIONS) as f64;
        let (begin, cpu_ns) = (Instant::now(), self.server_cpu_ns()?);
        ensure!(self.run(TURNS)?, "a message came back wrong");
        let seconds = begin.elapsed().as_secs_f64();
        Ok(match self.figure {
            Figure::ServerCpu => (self.server_cpu_ns()? - cpu_ns) / messages,
            Figure::Rate => messages / seconds,
        })
    }
}

/// The answer to a message, on its way.
type Answer = Submitted<ops::SendAll<Rc<TcpStream>, Buffer>>;

/// Ours: a task for each connection, on one ring, with one pool of buffers. An answer has to be out before the
/// next one starts, and mostly is when the next message comes, so nobody is woken for it.
pub(super) fn serve_local_ring(listener: TcpListener) -> Result<()> {
    let ring = LocalRing::new(256)?;
    let pool = ring.buffer_pool(256, 4096)?;
    let listener = Rc::new(listener);
    let mut connections = ring.submit_multi(ops::accept(&listener));
    ring.block_on(async {
        while let Some(connection) = connections.next().await {
            let stream = Rc::new(TcpStream::from(connection?));
            stream.set_nodelay(true)?;
            let (io, pool) = (ring.handle(), pool.clone());
            ring.spawn(async move {
                let mut messages = pool.recv_many(&stream);
                let mut answer: Option<Answer> = None;
                while let Some(Ok(message)) = messages.next().await {
                    if let Some(answer) = answer.take()
                        && answer.await.0.is_err()
                    {
                        return;
                    }
                    answer = Some(io.submit(ops::send_all(&stream, message)));
                }
                if let Some(answer) = answer {
                    let _ = answer.await;
                }
            });
        }
        Ok(())
    })
}

/// tokio, on one thread.
pub(super) fn serve_tokio(listener: TcpListener) -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    listener.set_nonblocking(true)?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buf = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buf).await {
                    if stream.write_all(&buf[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}
