//! The results: one JSON object, and a table made from it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::case::{Case, Role};
use crate::host::Host;
use crate::run::{Measured, Series};
use crate::stats::{Comparison, Verdict, median, median_interval};

/// A run of one suite.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    /// Every case of the suite was measured, in full; only such a report is published.
    pub(crate) complete: bool,
    #[serde(flatten)]
    pub(crate) host: Host,
    pub(crate) cases: Vec<CaseReport>,
    /// Cases that could not be measured, with the reason.
    pub(crate) not_measured: BTreeMap<String, String>,
}

/// A case that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct CaseReport {
    case: String,
    work: String,
    unit: &'static str,
    rounds: usize,
    /// The median.
    ours: f64,
    /// The 95 % bootstrap interval of `ours`.
    ours_low: f64,
    ours_high: f64,
    ours_name: String,
    /// Medians.
    peers: BTreeMap<String, f64>,
    references: BTreeMap<String, f64>,
    /// The median of what ours takes over the first reference, round by round.
    over_reference: Option<f64>,
    /// The peer with the best median of those that the bar is about, and how ours compares with it.
    best: Option<String>,
    ratio: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    verdict: Option<&'static str>,
    /// How ours compares with each peer.
    ratios: BTreeMap<String, Ratio>,
    bar: Option<String>,
    holds: Option<bool>,
    missing: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Ratio {
    ratio: f64,
    low: f64,
    high: f64,
}

/// Puts the figures of `case` together; `None` if there are none of ours.
pub(crate) fn summarise(case: &Case, measured: Measured) -> Option<CaseReport> {
    let of_role = |role| {
        let series = measured.series.iter();
        series.filter(move |series| series.role == role)
    };
    let ours = of_role(Role::Ours).next()?;
    let named = |series: &Series| (series.name.clone(), short(median(&series.figures)));
    let peers = || of_role(Role::Peer).chain(of_role(Role::Beside));
    let compared = peers().map(|peer| {
        let seen = Comparison::of(&ours.figures, &peer.figures, case.unit);
        (peer, seen)
    });
    let compared: Vec<(&Series, Comparison)> = compared.collect();
    let best = compared
        .iter()
        .filter(|(peer, _)| peer.role == Role::Peer)
        .max_by(|(a, _), (b, _)| goodness(a, case).total_cmp(&goodness(b, case)));
    let (ours_low, ours_high) = median_interval(&ours.figures);
    let ours_median = median(&ours.figures);
    let seen = best.map(|(_, seen)| *seen);
    let over = of_role(Role::Reference).next().map(|reference| {
        let pairs = ours.figures.iter().zip(&reference.figures);
        median(&pairs.map(|(ours, floor)| ours - floor).collect::<Vec<_>>())
    });
    let ratios = compared
        .iter()
        .map(|(peer, seen)| (peer.name.clone(), Ratio::from(*seen)));
    Some(CaseReport {
        case: case.name.clone(),
        work: case.work.clone(),
        unit: case.unit.name(),
        rounds: measured.rounds,
        ours: short(ours_median),
        ours_low: short(ours_low),
        ours_high: short(ours_high),
        ours_name: ours.name.clone(),
        peers: peers().map(named).collect(),
        references: of_role(Role::Reference).map(named).collect(),
        over_reference: over.map(short),
        best: best.map(|(peer, _)| peer.name.clone()),
        ratio: seen.map(|seen| short(seen.ratio)),
        low: seen.map(|seen| short(seen.low)),
        high: seen.map(|seen| short(seen.high)),
        verdict: seen.map(|seen| words(seen.verdict())),
        ratios: ratios.collect(),
        bar: case.bar.map(|bar| bar.to_string()),
        holds: case
            .bar
            .map(|bar| bar.holds(ours_median, seen.as_ref(), over)),
        missing: measured.missing.into_iter().collect(),
    })
}

/// Greater is better: which peer is best is decided on medians over the run.
fn goodness(series: &Series, case: &Case) -> f64 {
    let figure = median(&series.figures);
    match case.unit {
        crate::Unit::Time(_) => -figure,
        crate::Unit::Rate(_) => figure,
    }
}

impl From<Comparison> for Ratio {
    fn from(seen: Comparison) -> Self {
        Self {
            ratio: short(seen.ratio),
            low: short(seen.low),
            high: short(seen.high),
        }
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ahead => "ahead",
        Verdict::Level => "level",
        Verdict::Behind => "behind",
    }
}

/// Five significant digits: more is noise.
fn short(figure: f64) -> f64 {
    format!("{figure:.4e}").parse().unwrap_or(figure)
}

