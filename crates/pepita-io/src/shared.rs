#![expect(unsafe_code, reason = "pushes the entries of those who share the ring")]
//! A ring that a thread shares with the lanes that are opened on it: one system call hands over the entries of all.
//!
//! Who has the ring is [`ThreadRing`], and reaps it. A lane that is opened inside [`ThreadRing::open`] finds the
//! ring by [`SharedRing::current`], pushes entries with numbers of its own, and finds their completions in a box of
//! its own. So a lane needs to know nobody, and nobody a lane, also where devices are put together.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::rc::Rc;

use pepita_sys::error::{Errno, KernelError, Result};
use pepita_sys::io_uring::{IoUringCqe, IoUringSqe};

use crate::ring::{Ring, RingConfig, SetupError, Wait};

/// In `user_data`: the entry is a lane's. Bits 32 to 47 then are the number of its box.
const LANES: u64 = 1 << 63;

/// First bit of the number of a box.
const BOX_SHIFT: u32 = 32;

thread_local! {
    /// The ring for lanes that are opened now, and who opens them.
    static CURRENT: RefCell<Option<(Rc<Shared>, u16)>> = const { RefCell::new(None) };
}

/// What the thread and its lanes share. Nothing is called while something is borrowed, but the kernel.
struct Shared {
    ring: RefCell<Ring>,
    boxes: RefCell<Vec<Mailbox>>,
    /// Completions of the thread's own.
    own: RefCell<Vec<IoUringCqe>>,
    /// Openers of the lanes whose boxes have got something.
    called: RefCell<Vec<u16>>,
}

/// The completions of a lane.
#[derive(Default)]
struct Mailbox {
    mail: Vec<IoUringCqe>,
    /// Who opened the lane; `None` if it is gone.
    opener: Option<u16>,
    /// Count of entries that have not completed; a box is given away again at 0.
    in_flight: u32,
}

impl Shared {
    /// Takes the completions, each to its box.
    fn reap(&self) {
        let mut boxes = self.boxes.borrow_mut();
        let mut own = self.own.borrow_mut();
        let mut called = self.called.borrow_mut();
        self.ring.borrow_mut().drain_completions(|cqe: IoUringCqe| {
            if cqe.user_data & LANES == 0 {
                own.push(cqe);
                return;
            }
            let number = (cqe.user_data & !LANES) >> BOX_SHIFT;
            let mailbox = usize::try_from(number)
                .ok()
                .and_then(|number| boxes.get_mut(number));
            let Some(mailbox) = mailbox else { return };
            mailbox.in_flight = mailbox.in_flight.saturating_sub(1);
            if let Some(opener) = mailbox.opener {
                if mailbox.mail.is_empty() {
                    called.push(opener);
                }
                mailbox.mail.push(cqe);
            }
        });
    }

    /// Hands over what was pushed, without waiting; what the kernel cannot take now stays.
    fn submit(&self) -> Result<()> {
        self.ring.borrow_mut().submit().map(drop)
    }

    /// # Safety
    /// * As [`Ring::push`].
    #[inline(always)]
    unsafe fn push(&self, entry: IoUringSqe) -> Result<()> {
        // SAFETY: the caller's duty.
        if unsafe { self.ring.borrow_mut().push(entry) }.is_ok() {
            return Ok(());
        }
        // SAFETY: the caller's duty.
        unsafe { self.push_to_full(entry) }
    }

    /// # Safety
    /// * As [`Ring::push`].
    #[cold]
    unsafe fn push_to_full(&self, entry: IoUringSqe) -> Result<()> {
        for _ in 0..3 {
            let _ = self.submit();
            // SAFETY: the caller's duty.
            if unsafe { self.ring.borrow_mut().push(entry) }.is_ok() {
                return Ok(());
            }
        }
        Err(KernelError::from_errno("io_uring_enter", Errno::EAGAIN))
    }
}

/// The ring, for the thread that made it.
pub(crate) struct ThreadRing {
    shared: Rc<Shared>,
}

impl ThreadRing {
    /// A ring with room for `entries` submissions at a time and `completions` that are not taken.
    pub(crate) fn new(entries: u32, completions: u32) -> std::result::Result<Self, SetupError> {
        let ring = RingConfig::new(entries).cq_entries(completions).build()?;
        Ok(Self {
            shared: Rc::new(Shared {
                ring: RefCell::new(ring),
                boxes: RefCell::default(),
                own: RefCell::new(Vec::with_capacity(completions as usize)),
                called: RefCell::default(),
            }),
        })
    }

