//! Slots against a naive list of operations.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;

use pepita_sys::io_uring::IORING_CQE_F_MORE;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Insert,
    InsertStream,
    /// The entry finds no room.
    Unpushed {
        is_stream: bool,
    },
    /// The kernel says something of the operation.
    Complete {
        which: usize,
        res: i32,
        more: bool,
    },
    /// It says so of one that has ended, or whose last completion was told before.
    Late {
        which: usize,
    },
    /// It says so of one that never was.
    Foreign {
        index: u32,
        generation: u32,
    },
    /// The future is polled by the main future.
    PollMain(usize),
    /// It is polled with a waker of its own.
    Poll(usize),
    /// It is polled when its only completion is in the queue, not noted yet.
    PollBeforeNote {
        which: usize,
        res: i32,
    },
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<usize>;
    let step = prop_oneof![
        4 => Just(Step::Insert),
        2 => Just(Step::InsertStream),
        1 => any::<bool>().prop_map(|is_stream| Step::Unpushed { is_stream }),
        8 => (which(), -5..5, any::<bool>())
            .prop_map(|(which, res, more)| Step::Complete { which, res, more }),
        2 => which().prop_map(|which| Step::Late { which }),
        1 => (any::<u32>(), 2..u32::MAX / 2)
            .prop_map(|(index, generation)| Step::Foreign { index, generation }),
        3 => which().prop_map(Step::PollMain),
        4 => which().prop_map(Step::Poll),
        4 => (which(), -5..5).prop_map(|(which, res)| Step::PollBeforeNote { which, res }),
        3 => which().prop_map(Step::Drop),
    ];
    prop::collection::vec(step, 0..200)
}

