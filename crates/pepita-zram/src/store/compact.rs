//! Compaction: objects of spans that are mostly empty move to others of their class.

use super::arenas::{self, ListsId};
use super::{Place, Store};
use crate::sync::atomic::Ordering;
use crate::sync::lock;

/// A span that takes nothing new, and what was in it.
struct Emptied {
    id: u32,
    objects: Vec<(usize, u32)>,
}

impl Store {
    /// Moves objects until no class can do with fewer spans, or with fewer pages in its last one, and says how many
    /// pages that gave back.
    ///
    /// For each object `relocate` gets its owner, and the place. It inserts the object again and removes it from
    /// this place, unless the owner has another one by now. Everything else may go on meanwhile.
    pub(crate) fn compact(&self, mut relocate: impl FnMut(u32, Place)) -> u64 {
        let _alone = lock(&self.compacting);
        let before = self.mapped.load(Ordering::Relaxed);
        for class in 0..self.sizes.shapes().len() {
            // Objects go to this thread's arena.
            let own = ListsId::new(class, arenas::of_thread());
            self.gather(own);
            let spans = self.spans_used.load(Ordering::Relaxed);
            // Each turn frees a span or ends; more than there are would be somebody else's doing.
            for _ in 0..=spans {
                let emptied = self.begin_emptying(own);
                let Some(emptied) = emptied else { break };
                for (index, owner) in &emptied.objects {
                    let place = Place {
                        span: emptied.id,
                        index: u16::try_from(*index).unwrap_or_default(),
                    };
                    relocate(*owner, place);
                }
                if !self.end_emptying(own, &emptied) {
                    break;
                }
            }
        }
        before.saturating_sub(self.mapped.load(Ordering::Relaxed))
    }

    /// Takes the emptiest span out of the lists of its class, if there is room for its objects elsewhere, or fewer
    /// pages would do for those that do not fit there.
    fn begin_emptying(&self, own: ListsId) -> Option<Emptied> {
        let mut lists = lock(self.lists(own));
        let open = lists.open.iter().flatten();
        let live_of = |id: &u32| lock(&self.span(*id).book).live();
        let id = *open.clone().min_by_key(|id| live_of(id))?;
        let room: usize = open.map(|id| lock(&self.span(*id).book).free()).sum();
        let span = self.span(id);
        let mut book = lock(&span.book);
        let elsewhere = room - book.free();
        let fits_elsewhere = book.live() <= elsewhere;
        if !fits_elsewhere && book.pages_without(elsewhere) >= book.touched {
            return None;
        }
        lists.take_out(self, &mut book);
        let objects = book.taken();
        if objects.is_empty() {
            // Kept for its one page.
            self.close(id, span, lists, book);
            return Some(Emptied { id, objects });
        }
        Some(Emptied { id, objects })
    }

    /// Lists the span again if it is not empty; says whether it is gone.
    fn end_emptying(&self, own: ListsId, emptied: &Emptied) -> bool {
        if emptied.objects.is_empty() {
            return true;
        }
        let mut lists = lock(self.lists(own));
        let span = self.span(emptied.id);
        let mut book = lock(&span.book);
        // Freed and used again, it is listed, or full, or somebody else's.
        let is_ours = span.lists.load(Ordering::Relaxed) == own.0;
        if !is_ours || book.listed.is_some() {
            return true;
        }
        if book.live() == 0 {
            self.close(emptied.id, span, lists, book);
            return true;
        }
        lists.put(self, emptied.id, &mut book);
        false
    }
}
