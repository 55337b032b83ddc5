//! Plans as text.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use pepita_sys::blk_mq::RequestOp;
use pepita_sys::error::Errno;

use super::plan::{FaultAction, FaultPlan, FaultRule};

/// Why a text is no [`FaultPlan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlanError {
    /// Where the word is: bytes of the text before it.
    pub at: usize,
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for FaultPlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, word, what } = self;
        write!(f, "at byte {at} of the plan, `{word}`: {what}")
    }
}

impl std::error::Error for FaultPlanError {}

/// A word, and where it is.
#[derive(Clone, Copy)]
struct Word<'t> {
    at: usize,
    text: &'t str,
}

impl Word<'_> {
    fn wrong(self, what: &'static str) -> FaultPlanError {
        FaultPlanError {
            at: self.at,
            word: self.text.to_owned(),
            what,
        }
    }
}

/// The pieces of `text`, which begins at `at`, between `separator`s.
fn pieces(at: usize, text: &str, separator: char) -> impl Iterator<Item = Word<'_>> {
    let mut at = at;
    text.split(separator).map(move |text| {
        let word = Word { at, text };
        at += text.len() + separator.len_utf8();
        word
    })
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        let mut plan = Self::default();
        for rule in pieces(0, text, ';') {
            let words = pieces(rule.at, rule.text, ' ').filter(|word| !word.text.is_empty());
            let words: Vec<Word<'_>> = words.collect();
            let Some((first, rest)) = words.split_first() else {
                continue;
            };
            match first.text.strip_prefix("seed=") {
                Some(seed) if rest.is_empty() => {
                    plan.seed = seed
                        .parse()
                        .map_err(|_| first.wrong("a seed is a number"))?;
                }
                _ => plan.rules.push(parse_rule(*first, rest)?),
            }
        }
        if plan.rules.is_empty() {
            let text = Word { at: 0, text };
            return Err(text.wrong("there is no rule, such as `write error=EIO nth=3`"));
        }
        Ok(plan)
    }
}

const OPS: [(&str, RequestOp); 5] = [
    ("read", RequestOp::Read),
    ("write", RequestOp::Write),
    ("flush", RequestOp::Flush),
    ("discard", RequestOp::Discard),
    ("zeroes", RequestOp::WriteZeroes),
];

fn parse_ops(word: Word<'_>) -> Result<Vec<RequestOp>, FaultPlanError> {
    if word.text == "any" {
        return Ok(OPS.iter().map(|(_, op)| *op).collect());
    }
    let op = |piece: Word<'_>| {
        let found = OPS.iter().find(|(name, _)| *name == piece.text);
        found.map(|(_, op)| *op).ok_or_else(|| {
            piece
                .wrong("a rule begins with operations: read, write, flush, discard, zeroes, or any")
        })
    };
    pieces(word.at, word.text, ',').map(op).collect()
}

/// What the words of a rule have said so far.
#[derive(Default)]
struct Said {
    error: Option<Errno>,
    torn: Option<u32>,
    other: Option<FaultAction>,
}

fn parse_rule(first: Word<'_>, rest: &[Word<'_>]) -> Result<FaultRule, FaultPlanError> {
    let ops = parse_ops(first)?;
    let mut said = Said::default();
    let mut rule = FaultRule::new(ops, FaultAction::Hang);
    for word in rest {
        let (name, value) = word.text.split_once('=').unwrap_or((word.text, ""));
        let number = || value.parse::<u64>().map_err(|_| word.wrong("not a number"));
        let counting = || match number()? {
            0 => Err(word.wrong("counting begins with 1")),
            number => Ok(Some(number)),
        };
        match name {
            "error" => said.error = Some(parse_errno(*word, value)?),
            "torn" => {
                let sectors = number()?;
                said.torn = u32::try_from(sectors).ok();
                if said.torn.is_none() {
                    return Err(word.wrong("no request has so many sectors"));
                }
            }
            "delay" => said.other = Some(FaultAction::Delay(parse_delay(*word, value)?)),
            "lose" => said.other = Some(FaultAction::Lose),
            "hang" => said.other = Some(FaultAction::Hang),
            "sectors" => rule.sectors = Some(parse_sectors(*word, value)?),
            "nth" => rule.nth = counting()?,
            "every" => rule.every = counting()?,
            "times" => rule.times = counting()?,
            "chance" => {
                let chance = value.parse().ok().filter(|chance| (0.0..=1.0).contains(chance));
                rule.chance = chance;
                if chance.is_none() {
                    return Err(word.wrong("a chance is from 0 to 1"));
                }
            }
            _ => return Err(word.wrong(
                "expected error=, delay=, torn=, lose, hang, sectors=, nth=, every=, times= or chance=",
            )),
        }
    }
    rule.action = action(first, &said)?;
    check(first, &rule)?;
    Ok(rule)
}

fn action(first: Word<'_>, said: &Said) -> Result<FaultAction, FaultPlanError> {
    match *said {
        Said {
            error,
            torn: Some(sectors),
            other: None,
        } => Ok(FaultAction::Torn { sectors, error }),
        Said {
            error: Some(errno),
            torn: None,
            other: None,
        } => Ok(FaultAction::Error(errno)),
        Said {
            error: None,
            torn: None,
            other: Some(action),
        } => Ok(action),
        Said {
            error: None,
            torn: None,
            other: None,
        } => Err(first.wrong("nothing happens: error=EIO, delay=1ms, torn=1, lose or hang")),
        _ => Err(first.wrong("only torn= and error= go together")),
    }
}

