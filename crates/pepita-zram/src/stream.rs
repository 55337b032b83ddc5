//! [`Streams`]: what threads compress with.

use std::sync::{Arc, PoisonError, TryLockError};

use pepita_mem::PAGE_SIZE;

use crate::codec::lz4;
use crate::codec::{CorruptPage, deflate};
use crate::config::ZramCompressor;
use crate::dictionaries::{Dictionaries, Dictionary, DictionaryId};
use crate::objects::Form;
use crate::page::Page;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::threads::{self, Apart};

/// A compressed page that is longer than this is kept raw: it would save less than a thirty-second of the page,
/// which is not worth decompressing it.
pub(crate) const COMPRESSED_MAX: usize = PAGE_SIZE - PAGE_SIZE / 32;

/// What one page at a time is compressed with.
#[derive(Debug)]
pub(crate) struct Stream {
    encoder: Option<lz4::Encoder>,
    out: Box<[u8; COMPRESSED_MAX]>,
    /// A page that is compared.
    pub(crate) scratch: Box<Page>,
    /// With the dictionary that it was made with.
    dense: Option<(DictionaryId, deflate::Encoder)>,
    pub(crate) decoder: Decoder,
}

/// What makes pages again, of all that is compressed.
#[derive(Debug)]
pub(crate) struct Decoder {
    dictionaries: Arc<Dictionaries>,
    dense: Option<deflate::Decoder>,
}

impl Stream {
    fn new(compressor: ZramCompressor, dictionaries: Arc<Dictionaries>) -> Self {
        Self {
            encoder: compressor.encoder(),
            out: Box::new([0; COMPRESSED_MAX]),
            scratch: Box::new([0; PAGE_SIZE]),
            dense: None,
            decoder: Decoder {
                dictionaries,
                dense: None,
            },
        }
    }

    /// The most densely that [`scratch`](Self::scratch) can be stored, and how many bytes that are, which are
    /// [`compressed`](Self::compressed); none if that takes `len` bytes or more.
    pub(crate) fn compress_densely(
        &mut self,
        dictionary: Option<&Dictionary>,
        len: usize,
    ) -> Option<(Form, usize)> {
        let id = dictionary.map_or(DictionaryId::NONE, |dictionary| dictionary.id);
        // One at a time: they are large.
        self.dense = self.dense.take().filter(|(made_with, _)| *made_with == id);
        let (_, encoder) = self.dense.get_or_insert_with(|| {
            let bytes = dictionary.map_or(&[][..], |dictionary| &dictionary.bytes);
            (id, deflate::Encoder::new(bytes))
        });
        let out = &mut self.out[..len.saturating_sub(1).min(COMPRESSED_MAX)];
        let len = encoder.compress(&self.scratch, out)?;
        Some((Form::Deflate(id), len))
    }

    /// The first bytes of what was compressed last.
    pub(crate) fn compressed(&self, len: usize) -> &[u8] {
        &self.out[..len]
    }

    /// What `page` is to be stored as.
    pub(crate) fn compress<'a>(&'a mut self, page: &'a Page) -> (Form, &'a [u8]) {
        let encoder = self.encoder.as_mut();
        let len = encoder.and_then(|encoder| encoder.compress(page, &mut self.out[..]));
        match len {
            Some(len) => (Form::Lz4, &self.out[..len]),
            None => (Form::Raw, page),
        }
    }
}

impl Decoder {
    /// Makes `page` of the bytes that an object has in `form`.
    pub(crate) fn decompress(
        &mut self,
        form: Form,
        bytes: &[u8],
        page: &mut Page,
    ) -> Result<(), CorruptPage> {
        let Form::Deflate(id) = form else {
            return decompress(form, bytes, page);
        };
        let decoder = self.dense.get_or_insert_with(|| deflate::Decoder::new(&[]));
        if id == DictionaryId::NONE {
            return decoder.decompress(bytes, page);
        }
        // Gone if the object is by now something else.
        let dictionary = self.dictionaries.get(id).ok_or(CorruptPage)?;
        decoder.decompress_with(&dictionary.bytes, bytes, page)
    }
}

/// The same for the forms that need no [`Decoder`].
pub(crate) fn decompress(form: Form, bytes: &[u8], page: &mut Page) -> Result<(), CorruptPage> {
    match form {
        Form::Raw => {
            let raw: &Page = bytes.try_into().map_err(|_| CorruptPage)?;
            *page = *raw;
            Ok(())
        }
        Form::Lz4 => lz4::decompress(bytes, page),
        // They have no bytes, or need a decoder.
        Form::Filled | Form::Backed | Form::Deflate(_) => Err(CorruptPage),
    }
}

/// The most streams: 17 KiB each, and more threads than that wait for memory, not for streams.
pub(crate) const STREAMS_MAX: usize = 1024;

/// One for each thread that compresses at once.
#[derive(Debug)]
pub(crate) struct Streams {
    all: Box<[Apart<Mutex<Stream>>]>,
}

impl Streams {
    pub(crate) fn new(
        count: usize,
        compressor: ZramCompressor,
        dictionaries: &Arc<Dictionaries>,
    ) -> Self {
        let stream = || Stream::new(compressor, dictionaries.clone());
        let streams = (0..count.clamp(1, STREAMS_MAX)).map(|_| Apart(Mutex::new(stream())));
        Self {
            all: streams.collect(),
        }
    }

    /// The thread's own stream, or one that nobody has, or else its own once it is free.
    pub(crate) fn get(&self) -> MutexGuard<'_, Stream> {
        let own = threads::number() % self.all.len();
        let (before, from_own) = self.all.split_at(own);
        for stream in from_own.iter().chain(before) {
            match stream.0.try_lock() {
                Ok(stream) => return stream,
                Err(TryLockError::Poisoned(poisoned)) => return PoisonError::into_inner(poisoned),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.all[own].0)
    }
}
