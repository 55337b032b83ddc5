//! [`Rounds`]: the states of a VM, and the threads of its virtual CPUs.
//!
//! All that callers and threads tell each other is under one lock; a thread takes it at its start, when it was
//! kicked, and at its end. A round is one boot: from the start until the last of its threads has left. Whoever wants
//! something of the threads writes it down, kicks them, and waits; a thread that returns from its virtual CPU settles
//! the kick first and reads what was written down then, so that none is missed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use pepita_sys::error::Errno;

use crate::kick::{self, Kick};
use crate::vcpu::{Exits, Stop, Vcpu};
use crate::{ExitReason, VmError, VmState};

type Outcome = Result<ExitReason, VmError>;

/// The boots of a VM, one after the other.
pub(crate) struct Rounds {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// Of each virtual CPU.
    exits: Box<[Exits]>,
}

struct Inner {
    state: VmState,
    /// Virtual CPUs that have not begun, for the first round.
    ready: Vec<Vcpu>,
    /// How many threads have not left.
    alive: usize,
    /// How many of them stand still.
    parked: usize,
    /// What the round comes to, from when that is known. The threads leave then.
    ending: Option<Outcome>,
    /// Where those who wait for this round find what it came to.
    round: Arc<OnceLock<Outcome>>,
    /// Of its virtual CPUs, until the last thread has left.
    kicks: Vec<Arc<Kick>>,
    /// In the same order, until they are joined.
    threads: Vec<JoinHandle<()>>,
}

impl Inner {
    fn kick_all(&self) {
        for (kick, thread) in self.kicks.iter().zip(&self.threads) {
            kick.kick(thread);
        }
    }

    /// Ends the round unless it ends already.
    fn end(&mut self, outcome: Outcome) {
        if self.ending.is_none() {
            self.ending = Some(outcome);
            self.kick_all();
        }
    }

    /// The last thread has left.
    fn conclude(&mut self) {
        let outcome = self.ending.take().unwrap_or(Ok(ExitReason::Halt));
        self.state = match outcome {
            Ok(_) => VmState::Stopped,
            Err(_) => VmState::Error,
        };
        self.kicks.clear();
        // Set once a round.
        let _ = self.round.set(outcome);
    }

    /// Joins the threads of a round that has ended: they take no lock any more.
    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }

    const fn refuse(&self, operation: &'static str) -> VmError {
        let state = self.state;
        VmError::State { operation, state }
    }
}

