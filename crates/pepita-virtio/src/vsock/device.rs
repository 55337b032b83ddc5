//! [`VirtioVsock`]: the device, between its queues and the host's sockets.

use std::path::Path;
use std::time::Instant;

use pepita_sys::error::KernelError;

use super::VSOCK_CID_HOST;
use super::host::Host;
use super::machine::{Machine, Packet, Verdict};
use super::packet::VsockPacketHeader;
use crate::device::{ActiveQueue, Chain};
use crate::error::QueueError;
use crate::format::RingFeatures;
use crate::transport::{Activation, Busy, Device, Interrupt};

/// The device's number. virtio 1.3, 5.10.1
const ID: u32 = 19;

/// Features. virtio 1.3, 5.10.3
const VIRTIO_VSOCK_F_STREAM: u64 = 1;
const VIRTIO_VSOCK_F_NO_IMPLIED_STREAM: u64 = 1 << 2;

/// An event: connections were lost, and the guest may have another context id. virtio 1.3, 5.10.6.7
pub const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET: u32 = 0;

/// Queues, of which number 1 is what the guest sends. virtio 1.3, 5.10.2
const RX: usize = 0;
const EVENT: usize = 2;

/// Packets of a turn, in each direction.
const TURN: usize = 64;

/// Sockets between a guest and programs of the host: streams, over Unix sockets.
///
/// With [`listen`](Self::listen), a connection of the guest to the host's port 52 leads to the Unix socket `PATH_52`, where
/// a program of the host listens; and a program that connects to `PATH` and writes `CONNECT 52\n` gets the guest's port 52,
/// and reads `OK port\n` when the guest has taken it. Without, there is nobody for the guest to talk to.
///
/// Up to 2,048 connections, each with 64 KiB of payload from the guest that a socket has no room for; that is all that a
/// guest can make the host hold. Payload goes from the guest's memory to the socket, and back, without another copy.
///
/// ```
/// use pepita_virtio::{Device, GuestRam, Mmio, VirtioVsock};
///
/// let path = std::env::temp_dir().join(format!("pepita-vsock-doc-{}", std::process::id()));
/// let vsock = VirtioVsock::new(3).listen(&path)?;
/// assert_eq!((vsock.cid(), vsock.is_ready()), (3, false));
/// assert_eq!(vsock.config(), 3_u64.to_le_bytes());
/// let mmio = Mmio::new(Box::new(vsock), GuestRam::zeroed(1 << 20), |_signal| {});
/// assert!(mmio.descriptor().is_some()); // to be polled
/// # Ok::<(), pepita_virtio::VsockListenError>(())
/// ```
#[derive(Debug)]
pub struct VirtioVsock {
    cid: u64,
    config: [u8; 8],
    machine: Machine,
    host: Option<Host>,
    interrupt: Option<Interrupt>,
    queues: [Option<Side>; 3],
    /// The guest was another machine's, or this one's of before.
    is_restored: bool,
    /// It is to be told so, before anything else.
    is_event_due: bool,
}

/// The path is not to be listened at.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be listened at", path = .path.display())]
pub struct VsockListenError {
    path: std::path::PathBuf,
    source: rustix::io::Errno,
}

impl From<VsockListenError> for KernelError {
    fn from(error: VsockListenError) -> Self {
        let errno = pepita_sys::error::Errno::from_raw(error.source.raw_os_error());
        Self::from_errno("listening for programs that connect to a guest", errno)
    }
}

/// A queue, and room for a buffer of it.
#[derive(Debug)]
struct Side {
    queue: ActiveQueue,
    chain: Chain,
    /// The guest is to kick when there is a buffer.
    is_waiting: bool,
}

/// The guest has broken a rule of queues, and the device is to be reset.
struct Fault;

impl From<QueueError> for Fault {
    fn from(_: QueueError) -> Self {
        Self
    }
}

impl Side {
    fn new(queue: ActiveQueue) -> Self {
        let chain = queue.chain();
        Self {
            queue,
            chain,
            is_waiting: true,
        }
    }

    /// Whether there is a buffer, which stays until it is completed. If not, a kick will tell of one.
    fn take(&mut self) -> Result<bool, QueueError> {
        if self.chain.is_taken() {
            return Ok(true);
        }
        if self.queue.pop(&mut self.chain)? {
            if std::mem::take(&mut self.is_waiting) {
                self.queue.disable_kicks();
            }
            return Ok(true);
        }
        self.is_waiting = true;
        Ok(self.queue.enable_kicks() && self.queue.pop(&mut self.chain)?)
    }

