//! [`Console`]: the serial port of a VM, COM1.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pepita_sys::error::Errno;
use vm_superio::{Serial, Trigger, serial::NoEvents};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::VmError;

/// Its ports, and its interrupt.
pub(crate) const PORT: u16 = 0x3f8;
pub(crate) const PORTS: u8 = 8;
pub(crate) const IRQ: u32 = 4;

/// Where the guest's output goes.
pub(crate) type Output = Box<dyn Write + Send>;

/// A serial port that each boot plugs in afresh, and where its output goes, which stays.
pub(crate) struct Console {
    output: Arc<Mutex<Output>>,
    port: Mutex<Option<Port>>,
}

type Port = Serial<Interrupt, NoEvents, Shared>;

struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The output, for one port after the other.
struct Shared(Arc<Mutex<Output>>);

impl Write for Shared {
    /// Never fails: where nobody takes the guest's output, it is lost.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = output.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = output.flush();
        Ok(())
    }
}

impl Console {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output: Arc::new(Mutex::new(output)),
            port: Mutex::new(None),
        }
    }

    /// Plugs in a port as it is after a reset. Gives what is to become the guest's interrupt.
    pub(crate) fn reset(&self) -> Result<EventFd, VmError> {
        let failed = |error: io::Error| VmError::Kvm {
            operation: "making an interrupt",
            errno: Errno::from(error),
        };
        let event = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK).map_err(failed)?;
        let interrupt = Interrupt(event.try_clone().map_err(failed)?);
        *self.port() = Some(Serial::new(interrupt, Shared(Arc::clone(&self.output))));
        Ok(event)
    }

    /// Unplugs the port.
    pub(crate) fn unplug(&self) {
        *self.port() = None;
    }

    /// What a guest writes to the register at `offset`, byte after byte.
    pub(crate) fn write(&self, offset: u8, data: &[u8]) {
        if let Some(port) = &mut *self.port() {
            for byte in data {
                // What fails is an interrupt that is pending already.
                let _ = port.write(offset, *byte);
            }
        }
    }

    /// What a guest reads from the register at `offset`, byte after byte.
    pub(crate) fn read(&self, offset: u8, data: &mut [u8]) {
        match &mut *self.port() {
            Some(port) => data.fill_with(|| port.read(offset)),
            None => data.fill(0xff),
        }
    }

    /// Lets the guest receive bytes. How many it has room for.
    pub(crate) fn receive(&self, bytes: &[u8]) -> usize {
        let mut port = self.port();
        let Some(port) = &mut *port else { return 0 };
        let room = bytes.len().min(port.fifo_capacity());
        if room == 0 {
            return 0;
        }
        // What fails is an interrupt that is pending already: the bytes are there then.
        let taken = port.enqueue_raw_bytes(&bytes[..room]);
        taken.unwrap_or(room)
    }

    fn port(&self) -> MutexGuard<'_, Option<Port>> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}
