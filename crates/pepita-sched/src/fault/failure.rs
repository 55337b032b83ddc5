//! Why an attempt failed, and which failures are worth another attempt.

use std::fmt;
use std::sync::Arc;

/// What ended an attempt that did not succeed.
///
/// # Examples
/// ```
/// use pepita_sched::fault::Failure;
///
/// assert_eq!(Failure::Exit(75).to_string(), "exit code 75");
/// assert_eq!(Failure::Signal(9).to_string(), "signal 9");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The process exited with this non-zero code.
    Exit(i32),
    /// This signal, not sent by the pool, ended the process.
    Signal(i32),
    /// The attempt ran longer than its time limit.
    Timeout,
    /// The attempt was killed for using more memory than its limit.
    MemoryLimit,
    /// The attempt never ran: no such program, no permission, no process slot.
    Start,
    /// The function of a function task panicked.
    Panic,
    /// Anything else, such as an error that an executor reports.
    Other,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Timeout => f.write_str("time limit exceeded"),
            Self::MemoryLimit => f.write_str("memory limit exceeded"),
            Self::Start => f.write_str("could not start"),
            Self::Panic => f.write_str("panic"),
            Self::Other => f.write_str("other failure"),
        }
    }
}

/// A set of exit codes or signal numbers.
///
/// # Examples
/// ```
/// use pepita_sched::fault::Codes;
///
/// assert!(Codes::only([69, 75]).contains(75));
/// assert!(!Codes::all_but([2]).contains(2));
/// assert!(Codes::Any.contains(-1) && !Codes::None.contains(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codes {
    /// No code.
    None,
    /// Every code.
    Any,
    /// The listed codes.
    Only(Arc<[i32]>),
    /// Every code except those listed.
    AllBut(Arc<[i32]>),
}

impl Codes {
    /// The listed codes. Look-up is a linear scan: meant for short lists.
    pub fn only(codes: impl IntoIterator<Item = i32>) -> Self {
        Self::Only(codes.into_iter().collect())
    }

    /// Every code except those listed.
    pub fn all_but(codes: impl IntoIterator<Item = i32>) -> Self {
        Self::AllBut(codes.into_iter().collect())
    }

    /// Whether `code` is in the set.
    #[must_use]
    pub fn contains(&self, code: i32) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Only(codes) => codes.contains(&code),
            Self::AllBut(codes) => !codes.contains(&code),
        }
    }
}

/// A kind of [`Failure`] that carries no code, as [`RetryOn::also`] and [`RetryOn::never`] name it.
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Cause, Failure, RetryOn};
///
/// let patient = RetryOn::default().also(Cause::MemoryLimit).never(Cause::Panic);
/// assert!(patient.matches(&Failure::MemoryLimit));
/// assert!(!patient.matches(&Failure::Panic));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// [`Failure::Timeout`].
    Timeout,
    /// [`Failure::MemoryLimit`].
    MemoryLimit,
    /// [`Failure::Start`].
    Start,
    /// [`Failure::Panic`].
    Panic,
    /// [`Failure::Other`].
    Other,
}

impl Cause {
    const fn bit(self) -> u8 {
        match self {
            Self::Timeout => 1 << 0,
            Self::MemoryLimit => 1 << 1,
            Self::Start => 1 << 2,
            Self::Panic => 1 << 3,
            Self::Other => 1 << 4,
        }
    }
}

/// Which failures are worth another attempt: data for the common cases, a closure for the rest.
///
/// The default retries what the next attempt may not meet again: every exit code and signal, time
/// limits, panics and other errors, but neither [`Failure::Start`] (a missing program stays
/// missing) nor [`Failure::MemoryLimit`] (the next attempt has the same limit).
///
/// # Examples
/// ```
/// use pepita_sched::fault::{Cause, Codes, Failure, RetryOn};
///
/// // sysexits.h: EX_UNAVAILABLE and EX_TEMPFAIL, or a timeout; nothing else.
/// let temporary = RetryOn::nothing().exits(Codes::only([69, 75])).also(Cause::Timeout);
/// assert!(temporary.matches(&Failure::Exit(75)));
/// assert!(!temporary.matches(&Failure::Exit(1)));
///
/// // Everything, unless the user interrupted it.
/// let stubborn = RetryOn::anything().signals(Codes::all_but([2]));
/// assert!(stubborn.matches(&Failure::Signal(9)));
/// assert!(!stubborn.matches(&Failure::Signal(2)));
/// ```
#[derive(Debug, Clone)]
pub struct RetryOn {
    exits: Codes,
    signals: Codes,
    causes: u8,
    filter: Option<Filter>,
}