    fn complete(&mut self, written: usize) -> Result<(), QueueError> {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.queue.complete(&mut self.chain, written)
    }
}

impl VirtioVsock {
    const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

    /// A device for the guest with the context id `cid`.
    ///
    /// # Panics
    /// When `cid` is reserved: 0, 1, 2, 2³² - 1, and what is above. virtio 1.3, 5.10.4
    #[must_use]
    pub fn new(cid: u64) -> Self {
        assert!(
            cid > VSOCK_CID_HOST && cid < u64::from(u32::MAX),
            "a guest's context id is in 3..=4294967294"
        );
        Self {
            cid,
            config: cid.to_le_bytes(),
            machine: Machine::new(cid),
            host: None,
            interrupt: None,
            queues: [None, None, None],
            is_restored: false,
            is_event_due: false,
        }
    }

    /// Makes a socket at `path` for programs that connect to the guest; where the guest connects to lies beside it. The
    /// socket is removed with the device.
    ///
    /// # Errors
    /// [`VsockListenError`]: there is something at `path`, or it is too long, or what else bind(2) says.
    pub fn listen(mut self, path: impl AsRef<Path>) -> Result<Self, VsockListenError> {
        let path = path.as_ref();
        let host = Host::new(path).map_err(|source| VsockListenError {
            path: path.to_owned(),
            source,
        })?;
        self.host = Some(host);
        Ok(self)
    }

    /// Says that the guest comes from a snapshot: when its driver is ready, the first thing that it hears is that its
    /// connections are gone. virtio 1.3, 5.10.6.7
    #[must_use]
    pub fn restored(mut self) -> Self {
        self.is_restored = true;
        self
    }

    /// The guest's context id.
    #[must_use]
    pub const fn cid(&self) -> u64 {
        self.cid
    }

    /// Whether the guest's driver is ready.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.interrupt.is_some()
    }

    /// Does what there is to do, up to a limit; whether there is more, for which nothing will call again.
    fn work(&mut self) -> bool {
        let now = Instant::now();
        let worked = self.carry(now);
        let Some(interrupt) = &self.interrupt else {
            return false;
        };
        for (side, index) in self.queues.iter_mut().zip(0_u16..) {
            if let Some(side) = side
                && side.queue.needs_notification()
            {
                interrupt.queue(index);
            }
        }
        if let Some(host) = &mut self.host {
            host.set_timer(self.machine.deadline(), now);
        }
        let Ok(is_more) = worked else {
            interrupt.needs_reset();
            self.forget();
            return false;
        };
        is_more
    }

    fn carry(&mut self, now: Instant) -> Result<bool, Fault> {
        self.tell()?;
        let has_sent = self.transmit(now)?;
        let has_received = self.receive(now)?;
        // Answers may have found room, for which packets of the guest waited.
        Ok(has_sent && self.machine.can_receive() || has_received)
    }

    /// Tells the guest that its connections are gone, if they are.
    fn tell(&mut self) -> Result<(), Fault> {
        let Some(side) = self.queues[EVENT].as_mut().filter(|_| self.is_event_due) else {
            return Ok(());
        };
        if side.take()? {
            let event = VIRTIO_VSOCK_EVENT_TRANSPORT_RESET.to_le_bytes();
            side.chain.write(0, &event).map_err(|_| Fault)?;
            side.complete(event.len())?;
            self.is_event_due = false;
        }
        Ok(())
    }

    /// Takes packets of the guest; whether there may be more.
    fn transmit(&mut self, now: Instant) -> Result<bool, Fault> {
        let Self {
            machine,
            host,
            queues: [_, Some(side), _],
            ..
        } = self
        else {
            return Ok(false);
        };
        for _ in 0..TURN {
            if !machine.can_receive() {
                return Ok(true);
            }
            if !side.take()? {
                return Ok(false);
            }
            let mut bytes = [0; VsockPacketHeader::BYTES];
            // What is shorter is no packet.
            if side.chain.read(0, &mut bytes).is_ok() {
                let header = VsockPacketHeader::from_bytes(bytes);
                let behind = side.chain.readable_len() - bytes.len() as u64;
                let verdict = machine.receive(&header, behind, now);
                obey(verdict, machine, host.as_mut(), &side.chain, &header, now);
            }
            side.complete(0)?;
        }
        Ok(true)
    }

    /// Gives packets to the guest; whether there may be more, and room for them.
    fn receive(&mut self, now: Instant) -> Result<bool, Fault> {
        let Self {
            machine,
            host,
            queues: [Some(side), ..],
            is_event_due: false,
            ..
        } = self
        else {
            return Ok(false);
        };
        for _ in 0..TURN {
            if !machine.has_next() || !side.take()? {
                return Ok(false);
            }
            // A header, and a byte.
            if side.chain.writable_len() <= VsockPacketHeader::BYTES as u64 {
                return Err(Fault);
            }
            let header = match machine.next() {
                None => return Ok(false),
                Some(Packet::Control(header)) => header,
                Some(Packet::Data(id, limit)) => {
                    let host = host.as_mut();
                    let received =
                        host.and_then(|host| host.receive(machine, id, &side.chain, limit, now));
                    let Some(len) = received else {
                        continue;
                    };
                    machine.data(id, len)
                }
            };
            side.chain.write(0, &header.to_bytes()).map_err(|_| Fault)?;
            let len = usize::try_from(header.len).map_err(|_| Fault)?;
            side.complete(VsockPacketHeader::BYTES + len)?;
        }
        Ok(true)
    }

    /// Lets go of the guest's memory, and of its connections.
    fn forget(&mut self) {
        self.queues = [None, None, None];
        self.machine = Machine::new(self.cid);
        if let Some(host) = &mut self.host {
            host.close_all();
        }
    }
}

