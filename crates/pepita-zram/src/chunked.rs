//! [`Chunked`]: an array that takes memory where it is used.

use std::sync::OnceLock;

use pepita_sys::error::Errno;

use crate::sync::sized;

/// Elements that are allocated together.
const CHUNK: usize = sized(512, 8);

/// An array of a fixed length, whose elements are made 512 at a time when one of them is first wanted. They
/// stay where they are, so they are reached without a lock.
#[derive(Debug)]
pub(crate) struct Chunked<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Chunked<T> {
    /// An array of at least `len` elements, of which none is there yet. It takes 24 bytes for each 512.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(len: usize) -> Result<Self, Errno> {
        let chunks = len.div_ceil(CHUNK);
        let mut all = Vec::new();
        all.try_reserve_exact(chunks).map_err(|_| Errno::ENOMEM)?;
        all.resize_with(chunks, OnceLock::new);
        Ok(Self {
            chunks: all.into_boxed_slice(),
        })
    }

    /// The element, if it is there.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get()?.get(index % CHUNK)
    }

    /// The element, which is made if it was not there.
    ///
    /// # Errors
    /// `ENOMEM`, also behind the end.
    pub(crate) fn get_or_make(&self, index: usize) -> Result<&T, Errno> {
        let chunk = self.chunks.get(index / CHUNK).ok_or(Errno::ENOMEM)?;
        let elements = match chunk.get() {
            Some(elements) => elements,
            None => {
                let mut elements = Vec::new();
                elements
                    .try_reserve_exact(CHUNK)
                    .map_err(|_| Errno::ENOMEM)?;
                elements.resize_with(CHUNK, T::default);
                // Of two that come at once, one makes them in vain.
                chunk.get_or_init(|| elements.into_boxed_slice())
            }
        };
        elements.get(index % CHUNK).ok_or(Errno::ENOMEM)
    }

    /// All elements that are there, with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.iter_from(0)
    }

    /// The same from `index` on.
    pub(crate) fn iter_from(&self, index: usize) -> impl Iterator<Item = (usize, &T)> {
        let chunks = self.chunks.iter().enumerate().skip(index / CHUNK);
        let elements = chunks.flat_map(|(at, chunk)| {
            let elements = chunk.get().into_iter().flatten().enumerate();
            elements.map(move |(index, element)| (at * CHUNK + index, element))
        });
        elements.skip_while(move |(at, _)| *at < index)
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let made = self.chunks.iter().filter(|chunk| chunk.get().is_some());
        size_of_val::<[_]>(&self.chunks) + made.count() * CHUNK * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn elements_are_made_where_they_are_wanted_and_nowhere_else() {
        let array = Chunked::<AtomicU32>::new(1000).unwrap();
        let empty = array.bytes();
        assert!(array.get(0).is_none());
        array.get_or_make(700).unwrap().store(7, Ordering::Relaxed);
        assert_eq!(array.get(700).map(|at| at.load(Ordering::Relaxed)), Some(7));
        assert!(array.get(0).is_none() && array.get(512).is_some());
        assert_eq!(array.bytes(), empty + 512 * 4);
        assert_eq!(array.iter().map(|(index, _)| index).next(), Some(512));
        let from: Vec<usize> = array.iter_from(1021).map(|(index, _)| index).collect();
        assert_eq!(from, [1021, 1022, 1023]);
        assert!(array.get_or_make(1024).is_err(), "behind the end");
    }
}