/// Whether each operation can have the fault.
fn check(first: Word<'_>, rule: &FaultRule) -> Result<(), FaultPlanError> {
    // `any` means those that can.
    if first.text == "any" {
        return Ok(());
    }
    let is_torn = |op: &RequestOp| !matches!(op, RequestOp::Write | RequestOp::WriteZeroes);
    match rule.action {
        FaultAction::Torn { .. } if rule.ops.iter().any(is_torn) => {
            Err(first.wrong("only write and zeroes can be torn"))
        }
        FaultAction::Lose if rule.ops.contains(&RequestOp::Read) => {
            Err(first.wrong("a read cannot be lost: its memory would hold something old"))
        }
        _ => Ok(()),
    }
}

fn parse_errno(word: Word<'_>, value: &str) -> Result<Errno, FaultPlanError> {
    let all = (1..=Errno::MAX).map(Errno::from_raw);
    let mut named = all.filter(|errno| errno.name() == Some(value));
    let number = || {
        value
            .parse()
            .ok()
            .filter(|number| (1..=Errno::MAX).contains(number))
    };
    named
        .next()
        .or_else(|| number().map(Errno::from_raw))
        .ok_or_else(|| word.wrong("not the name of an error, such as EIO or ENOSPC"))
}

fn parse_delay(word: Word<'_>, value: &str) -> Result<Duration, FaultPlanError> {
    let digits = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number = number.parse::<u64>().ok();
    let delay = match unit {
        "us" => number.map(Duration::from_micros),
        "ms" => number.map(Duration::from_millis),
        "s" => number.map(Duration::from_secs),
        _ => None,
    };
    delay.ok_or_else(|| word.wrong("a delay is a number and a unit: 500us, 10ms, 2s"))
}

fn parse_sectors(word: Word<'_>, value: &str) -> Result<Range<u64>, FaultPlanError> {
    let (start, end) = value.split_once("..").unwrap_or_default();
    match (start.parse(), end.parse()) {
        (Ok(start), Ok(end)) if start < end => Ok(start..end),
        _ => Err(word.wrong("sectors are a range of 512 bytes each, without its end: 0..2048")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, action: FaultAction) -> FaultRule {
        let plan: FaultPlan = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(plan.rules.len(), 1, "{text}");
        assert_eq!(plan.rules[0].action, action, "{text}");
        plan.rules[0].clone()
    }

    #[test]
    fn every_fault_and_condition_has_a_word() {
        use RequestOp::{Discard, Flush, Read, Write, WriteZeroes};
        let eio = Errno::EIO;
        let rule = check("write error=EIO nth=3", FaultAction::Error(eio));
        assert_eq!((rule.ops, rule.nth), (vec![Write], Some(3)));
        let rule = check(
            "  read,flush   delay=10ms chance=0.25 ",
            FaultAction::Delay(Duration::from_millis(10)),
        );
        assert_eq!((rule.ops, rule.chance), (vec![Read, Flush], Some(0.25)));
        let torn = |sectors, error| FaultAction::Torn { sectors, error };
        let rule = check("write,zeroes torn=8 sectors=0..2048", torn(8, None));
        assert_eq!(
            (rule.ops, rule.sectors),
            (vec![Write, WriteZeroes], Some(0..2048))
        );
        check("write error=5 torn=0", torn(0, Some(eio)));
        let rule = check("discard lose every=2 times=9", FaultAction::Lose);
        assert_eq!(
            (rule.ops, rule.every, rule.times),
            (vec![Discard], Some(2), Some(9))
        );
        assert_eq!(check("any hang", FaultAction::Hang).ops.len(), 5);
        let plan: FaultPlan = "seed=9; read hang;; write hang;".parse().expect("a plan");
        assert_eq!((plan.seed, plan.rules.len()), (9, 2));
    }

    #[test]
    fn what_is_no_plan_says_where_and_why() {
        for (text, at, word, what) in [
            ("", 0, "", "no rule"),
            ("seed=7", 0, "seed=7", "no rule"),
            ("seed=x; read hang", 0, "seed=x", "a number"),
            (
                "read hang; wirte hang",
                11,
                "wirte",
                "begins with operations",
            ),
            ("read,any hang", 5, "any", "begins with operations"),
            ("read eror=EIO", 5, "eror=EIO", "expected error="),
            ("read error=EOI", 5, "error=EOI", "not the name of an error"),
            ("read error=4096", 5, "error=4096", "not the name"),
            ("read", 0, "read", "nothing happens"),
            ("read hang error=EIO", 0, "read", "go together"),
            ("read hang nth=0", 10, "nth=0", "begins with 1"),
            ("read hang nth=-1", 10, "nth=-1", "not a number"),
            ("read hang chance=2", 10, "chance=2", "from 0 to 1"),
            ("read hang chance=NaN", 10, "chance=NaN", "from 0 to 1"),
            ("read delay=10", 5, "delay=10", "a unit"),
            ("read delay=1h", 5, "delay=1h", "a unit"),
            ("write hang sectors=5..5", 11, "sectors=5..5", "a range"),
            ("write hang sectors=7", 11, "sectors=7", "a range"),
            ("flush torn=1", 0, "flush", "can be torn"),
            ("write torn=4294967296", 6, "torn=4294967296", "so many"),
            ("read,write lose", 0, "read,write", "cannot be lost"),
        ] {
            let error = text.parse::<FaultPlan>().expect_err(text);
            assert_eq!((error.at, error.word.as_str()), (at, word), "{text}");
            assert!(error.what.contains(what), "{text}: {error}");
        }
    }
}