/// Does what a packet of the guest wants.
fn obey(
    verdict: Verdict,
    machine: &mut Machine,
    host: Option<&mut Host>,
    chain: &Chain,
    header: &VsockPacketHeader,
    now: Instant,
) {
    let Some(host) = host else {
        if let Verdict::Connect(id, _) = verdict {
            machine.reset(id);
        }
        return;
    };
    match verdict {
        Verdict::Nothing => {}
        Verdict::Connect(id, port) => host.connect(machine, id, port),
        Verdict::Established(id) => host.establish(machine, id),
        Verdict::Data(id) => host.hand_on(machine, id, chain, header.len, now),
        Verdict::Ended(id) => host.finish(machine, id),
        Verdict::Close(id) => host.close(id),
    }
}

impl Device for VirtioVsock {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        let rings = RingFeatures::ALL;
        rings.to_bits() | VIRTIO_VSOCK_F_STREAM | VIRTIO_VSOCK_F_NO_IMPLIED_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &Self::QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    /// Not without streams, which are all that there is; who names no type means streams.
    fn accept(&mut self, features: u64) -> bool {
        features & VIRTIO_VSOCK_F_NO_IMPLIED_STREAM == 0 || features & VIRTIO_VSOCK_F_STREAM != 0
    }

    fn activate(&mut self, activation: Activation) -> Result<(), KernelError> {
        self.interrupt = Some(activation.interrupt);
        self.is_event_due = std::mem::take(&mut self.is_restored);
        Ok(())
    }

    fn start_queue(&mut self, index: u16, queue: ActiveQueue) {
        if let Some(place) = self.queues.get_mut(usize::from(index)) {
            *place = Some(Side::new(queue));
        }
        // Programs that came while there was no queue are let in.
        if let Some(host) = &self.host {
            host.wake();
        }
    }

    fn stop_queue(&mut self, index: u16) -> Result<(), Busy> {
        if let Some(place) = self.queues.get_mut(usize::from(index)) {
            *place = None;
        }
        Ok(())
    }

    fn kick(&mut self, _index: u16) -> bool {
        self.work()
    }

    fn reset(&mut self) -> Result<(), Busy> {
        self.forget();
        self.interrupt = None;
        self.is_event_due = false;
        Ok(())
    }

    fn descriptor(&self) -> Option<i32> {
        self.host.as_ref().map(Host::descriptor)
    }

    fn poll(&mut self) {
        let is_ready = self.is_ready() && self.queues[RX].is_some();
        if let Some(host) = &mut self.host {
            host.poll(&mut self.machine, is_ready, Instant::now());
        }
        if self.work()
            && let Some(host) = &self.host
        {
            host.wake();
        }
    }
}
