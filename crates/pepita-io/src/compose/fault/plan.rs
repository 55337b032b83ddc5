//! Which request has which fault: [`FaultPlan`].

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pepita_sys::blk_mq::{Request, RequestOp};
use pepita_sys::error::Errno;

/// The faults of a [`FaultDevice`](super::FaultDevice): rules that each request goes through in their order; the first
/// one that fires says what becomes of it, and without one nothing special does.
///
/// As text, which `pepita ublk add -t fault --plan` takes, rules are parted by `;`, and their words by spaces: first the
/// operations (`read`, `write`, `flush`, `discard`, `zeroes`, or `any`, several with commas), then what happens
/// and when.
///
/// | word | what happens |
/// |---|---|
/// | `error=EIO` | it fails with this number, and nothing is done |
/// | `delay=10ms` | it is begun that much later (`us`, `ms`, `s`) |
/// | `torn=8` | of a write or zeroes, the first 8 sectors are done, in whole blocks, and success is told; with `error=EIO` too, that error |
/// | `lose` | nothing is done, and success is told; not of reads |
/// | `hang` | it does not end, until the device is healed or the lane closed |
///
/// | word | when |
/// |---|---|
/// | `sectors=0..2048` | it reaches one of these sectors; a flush has none |
/// | `nth=3` | it is the third that the rule sees, of its operations and sectors |
/// | `every=10` | it is the tenth, the twentieth, … |
/// | `chance=0.01` | in one of a hundred cases, by numbers that follow from `seed=N`, a rule of its own |
/// | `times=2` | the rule has not fired twice yet |
///
/// ```
/// use pepita_io::compose::FaultPlan;
///
/// let plan: FaultPlan = "seed=7; write torn=1 error=EIO nth=100; read,write delay=2ms chance=0.1".parse()?;
/// assert_eq!((plan.seed, plan.rules.len()), (7, 2));
/// let wrong = "read eror=EIO".parse::<FaultPlan>().unwrap_err();
/// assert_eq!((wrong.at, wrong.word.as_str()), (5, "eror=EIO"));
/// # Ok::<(), pepita_io::compose::FaultPlanError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FaultPlan {
    /// Tried in this order.
    pub rules: Vec<FaultRule>,
    /// Where the numbers of chance begin: the same plan on the same requests has the same faults.
    pub seed: u64,
}

/// A rule of a [`FaultPlan`]; all its conditions have to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultRule {
    /// The operations.
    pub ops: Vec<RequestOp>,
    /// What happens.
    pub action: FaultAction,
    /// The sectors of which a request has to reach one; `None` for any request.
    pub sectors: Option<Range<u64>>,
    /// It is the request with this number, from 1 on, that the rule sees.
    pub nth: Option<u64>,
    /// Its number is a multiple of this; 0 never is.
    pub every: Option<u64>,
    /// How often, from 0 to 1.
    pub chance: Option<f64>,
    /// The most times that the rule fires.
    pub times: Option<u64>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// It fails, and nothing is done.
    Error(Errno),
    /// It is begun later.
    Delay(Duration),
    /// Of a write, or a write of zeroes, the beginning is done; the rest of other operations.
    Torn {
        /// Sectors that are done, in whole blocks.
        sectors: u32,
        /// What is told: `None` for success.
        error: Option<Errno>,
    },
    /// Success is told and nothing done. A read, for which there is no such thing, is done.
    Lose,
    /// It does not end, until the device is [healed](super::FaultDevice::heal) or the lane dropped, which ends it
    /// with `EIO`.
    Hang,
}

impl FaultRule {
    /// A rule for all requests of `ops`.
    #[must_use]
    pub fn new(ops: impl Into<Vec<RequestOp>>, action: FaultAction) -> Self {
        Self {
            ops: ops.into(),
            action,
            sectors: None,
            nth: None,
            every: None,
            chance: None,
            times: None,
        }
    }

