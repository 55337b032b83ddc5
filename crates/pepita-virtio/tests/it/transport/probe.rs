//! [`Probe`]: a device that gives buffers back, and tells what its transport asked of it.

use std::sync::{Arc, Mutex, MutexGuard};

use pepita_sys::error::{Errno, KernelError};
use pepita_virtio::{Activation, ActiveQueue, Busy, Chain, Device, Interrupt, RingFeatures};

pub(super) const ID: u32 = 42;
/// A feature, and one that needs it.
pub(super) const FEATURE: u64 = 1;
pub(super) const NEEDS_FEATURE: u64 = 1 << 63;
pub(super) const SIZES: [u16; 2] = [8, 4];
pub(super) const CONFIG: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

/// What a transport asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Accept(u64),
    Activate(u64),
    Start(u16, u16),
    Stop(u16),
    Kick(u16),
    WriteConfig(usize, Vec<u8>),
    Reset,
}

#[derive(Default)]
pub(super) struct State {
    calls: Vec<Call>,
    pub(super) interrupt: Option<Interrupt>,
    queues: [Option<(ActiveQueue, Chain)>; 2],
    /// Whether memory is held on to.
    pub(super) is_busy: bool,
    pub(super) cannot_activate: bool,
    /// What the configuration is to be after the next poll.
    pub(super) config: Option<[u8; 12]>,
    /// How often a kick wants to be called again.
    pub(super) turns: u32,
}

/// What the story sees of a probe.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<State>>);

impl Told {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    pub(super) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    pub(super) fn interrupt(&self) -> Interrupt {
        self.state().interrupt.clone().expect("it is active")
    }
}

pub(super) struct Probe {
    state: Told,
    config: [u8; 12],
}

impl Probe {
    pub(super) fn new() -> (Self, Told) {
        let told = Told(Arc::default());
        let state = told.clone();
        let config = CONFIG;
        (Self { state, config }, told)
    }

    fn let_go(&self) -> Result<(), Busy> {
        if self.state.state().is_busy {
            return Err(Busy { buffers: 1 });
        }
        Ok(())
    }
}

impl Device for Probe {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        let rings = RingFeatures::ALL;
        FEATURE | NEEDS_FEATURE | rings.to_bits()
    }

    fn queue_sizes(&self) -> &[u16] {
        &SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn write_config(&mut self, offset: usize, from: &[u8]) {
        self.config[offset..offset + from.len()].copy_from_slice(from);
        let call = Call::WriteConfig(offset, from.to_vec());
        self.state.state().calls.push(call);
    }

    fn accept(&mut self, features: u64) -> bool {
        self.state.state().calls.push(Call::Accept(features));
        features & NEEDS_FEATURE == 0 || features & FEATURE != 0
    }

    fn activate(&mut self, activation: Activation) -> Result<(), KernelError> {
        let mut state = self.state.state();
        state.calls.push(Call::Activate(activation.features));
        if state.cannot_activate {
            return Err(KernelError::from_errno("trying", Errno::ENOMEM));
        }
        assert!(!activation.ram.is_empty());
        state.interrupt = Some(activation.interrupt);
        Ok(())
    }

    fn start_queue(&mut self, index: u16, queue: ActiveQueue) {
        let mut state = self.state.state();
        state.calls.push(Call::Start(index, queue.size()));
        let chain = queue.chain();
        state.queues[usize::from(index)] = Some((queue, chain));
    }

    fn stop_queue(&mut self, index: u16) -> Result<(), Busy> {
        let mut state = self.state.state();
        state.calls.push(Call::Stop(index));
        state.queues[usize::from(index)] = None;
        drop(state);
        self.let_go()
    }

    fn kick(&mut self, index: u16) -> bool {
        let mut state = self.state.state();
        state.calls.push(Call::Kick(index));
        let interrupt = state.interrupt.clone().expect("it is active");
        let queue = state.queues[usize::from(index)].as_mut();
        let (queue, chain) = queue.expect("only queues that were started are kicked");
        loop {
            match queue.pop(chain) {
                Ok(true) => {
                    let len = u32::try_from(chain.writable_len()).expect("small");
                    queue.complete(chain, len).expect("it is in use");
                }
                Ok(false) if queue.enable_kicks() => {}
                Ok(false) => break,
                Err(_) => {
                    interrupt.needs_reset();
                    break;
                }
            }
        }
        if queue.needs_notification() {
            interrupt.queue(index);
        }
        state.turns = state.turns.saturating_sub(1);
        state.turns > 0
    }

    fn reset(&mut self) -> Result<(), Busy> {
        let mut state = self.state.state();
        state.calls.push(Call::Reset);
        state.queues = [None, None];
        drop(state);
        self.let_go()
    }

    fn descriptor(&self) -> Option<i32> {
        Some(1234)
    }

    fn poll(&mut self) {
        let state = self.state.state();
        if let Some(config) = state.config {
            self.config = config;
            if let Some(interrupt) = &state.interrupt {
                interrupt.config_changed();
            }
        }
    }
}
