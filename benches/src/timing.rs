//! The two figures that most contenders give.

use std::time::Instant;

use anyhow::Result;

/// How long `work` takes, in milliseconds.
///
/// # Errors
/// The work's own.
pub fn wall_ms(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// How many of `count` equal things `work` does in a second.
///
/// # Errors
/// The work's own.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]
pub fn per_second(count: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    Ok(count as f64 / (wall_ms(work)? / 1e3))
}
