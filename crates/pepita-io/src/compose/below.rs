#![expect(unsafe_code, reason = "waits for descriptors of lanes")]
//! The lanes of the devices below one that is made of them: [`Below`].
//!
//! A lane below that is full gives a request back, which then waits here; and the lane is awaited: the next end of one
//! of its requests rings, also where that happens on a thread that nobody knows.
//!
//! # Invariants
//! * open-lane: a lane's descriptor is open as long as the lane is there, as its contract says.

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pepita_sys::blk_mq::{Lane, Request};
use pepita_sys::error::{Errno, KernelError, Result};
use rustix::event::{Timespec, epoll};

use super::parent::Parent;
use crate::shared::SharedRing;

/// Who waits for a lane, and what is in flight.
#[derive(Debug)]
pub(super) struct Bell {
    /// `None` where nobody has to be woken.
    fd: Option<OwnedFd>,
    has_rung: AtomicBool,
    /// Something waits for the end of a request.
    is_awaited: AtomicBool,
    in_flight: AtomicUsize,
    /// Parents whose last part has ended, for the lane to finish.
    noted: Mutex<Vec<Arc<Parent>>>,
}

impl Bell {
    fn new(fd: Option<OwnedFd>) -> Self {
        Self {
            fd,
            has_rung: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            noted: Mutex::default(),
        }
    }

    /// Wakes who waits on the lane.
    pub(super) fn ring(&self) {
        let Some(fd) = &self.fd else { return };
        if !self.has_rung.swap(true, Ordering::SeqCst) {
            // A counter that is full has rung.
            let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
        }
    }

