//! How a device's pages are read, whatever form their objects have.

use pepita_mem::PAGE_SIZE;
use pepita_sys::error::Errno;

use crate::codec::CorruptPage;
use crate::device::{Count, ZramDevice};
use crate::dictionaries::DictionaryId;
use crate::error::ZramError;
use crate::objects::{Form, ObjectId};
use crate::page::{self, Page};
use crate::slot::Content;
use crate::stream::decompress;
use crate::sync::atomic::Ordering;

/// Why a page is not there.
#[derive(Debug)]
pub(crate) enum Unread {
    Error(ZramError),
    /// It is in the backing device.
    Backed(ObjectId),
}

impl ZramDevice {
    /// Writes the data of `content`, whose slot the caller has locked, to `page`. If that is in the backing device,
    /// the caller becomes a user of the object, for [`read_backed`](Self::read_backed), and is to release it.
    pub(crate) fn read_content(
        &self,
        page_index: u64,
        content: Content,
        page: &mut Page,
    ) -> Result<(), Unread> {
        let id = match content {
            Content::Nothing => {
                page.fill(0);
                return Ok(());
            }
            Content::Filled(half) => {
                let half = u64::from(half);
                page::fill(page, half << 32 | half);
                return Ok(());
            }
            Content::Object(id) => id,
        };
        let object = self.objects.get(id);
        let hash = object.hash.load(Ordering::Relaxed);
        object.touch(self.now());
        let (mut form, mut read) = self.objects.read(id, |form, bytes| {
            let read = match form {
                Form::Filled | Form::Backed | Form::Deflate(_) => Ok(()),
                Form::Raw | Form::Lz4 => decompress(form, bytes, page),
            };
            (form, read)
        });
        if matches!(form, Form::Deflate(_)) {
            (form, read) = self.read_dense(id, page);
        }
        match form {
            Form::Filled => {
                page::fill(page, hash);
                return Ok(());
            }
            Form::Backed if object.pin() => return Err(Unread::Backed(id)),
            _ => {}
        }
        if read.is_ok() && (self.hash)(page) == hash {
            return Ok(());
        }
        Err(Unread::Error(self.corrupt(page_index, page)))
    }

    /// Reads an object of any form that has bytes. The caller is one of its users.
    pub(crate) fn read_dense(
        &self,
        id: ObjectId,
        page: &mut Page,
    ) -> (Form, Result<(), CorruptPage>) {
        // The decoder comes before the span: who has a stream may wait for the span.
        let mut stream = self.streams.get();
        loop {
            let (form, read) = self.objects.read(id, |form, bytes| {
                let read = match form {
                    Form::Filled | Form::Backed => Ok(()),
                    _ => stream.decoder.decompress(form, bytes, page),
                };
                (form, read)
            });
            // Else it was made again, and its dictionary is gone.
            if read.is_ok() || self.objects.form(id) == form {
                return (form, read);
            }
        }
    }

    /// Reads a page whose object was written back. The caller is one of its users, and stays it. It takes as long as the
    /// backing device does.
    pub(crate) fn read_backed(
        &self,
        page_index: u64,
        id: ObjectId,
        page: &mut Page,
    ) -> Result<(), ZramError> {
        let hash = self.objects.get(id).hash.load(Ordering::Relaxed);
        let backing = self.backing.as_ref().zip(self.objects.block(id));
        let read = backing.map_or(Err(Errno::EIO), |(backing, block)| {
            backing.read(block, page)
        });
        self.count(Count::BdReads);
        if let Err(errno) = read {
            page.fill(0);
            self.count(Count::FailedReads);
            return Err(ZramError::Backing { errno });
        }
        if (self.hash)(page) != hash {
            return Err(self.corrupt(page_index, page));
        }
        Ok(())
    }

    /// Counts a corrupt page, of which `page` shows nothing.
    fn corrupt(&self, page_index: u64, page: &mut Page) -> ZramError {
        page.fill(0);
        self.count(Count::FailedReads);
        self.count(Count::Corrupt);
        ZramError::Corrupt { page: page_index }
    }

    /// Stores what an object is as densely as can be, if that is denser than it is, or it has an older dictionary; says
    /// whether it was denser. The caller is one of its users.
    pub(crate) fn make_dense(&self, id: ObjectId) -> Result<bool, ZramError> {
        let object = self.objects.get(id);
        // Kept until the object is counted.
        let dictionary = self.objects.dictionaries.current();
        let current = dictionary
            .as_ref()
            .map_or(DictionaryId::NONE, |dictionary| dictionary.id);
        let mut stream = self.streams.get();
        let parts = &mut *stream;
        let (scratch, decoder) = (&mut parts.scratch, &mut parts.decoder);
        let (form, len, read) = self.objects.read(id, |form, bytes| {
            (form, bytes.len(), decoder.decompress(form, bytes, scratch))
        });
        let hash = object.hash.load(Ordering::Relaxed);
        if read.is_err() || (self.hash)(scratch) != hash {
            return Ok(false); // its reader is told, or it was written back
        }
        // An older dictionary goes once no object has it, so here denser is not asked for, nor dense.
        let has_older = match form {
            Form::Deflate(with) => with != current && with != DictionaryId::NONE,
            _ => false,
        };
        let below = if has_older { PAGE_SIZE } else { len };
        let page = has_older.then(|| *stream.scratch);
        let dense = stream.compress_densely(dictionary.as_deref(), below);
        let (form, bytes) = match (dense, &page) {
            (Some((form, len)), _) => (form, stream.compressed(len)),
            (None, Some(page)) => stream.compress(page),
            (None, None) => {
                object.set_dense(current);
                return Ok(false);
            }
        };
        let is_denser = bytes.len() < len;
        let done = self.objects.replace(id, form, bytes);
        done.map_err(|error| self.store_error(error))?;
        object.set_dense(current);
        Ok(is_denser)
    }
}
