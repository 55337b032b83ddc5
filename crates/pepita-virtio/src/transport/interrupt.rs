//! [`Interrupt`]: how a device tells its driver of things, and [`Signal`]: what a host does about it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::msix::{Event, Msix};

/// The status bit of queues. virtio 1.3, 4.1.4.5 and 4.2.2
const QUEUE: u8 = 1;
/// The status bit of the configuration.
const CONFIG: u8 = 2;

/// A message-signalled interrupt: the guest's interrupt controller takes a write of `data` at `address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Message {
    /// Where, in the guest's addresses.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// What a transport asks of the host's interrupt controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// The device's line is to be high, or low. For an edge-triggered line each `true` is an edge: it is told again
    /// when there is another reason, though the line is high.
    Line(bool),
    /// A message is to be delivered.
    Message(Message),
}

/// Tells a driver of used buffers, of a changed configuration, and that the device cannot go on. Clones are the same.
///
/// It may be used from any thread. After a reset it does nothing, until the driver is ready again.
#[derive(Clone)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Called with the state locked, so that the host hears of levels in their order.
    signal: Box<dyn Fn(Signal) + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    /// The reasons that the driver has not acknowledged.
    reasons: u8,
    /// The driver is ready to hear.
    is_live: bool,
    needs_reset: bool,
    /// The configuration is another one than when it was read last.
    is_config_new: bool,
    /// What the host was told of the line.
    is_high: bool,
    /// The line is not to be used.
    is_line_off: bool,
    /// Where there are messages.
    msix: Option<Msix>,
}

impl State {
    fn is_msix_enabled(&self) -> bool {
        self.msix.as_ref().is_some_and(|msix| msix.is_enabled)
    }
}

impl Interrupt {
    pub(super) fn new(msix: Option<Msix>, signal: impl Fn(Signal) + Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    msix,
                    ..State::default()
                }),
                signal: Box::new(signal),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Buffers of queue `index` are used, and the driver
    /// [wants to know](crate::ActiveQueue::needs_notification).
    pub fn queue(&self, index: u16) {
        self.raise(&mut self.state(), Event::Queue(index));
    }

    /// The configuration has changed, in the same call of the device.
    pub fn config_changed(&self) {
        let mut state = self.state();
        state.is_config_new = true;
        self.raise(&mut state, Event::Config);
    }

    /// The device cannot go on until it is reset. virtio 1.3, 2.1.2
    pub fn needs_reset(&self) {
        let mut state = self.state();
        if !state.needs_reset {
            state.needs_reset = true;
            self.raise(&mut state, Event::Config);
        }
    }

    fn raise(&self, state: &mut State, event: Event) {
        if !state.is_live {
            return;
        }
        let reason = if event == Event::Config {
            CONFIG
        } else {
            QUEUE
        };
        let mut is_new = false;
        // With messages, status tells of the configuration alone. virtio 1.3, 4.1.4.5.1
        if event == Event::Config || !state.is_msix_enabled() {
            is_new = state.reasons & reason == 0;
            state.reasons |= reason;
        }
        let messages = state.msix.as_mut().filter(|msix| msix.is_enabled);
        if let Some(message) = messages.and_then(|msix| msix.raise(event)) {
            (self.shared.signal)(Signal::Message(message));
        }
        self.settle(state, is_new);
    }

    /// Tells the host of the line, if there is something to tell.
    fn settle(&self, state: &mut State, is_new: bool) {
        let is_high = state.reasons != 0 && !state.is_line_off && !state.is_msix_enabled();
        if is_high != state.is_high || is_high && is_new {
            state.is_high = is_high;
            (self.shared.signal)(Signal::Line(is_high));
        }
    }

    /// Whether the device has said that it cannot go on.
    pub(super) fn is_reset_needed(&self) -> bool {
        self.state().needs_reset
    }

    /// Whether the configuration is another one than at the last call.
    pub(super) fn take_config_new(&self) -> bool {
        std::mem::take(&mut self.state().is_config_new)
    }

    /// The driver is ready.
    pub(super) fn start(&self) {
        self.state().is_live = true;
    }

    /// As before the driver was there, but for the configuration, and what is the bus's.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        state.is_live = false;
        state.needs_reset = false;
        state.reasons = 0;
        if let Some(msix) = &mut state.msix {
            msix.reset();
        }
        self.settle(&mut state, false);
    }

    /// The reasons that the driver has not acknowledged.
    pub(super) fn reasons(&self) -> u8 {
        self.state().reasons
    }

    /// The same, and acknowledges them.
    pub(super) fn take_reasons(&self) -> u8 {
        let reasons = self.reasons();
        self.acknowledge(reasons);
        reasons
    }

    /// The driver has handled `reasons`.
    pub(super) fn acknowledge(&self, reasons: u8) {
        let mut state = self.state();
        state.reasons &= !reasons;
        self.settle(&mut state, false);
    }

    /// Whether the line would be high, if it was not switched off.
    pub(super) fn is_line_wanted(&self) -> bool {
        let state = self.state();
        state.reasons != 0 && !state.is_msix_enabled()
    }

    /// The bus switches the line off, or on.
    pub(super) fn set_line_off(&self, is_off: bool) {
        let mut state = self.state();
        state.is_line_off = is_off;
        self.settle(&mut state, false);
    }

    /// Looks at the messages, or changes something about them; what has waited for that is sent.
    pub(super) fn msix<T: Default>(&self, work: impl FnOnce(&mut Msix) -> T) -> T {
        let mut state = self.state();
        let Some(msix) = &mut state.msix else {
            return T::default();
        };
        let done = work(msix);
        while let Some(message) = msix.take_pending() {
            (self.shared.signal)(Signal::Message(message));
        }
        self.settle(&mut state, false);
        done
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").finish_non_exhaustive()
    }
}