    /// Runs `open`, and has lanes that it opens share this ring; they are known by `opener`.
    pub(crate) fn open<T>(&self, opener: u16, open: impl FnOnce() -> T) -> T {
        /// Puts back what was there, also when `open` panics.
        struct Back(Option<(Rc<Shared>, u16)>);
        impl Drop for Back {
            fn drop(&mut self) {
                let before = self.0.take();
                CURRENT.with(|current| *current.borrow_mut() = before);
            }
        }
        let mine = Some((Rc::clone(&self.shared), opener));
        let before = CURRENT.with(|current| mem::replace(&mut *current.borrow_mut(), mine));
        let _back = Back(before);
        open()
    }

    /// The descriptor, by which a lane on this ring is known.
    pub(crate) fn fd(&self) -> i32 {
        self.shared.ring.borrow().fd()
    }

    /// Lets `work` at the ring.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Ring) -> T) -> T {
        work(&mut self.shared.ring.borrow_mut())
    }

    /// Adds an entry of the thread's own; hands others over if there is no room.
    ///
    /// # Errors
    /// `EAGAIN` where the kernel makes no room.
    ///
    /// # Safety
    /// * As [`Ring::push`]; bit 63 of its `user_data` is clear.
    #[inline(always)]
    pub(crate) unsafe fn push(&self, entry: IoUringSqe) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe { self.shared.push(entry) }
    }

    /// Takes what has completed: the thread's own into `own`, and the openers of lanes that have got something
    /// into `called`.
    #[inline]
    pub(crate) fn take(&self, own: &mut Vec<IoUringCqe>, called: &mut Vec<u16>) {
        self.shared.reap();
        own.clear();
        mem::swap(own, &mut *self.shared.own.borrow_mut());
        called.append(&mut self.shared.called.borrow_mut());
    }
}

impl fmt::Debug for ThreadRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadRing").finish_non_exhaustive()
    }
}

/// A lane's share of a thread's ring.
pub(crate) struct SharedRing {
    shared: Rc<Shared>,
    number: u16,
}

impl SharedRing {
    /// A share of the ring that lanes opened now are to share, if there is one, and a box is free.
    pub(crate) fn current() -> Option<Self> {
        let (shared, opener) = CURRENT.with(|current| current.borrow().clone())?;
        let mut boxes = shared.boxes.borrow_mut();
        let is_free = |mailbox: &Mailbox| mailbox.opener.is_none() && mailbox.in_flight == 0;
        let index = boxes.iter().position(is_free).unwrap_or_else(|| {
            boxes.push(Mailbox::default());
            boxes.len() - 1
        });
        let number = u16::try_from(index).ok()?;
        boxes[index].opener = Some(opener);
        boxes[index].mail.clear();
        drop(boxes);
        Some(Self { shared, number })
    }

    /// The descriptor of the ring that lanes opened now are to share.
    pub(crate) fn current_fd() -> Option<i32> {
        CURRENT.with(|current| {
            let current = current.borrow();
            current
                .as_ref()
                .map(|(shared, _)| shared.ring.borrow().fd())
        })
    }

    pub(crate) fn fd(&self) -> i32 {
        self.shared.ring.borrow().fd()
    }

    /// Adds an entry with the number `number`, to be handed over with all others.
    ///
    /// # Errors
    /// `EAGAIN` where the kernel makes no room.
    ///
    /// # Safety
    /// * As [`Ring::push`].
    #[inline]
    pub(crate) unsafe fn push(&self, entry: IoUringSqe, number: u32) -> Result<()> {
        let user_data = LANES | u64::from(self.number) << BOX_SHIFT | u64::from(number);
        // SAFETY: the caller's duty.
        unsafe { self.shared.push(entry.user_data(user_data)) }?;
        self.shared.boxes.borrow_mut()[usize::from(self.number)].in_flight += 1;
        Ok(())
    }

    /// Takes the completions that are in the lane's box; their `user_data` is the number.
    #[inline]
    pub(crate) fn take(&self, into: &mut Vec<IoUringCqe>) {
        into.clear();
        let mut boxes = self.shared.boxes.borrow_mut();
        mem::swap(into, &mut boxes[usize::from(self.number)].mail);
        for cqe in into {
            cqe.user_data &= u64::from(u32::MAX);
        }
    }

    /// The `user_data` of the entry with the number `number`.
    pub(crate) const fn user_data(&self, number: u32) -> u64 {
        LANES | (self.number as u64) << BOX_SHIFT | number as u64
    }

    /// Hands over what was pushed, waits for a completion of anybody's, and has the boxes filled.
    pub(crate) fn wait(&self, wait: &Wait) -> Result<()> {
        let waited = self.shared.ring.borrow_mut().submit_and_wait_for(1, wait);
        self.shared.reap();
        waited.map(drop)
    }
}

impl Drop for SharedRing {
    fn drop(&mut self) {
        self.shared.boxes.borrow_mut()[usize::from(self.number)].opener = None;
    }
}

