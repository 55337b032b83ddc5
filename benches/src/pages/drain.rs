//! What one free costs.

use std::time::Instant;

use anyhow::Result;

use super::books::{Books, take_all};
use crate::case::Contender;
use crate::stats::Random;

/// Frees of a round at least, so that the clock does not matter.
const FREES: usize = 100_000;

/// Allocates every frame and frees them in random order, another each time, since processors learn the
/// branches of a short one by heart; only the frees are timed.
pub(super) struct Drain<B> {
    books: B,
    frames: usize,
    random: Random,
}

impl<B: Books> Drain<B> {
    pub(super) fn new(frames: usize) -> Result<Self> {
        Ok(Self {
            books: B::with(frames)?,
            frames,
            random: Random::new(1),
        })
    }

    /// The time of one drain, in nanoseconds.
    fn run(&mut self) -> Result<f64> {
        let mut frames = take_all(&mut self.books, self.frames)?;
        self.random.shuffle(&mut frames);
        let begin = Instant::now();
        for frame in &frames {
            self.books.free(*frame);
        }
        Ok(begin.elapsed().as_secs_f64() * 1e9)
    }
}

impl<B: Books> Contender for Drain<B> {
    fn answer(&mut self) -> Result<String> {
        self.run()?;
        Ok(format!("whole again: {}", self.books.is_whole()))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a bench are far below 2^53"
    )]
    fn round(&mut self) -> Result<f64> {
        let turns = FREES.div_ceil(self.frames);
        let mut sum_ns = 0.0;
        for _ in 0..turns {
            sum_ns += self.run()?;
        }
        Ok(sum_ns / (turns * self.frames) as f64)
    }
}
