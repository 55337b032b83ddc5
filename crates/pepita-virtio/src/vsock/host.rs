//! [`Host`]: the host's side of connections, as Unix sockets.
//!
//! A guest's connection to port 52 leads to the socket `PATH_52`, on which a program of the host listens. A program that
//! wants port 52 of the guest connects to the socket `PATH`, writes `CONNECT 52\n`, and reads `OK port\n` when the guest
//! has taken the connection. From then on, bytes are the guest's. It is the manner of Firecracker's `docs/vsock.md`.
//!
//! Sockets are watched by their edges: one that has something for a guest without room wakes nobody up again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recv, send, shutdown, socket_with,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::connection::BOTH;
use super::machine::Machine;
use super::packet::{
    VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, VIRTIO_VSOCK_SHUTDOWN_F_SEND, VsockPacketHeader,
};
use super::table::Id;
use crate::device::Chain;

/// Who an event is for, above all numbers of connections.
const LISTENER: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;
const AGAIN: u64 = u64::MAX - 2;

/// Events of a turn.
const EVENTS: usize = 64;

/// Programs that are let in in a turn.
const ACCEPTS: usize = 16;

/// Programs that wait to be let in.
const BACKLOG: i32 = 128;

/// The longest line of a program that wants a port: `CONNECT 4294967295\r\n`, and some blanks.
const LINE_MAX: usize = 32;

const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[derive(Debug)]
struct Socket {
    id: Id,
    fd: OwnedFd,
    /// What the guest has sent and the socket had no room for: at most the window of the connection.
    held: VecDeque<u8>,
    is_writable: bool,
    /// Whoever is at the other end has gone.
    is_hung_up: bool,
    /// The directions that were shut, as the guest has ended them: each once, since it counts as an event.
    shut: u32,
}

#[derive(Debug)]
pub(super) struct Host {
    path: PathBuf,
    listener: OwnedFd,
    epoll: OwnedFd,
    timer: OwnedFd,
    /// Readable when there is something to do that no socket tells of.
    again: OwnedFd,
    /// By places of connections.
    sockets: Vec<Option<Socket>>,
    /// Somebody may wait to be let in.
    is_listener_ready: bool,
    /// The process had no descriptor left when somebody was to be let in.
    is_listener_stuck: bool,
    /// When the timer goes off.
    timer_at: Option<Instant>,
}

