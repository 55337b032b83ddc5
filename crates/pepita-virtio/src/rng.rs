//! [`VirtioRng`]: an entropy source. virtio 1.3, 5.4

use pepita_sys::error::KernelError;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::device::{ActiveQueue, Chain};
use crate::error::QueueError;
use crate::format::RingFeatures;
use crate::transport::{Activation, Busy, Device, Interrupt};

/// The device's number. virtio 1.3, 5
const ID: u32 = 4;

/// The most bytes of a request. Descriptors may lead to the same memory many times, so the guest's memory bounds nothing.
const BYTES_MAX: u64 = 64 << 10;

/// Requests of a turn.
const TURN: usize = 16;

/// Gives a guest random bytes of the kernel's: getrandom(2), up to 64 KiB a request.
///
/// ```
/// use pepita_virtio::{GuestRam, Mmio, VirtioRng};
///
/// let mmio = Mmio::new(Box::new(VirtioRng::new()), GuestRam::zeroed(1 << 20), |_signal| {});
/// assert_eq!(mmio.descriptor(), None); // it waits for nothing but kicks
/// ```
#[derive(Debug, Default)]
pub struct VirtioRng {
    interrupt: Option<Interrupt>,
    queue: Option<(ActiveQueue, Chain)>,
}

impl VirtioRng {
    const QUEUE_SIZES: [u16; 1] = [256];

    /// An entropy source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Fills the buffer, up to a limit; gives how many bytes there are.
fn fill(chain: &Chain) -> u32 {
    let wanted = chain.writable_len().min(BYTES_MAX);
    let wanted = usize::try_from(wanted).unwrap_or_default();
    let mut bytes = [0; 4096];
    let mut done = 0;
    while done < wanted {
        let room = bytes.len().min(wanted - done);
        // A kernel that has no entropy yet says so, and the guest gets what there is.
        let Ok(len) = getrandom(&mut bytes[..room], GetRandomFlags::NONBLOCK) else {
            break;
        };
        if chain.write(done, &bytes[..len]).is_err() {
            break;
        }
        done += len;
    }
    u32::try_from(done).unwrap_or_default()
}

/// One turn; whether there may be another.
fn serve(queue: &mut ActiveQueue, chain: &mut Chain) -> Result<bool, QueueError> {
    for _ in 0..TURN {
        if !queue.pop(chain)? {
            if !queue.enable_kicks() {
                return Ok(false);
            }
            continue;
        }
        let written = fill(chain);
        queue.complete(chain, written)?;
    }
    Ok(true)
}

impl Device for VirtioRng {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        let rings = RingFeatures::ALL;
        rings.to_bits()
    }

    fn queue_sizes(&self) -> &[u16] {
        &Self::QUEUE_SIZES
    }

    fn activate(&mut self, activation: Activation) -> Result<(), KernelError> {
        self.interrupt = Some(activation.interrupt);
        Ok(())
    }

    fn start_queue(&mut self, _index: u16, queue: ActiveQueue) {
        let chain = queue.chain();
        self.queue = Some((queue, chain));
    }

    fn stop_queue(&mut self, _index: u16) -> Result<(), Busy> {
        self.queue = None;
        Ok(())
    }

    fn kick(&mut self, index: u16) -> bool {
        let (Some((queue, chain)), Some(interrupt)) = (&mut self.queue, &self.interrupt) else {
            return false;
        };
        let served = serve(queue, chain);
        if queue.needs_notification() {
            interrupt.queue(index);
        }
        served.unwrap_or_else(|_| {
            interrupt.needs_reset();
            false
        })
    }

    fn reset(&mut self) -> Result<(), Busy> {
        self.queue = None;
        self.interrupt = None;
        Ok(())
    }
}
