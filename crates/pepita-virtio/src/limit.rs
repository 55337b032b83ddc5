//! [`RateLimiter`]: bytes and operations that a device does in a time.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

const NS_PER_S: i128 = 1_000_000_000;

/// How much of something there may be.
///
/// ```
/// use std::num::NonZeroU64;
/// use pepita_virtio::Rate;
///
/// // 10 MB/s, and 1 MB at once after a pause.
/// let rate = Rate { per_second: NonZeroU64::new(10_000_000).expect("more than 0"), burst: 1_000_000 };
/// assert!(rate.burst < rate.per_second.get());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU64,
    /// At once, after a pause. With 0, one request goes after the other.
    pub burst: u64,
}

/// What a device is held to.
///
/// ```
/// use pepita_virtio::RateLimits;
///
/// assert_eq!(RateLimits::default(), RateLimits { bytes: None, operations: None });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Bytes of data.
    pub bytes: Option<Rate>,
    /// Requests, or packets.
    pub operations: Option<Rate>,
}

/// Token buckets for bytes and operations.
///
/// A request goes as soon as no bucket owes anything, whatever it takes, and is paid by those that come after it. So a
/// request that is larger than a burst goes too, and a device need not know what a request takes before it has it: as
/// long as it may not begin one, it leaves them in the queue.
///
/// ```
/// use std::num::NonZeroU64;
/// use std::time::{Duration, Instant};
/// use pepita_virtio::{Rate, RateLimiter, RateLimits};
///
/// let operations = Some(Rate { per_second: NonZeroU64::new(10).expect("more than 0"), burst: 2 });
/// let start = Instant::now();
/// let mut limiter = RateLimiter::new(RateLimits { operations, bytes: None }, start);
/// for _ in 0..3 {
///     assert_eq!(limiter.check(start), Ok(()));
///     limiter.spend(4096);
/// }
/// let later = start + Duration::from_millis(100);
/// assert_eq!(limiter.check(start), Err(later));
/// assert_eq!(limiter.check(later), Ok(()));
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
}

/// Tokens, in billionths, so that nothing is rounded.
#[derive(Debug, Clone)]
struct Bucket {
    rate: Rate,
    level: i128,
    filled: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            level: i128::from(rate.burst) * NS_PER_S,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let ns = now.saturating_duration_since(self.filled).as_nanos();
        self.filled = self.filled.max(now);
        let ns = i128::try_from(ns).unwrap_or(i128::MAX);
        let new = ns.saturating_mul(self.rate.per_second.get().into());
        let most = i128::from(self.rate.burst) * NS_PER_S;
        self.level = self.level.saturating_add(new).min(most);
    }

    /// How long it owes something, from when it was filled.
    fn wait(&self) -> Option<Duration> {
        let owed = u128::try_from(-self.level).ok().filter(|owed| *owed > 0)?;
        let ns = owed.div_ceil(self.rate.per_second.get().into());
        Some(Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX)))
    }

    fn spend(&mut self, tokens: u64) {
        let cost = i128::from(tokens) * NS_PER_S;
        self.level = self.level.saturating_sub(cost);
    }
}

impl RateLimiter {
    /// A limiter whose buckets are full.
    #[must_use]
    pub fn new(limits: RateLimits, now: Instant) -> Self {
        let bucket = |rate| Bucket::new(rate, now);
        Self {
            bytes: limits.bytes.map(bucket),
            operations: limits.operations.map(bucket),
        }
    }

    /// Whether a request may begin at `now`.
    ///
    /// # Errors
    /// When one may, if none begins until then.
    pub fn check(&mut self, now: Instant) -> Result<(), Instant> {
        let buckets = [&mut self.bytes, &mut self.operations];
        let waits = buckets.into_iter().flatten().filter_map(|bucket| {
            bucket.fill(now);
            bucket.wait()
        });
        match waits.max() {
            None => Ok(()),
            // Further than a clock goes is never.
            Some(wait) => Err(now
                .checked_add(wait)
                .unwrap_or(now + Duration::from_secs(1 << 32))),
        }
    }

    /// A request of so many bytes has begun.
    pub fn spend(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.spend(bytes);
        }
        if let Some(bucket) = &mut self.operations {
            bucket.spend(1);
        }
    }
}