impl RetryOn {
    /// No failure: every attempt is the last.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            exits: Codes::None,
            signals: Codes::None,
            causes: 0,
            filter: None,
        }
    }

    /// Every failure, of kinds that later versions add too.
    #[must_use]
    pub const fn anything() -> Self {
        Self {
            exits: Codes::Any,
            signals: Codes::Any,
            causes: u8::MAX,
            filter: None,
        }
    }

    /// Sets which exit codes retry.
    #[must_use]
    pub fn exits(mut self, codes: Codes) -> Self {
        self.exits = codes;
        self
    }

    /// Sets which signals retry.
    #[must_use]
    pub fn signals(mut self, signals: Codes) -> Self {
        self.signals = signals;
        self
    }

    /// Adds `cause` to what retries.
    #[must_use]
    pub const fn also(mut self, cause: Cause) -> Self {
        self.causes |= cause.bit();
        self
    }

    /// Removes `cause` from what retries.
    #[must_use]
    pub const fn never(mut self, cause: Cause) -> Self {
        self.causes &= !cause.bit();
        self
    }

    /// Retries only what this set admits *and* `filter` accepts; replaces an earlier filter.
    ///
    /// On [`RetryOn::anything`] the filter decides alone. It runs once for each failed attempt,
    /// on the thread that handles the failure, and only for failures that the set admits; if it
    /// panics, so does [`RetryOn::matches`].
    ///
    /// # Examples
    /// ```
    /// use pepita_sched::fault::{Failure, RetryOn};
    ///
    /// let even = RetryOn::anything().filter(|failure| matches!(failure, Failure::Exit(n) if n % 2 == 0));
    /// assert!(even.matches(&Failure::Exit(4)));
    /// assert!(!even.matches(&Failure::Exit(5)));
    /// ```
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Filter(Arc::new(filter)));
        self
    }

    /// Whether `failure` is worth another attempt.
    #[must_use]
    pub fn matches(&self, failure: &Failure) -> bool {
        let has = |cause: Cause| self.causes & cause.bit() != 0;
        let admitted = match *failure {
            Failure::Exit(code) => self.exits.contains(code),
            Failure::Signal(signal) => self.signals.contains(signal),
            Failure::Timeout => has(Cause::Timeout),
            Failure::MemoryLimit => has(Cause::MemoryLimit),
            Failure::Start => has(Cause::Start),
            Failure::Panic => has(Cause::Panic),
            Failure::Other => has(Cause::Other),
        };
        admitted
            && self
                .filter
                .as_ref()
                .is_none_or(|Filter(accepts)| accepts(failure))
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        Self::anything()
            .never(Cause::Start)
            .never(Cause::MemoryLimit)
    }
}

#[derive(Clone)]
struct Filter(Arc<dyn Fn(&Failure) -> bool + Send + Sync>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cause_added_is_matched_and_one_taken_away_is_not(on: RetryOn, cause: Cause, codes: Codes, code: i32) {
            let failure = match cause {
                Cause::Timeout => Failure::Timeout,
                Cause::MemoryLimit => Failure::MemoryLimit,
                Cause::Start => Failure::Start,
                Cause::Panic => Failure::Panic,
                Cause::Other => Failure::Other,
            };
            prop_assert!(on.clone().also(cause).matches(&failure));
            prop_assert!(!on.clone().never(cause).matches(&failure));
            let contained = codes.contains(code);
            prop_assert_eq!(on.exits(codes).matches(&Failure::Exit(code)), contained);
        }
    }

    const EACH: [Failure; 7] = [
        Failure::Exit(1),
        Failure::Signal(9),
        Failure::Timeout,
        Failure::MemoryLimit,
        Failure::Start,
        Failure::Panic,
        Failure::Other,
    ];

    #[track_caller]
    fn check(retry_on: &RetryOn, want: &[Failure]) {
        let got: Vec<_> = EACH.into_iter().filter(|f| retry_on.matches(f)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn nothing_retries_nothing_and_anything_retries_all() {
        check(&RetryOn::nothing(), &[]);
        check(&RetryOn::anything(), &EACH);
    }

    #[test]
    fn the_default_leaves_out_what_would_fail_the_same_way() {
        use Failure::{Exit, Other, Panic, Signal, Timeout};
        check(
            &RetryOn::default(),
            &[Exit(1), Signal(9), Timeout, Panic, Other],
        );
    }

    #[test]
    fn each_cause_can_be_added_and_removed_alone() {
        for (cause, failure) in [
            (Cause::Timeout, Failure::Timeout),
            (Cause::MemoryLimit, Failure::MemoryLimit),
            (Cause::Start, Failure::Start),
            (Cause::Panic, Failure::Panic),
            (Cause::Other, Failure::Other),
        ] {
            check(&RetryOn::nothing().also(cause), &[failure]);
            let rest: Vec<_> = EACH.into_iter().filter(|f| *f != failure).collect();
            check(&RetryOn::anything().never(cause), &rest);
        }
    }

    #[test]
    fn exit_codes_and_signals_are_separate_sets() {
        let on = RetryOn::nothing().exits(Codes::only([9]));
        assert!(on.matches(&Failure::Exit(9)) && !on.matches(&Failure::Signal(9)));
        let on = RetryOn::nothing().signals(Codes::all_but([2]));
        assert!(on.matches(&Failure::Signal(9)) && !on.matches(&Failure::Signal(2)));
        assert!(!on.matches(&Failure::Exit(9)));
    }

    #[test]
    fn a_filter_narrows_the_set_and_never_widens_it() {
        check(
            &RetryOn::anything().filter(|f| *f == Failure::Start),
            &[Failure::Start],
        );
        check(&RetryOn::nothing().filter(|_| true), &[]);
    }
}