impl fmt::Debug for SharedRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedRing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use pepita_sys::blk_mq::conformance::Conformance;
    use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request};

    use super::*;
    use crate::{FileDevice, FileLane, FileOptions};

    /// A file whose lanes share a ring with a thread that does nothing else.
    struct OnSharedRing(FileDevice);

    struct SharedLane<'d> {
        lanes: [FileLane<'d>; 2],
        next: usize,
        ring: ThreadRing,
        bell: OwnedFd,
    }

    impl BlockDevice for OnSharedRing {
        type Lane<'d> = SharedLane<'d>;

        fn geometry(&self) -> Geometry {
            self.0.geometry()
        }

        fn id(&self) -> DeviceId {
            self.0.id()
        }

        fn open_lane(&self, depth: u16) -> Result<SharedLane<'_>> {
            // Room for fewer entries than the lanes have.
            let ring = ThreadRing::new(2, 1024).map_err(KernelError::from)?;
            let bell = crate::file::bell()?;
            ring.with(|ring| ring.register_eventfd(bell.as_raw_fd()))?;
            let open = |opener| ring.open(opener, || self.0.open_lane(depth));
            let lanes = [open(0)?, open(1)?];
            assert!(
                SharedRing::current().is_none(),
                "it is for lanes that are opened in there"
            );
            assert!(
                lanes
                    .iter()
                    .all(|lane| lane.descriptor() == Some(ring.fd()))
            );
            Ok(SharedLane {
                lanes,
                next: 0,
                ring,
                bell,
            })
        }
    }

    impl Lane for SharedLane<'_> {
        fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
            self.next ^= 1;
            let request = match self.lanes[self.next].submit(request) {
                Ok(()) => return Ok(()),
                Err(request) => request,
            };
            self.lanes[self.next ^ 1].submit(request)
        }

        fn commit(&mut self) {
            self.lanes.iter_mut().for_each(Lane::commit);
            self.ring
                .with(|ring| ring.submit())
                .expect("a ring that works");
        }

        fn poll(&mut self) {
            let _ = rustix::io::read(&self.bell, &mut [0; 8]);
            self.commit();
            let (mut own, mut called) = (Vec::new(), Vec::new());
            self.ring.take(&mut own, &mut called);
            assert_eq!(own.len(), 0);
            called.sort_unstable();
            called.dedup();
            for opener in called {
                self.lanes[usize::from(opener)].poll();
            }
            self.commit();
        }

        fn descriptor(&self) -> Option<i32> {
            Some(self.bell.as_raw_fd())
        }
    }

    #[test]
    fn lanes_that_share_a_ring_keep_the_contract() {
        let folder = std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| "/dev/shm".into());
        let image = tempfile::NamedTempFile::new_in(folder).expect("a file");
        image.as_file().set_len(3 << 20).expect("its length");
        for options in [
            FileOptions::new(),
            FileOptions::new().logical_block_size(4096),
        ] {
            let device = OnSharedRing(options.open(image.path()).expect("a device"));
            let report = Conformance::new()
                .run(&device)
                .expect("it keeps every rule");
            assert_eq!(report.left_out, []);
        }
    }

    #[test]
    fn the_thread_s_own_completions_and_a_lane_s_do_not_mix() {
        let ring = ThreadRing::new(8, 64).expect("a ring");
        let open = |opener| ring.open(opener, SharedRing::current).expect("a share");
        let (first, second) = (open(5), open(6));
        let nop = IoUringSqe::nop;
        // SAFETY: they lead nowhere.
        unsafe { ring.push(nop().user_data(7)) }.expect("room");
        // SAFETY: as above.
        unsafe { first.push(nop(), 1) }.expect("room");
        // SAFETY: as above.
        unsafe { second.push(nop(), 2) }.expect("room");
        // A lane that waits fills all boxes.
        first.wait(&Wait::new()).expect("completions");
        let (mut mail, mut own, mut called) = (Vec::new(), Vec::new(), Vec::new());
        let numbers =
            |cqes: &[IoUringCqe]| cqes.iter().map(|cqe| cqe.user_data).collect::<Vec<_>>();
        first.take(&mut mail);
        assert_eq!(numbers(&mail), [1]);
        second.take(&mut mail);
        assert_eq!(numbers(&mail), [2]);
        ring.take(&mut own, &mut called);
        assert_eq!((numbers(&own), called), (vec![7], vec![5, 6]));
        // A box whose lane left something is not given away before that has come.
        // SAFETY: as above.
        unsafe { second.push(nop(), 3) }.expect("room");
        let user_data = second.user_data(0);
        drop(second);
        let third = open(8);
        assert_ne!(third.user_data(0), user_data);
        third
            .wait(&Wait::new())
            .expect("the completion that nobody wants");
        third.take(&mut mail);
        assert_eq!(numbers(&mail), []);
        assert_eq!(open(9).user_data(0), user_data);
    }
}