impl Host {
    /// Listens at `path`.
    pub(super) fn new(path: &Path) -> rustix::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let again = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let edges = EventFlags::IN | EventFlags::ET;
        for (fd, number, events) in [
            (&listener, LISTENER, edges),
            (&timer, TIMER, EventFlags::IN),
            (&again, AGAIN, EventFlags::IN),
        ] {
            epoll::add(&epoll, fd, EventData::new_u64(number), events)?;
        }
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        let host = Self {
            path: path.to_owned(),
            listener,
            epoll,
            timer,
            again,
            sockets: Vec::new(),
            is_listener_ready: false,
            is_listener_stuck: false,
            timer_at: None,
        };
        listen(&host.listener, BACKLOG)?;
        Ok(host)
    }

    /// Readable when [`poll`](Self::poll) has something to do.
    pub(super) fn descriptor(&self) -> i32 {
        self.epoll.as_raw_fd()
    }

    /// Closes all sockets but the one that programs come to.
    pub(super) fn close_all(&mut self) {
        self.sockets.clear();
        self.timer_at = None;
    }

    /// Makes the descriptor readable.
    pub(super) fn wake(&self) {
        // It fails only if it is readable.
        let _ = rustix::io::write(&self.again, &1_u64.to_ne_bytes());
    }

    /// Takes note of what has happened, lets programs in if the guest is there, and closes what is over in time.
    pub(super) fn poll(&mut self, machine: &mut Machine, is_ready: bool, now: Instant) {
        let mut events = Vec::with_capacity(EVENTS);
        let room = rustix::buffer::spare_capacity(&mut events);
        // What is not taken now keeps the descriptor readable; an interrupted call does so, too.
        let _ = epoll::wait(&self.epoll, room, Some(&NO_TIME));
        for Event { flags, data } in events {
            match data.u64() {
                LISTENER => self.is_listener_ready = true,
                TIMER => {
                    self.timer_at = None;
                    drain(&self.timer);
                }
                AGAIN => drain(&self.again),
                number => {
                    if let Some(id) = machine.by_number(number) {
                        self.socket_event(machine, id, flags, now);
                    }
                }
            }
        }
        while let Some(id) = machine.expire(now) {
            self.close(id);
        }
        if is_ready && self.is_listener_ready {
            self.let_in(machine, now);
        }
    }

    /// Sets the timer to the next deadline.
    pub(super) fn set_timer(&mut self, deadline: Option<Instant>, now: Instant) {
        let Some(deadline) = deadline else {
            return;
        };
        if self.timer_at.is_some_and(|at| at <= deadline) {
            return;
        }
        self.timer_at = Some(deadline);
        let rest = deadline.saturating_duration_since(now);
        let rest = Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            // Zero would be never.
            tv_nsec: i64::from(rest.subsec_nanos()).max(1),
        };
        let once = Itimerspec {
            it_interval: NO_TIME,
            it_value: rest,
        };
        // It is a timer, and the time is one.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    fn let_in(&mut self, machine: &mut Machine, now: Instant) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..ACCEPTS {
            match accept_with(&self.listener, flags) {
                Ok(fd) => {
                    // When there is no room, the program sees its socket closed.
                    if let Some(id) = machine.greet(now)
                        && self.watch(id, fd).is_err()
                    {
                        machine.reset(id);
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.is_listener_ready = false;
                    self.is_listener_stuck = error != Errno::AGAIN;
                    return;
                }
            }
        }
        self.wake();
    }

    /// Takes a connection's socket over.
    fn watch(&mut self, id: Id, fd: OwnedFd) -> rustix::io::Result<()> {
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &fd, EventData::new_u64(id.to_number()), events)?;
        if self.sockets.len() <= id.place() {
            self.sockets.resize_with(id.place() + 1, || None);
        }
        self.sockets[id.place()] = Some(Socket {
            id,
            fd,
            held: VecDeque::new(),
            is_writable: true,
            is_hung_up: false,
            shut: 0,
        });
        Ok(())
    }

    fn socket(&mut self, id: Id) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.place())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    /// Closes the socket of a connection.
    pub(super) fn close(&mut self, id: Id) {
        if self.socket(id).is_none() {
            return;
        }
        self.sockets[id.place()] = None;
        if std::mem::take(&mut self.is_listener_stuck) {
            self.is_listener_ready = true;
            self.wake();
        }
    }

    fn socket_event(&mut self, machine: &mut Machine, id: Id, flags: EventFlags, now: Instant) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let is_hung_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        socket.is_hung_up |= is_hung_up;
        if machine.is_greeting(id) {
            self.greeting(machine, id, now);
            return;
        }
        let is_unread = machine.guest_ended(id) & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE != 0
            || machine.host_ended(id) & VIRTIO_VSOCK_SHUTDOWN_F_SEND != 0;
        if is_hung_up && is_unread {
            // All was read, or nobody is left to read for.
            machine.end(id, BOTH, now);
        }
        if flags.intersects(EventFlags::IN | EventFlags::RDHUP) || is_hung_up {
            machine.set_readable(id, true);
        }
        if flags.contains(EventFlags::OUT) || is_hung_up {
            self.flush(machine, id, now);
        }
    }

    /// A program says which port of the guest it wants.
    fn greeting(&mut self, machine: &mut Machine, id: Id, now: Instant) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let wanted = match read_line(socket.fd.as_fd()) {
            Ok(Line::Partial) => return,
            Ok(Line::Port(port)) => Some(port),
            Ok(Line::Wrong) | Err(_) => None,
        };
        if wanted
            .and_then(|port| machine.offer(id, port, now))
            .is_none()
        {
            machine.reset(id);
            self.close(id);
            return;
        }
        // There may be more behind the line.
        machine.set_readable(id, true);
    }

    /// The guest has taken a connection: who wanted it is told the host's port.
    pub(super) fn establish(&mut self, machine: &mut Machine, id: Id) {
        let (Some(port), Some(socket)) = (machine.host_port(id), self.socket(id)) else {
            return;
        };
        let line = format!("OK {port}\n");
        let sent = send(&socket.fd, line.as_bytes(), send_flags());
        // The first bytes of a socket find room, unless nobody is there.
        if sent != Ok(line.len()) {
            machine.reset(id);
            self.close(id);
        }
    }

    /// The guest wants a connection to a port.
    pub(super) fn connect(&mut self, machine: &mut Machine, id: Id, port: u32) {
        let connected = self.connected(port).and_then(|fd| self.watch(id, fd));
        match connected {
            Ok(()) => machine.accept(id),
            Err(_) => machine.reset(id),
        }
    }

    fn connected(&self, port: u32) -> rustix::io::Result<OwnedFd> {
        let mut path = OsString::from(&self.path);
        path.push(format!("_{port}"));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // A Unix socket connects at once, or not: there is nobody, or too many wait.
        connect(&fd, &SocketAddrUnix::new(path)?)?;
        Ok(fd)
    }

    /// Hands on `len` bytes of the guest's, which stand behind the header in `chain`.
    pub(super) fn hand_on(
        &mut self,
        machine: &mut Machine,
        id: Id,
        chain: &Chain,
        len: u32,
        now: Instant,
    ) {
        let is_unwanted = machine.host_ended(id) & VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE != 0;
        let Some(socket) = self.socket(id).filter(|_| !is_unwanted) else {
            machine.forward(id, len, now);
            return;
        };
        let mut at = VsockPacketHeader::BYTES;
        let end = at + usize::try_from(len).expect("32 bits are an index");
        while at < end && socket.held.is_empty() && socket.is_writable {
            match chain.send(socket.fd.as_fd(), at, end - at) {
                Ok(sent) => at += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.is_writable = false;
                }
                Err(_) => return self.stop_writing(machine, id, now),
            }
        }
        let before = socket.held.len();
        if at < end {
            socket.held.resize(before + end - at, 0);
            let rest = &mut socket.held.make_contiguous()[before..];
            chain.read(at, rest).expect("the payload is in the buffer");
        }
        machine.forward(id, count(at - VsockPacketHeader::BYTES), now);
    }

    /// Sends what a socket had no room for.
    fn flush(&mut self, machine: &mut Machine, id: Id, now: Instant) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        socket.is_writable = true;
        while !socket.held.is_empty() {
            let (first, _) = socket.held.as_slices();
            match send(&socket.fd, first, send_flags()) {
                Ok(sent) => {
                    socket.held.drain(..sent);
                    machine.forward(id, count(sent), now);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    socket.is_writable = false;
                    return;
                }
                Err(_) => return self.stop_writing(machine, id, now),
            }
        }
        socket.held = VecDeque::new();
        self.finish(machine, id);
    }

    /// Nobody reads at the other end: what the guest has sent is for nobody.
    fn stop_writing(&mut self, machine: &mut Machine, id: Id, now: Instant) {
        if let Some(socket) = self.socket(id) {
            socket.held = VecDeque::new();
        }
        machine.end(id, VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, now);
        let held = machine.held(id);
        machine.forward(id, held, now);
        self.finish(machine, id);
    }

    /// Ends what the guest has ended, when all that it has sent is handed on.
    pub(super) fn finish(&mut self, machine: &mut Machine, id: Id) {
        if machine.is_over(id) {
            machine.reset(id);
            self.close(id);
            return;
        }
        let Some(socket) = self.socket(id) else {
            return;
        };
        let mut ended = machine.guest_ended(id);
        if !socket.held.is_empty() {
            ended &= !VIRTIO_VSOCK_SHUTDOWN_F_SEND;
        }
        let ways = [
            (VIRTIO_VSOCK_SHUTDOWN_F_RECEIVE, Shutdown::Read),
            (VIRTIO_VSOCK_SHUTDOWN_F_SEND, Shutdown::Write),
        ];
        for (direction, way) in ways {
            if ended & !socket.shut & direction != 0 {
                // A socket whose other end is gone cannot be shut down, and needs not.
                let _ = shutdown(&socket.fd, way);
            }
        }
        socket.shut |= ended;
    }

    /// Receives up to `limit` bytes for the guest, behind the header in `chain`. None if there is nothing: then the
    /// machine knows why.
    pub(super) fn receive(
        &mut self,
        machine: &mut Machine,
        id: Id,
        chain: &Chain,
        limit: u32,
        now: Instant,
    ) -> Option<u32> {
        let Some(socket) = self.socket(id) else {
            machine.reset(id);
            return None;
        };
        let room = chain.writable_len();
        let room = room.saturating_sub(VsockPacketHeader::BYTES as u64);
        let limit = u64::from(limit).min(room);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let at = VsockPacketHeader::BYTES;
        match chain.receive(socket.fd.as_fd(), at, limit) {
            Ok(0) => {
                let is_hung_up = socket.is_hung_up;
                machine.set_readable(id, false);
                let ended = if is_hung_up {
                    BOTH
                } else {
                    VIRTIO_VSOCK_SHUTDOWN_F_SEND
                };
                machine.end(id, ended, now);
                None
            }
            Ok(len) => Some(count(len)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                machine.set_readable(id, false);
                None
            }
            Err(_) => {
                machine.reset(id);
                self.close(id);
                None
            }
        }
    }
}

