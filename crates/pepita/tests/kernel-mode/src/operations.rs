#![expect(unsafe_code, reason = "pushes entries that lead to memory")]
//! Operations on a ring, each under a tag of its own.

use pepita::blk_mq::{TagError, TagHint, TagSet, TagSetConfig, TagWord};
use pepita::error::Errno;
use pepita::io::ring::Ring;
use pepita::io_uring::{IoUringCqe, IoUringSqe};

use crate::{Failure, expect};

/// Submissions in one call, and tags.
pub(crate) const ENTRIES: u32 = 8;
const DEPTH: u16 = 8;
const WORDS: usize = TagSetConfig::words(DEPTH, 0);

/// Where the tags are kept.
pub(crate) const fn storage() -> [TagWord; WORDS] {
    [const { TagWord::new() }; WORDS]
}

/// Tags in `words`, tried out.
pub(crate) fn check_tags(words: &[TagWord]) -> Result<TagSet<'_>, Failure> {
    let right = |question, is_right| expect("tags", question, is_right);
    let made = TagSet::new(TagSetConfig::new(1, DEPTH), words);
    let tags = made.map_err(|_| Failure::Wrong("tags", "there is storage for them"))?;
    let mut hint = TagHint::new(0);
    let mut held = [false; DEPTH as usize];
    for _ in 0..DEPTH {
        let tag = tags.alloc(&mut hint).map(usize::from);
        let first = tag.and_then(|tag| held.get_mut(tag));
        let twice = first.is_none_or(|held| core::mem::replace(held, true));
        right("each tag has one holder", !twice)?;
    }
    right("there is no further tag", tags.alloc(&mut hint).is_none())?;
    for tag in 0..DEPTH {
        right("a held tag is freed", tags.free(tag, &mut hint).is_ok())?;
        let twice = tags.free(tag, &mut hint);
        let refused = twice == Err(TagError::NotInUse { tag });
        right("a second free is refused", refused)?;
    }
    right("all are free again", tags.in_use() == 0)?;
    Ok(tags)
}

/// A ring whose entries are told apart by tags.
pub(crate) struct Operations<'m> {
    ring: Ring,
    tags: TagSet<'m>,
    hint: TagHint,
}

impl<'m> Operations<'m> {
    pub(crate) const fn new(ring: Ring, tags: TagSet<'m>) -> Self {
        Self {
            ring,
            tags,
            hint: TagHint::new(0),
        }
    }

    /// Runs `chain` to its end, one after the other as long as they succeed; gives the completions in the
    /// chain's order.
    ///
    /// # Safety
    /// * What the entries lead to is the kernel's until this returns; after a failure, for good.
    pub(crate) unsafe fn run<const N: usize>(
        &mut self,
        chain: [IoUringSqe; N],
    ) -> Result<[IoUringCqe; N], Failure> {
        let mut names = [0; N];
        for ((index, sqe), name) in chain.into_iter().enumerate().zip(&mut names) {
            *name = self
                .tags
                .alloc(&mut self.hint)
                .ok_or(Failure::Wrong("tags", "one is free"))?;
            let sqe = sqe.user_data(u64::from(*name));
            let sqe = if index + 1 < N { sqe.link() } else { sqe };
            // SAFETY: the caller's duty.
            if unsafe { self.ring.push(sqe) }.is_err() {
                return Err(Failure::Wrong("ring", "there is room in the queue"));
            }
        }
        let mut found: [Option<IoUringCqe>; N] = [None; N];
        while found.iter().any(Option::is_none) {
            self.wait()?;
            for cqe in self.ring.completions() {
                let place = names
                    .iter()
                    .position(|name| u64::from(*name) == cqe.user_data);
                let place = place.and_then(|index| found.get_mut(index));
                let place = place.ok_or(Failure::Wrong("ring", "a completion is one of ours"))?;
                let is_first = place.replace(cqe).is_none();
                expect("ring", "an entry completes once", is_first)?;
            }
        }
        let mut done = [IoUringCqe::default(); N];
        for ((done, found), name) in done.iter_mut().zip(found).zip(names) {
            *done = found.ok_or(Failure::Wrong("ring", "every entry completes"))?;
            let freed = self.tags.free(name, &mut self.hint);
            expect(
                "tags",
                "a completed entry gives its tag back",
                freed.is_ok(),
            )?;
        }
        Ok(done)
    }

    /// Hands over what was pushed, and waits for a completion. A process that is stopped and continued comes
    /// back without one, and asks again.
    fn wait(&mut self) -> Result<(), Failure> {
        match self.ring.submit_and_wait(1) {
            Err(error) if error.to_errno() != Errno::EINTR => Err(Failure::Kernel(error)),
            _ => Ok(()),
        }
    }
}