    fn sees(&self, request: &Request) -> bool {
        let reaches = |sectors: &Range<u64>| {
            let end = request.sector().saturating_add(request.nr_sectors().into());
            request.op() != RequestOp::Flush
                && request.sector() < sectors.end
                && sectors.start < end
        };
        self.ops.contains(&request.op()) && self.sectors.as_ref().is_none_or(reaches)
    }
}

/// A plan, and how far its rules are.
#[derive(Debug)]
pub(super) struct Running {
    rules: Vec<Counted>,
    seed: u64,
}

#[derive(Debug)]
struct Counted {
    rule: FaultRule,
    /// Requests that it has seen.
    seen: AtomicU64,
    /// Times that it has fired.
    fired: AtomicU64,
}

impl Running {
    pub(super) fn new(plan: FaultPlan) -> Self {
        let counted = |rule| Counted {
            rule,
            seen: AtomicU64::new(0),
            fired: AtomicU64::new(0),
        };
        Self {
            rules: plan.rules.into_iter().map(counted).collect(),
            seed: plan.seed,
        }
    }

    /// What becomes of `request`, which is counted.
    pub(super) fn of(&self, request: &Request) -> Option<FaultAction> {
        let mut rules = (0_u64..).zip(&self.rules);
        let fires = rules.find(|(index, rule)| {
            rule.rule.sees(request) && rule.fires(self.seed.wrapping_add(index << 32))
        });
        fires.map(|(_, rule)| rule.rule.action)
    }
}

impl Counted {
    fn fires(&self, seed: u64) -> bool {
        let number = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        let rule = &self.rule;
        let is_it = rule.nth.is_none_or(|nth| number == nth)
            && rule
                .every
                .is_none_or(|every| every > 0 && number.is_multiple_of(every))
            && rule
                .chance
                .is_none_or(|chance| unit(mix(seed, number)) < chance);
        let counts = |fired: u64| {
            rule.times
                .is_none_or(|times| fired < times)
                .then_some(fired + 1)
        };
        is_it
            && self
                .fired
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, counts)
                .is_ok()
    }
}

/// The number `number` of the sequence of `seed`. Vigna's splitmix64
const fn mix(seed: u64, number: u64) -> u64 {
    let mut bits = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// From 0 up to 1, without 1.
fn unit(bits: u64) -> f64 {
    // 32 bits are a number of an f64.
    let high = u32::try_from(bits >> 32).unwrap_or(u32::MAX);
    f64::from(high) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_as_often_as_it_says_and_follows_from_the_seed() {
        let count = |seed, chance| {
            let rule = FaultRule {
                chance: Some(chance),
                ..FaultRule::new([RequestOp::Read], FaultAction::Hang)
            };
            let running = Running::new(FaultPlan {
                rules: vec![rule],
                seed,
            });
            let fires: Vec<bool> = (0..10_000).map(|_| running.rules[0].fires(seed)).collect();
            fires
        };
        let often = |fires: &[bool]| fires.iter().filter(|fires| **fires).count();
        for chance in [0.0, 0.01, 0.5, 1.0] {
            let fires = count(7, chance);
            assert_eq!(fires, count(7, chance));
            let off = often(&fires) as f64 - 10_000.0 * chance;
            assert!(off.abs() < 150.0, "{chance}: {off}");
        }
        assert_ne!(count(7, 0.5), count(8, 0.5));
    }

    #[test]
    fn conditions_hold_together() {
        let fires = |nth, every, times| {
            let rule = FaultRule {
                nth,
                every,
                times,
                ..FaultRule::new([RequestOp::Write], FaultAction::Hang)
            };
            let running = Running::new(FaultPlan {
                rules: vec![rule],
                seed: 0,
            });
            let numbers = (1..=12).filter(|_| running.rules[0].fires(0));
            numbers.collect::<Vec<u64>>()
        };
        assert_eq!(fires(Some(3), None, None), [3]);
        assert_eq!(fires(None, Some(4), None), [4, 8, 12]);
        assert_eq!(fires(None, Some(4), Some(2)), [4, 8]);
        assert_eq!(fires(None, Some(0), None), []);
        assert_eq!(fires(None, None, Some(1)), [1]);
        assert_eq!(fires(Some(6), Some(4), None), []);
    }
}
