//! Arenas: the parts of a class, and how spans go from one to another.
//!
//! # Invariants
//! * *of its lists*: the number of a span's lists is changed only by who has their lock, or, for a span that has none, by
//!   who opens it.
//! * *one at a time*: nobody has the locks of two lists at once. A span on its way is in no list, so it gets no object;
//!   it may lose its objects, and be closed, meanwhile.

use super::Store;
use super::span::{Book, Span};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard, lock, sized};
use crate::threads;

/// Arenas of a class. Each may have a span that is partly full, so there are few.
pub(super) const ARENAS: usize = sized(4, 2);

/// The arena of this thread.
pub(super) fn of_thread() -> usize {
    threads::number() % ARENAS
}

/// The number of the lists of a class in an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListsId(pub(super) u32);

impl ListsId {
    /// Of spans that are closed.
    pub(super) const NONE: Self = Self(u32::MAX);

    #[expect(clippy::cast_possible_truncation, reason = "some hundred classes")]
    pub(super) const fn new(class: usize, arena: usize) -> Self {
        Self((class * ARENAS + arena) as u32)
    }

    pub(super) const fn class(self) -> usize {
        self.0 as usize / ARENAS
    }

    /// Of the same class in the other arenas.
    pub(super) fn others(self) -> impl Iterator<Item = Self> {
        let all = (0..ARENAS).map(move |arena| Self::new(self.class(), arena));
        all.filter(move |id| *id != self)
    }
}

/// The spans of a class and an arena that have room, by how full they are: quarters.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) open: [Vec<u32>; 4],
    /// Whether a place was taken since another arena last looked for a span here.
    pub(super) is_used: bool,
}

impl Store {
    pub(super) fn lists(&self, id: ListsId) -> &Mutex<Lists> {
        &self.lists[id.0 as usize].0
    }

    /// Locks the lists that a span with objects belongs to.
    pub(super) fn lists_of(&self, span: &Span) -> MutexGuard<'_, Lists> {
        loop {
            let id = ListsId(span.lists.load(Ordering::Relaxed));
            let lists = lock(self.lists(id));
            // Else it was taken over before we had the lock (*of its lists*).
            if span.lists.load(Ordering::Relaxed) == id.0 {
                return lists;
            }
        }
    }

    /// Takes over a span of another arena that has several, or has not used its last one for a while; says whether there
    /// was one.
    pub(super) fn take_over(&self, own: ListsId) -> bool {
        for from in own.others() {
            let mut lists = lock(self.lists(from));
            let is_used = std::mem::take(&mut lists.is_used);
            if lists.len() > usize::from(is_used)
                && let Some(id) = lists.open.iter().rev().flatten().next().copied()
            {
                self.send(&mut lists, id, own);
                drop(lists);
                self.receive(id, own);
                return true;
            }
        }
        false
    }

    /// Takes over all that the other arenas have.
    pub(super) fn gather(&self, own: ListsId) {
        for from in own.others() {
            let mut lists = lock(self.lists(from));
            let ids: Vec<u32> = lists.open.iter().flatten().copied().collect();
            for id in &ids {
                self.send(&mut lists, *id, own);
            }
            drop(lists);
            for id in ids {
                self.receive(id, own);
            }
        }
    }

    /// Takes a span out of the lists that it is in; it belongs to `own`.
    fn send(&self, lists: &mut Lists, id: u32, own: ListsId) {
        let span = self.span(id);
        lists.take_out(self, &mut lock(&span.book));
        span.lists.store(own.0, Ordering::Relaxed);
    }

    /// Lists a span that was sent.
    fn receive(&self, id: u32, own: ListsId) {
        let mut lists = lock(self.lists(own));
        let span = self.span(id);
        // Else it was closed on its way.
        if span.lists.load(Ordering::Relaxed) == own.0 {
            let mut book = lock(&span.book);
            lists.put(self, id, &mut book);
        }
    }
}

impl Lists {
    /// Lists a span where it belongs by now: nowhere if it is full.
    pub(super) fn put(&mut self, store: &Store, id: u32, book: &mut Book) {
        let wanted = (book.free() > 0).then(|| book.quarter());
        if book.listed.map(|(quarter, _)| quarter) == wanted {
            return;
        }
        self.take_out(store, book);
        if let Some(quarter) = wanted {
            book.listed = Some((quarter, self.open[quarter].len()));
            self.open[quarter].push(id);
        }
    }

    /// Takes a span out of the lists.
    pub(super) fn take_out(&mut self, store: &Store, book: &mut Book) {
        let Some((quarter, at)) = book.listed.take() else {
            return;
        };
        self.open[quarter].swap_remove(at);
        // The last one stands there now.
        if let Some(moved) = self.open[quarter].get(at) {
            lock(&store.span(*moved).book).listed = Some((quarter, at));
        }
    }

    /// How many spans there are.
    pub(super) fn len(&self) -> usize {
        self.open.iter().map(Vec::len).sum()
    }
}