/// The socket is not left behind.
impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What a program has said.
enum Line {
    /// Not all of it yet.
    Partial,
    /// Which port it wants.
    Port(u32),
    Wrong,
}

/// Reads the line of a program, and nothing behind it.
fn read_line(fd: BorrowedFd<'_>) -> rustix::io::Result<Line> {
    let mut bytes = [0_u8; LINE_MAX];
    let flags = RecvFlags::DONTWAIT;
    let seen = match recv(fd, &mut bytes, flags | RecvFlags::PEEK) {
        Ok((_, seen)) => seen,
        Err(Errno::AGAIN) => return Ok(Line::Partial),
        Err(error) => return Err(error),
    };
    let Some(end) = bytes[..seen].iter().position(|byte| *byte == b'\n') else {
        let is_over = seen == 0 || seen == LINE_MAX;
        return Ok(if is_over { Line::Wrong } else { Line::Partial });
    };
    recv(fd, &mut bytes[..=end], flags)?;
    let port = std::str::from_utf8(&bytes[..end]).ok().and_then(parse);
    Ok(port.map_or(Line::Wrong, Line::Port))
}

/// The port of `CONNECT port`.
fn parse(line: &str) -> Option<u32> {
    let mut words = line.split_ascii_whitespace();
    let is_command = words.next()?.eq_ignore_ascii_case("connect");
    let port = words.next()?.parse().ok()?;
    (is_command && words.next().is_none()).then_some(port)
}

fn drain(fd: &OwnedFd) {
    let mut count = [0; 8];
    // There is nothing to be read when it was read before.
    let _ = rustix::io::read(fd, &mut count);
}

fn send_flags() -> SendFlags {
    SendFlags::DONTWAIT | SendFlags::NOSIGNAL
}

/// Bytes of a packet, which are no more than 32 bits say.
fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a packet is short")
}