/// A figure for people.
fn figure(value: f64) -> String {
    match value.abs() {
        1000.0.. => {
            let digits = format!("{value:.0}");
            let mut grouped = String::new();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The table of a report.
pub(crate) fn table(report: &Report) -> String {
    const HEAD: [&str; 7] = [
        "case",
        "contender",
        "figure",
        "unit",
        "ratio",
        "95 % interval",
        "bar",
    ];
    let mut rows = vec![HEAD.map(str::to_owned)];
    for case in &report.cases {
        rows.extend(case_rows(case));
    }
    let widths: [usize; 7] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let mut table = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width - cell.chars().count() + 2);
            let is_number = column == 2 || column == 4;
            let (before, after) = if is_number {
                (gap.as_str(), "  ")
            } else {
                ("", gap.as_str())
            };
            table.extend([before, cell, after]);
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}

fn case_rows(case: &CaseReport) -> Vec<[String; 7]> {
    let verdict = case
        .holds
        .map(|holds| if holds { "holds" } else { "MISSED" });
    let bar = match (&case.bar, verdict) {
        (Some(bar), Some(verdict)) => format!("{bar}: {verdict}"),
        _ => String::new(),
    };
    let blank = String::new;
    let mut rows = vec![[
        case.case.clone(),
        case.ours_name.clone(),
        figure(case.ours),
        case.unit.to_owned(),
        blank(),
        format!("{} – {}", figure(case.ours_low), figure(case.ours_high)),
        bar,
    ]];
    for (peer, median) in &case.peers {
        let (ratio, interval) = case.ratios.get(peer).map_or_else(Default::default, |seen| {
            let ratio = format!("{:.3}", seen.ratio);
            (ratio, format!("{:.3} – {:.3}", seen.low, seen.high))
        });
        let is_best = case.best.as_ref() == Some(peer);
        let verdict = case.verdict.filter(|_| is_best).unwrap_or_default();
        rows.push([
            blank(),
            format!("  {peer}"),
            figure(*median),
            case.unit.to_owned(),
            ratio,
            interval,
            verdict.to_owned(),
        ]);
    }
    let note = |name: &str, figure: String, what: String| {
        let name = format!("  {name}");
        [blank(), name, figure, blank(), blank(), what, blank()]
    };
    let over = case.over_reference.map_or_else(String::new, |over| {
        format!("reference; ours takes {} more", figure(over))
    });
    let references = case.references.iter();
    rows.extend(references.map(|(name, value)| note(name, figure(*value), over.clone())));
    let missing = case.missing.iter();
    rows.extend(missing.map(|(name, why)| note(name, blank(), format!("MISSING: {why}"))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Bar, Unit};

    fn measured(peers: &[(&str, f64)]) -> Measured {
        let series = |name: &str, role, figure| Series {
            name: name.to_owned(),
            role,
            figures: vec![figure; 4],
        };
        let ours = series("ours", Role::Ours, 2.0);
        let peers = peers
            .iter()
            .map(|(name, figure)| series(name, Role::Peer, *figure));
        Measured {
            rounds: 4,
            series: std::iter::once(ours).chain(peers).collect(),
            missing: vec![("gone".to_owned(), "not installed".to_owned())],
        }
    }

    #[track_caller]
    fn check(unit: Unit, best: &str, ratio: f64, holds: bool) {
        let case = Case::new("c", unit, "w").bar(Bar::Ratio(1.4));
        let seen = summarise(&case, measured(&[("slow", 6.0), ("fast", 3.0)])).unwrap();
        assert_eq!(seen.best.as_deref(), Some(best));
        assert_eq!(seen.ratio, Some(ratio));
        assert_eq!(seen.holds, Some(holds));
    }

    #[test]
    fn the_best_peer_has_the_least_time_or_the_greatest_rate() {
        check(Unit::Time("ms"), "fast", 1.5, true);
        check(Unit::Rate("/s"), "slow", 0.33333, false);
    }

    #[test]
    fn a_bar_is_not_about_who_stands_beside_it() {
        let case = Case::new("c", Unit::Time("ms"), "w").bar(Bar::Ratio(1.4));
        let mut measured = measured(&[("peer", 3.0)]);
        measured.series.push(Series {
            name: "beside".to_owned(),
            role: Role::Beside,
            figures: vec![1.0; 4],
        });
        let seen = summarise(&case, measured).unwrap();
        assert_eq!(
            (seen.best.as_deref(), seen.holds),
            (Some("peer"), Some(true))
        );
        assert_eq!(
            (seen.peers["beside"], seen.ratios["beside"].ratio),
            (1.0, 0.5)
        );
    }

    #[test]
    fn a_bar_in_the_unit_of_the_case_needs_no_peer() {
        let case = Case::new("c", Unit::Time("ms"), "w").bar(Bar::Below(2.0));
        let seen = summarise(&case, measured(&[])).unwrap();
        assert_eq!((seen.ratio, seen.holds), (None, Some(false)));
    }

    #[test]
    fn losing_and_missing_peers_are_in_the_table() {
        let case = Case::new("c", Unit::Rate("/s"), "w").bar(Bar::AtLeast(1.0));
        let cases = vec![summarise(&case, measured(&[("fast", 6000.0)])).unwrap()];
        let table = table(&Report {
            bench: "b",
            complete: true,
            host: Host::look(),
            cases,
            not_measured: BTreeMap::new(),
        });
        for part in [
            "6,000",
            "0.000",
            "behind",
            "MISSING: not installed",
            "holds",
        ] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
    }
}
