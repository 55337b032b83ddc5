//! Idle pages, and their way to the backing device.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use pepita_mem::PAGE_SIZE;
use pepita_sys::error::Errno;

use crate::backing::{Answer, Backing, DEPTH};
use crate::device::{Count, ZramDevice};
use crate::error::{Unfinished, ZramError};
use crate::objects::{Form, Object, ObjectId};
use crate::page::Page;
use crate::sync::atomic::Ordering;

/// Which pages are idle from now on, until they are read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// All.
    All,
    /// Those that were neither read nor written for at least so long. It is counted in whole seconds, so some are found up
    /// to two seconds later; no time at all is as [`All`](Self::All).
    UnusedFor(Duration),
}

/// Which pages are written back, or compressed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Those that are idle.
    Idle,
    /// Those that are incompressible.
    Huge,
    /// Those that are both.
    HugeIdle,
}

/// Which objects are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    kind: PageKind,
    idle: IsIdle,
}

/// What counts as idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsIdle {
    /// What was marked.
    Marked,
    /// What was not used after this second; without one, nothing.
    UnusedAfter(Option<u32>),
}

impl Wanted {
    const fn marked(kind: PageKind) -> Self {
        Self {
            kind,
            idle: IsIdle::Marked,
        }
    }

    fn takes(self, object: &Object, form: Form) -> bool {
        let is_huge = form == Form::Raw;
        let is_idle = || match self.idle {
            IsIdle::Marked => object.is_idle(),
            IsIdle::UnusedAfter(second) => second.is_some_and(|second| object.is_unused(second)),
        };
        match self.kind {
            PageKind::Idle => is_idle(),
            PageKind::Huge => is_huge,
            PageKind::HugeIdle => is_huge && is_idle(),
        }
    }
}

/// An object that is on its way to the backing device. Its pin is to be released.
struct Outgoing {
    id: ObjectId,
    block: u64,
    end: Receiver<Answer>,
}

/// What became of an object.
enum Begun {
    Sent(Outgoing),
    /// It is not of the kind, or corrupt.
    Left,
    /// The backing device is.
    Full,
}

impl ZramDevice {
    /// Marks pages as idle, and says how many objects that are: duplicates count once. Pages that repeat 8 bytes, and
    /// those that were written back, are left out, as they take no memory.
    pub fn mark_idle(&self, idle: Idle) -> u64 {
        let until = match idle {
            Idle::All => Some(self.now()),
            Idle::UnusedFor(time) => second_before(self.now(), time),
        };
        let Some(until) = until else { return 0 };
        let mut marked = 0;
        for (id, object) in self.objects.pin_each(0) {
            if takes_memory(self.objects.form(id)) && object.mark_idle(until) {
                marked += 1;
            }
            self.objects.release(id);
        }
        marked
    }

    /// Pages of a kind, where those are idle that were not used for so long, marked or not.
    pub(crate) fn unused_for(&self, kind: PageKind, time: Duration) -> Wanted {
        Wanted {
            kind,
            idle: IsIdle::UnusedAfter(second_before(self.now(), time)),
        }
    }

    /// Writes at most `max` objects of pages of a kind to the backing device, which frees their memory, and says how
    /// many that were: duplicates count once. It ends early when the backing device is full. A page that is written back
    /// is read from there until it is written.
    ///
    /// # Errors
    /// [`ZramError::NoBacking`]; [`ZramError::Backing`] if a write failed, whose page stays where it was; and how many
    /// were written nevertheless. The place of a write that failed is [bad](crate::ZramStats::bd_bad), and is not tried again until
    /// no other is free, or the device is [reset](Self::reset).
    pub fn write_back(&self, kind: PageKind, max: u64) -> Result<u64, Unfinished> {
        self.write_back_from(Wanted::marked(kind), max, &mut Some(0))
    }

    /// The same from an object on, if there is one, which becomes the one to go on with: none at the end.
    pub(crate) fn write_back_from(
        &self,
        wanted: Wanted,
        max: u64,
        from: &mut Option<u32>,
    ) -> Result<u64, Unfinished> {
        let Some(backing) = &self.backing else {
            return Unfinished::unless(Some(ZramError::NoBacking), 0);
        };
        let mut batch = Vec::with_capacity(usize::from(DEPTH));
        let (mut begun, mut done) = (0, 0);
        let mut error = None;
        let Some(first) = from.take() else {
            return Ok(0);
        };
        for (id, object) in self.objects.pin_each(first) {
            if begun == max || error.is_some() {
                self.objects.release(id);
                *from = Some(id.0);
                break;
            }
            match self.begin_write_back(backing, wanted, id, object) {
                Begun::Sent(outgoing) => {
                    batch.push(outgoing);
                    begun += 1;
                }
                Begun::Left => {
                    self.objects.release(id);
                }
                Begun::Full => {
                    self.objects.release(id);
                    break;
                }
            }
            if batch.len() == usize::from(DEPTH) {
                error = self.end_write_back(&mut batch, &mut done);
            }
        }
        let last = self.end_write_back(&mut batch, &mut done);
        Unfinished::unless(error.or(last), done)
    }