/// A waker that can be told from others.
struct Nothing(#[expect(dead_code, reason = "makes the address its own")] u8);

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

/// What orphans got: the operation's number, and the result.
type Ends = Rc<RefCell<Vec<(usize, i32)>>>;

struct Watched(usize, Ends);

/// What the loop over completions does with one.
fn note(slots: &mut Slots, cqe: IoUringCqe) -> Tell {
    if slots.complete(cqe) {
        return Tell::Nobody;
    }
    if slots.complete_main(cqe.user_data, Outcome::of(cqe)) {
        return Tell::Main;
    }
    slots.complete_other(cqe)
}

impl Orphan for Watched {
    fn end(self: Box<Self>, cqe: IoUringCqe) {
        self.1.borrow_mut().push((self.0, cqe.res));
    }
}

impl OrphanStream for Watched {
    fn item(&mut self, cqe: IoUringCqe, _: Origin<'_>) {
        self.1.borrow_mut().push((self.0, cqe.res));
    }
}

#[derive(Debug, Clone)]
enum Who {
    Nobody,
    Main,
    Waker(Waker),
    Orphan,
}

/// An operation, as naively as it can be.
#[derive(Debug)]
struct Model {
    number: usize,
    key: Key,
    is_stream: bool,
    /// What came and was not fetched. Of one that is no stream, only the first counts.
    came: VecDeque<i32>,
    has_ended: bool,
    who: Who,
}

struct Run {
    slots: Slots,
    live: Vec<Model>,
    dead: Vec<Key>,
    ends: Ends,
    count: usize,
}

const fn cqe(key: Key, res: i32, more: bool) -> IoUringCqe {
    IoUringCqe {
        user_data: key.user_data(),
        res,
        flags: if more { IORING_CQE_F_MORE } else { 0 },
    }
}

impl Run {
    /// Slots of which four are free, at `generation`.
    fn at(generation: u32) -> Self {
        let mut slots = Slots::new();
        let keys: Vec<_> = (0..4).map(|_| slots.insert()).collect();
        for key in keys {
            slots.slots[key.index() as usize].head = Key::new(key.index(), generation).0;
            slots.free.push(Key::new(key.index(), generation));
        }
        Self {
            slots,
            live: Vec::new(),
            dead: Vec::new(),
            ends: Ends::default(),
            count: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Insert => self.insert(false),
            Step::InsertStream => self.insert(true),
            Step::Unpushed { is_stream } => {
                self.insert(is_stream);
                let model = self.live.pop().expect("it is there");
                self.slots.remove_unpushed(model.key);
            }
            Step::Complete { which, res, more } => self.complete(which, res, more),
            Step::Late { which } => self.late(which),
            Step::Foreign { index, generation } => self.foreign(index, generation),
            Step::PollMain(which) => self.poll(which, true),
            Step::Poll(which) => self.poll(which, false),
            Step::PollBeforeNote { which, res } => self.poll_before_note(which, res),
            Step::Drop(which) => self.drop_future(which),
        }
        let all_ended = self.live.iter().all(|model| model.has_ended);
        assert_eq!(self.slots.in_flight() == 0, all_ended);
    }

    fn insert(&mut self, is_stream: bool) {
        let key = if is_stream {
            self.slots.insert_stream()
        } else {
            self.slots.insert()
        };
        assert!(
            self.live
                .iter()
                .all(|model| model.key.index() != key.index())
        );
        assert!(!self.dead.contains(&key));
        self.live.push(Model {
            number: self.count,
            key,
            is_stream,
            came: VecDeque::new(),
            has_ended: false,
            who: Who::Nobody,
        });
        self.count += 1;
    }

    /// One of those that `is_wanted` names.
    fn pick(&self, which: usize, is_wanted: impl Fn(&Model) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..self.live.len())
            .filter(|&index| is_wanted(&self.live[index]))
            .collect();
        (!found.is_empty()).then(|| found[which % found.len()])
    }

    fn complete(&mut self, which: usize, res: i32, more: bool) {
        let Some(index) = self.pick(which, |model| !model.has_ended) else {
            return;
        };
        let model = &mut self.live[index];
        let told = note(&mut self.slots, cqe(model.key, res, more));
        model.came.push_back(res);
        model.has_ended = !more;
        if model.is_stream {
            let who = match (&model.who, more) {
                (Who::Orphan, true) => Who::Nobody,
                _ => model.who.clone(),
            };
            if let Who::Waker(_) = who {
                model.who = Who::Nobody;
            }
            self.check_told(index, told, &who);
        } else if more {
            assert!(matches!(told, Tell::Nobody));
        } else {
            let who = model.who.clone();
            self.check_told(index, told, &who);
        }
    }

    fn check_told(&mut self, index: usize, told: Tell, who: &Who) {
        match (told, who) {
            (Tell::Nobody, Who::Nobody) | (Tell::Main, Who::Main) => {}
            (Tell::Waker(told), Who::Waker(waker)) => assert!(told.will_wake(waker)),
            (Tell::Keeper((keeper, cqe)), Who::Orphan) => {
                keeper.end(cqe);
                self.remove_orphan(index);
            }
            (Tell::Stream(stream), Who::Orphan) => {
                stream.end(Origin(None));
                self.remove_orphan(index);
            }
            (told, who) => panic!("{told:?} in place of {who:?}"),
        }
    }

    /// Removes one whose orphan got its end.
    fn remove_orphan(&mut self, index: usize) {
        let model = self.remove(index);
        let kept = if model.is_stream { usize::MAX } else { 1 };
        let want = model.came.iter().take(kept).map(|&res| (model.number, res));
        assert!(self.ends.take().into_iter().eq(want));
    }

    fn remove(&mut self, index: usize) -> Model {
        let model = self.live.remove(index);
        self.dead.push(model.key);
        model
    }

    fn late(&mut self, which: usize) {
        let ended = self.live.iter().filter(|model| model.has_ended);
        let keys: Vec<_> = ended
            .map(|model| model.key)
            .chain(self.dead.clone())
            .collect();
        if !keys.is_empty() {
            let key = keys[which % keys.len()];
            assert!(matches!(
                note(&mut self.slots, cqe(key, 99, false)),
                Tell::Nobody
            ));
            assert!(matches!(
                note(&mut self.slots, cqe(key, 99, true)),
                Tell::Nobody
            ));
        }
    }

    /// A completion of a slot that is not there, or of a generation far ahead.
    fn foreign(&mut self, index: u32, ahead: u32) {
        let now = self.slots.slots.get(index as usize % 16);
        let generation = now.map_or(ahead, |slot| {
            Key(slot.head).generation().wrapping_add(ahead)
        });
        let key = Key::new(index % 16, generation);
        assert!(matches!(
            note(&mut self.slots, cqe(key, 99, false)),
            Tell::Nobody
        ));
        let outside = Key::new(index | 1 << 31, ahead);
        assert!(matches!(
            note(&mut self.slots, cqe(outside, 99, false)),
            Tell::Nobody
        ));
    }

    fn poll(&mut self, which: usize, by_main: bool) {
        let not_dropped = |model: &Model| !matches!(model.who, Who::Orphan);
        let Some(index) = self.pick(which, not_dropped) else {
            return;
        };
        if self.live[index].is_stream {
            return self.poll_stream(index);
        }
        let model = &mut self.live[index];
        if by_main && self.slots.listen_main(model.key) {
            assert!(model.came.is_empty() && matches!(model.who, Who::Nobody | Who::Main));
            model.who = Who::Main;
            return;
        }
        let waker = Waker::from(Arc::new(Nothing(0)));
        match self.slots.listen(model.key, waker.clone()) {
            Ok(_) => {
                assert!(!model.has_ended);
                model.who = Who::Waker(waker);
            }
            Err((back, cqe)) => {
                assert!(back.will_wake(&waker) && model.has_ended);
                assert_eq!(Some(&cqe.res), model.came.front());
                self.remove(index);
            }
        }
    }

    fn poll_before_note(&mut self, which: usize, res: i32) {
        let has_future = |model: &Model| !model.is_stream && !matches!(model.who, Who::Orphan);
        let Some(index) = self.pick(which, has_future) else {
            return;
        };
        let model = &self.live[index];
        let is_plain = model.came.is_empty() && matches!(model.who, Who::Nobody);
        let mut is_taken = false;
        let found = self.slots.fetch_or(model.key, || {
            is_taken = true;
            Some(Outcome::of(cqe(model.key, res, false)))
        });
        assert_eq!(is_taken, is_plain);
        let want = if is_plain {
            Some(res)
        } else {
            model.came.front().copied().filter(|_| model.has_ended)
        };
        assert_eq!(found.map(|cqe| cqe.res), want);
        if found.is_some() {
            self.remove(index);
        }
    }

    fn poll_stream(&mut self, index: usize) {
        let model = &mut self.live[index];
        match self.slots.next(model.key) {
            Next::Item(cqe) => assert_eq!(model.came.pop_front(), Some(cqe.res)),
            Next::Failed(_) => panic!("it was handed over"),
            Next::Ended => {
                assert!(model.has_ended && model.came.is_empty());
                self.remove(index);
            }
            Next::Pending => {
                assert!(!model.has_ended && model.came.is_empty());
                let waker = Waker::from(Arc::new(Nothing(0)));
                let before = self.slots.listen_stream(model.key, waker.clone());
                assert_eq!(before.is_some(), matches!(model.who, Who::Waker(_)));
                model.who = Who::Waker(waker);
            }
        }
    }

    fn drop_future(&mut self, which: usize) {
        let not_dropped = |model: &Model| !matches!(model.who, Who::Orphan);
        let Some(index) = self.pick(which, not_dropped) else {
            return;
        };
        let model = &mut self.live[index];
        let orphan = Box::new(Watched(model.number, Rc::clone(&self.ends)));
        model.who = Who::Orphan;
        let has_ended = if model.is_stream {
            let left = self.slots.abandon_stream(model.key, orphan);
            left.map_err(|stream| stream.end(Origin(None))).is_err()
        } else {
            let left = self.slots.leave_to(model.key, Keeper::Orphan(orphan));
            left.map_err(|(orphan, cqe)| orphan.end(cqe)).is_err()
        };
        assert_eq!(has_ended, model.has_ended);
        if has_ended {
            self.remove_orphan(index);
        }
    }
}

