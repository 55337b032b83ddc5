//! Runs a case: answers first, then rounds in random order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::ROUNDS;
use crate::case::{Case, Entry, Role, Settings};
use crate::home::Runner;
use crate::stats::Random;
use crate::watchdog::Watchdog;

/// What the rounds of a case gave.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) rounds: usize,
    /// In the order of the case's entries, ours among them; one figure for each round.
    pub(crate) series: Vec<Series>,
    /// Peers and references that this machine lacks, with the reason.
    pub(crate) missing: Vec<(String, String)>,
}

/// The figures of one contender.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) figures: Vec<f64>,
}

/// The least time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(20);

/// A contender that takes part.
struct Contestant<'a> {
    entry: &'a Entry,
    runner: Runner,
    figures: Vec<f64>,
}

/// Runs `case`, with `rounds` rounds if the command line says so.
///
/// # Errors
/// If ours cannot be made, a contender fails, or two answers differ.
pub(crate) fn run(
    suite: &str,
    case: &Case,
    settings: &Settings,
    rounds: Option<usize>,
    random: &mut Random,
) -> Result<Measured> {
    let rounds = rounds.or(case.rounds).unwrap_or(ROUNDS);
    let mut contestants = Vec::new();
    let mut missing = Vec::new();
    for entry in &case.entries {
        match Runner::start(suite, &case.name, entry, settings) {
            Ok(runner) => contestants.push(Contestant {
                entry,
                runner,
                figures: Vec::with_capacity(rounds),
            }),
            Err(error) if entry.role == Role::Ours => {
                return Err(error.context(format!("`{}` is missing", entry.name)));
            }
            Err(error) => missing.push((entry.name.clone(), format!("{error:#}"))),
        }
    }
    let watchdog = Watchdog::new();
    compare_answers(&mut contestants, &watchdog)?;
    time(&mut contestants, rounds, random, &watchdog)?;
    let series = contestants.into_iter().map(|contestant| Series {
        name: contestant.entry.name.clone(),
        role: contestant.entry.role,
        figures: contestant.figures,
    });
    Ok(Measured {
        rounds,
        series: series.collect(),
        missing,
    })
}

/// Asks all for their answer; this also warms each of them up.
fn compare_answers(contestants: &mut [Contestant<'_>], watchdog: &Watchdog) -> Result<()> {
    let mut first: Option<(&str, String)> = None;
    for contestant in contestants {
        let name = contestant.entry.name.as_str();
        let answer = watchdog
            .limit(|| contestant.runner.answer())
            .with_context(|| format!("the answer of `{name}`"))?;
        match &first {
            None => first = Some((name, answer)),
            Some((_, wanted)) if *wanted == answer => {}
            Some((other, wanted)) => bail!(
                "answers differ: `{other}` says {}, `{name}` says {}",
                shortened(wanted),
                shortened(&answer)
            ),
        }
    }
    Ok(())
}

fn shortened(answer: &str) -> String {
    const SHOWN: usize = 200;
    let count = answer.chars().count();
    let shown: String = answer.chars().take(SHOWN).collect();
    if count > SHOWN {
        format!("{shown:?} … ({count} characters)")
    } else {
        format!("{shown:?}")
    }
}

fn time(
    contestants: &mut [Contestant<'_>],
    rounds: usize,
    random: &mut Random,
    watchdog: &Watchdog,
) -> Result<()> {
    let mut order: Vec<usize> = (0..contestants.len()).collect();
    let mut told = Instant::now();
    for round in 0..rounds {
        random.shuffle(&mut order);
        for &index in &order {
            let contestant = &mut contestants[index];
            let figure = watchdog
                .limit(|| contestant.runner.round())
                .with_context(|| format!("`{}` in round {round}", contestant.entry.name))?;
            contestant.figures.push(figure);
        }
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("    {} of {rounds} rounds", round + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Contender, Home, Unit};

    #[derive(Clone)]
    struct Says(&'static str);

    impl Contender for Says {
        fn answer(&mut self) -> Result<String> {
            Ok(self.0.to_owned())
        }

        fn round(&mut self) -> Result<f64> {
            Ok(1.0)
        }
    }

    /// Runs a case with ours, which says 42, and one peer.
    fn against(peer: impl Fn() -> Result<Says> + 'static) -> Result<Measured> {
        let case = Case::new("c", Unit::Time("ms"), "w")
            .contender(Role::Ours, Home::Shared, "ours", || Ok(Says("42")))
            .contender(Role::Peer, Home::Shared, "peer", peer);
        let settings = Settings {
            size: None,
            pepita: "pepita".into(),
        };
        run("s", &case, &settings, None, &mut Random::new(0))
    }

    #[test]
    fn every_contender_has_a_figure_for_each_of_30_rounds() {
        let measured = against(|| Ok(Says("42"))).unwrap();
        let counts: Vec<usize> = measured.series.iter().map(|s| s.figures.len()).collect();
        assert_eq!((measured.rounds, counts), (30, vec![30, 30]));
    }

    #[test]
    fn nothing_is_timed_when_answers_differ() {
        let error = against(|| Ok(Says("43"))).unwrap_err().to_string();
        assert_eq!(
            error,
            "answers differ: `ours` says \"42\", `peer` says \"43\""
        );
    }

    #[test]
    fn a_peer_that_the_machine_lacks_is_named() {
        let measured = against(|| bail!("not installed")).unwrap();
        assert_eq!(measured.series.len(), 1);
        let missing = ("peer".to_owned(), "not installed".to_owned());
        assert_eq!(measured.missing, [missing]);
    }
}