    /// Sends an object on its way, if it is of the kind, there is room for it, and it is not corrupt.
    fn begin_write_back(
        &self,
        backing: &Backing,
        wanted: Wanted,
        id: ObjectId,
        object: &Object,
    ) -> Begun {
        let form = self.objects.form(id);
        if !takes_memory(form) || !wanted.takes(object, form) {
            return Begun::Left;
        }
        let Some(block) = self.objects.take_block() else {
            return Begun::Full;
        };
        let mut page: Box<Page> = Box::new([0; PAGE_SIZE]);
        let (_, read) = self.read_dense(id, &mut page);
        let hash = object.hash.load(Ordering::Relaxed);
        if read.is_err() || (self.hash)(&page) != hash {
            self.objects.give_block(block);
            return Begun::Left; // its reader is told
        }
        Begun::Sent(Outgoing {
            id,
            block,
            end: backing.write(block, page),
        })
    }

    /// Waits for what is on its way; says what the last failure was, if there was one.
    fn end_write_back(&self, batch: &mut Vec<Outgoing>, done: &mut u64) -> Option<ZramError> {
        let mut error = None;
        for outgoing in batch.drain(..) {
            let Outgoing { id, block, end } = outgoing;
            match end.recv().map_or(Err(Errno::EIO), |(_, result)| result) {
                Ok(()) => {
                    self.count(Count::BdWrites);
                    // Another thread may have sent it too.
                    *done += u64::from(self.objects.set_backed(id, block));
                }
                Err(errno) => {
                    self.objects.give_bad_block(block);
                    error = Some(ZramError::Backing { errno });
                }
            }
            self.objects.release(id);
        }
        error
    }
}

impl ZramDevice {
    /// Compresses objects of pages of a kind again, as densely as can be, and says how many take less memory
    /// then: duplicates count once. At most `max` are tried, and none that was tried before, unless there is a newer
    /// [dictionary](Self::train_dictionary). Pages that are dense take
    /// several times as long to read, so this is for those that nobody reads.
    ///
    /// ```
    /// use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};
    ///
    /// let device = ZramDevice::new(ZramConfig::with_size(1 << 20))?;
    /// let program = std::fs::read("/proc/self/exe").unwrap();
    /// for (index, page) in program.as_chunks().0.iter().take(256).enumerate() {
    ///     device.write_page(index as u64, page)?;
    /// }
    /// let before = device.stats().compr_data_size;
    /// device.mark_idle(Idle::All);
    /// assert!(device.recompress(PageKind::Idle, u64::MAX)? > 0);
    /// assert!(device.stats().compr_data_size < before);
    /// # Ok::<(), pepita_zram::ZramError>(())
    /// ```
    ///
    /// An object has both forms for a moment, and what it was is not given back at once. So the memory limit may be passed
    /// by 64 KiB, and by 128 KiB while what is stored is moved together because of that.
    ///
    /// # Errors
    /// [`ZramError::MemLimit`] if there was no place for some objects even so, which are tried again the next time;
    /// [`ZramError::NoMemory`]; and how many were compressed nevertheless.
    pub fn recompress(&self, kind: PageKind, max: u64) -> Result<u64, Unfinished> {
        self.recompress_from(Wanted::marked(kind), max, &mut Some(0))
    }

    /// The same from an object on, if there is one, which becomes the one to go on with: none at the end.
    pub(crate) fn recompress_from(
        &self,
        wanted: Wanted,
        max: u64,
        from: &mut Option<u32>,
    ) -> Result<u64, Unfinished> {
        let Some(first) = from.take() else {
            return Ok(0);
        };
        let (mut tried, mut done) = (0, 0);
        // Since what is stored was moved together, and since one had a place.
        let (mut since_compacted, mut refused) = (0, 0);
        let mut error = None;
        let current = self.objects.dictionaries.current_id();
        for (id, object) in self.objects.pin_each(first) {
            if tried == max || refused == REFUSED_MAX {
                self.objects.release(id);
                *from = Some(id.0);
                break;
            }
            let form = self.objects.form(id);
            let is_wanted =
                takes_memory(form) && wanted.takes(object, form) && !object.is_dense(current);
            if !is_wanted {
                self.objects.release(id);
                continue;
            }
            tried += 1;
            let mut outcome = self.make_dense(id);
            let is_limit = matches!(outcome, Err(ZramError::MemLimit { .. }));
            if is_limit && since_compacted >= COMPACT_AFTER {
                since_compacted = 0;
                self.compact();
                outcome = self.make_dense(id);
            }
            self.objects.release(id);
            match outcome {
                Ok(is_denser) => {
                    done += u64::from(is_denser);
                    since_compacted += u64::from(is_denser);
                    refused = 0;
                }
                // Others may have a place.
                Err(limit @ ZramError::MemLimit { .. }) => {
                    error = Some(limit);
                    refused += 1;
                }
                Err(other) => {
                    error = Some(other);
                    break;
                }
            }
        }
        if tried > 0 {
            self.objects.dictionaries.prune();
        }
        if done > 0 && self.objects.store.is_beyond() {
            self.compact();
        }
        Unfinished::unless(error, done)
    }
}

/// Objects for which there is no place, one after another, until it is enough.
const REFUSED_MAX: u32 = 64;

/// Objects that have become denser, without which it is no use to look for pages that became free.
const COMPACT_AFTER: u64 = 16;

/// The last second at which nobody may have used a page that is unused for `time` in second `now`, if there is one.
fn second_before(now: u32, time: Duration) -> Option<u32> {
    if time.is_zero() {
        return Some(now);
    }
    // Part of the first second may come before the use, and part of the last one is to come.
    let seconds = u32::try_from(time.as_secs()).ok()?;
    let more = 1 + u32::from(time.subsec_nanos() > 0);
    now.checked_sub(seconds.checked_add(more)?)
}

fn takes_memory(form: Form) -> bool {
    matches!(form, Form::Raw | Form::Lz4 | Form::Deflate(_))
}

#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;