proptest! {
    #[test]
    fn everybody_hears_of_their_own_operation_and_of_no_other(
        generation in prop_oneof![Just(0), u32::MAX - 3..=u32::MAX, any::<u32>()],
        steps in steps(),
    ) {
        let mut run = Run::at(generation);
        for step in steps {
            run.step(step);
        }
        // At the end, everything ends.
        while run.live.iter().any(|model| !model.has_ended) {
            run.step(Step::Complete { which: 0, res: 0, more: false });
        }
        while !run.live.is_empty() {
            run.step(Step::Drop(0));
        }
        prop_assert_eq!(run.slots.free.len(), run.slots.slots.len());
    }
}

#[test]
fn an_operation_that_was_not_handed_over_has_its_failure() {
    let key = Key::failed(Errno::EAGAIN);
    let mut slots = Slots::new();
    assert_eq!(
        slots.fetch(key).map(|cqe| cqe.errno()),
        Some(Some(Errno::EAGAIN))
    );
    assert!(matches!(slots.next(key), Next::Failed(_)));
    let ends = Ends::default();
    let orphan = Box::new(Watched(0, Rc::clone(&ends)));
    let stream = slots.abandon_stream(key, orphan).expect_err("it has ended");
    stream.end(Origin(None));
    assert!(ends.borrow().is_empty());
}