impl Rounds {
    /// Of a VM whose virtual CPUs are ready.
    pub(crate) fn new(ready: Vec<Vcpu>) -> Self {
        let exits = ready.iter().map(|_| Exits::default()).collect();
        let inner = Inner {
            state: VmState::Created,
            ready,
            alive: 0,
            parked: 0,
            ending: None,
            round: Arc::default(),
            kicks: Vec::new(),
            threads: Vec::new(),
        };
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                changed: Condvar::new(),
                exits,
            }),
        }
    }

    pub(crate) fn state(&self) -> VmState {
        self.shared.lock().state
    }

    pub(crate) fn exit_count(&self) -> u64 {
        self.shared.exits.iter().map(Exits::count).sum()
    }

    /// Starts a round, with what `boot` makes unless virtual CPUs are ready.
    pub(crate) fn start(
        &self,
        boot: impl FnOnce() -> Result<Vec<Vcpu>, VmError>,
    ) -> Result<(), VmError> {
        let inner = self.shared.lock();
        if !inner.state.can_start() {
            return Err(inner.refuse("starting the VM"));
        }
        self.start_locked(inner, boot).map(drop)
    }

    /// Starts a round if there is none, and waits until it ends.
    pub(crate) fn run(&self, boot: impl FnOnce() -> Result<Vec<Vcpu>, VmError>) -> Outcome {
        let mut inner = self.shared.lock();
        if inner.state.can_start() {
            inner = self.start_locked(inner, boot)?;
        } else if !inner.state.is_active() {
            return Err(inner.refuse("running the VM"));
        }
        self.end_of_round(inner)
    }

    pub(crate) fn pause(&self) -> Result<(), VmError> {
        let mut inner = self.shared.lock();
        if inner.state == VmState::Running {
            inner.state = VmState::Paused;
            inner.kick_all();
        }
        let round = Arc::clone(&inner.round);
        let inner = self.shared.wait_while(inner, |inner| {
            let stands = inner.parked == inner.alive;
            inner.state == VmState::Paused && round.get().is_none() && !stands
        });
        if inner.state.is_active() && Arc::ptr_eq(&round, &inner.round) {
            return Ok(());
        }
        Err(inner.refuse("pausing the VM"))
    }

    pub(crate) fn resume(&self) -> Result<(), VmError> {
        let mut inner = self.shared.lock();
        if !inner.state.is_active() {
            return Err(inner.refuse("resuming the VM"));
        }
        inner.state = VmState::Running;
        self.shared.changed.notify_all();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let mut inner = self.shared.lock();
        if inner.state.is_active() {
            inner.end(Ok(ExitReason::Stopped));
            self.shared.changed.notify_all();
            let _ = self.end_of_round(inner);
            return;
        }
        inner.state = VmState::Stopped;
        inner.ready.clear();
        inner.join();
    }

    fn start_locked<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
        boot: impl FnOnce() -> Result<Vec<Vcpu>, VmError>,
    ) -> Result<MutexGuard<'a, Inner>, VmError> {
        inner.join();
        let mut vcpus = std::mem::take(&mut inner.ready);
        if vcpus.is_empty() {
            vcpus = boot()?;
        }
        let Err(error) = self.make_threads(&mut inner, vcpus) else {
            return Ok(inner);
        };
        // The threads that were made wait for the lock, and leave when they have it.
        inner.ending = Some(Ok(ExitReason::Stopped));
        if inner.alive == 0 {
            inner.conclude();
        }
        let _ = self.end_of_round(inner);
        Err(error)
    }

    /// A thread for each virtual CPU, which runs once it gets the lock.
    fn make_threads(&self, inner: &mut Inner, vcpus: Vec<Vcpu>) -> Result<(), VmError> {
        inner.state = VmState::Running;
        inner.round = Arc::default();
        let failed = |vcpu, errno| VmError::Thread { vcpu, errno };
        kick::install_handler().map_err(|errno| failed(0, errno))?;
        for (id, vcpu) in (0..).zip(vcpus) {
            let kick = Arc::clone(vcpu.kick());
            let shared = Arc::clone(&self.shared);
            let thread = Builder::new().name(format!("vcpu{id}"));
            let thread = thread.spawn(move || shared.serve(id, vcpu));
            let thread = thread.map_err(|error| failed(id, Errno::from(error)))?;
            inner.threads.push(thread);
            inner.kicks.push(kick);
            inner.alive += 1;
        }
        Ok(())
    }

    /// Waits for the end of the round that goes on, and for its threads.
    fn end_of_round<'a>(&'a self, inner: MutexGuard<'a, Inner>) -> Outcome {
        let round = Arc::clone(&inner.round);
        let mut inner = self.shared.wait_while(inner, |_| round.get().is_none());
        if Arc::ptr_eq(&round, &inner.round) {
            inner.join();
        }
        drop(inner);
        round.get().cloned().expect("the round has ended")
    }
}

impl Shared {
    /// Nobody panics with the lock, but for lack of memory.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        inner: MutexGuard<'a, Inner>,
        condition: impl FnMut(&mut Inner) -> bool,
    ) -> MutexGuard<'a, Inner> {
        let waited = self.changed.wait_while(inner, condition);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread of virtual CPU `id` does.
    fn serve(&self, id: u32, mut vcpu: Vcpu) {
        kick::accept_signal();
        let exits = &self.exits[id as usize];
        let outcome = loop {
            if !self.may_run(vcpu.kick()) {
                break None;
            }
            match vcpu.run(exits) {
                Ok(Stop::Kicked) => {}
                // The others go on.
                Ok(Stop::Ended(ExitReason::Halt)) => break None,
                Ok(Stop::Ended(reason)) => break Some(Ok(reason)),
                Err(errno) => break Some(Err(VmError::Run { vcpu: id, errno })),
            }
        };
        // Whoever hears of the end finds the descriptor closed.
        drop(vcpu);
        self.leave(outcome);
    }

    /// Stands still while the VM is paused. Whether the round goes on.
    fn may_run(&self, kick: &Kick) -> bool {
        // Before the look: what is written down later comes with another kick.
        kick.settle();
        let mut inner = self.lock();
        if inner.state == VmState::Paused && inner.ending.is_none() {
            inner.parked += 1;
            self.changed.notify_all();
            inner = self.wait_while(inner, |inner| {
                inner.state == VmState::Paused && inner.ending.is_none()
            });
            inner.parked -= 1;
        }
        inner.ending.is_none()
    }

    fn leave(&self, outcome: Option<Outcome>) {
        let mut inner = self.lock();
        if let Some(outcome) = outcome {
            inner.end(outcome);
        }
        inner.alive -= 1;
        if inner.alive == 0 {
            inner.conclude();
        }
        self.changed.notify_all();
    }
}
