//! Frees with a long list of free neighbours.

use anyhow::Result;

use super::books::{Books, take_all};
use crate::case::Contender;
use crate::timing::wall_ms;

/// Allocates pairs of frames, frees one of each, then the other.
pub(super) struct Pairs<B> {
    books: B,
    pairs: usize,
}

impl<B: Books> Pairs<B> {
    pub(super) fn new(pairs: usize) -> Result<Self> {
        Ok(Self {
            books: B::with((pairs * 2).next_power_of_two())?,
            pairs,
        })
    }

    fn run(&mut self) -> Result<()> {
        let frames = take_all(&mut self.books, self.pairs * 2)?;
        for begin in 0..2 {
            for frame in frames.iter().skip(begin).step_by(2) {
                self.books.free(*frame);
            }
        }
        Ok(())
    }
}

impl<B: Books> Contender for Pairs<B> {
    fn answer(&mut self) -> Result<String> {
        self.run()?;
        let is_whole = self.books.is_whole();
        Ok(format!("{} pairs, whole again: {is_whole}", self.pairs))
    }

    fn round(&mut self) -> Result<f64> {
        wall_ms(|| self.run())
    }
}
