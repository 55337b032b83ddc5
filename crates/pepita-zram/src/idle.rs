//! Idle pages, and their way to the backing device.

use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use pepita_mem::PAGE_SIZE;
use pepita_sys::error::Errno;

use crate::backing::{Answer, Backing, DEPTH};
use crate::device::{Count, ZramDevice};
use crate::error::ZramError;
use crate::objects::{Form, Object, ObjectId};
use crate::page::Page;
use crate::stream::decompress;

/// Which pages are idle from now on, until they are read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// All.
    All,
    /// Those that were neither read nor written for so long, in whole seconds.
    UnusedFor(Duration),
}

/// Which pages are written back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteBack {
    /// Those that are idle.
    Idle,
    /// Those that are incompressible.
    Huge,
    /// Those that are both.
    HugeIdle,
}

impl WriteBack {
    fn takes(self, object: &Object, form: Form) -> bool {
        let is_huge = form == Form::Raw;
        match self {
            Self::Idle => object.is_idle(),
            Self::Huge => is_huge,
            Self::HugeIdle => is_huge && object.is_idle(),
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
        let now = self.now();
        let until = match idle {
            Idle::All => Some(now),
            Idle::UnusedFor(time) => {
                let seconds = u32::try_from(time.as_secs()).ok();
                seconds.and_then(|seconds| now.checked_sub(seconds))
            }
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

    /// Writes at most `max` objects of pages of a kind to the backing device, which frees their memory, and says how
    /// many that were: duplicates count once. It ends early when the backing device is full. A page that is written back
    /// is read from there until it is written.
    ///
    /// # Errors
    /// [`ZramError::NoBacking`]; [`ZramError::Backing`] if a write failed, whose page stays where it was.
    pub fn write_back(&self, which: WriteBack, max: u64) -> Result<u64, ZramError> {
        self.write_back_from(which, max, &mut Some(0))
    }

    /// The same from an object on, if there is one, which becomes the one to go on with: none at the end.
    pub(crate) fn write_back_from(
        &self,
        which: WriteBack,
        max: u64,
        from: &mut Option<u32>,
    ) -> Result<u64, ZramError> {
        let backing = self.backing.as_ref().ok_or(ZramError::NoBacking)?;
        let mut batch = Vec::with_capacity(usize::from(DEPTH));
        let (mut begun, mut done) = (0, 0);
        let mut outcome = Ok(());
        let Some(first) = from.take() else {
            return Ok(0);
        };
        for (id, object) in self.objects.pin_each(first) {
            if begun == max || outcome.is_err() {
                self.objects.release(id);
                *from = Some(id.0);
                break;
            }
            match self.begin_write_back(backing, which, id, object) {
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
                outcome = self.end_write_back(&mut batch, &mut done);
            }
        }
        let last = self.end_write_back(&mut batch, &mut done);
        outcome.and(last)?;
        Ok(done)
    }

    /// Sends an object on its way, if it is of the kind, there is room for it, and it is not corrupt.
    fn begin_write_back(
        &self,
        backing: &Backing,
        which: WriteBack,
        id: ObjectId,
        object: &Object,
    ) -> Begun {
        let form = self.objects.form(id);
        if !takes_memory(form) || !which.takes(object, form) {
            return Begun::Left;
        }
        let Some(block) = self.objects.take_block() else {
            return Begun::Full;
        };
        let mut page: Box<Page> = Box::new([0; PAGE_SIZE]);
        let read = self
            .objects
            .read(id, |form, bytes| decompress(form, bytes, &mut page));
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

    /// Waits for what is on its way.
    fn end_write_back(&self, batch: &mut Vec<Outgoing>, done: &mut u64) -> Result<(), ZramError> {
        let mut outcome = Ok(());
        for outgoing in batch.drain(..) {
            let Outgoing { id, block, end } = outgoing;
            match end.recv().map_or(Err(Errno::EIO), |(_, result)| result) {
                Ok(()) => {
                    self.objects.set_backed(id, block);
                    self.count(Count::BdWrites);
                    *done += 1;
                }
                Err(errno) => {
                    self.objects.give_block(block);
                    outcome = Err(ZramError::Backing { errno });
                }
            }
            self.objects.release(id);
        }
        outcome
    }
}

fn takes_memory(form: Form) -> bool {
    matches!(form, Form::Raw | Form::Lz4)
}

#[cfg(test)]
mod tests;