    pub(super) fn ring_if_awaited(&self) {
        if self.is_awaited.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Has the lane finish `parent`. Without a descriptor, all ends come while the lane is called.
    pub(super) fn note(&self, parent: Arc<Parent>) {
        let noted = self.noted.lock();
        noted.unwrap_or_else(PoisonError::into_inner).push(parent);
        self.ring();
    }

    /// What was noted.
    pub(super) fn take_noted(&self) -> Vec<Arc<Parent>> {
        let noted = self.noted.lock();
        mem::take(&mut noted.unwrap_or_else(PoisonError::into_inner))
    }

    fn reset(&self) {
        if let Some(fd) = &self.fd {
            let _ = rustix::io::read(fd, &mut [0; 8]);
        }
        self.has_rung.store(false, Ordering::SeqCst);
    }

    /// Has the next end ring.
    pub(super) fn wait(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    pub(super) fn begins(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Requests that have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// How a front end is told that there is something to do.
#[derive(Debug)]
enum Wake {
    /// It is not: all is done when `commit` returns.
    None,
    /// By its own ring, which all lanes below share.
    Ring(i32),
    /// By a descriptor over those of the lanes below.
    Epoll(OwnedFd),
}

/// Lanes, and what waits for them.
#[derive(Debug)]
pub(super) struct Below<L> {
    /// Requests that were given back. They end before the lanes do, which end the rest.
    waiting: VecDeque<(usize, Request)>,
    lanes: Vec<L>,
    wake: Wake,
    /// The ring that lanes share with the thread.
    ring: Option<i32>,
    bell: Arc<Bell>,
    /// Parents to be used again, and those that may still have parts.
    free: Vec<Arc<Parent>>,
    busy: Vec<Arc<Parent>>,
}

/// In an event: the bell; other numbers are descriptors of lanes.
const BELL: u64 = u64::MAX;

/// In an event: what the owner of the lanes waits for besides.
const OWN: u64 = u64::MAX - 1;

impl<L: Lane> Below<L> {
    /// Takes `lanes`, which have been opened by this thread just now. `own` is a descriptor to be waited for besides.
    ///
    /// # Errors
    /// What the kernel says of an epoll descriptor.
    pub(super) fn new(lanes: Vec<L>, own: Option<BorrowedFd<'_>>) -> Result<Self> {
        let ring = SharedRing::current_fd();
        let descriptors = lanes.iter().map(Lane::descriptor);
        let mut fds: Vec<i32> = descriptors.flatten().collect();
        let shares_ring = ring.is_some_and(|ring| fds.contains(&ring));
        fds.retain(|fd| Some(*fd) != ring);
        fds.sort_unstable();
        fds.dedup();
        let is_silent = fds.is_empty() && own.is_none();
        let (wake, bell) = match ring.filter(|_| shares_ring) {
            Some(ring) if is_silent => (Wake::Ring(ring), None),
            None if is_silent => (Wake::None, None),
            _ => {
                let bell = crate::file::bell()?;
                let epoll = epoll_over(&fds, own, &bell)?;
                (Wake::Epoll(epoll), Some(bell))
            }
        };
        Ok(Self {
            waiting: VecDeque::new(),
            lanes,
            wake,
            ring: ring.filter(|_| shares_ring),
            bell: Arc::new(Bell::new(bell)),
            free: Vec::new(),
            busy: Vec::new(),
        })
    }

    /// Ends what waits and what the lanes have.
    pub(super) fn close(&mut self) {
        self.waiting.clear();
        self.lanes.clear();
    }

    pub(super) const fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// A parent without parts, for a request that is to be started.
    pub(super) fn parent(&mut self) -> Arc<Parent> {
        if self.free.is_empty() && self.busy.len() > self.bell.in_flight() {
            let mut index = 0;
            while let Some(parent) = self.busy.get_mut(index) {
                // Only who is alone may change it.
                if Arc::get_mut(parent).is_some() {
                    self.free.push(self.busy.swap_remove(index));
                } else {
                    index += 1;
                }
            }
        }
        let mut parent = self
            .free
            .pop()
            .unwrap_or_else(|| Arc::new(Parent::new(Arc::clone(&self.bell))));
        if let Some(parent) = Arc::get_mut(&mut parent) {
            parent.clear();
        }
        parent
    }

    /// Does `request` in the parts of `parent`: see [`Parent::start`].
    pub(super) fn start(
        &mut self,
        parent: Arc<Parent>,
        request: Request,
        end: std::result::Result<(), Errno>,
    ) {
        let mut parent = parent;
        Parent::start(&mut parent, request, end, |member, part| {
            self.hand_over(member, part);
        });
        self.busy.push(parent);
    }

    /// Gives `request` to the lane of `member`, or has it wait until there is room.
    pub(super) fn hand_over(&mut self, member: usize, request: Request) {
        let Err(request) = self.lanes[member].submit(request) else {
            return;
        };
        self.bell.wait();
        // What has ended in between has not rung.
        if let Err(request) = self.lanes[member].submit(request) {
            self.waiting.push_back((member, request));
        }
    }

    /// Whether `depth` requests are in flight. Then the next end rings: who is told that a lane is full is told when it
    /// is not.
    pub(super) fn is_full(&self, depth: usize) -> bool {
        if self.bell.in_flight() < depth {
            return false;
        }
        self.bell.wait();
        self.bell.in_flight() >= depth
    }

    /// Tries again what was given back.
    fn retry(&mut self) {
        self.bell.is_awaited.store(false, Ordering::SeqCst);
        for (member, request) in mem::take(&mut self.waiting) {
            self.hand_over(member, request);
        }
    }

    pub(super) fn commit(&mut self) {
        self.lanes.iter_mut().for_each(Lane::commit);
        // Lanes that are done when they have committed have room now.
        let mut waited = usize::MAX;
        while !self.waiting.is_empty() && self.waiting.len() < waited {
            waited = self.waiting.len();
            self.retry();
            self.lanes.iter_mut().for_each(Lane::commit);
        }
    }

    /// Completes what is done, and says whether the own descriptor is readable.
    pub(super) fn poll(&mut self) -> bool {
        let mut own = false;
        if let Wake::Epoll(epoll) = &self.wake {
            let mut events = Vec::with_capacity(self.lanes.len() + 2);
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let space = rustix::buffer::spare_capacity(&mut events);
            let _ = epoll::wait(epoll, space, Some(&at_once));
            for event in &events {
                match event.data.u64() {
                    BELL => self.bell.reset(),
                    OWN => own = true,
                    fd => {
                        let is_it = |lane: &&mut L| {
                            lane.descriptor().is_some_and(|other| number(other) == fd)
                        };
                        for lane in self.lanes.iter_mut().filter(is_it) {
                            lane.poll();
                        }
                    }
                }
            }
            if let Some(ring) = self.ring {
                let shares = |lane: &&mut L| lane.descriptor() == Some(ring);
                for lane in self.lanes.iter_mut().filter(shares) {
                    lane.poll();
                }
            }
        } else {
            for lane in &mut self.lanes {
                lane.poll();
            }
        }
        if !self.waiting.is_empty() || self.bell.is_awaited.load(Ordering::SeqCst) {
            self.retry();
            self.commit();
        }
        own
    }

    pub(super) fn descriptor(&self) -> Option<i32> {
        match &self.wake {
            Wake::None => None,
            Wake::Ring(ring) => Some(*ring),
            Wake::Epoll(epoll) => Some(epoll.as_raw_fd()),
        }
    }
}

/// A descriptor as an event has it.
fn number(fd: i32) -> u64 {
    u64::from(fd.cast_unsigned())
}

/// A descriptor that is readable when one of `fds`, which lanes have open, or `own`, or `bell` is.
fn epoll_over(fds: &[i32], own: Option<BorrowedFd<'_>>, bell: &OwnedFd) -> Result<OwnedFd> {
    let failed = |operation: &'static str| {
        move |errno: rustix::io::Errno| {
            KernelError::from_errno(operation, Errno::from_raw(errno.raw_os_error()))
        }
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll_create1"))?;
    let add = |fd: BorrowedFd<'_>, data: u64| {
        let data = epoll::EventData::new_u64(data);
        epoll::add(&epoll, fd, data, epoll::EventFlags::IN).map_err(failed("epoll_ctl"))
    };
    add(bell.as_fd(), BELL)?;
    if let Some(own) = own {
        add(own, OWN)?;
    }
    for fd in fds {
        // SAFETY: open-lane: the lanes have it open, and are there.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        add(fd, number(fd.as_raw_fd()))?;
    }
    Ok(epoll)
}
