//! [`Halt`]: when a run over arguments gives up, as GNU parallel's `--halt`.

use std::str::FromStr;

/// When to give up, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Runs every job.
    #[default]
    Never,
    /// Starts no more jobs at the limit.
    Soon(Limit),
    /// Starts no more jobs and kills those that run at the limit.
    Now(Limit),
}

/// So many jobs that ended so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) reason: Reason,
    pub(crate) count: u64,
}

/// Which jobs count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Fail,
    Success,
    Done,
}

/// The text is no [`Halt`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `never`, or `now` or `soon` with `fail=N`, `success=N` or `done=N`, such as `now,fail=1`"
)]
pub(crate) struct ParseHaltError;

impl FromStr for Halt {
    type Err = ParseHaltError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let (when, why) = text.split_once(',').ok_or(ParseHaltError)?;
        let (reason, count) = why.split_once('=').ok_or(ParseHaltError)?;
        let reason = match reason {
            "fail" => Reason::Fail,
            "success" => Reason::Success,
            "done" => Reason::Done,
            _ => return Err(ParseHaltError),
        };
        let count = count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or(ParseHaltError)?;
        match when {
            "soon" => Ok(Self::Soon(Limit { reason, count })),
            "now" => Ok(Self::Now(Limit { reason, count })),
            _ => Err(ParseHaltError),
        }
    }
}

impl Limit {
    /// Whether it is reached after so many jobs succeeded and failed.
    pub(crate) fn is_reached(self, succeeded: u64, failed: u64) -> bool {
        let count = match self.reason {
            Reason::Fail => failed,
            Reason::Success => succeeded,
            Reason::Done => succeeded + failed,
        };
        count >= self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_gnu_parallel_with_counts_are_read() {
        let limit = |reason, count| Limit { reason, count };
        for (text, want) in [
            ("never", Ok(Halt::Never)),
            ("now,fail=1", Ok(Halt::Now(limit(Reason::Fail, 1)))),
            ("soon,success=3", Ok(Halt::Soon(limit(Reason::Success, 3)))),
            ("soon,done=10", Ok(Halt::Soon(limit(Reason::Done, 10)))),
            ("now", Err(ParseHaltError)),
            ("now,fail", Err(ParseHaltError)),
            ("now,fail=0", Err(ParseHaltError)),
            ("now,fail=10%", Err(ParseHaltError)),
            ("later,fail=1", Err(ParseHaltError)),
        ] {
            assert_eq!(text.parse(), want, "{text:?}");
        }
    }

    #[test]
    fn only_jobs_of_the_named_kind_count() {
        let reached = |reason, count| Limit { reason, count }.is_reached(2, 1);
        assert!(reached(Reason::Fail, 1) && !reached(Reason::Fail, 2));
        assert!(reached(Reason::Success, 2) && !reached(Reason::Success, 3));
        assert!(reached(Reason::Done, 3) && !reached(Reason::Done, 4));
    }
}
