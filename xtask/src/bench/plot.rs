//! A plot of one bench: a bar for the ratio to each peer, with its interval, in groups by case.
//!
//! The axis is logarithmic, so that "twice as fast" and "half as fast" are equally far from the line
//! at 1, where every bar begins.

use std::fmt::{self, Write};

use super::results::{Ratio, Results};

const WIDTH: f64 = 760.0;
/// Where the plot begins and ends; names stand left of it, figures right.
const LEFT: f64 = 270.0;
const RIGHT: f64 = 620.0;
const ROW: f64 = 22.0;
const BAR: f64 = 12.0;
const TOP: f64 = 24.0;

/// Colours of their own for dark pages; those of the bars show on both.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}\
.case{font-weight:600}.muted{fill:#59636e}\
.grid{stroke:#8c959f;stroke-opacity:.35}.one{stroke:#59636e;stroke-width:1.5}\
.interval{stroke:#24292f;stroke-width:1.5}\
.ahead{fill:#2da160}.level{fill:#8c959f}.behind{fill:#d9534f}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.muted{fill:#9198a1}\
.one{stroke:#b1bac4}.interval{stroke:#e6edf3}}";

/// A logarithmic axis over whole powers of two.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// Holds all of `ratios`, and at least 1/2 to 2.
    fn over(ratios: impl Iterator<Item = Ratio>) -> Self {
        let (mut low, mut high) = (0.5_f64, 2.0_f64);
        for seen in ratios {
            low = low.min(seen.low);
            high = high.max(seen.high);
        }
        // Beyond that a bar is cut; its figure stands beside it.
        let powers = -12..=12_i32;
        let mut within = powers
            .clone()
            .filter(|&power| 2_f64.powi(power) <= low)
            .rev();
        let mut above = powers.clone().filter(|&power| 2_f64.powi(power) >= high);
        Self {
            low: within.next().unwrap_or(*powers.start()),
            high: above.next().unwrap_or(*powers.end()),
        }
    }

    fn x(self, ratio: f64) -> f64 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let power = ratio.log2().clamp(low, high);
        LEFT + (power - low) / (high - low) * (RIGHT - LEFT)
    }

    fn label(power: i32) -> String {
        let value = 1_u32 << power.unsigned_abs();
        if power < 0 {
            format!("1/{value}")
        } else {
            value.to_string()
        }
    }
}

/// The plot of all cases that have a peer; `None` if none has.
pub(super) fn svg(results: &Results) -> Option<String> {
    let mut rows = String::new();
    let ratios = results
        .cases
        .iter()
        .flat_map(|case| case.ratios.values().copied());
    ratios.clone().next()?;
    let axis = Axis::over(ratios);
    let mut y = TOP;
    for case in results.cases.iter().filter(|case| !case.ratios.is_empty()) {
        text(&mut rows, "case", 8.0, y + 15.0, &case.case).ok()?;
        y += ROW;
        for (peer, seen) in &case.ratios {
            bar(&mut rows, axis, y, peer, *seen).ok()?;
            y += ROW;
        }
        y += ROW / 3.0;
    }
    let mut svg = String::new();
    frame(&mut svg, results, axis, y, &rows).ok()?;
    Some(svg)
}

/// Everything but the rows, and the rows in their place.
fn frame(svg: &mut String, results: &Results, axis: Axis, bottom: f64, rows: &str) -> fmt::Result {
    let height = bottom + 12.0;
    let name = escaped(&results.bench);
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{name}: ratio to each peer">"#
    )?;
    writeln!(svg, "<style>{STYLE}</style>")?;
    text(
        svg,
        "muted",
        8.0,
        15.0,
        "against each peer; above 1 is ahead",
    )?;
    let step = usize::try_from((axis.high - axis.low) / 8 + 1).unwrap_or(1);
    for power in
        (axis.low..=axis.high).filter(|power| power % i32::try_from(step).unwrap_or(1) == 0)
    {
        let x = axis.x(2_f64.powi(power));
        let class = if power == 0 { "one" } else { "grid" };
        writeln!(
            svg,
            r#"<line class="{class}" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom:.1}"/>"#
        )?;
        let label = Axis::label(power);
        writeln!(
            svg,
            r#"<text class="muted" x="{x:.1}" y="15" text-anchor="middle">{label}</text>"#
        )?;
    }
    svg.push_str(rows);
    svg.push_str("</svg>\n");
    Ok(())
}

/// The name of the peer, the bar, its interval and the figure.
fn bar(svg: &mut String, axis: Axis, y: f64, peer: &str, seen: Ratio) -> fmt::Result {
    text(svg, "", 24.0, y + 15.0, peer)?;
    let (one, end) = (axis.x(1.0), axis.x(seen.ratio));
    let (x, width) = (one.min(end), (one - end).abs());
    let class = seen.verdict();
    let top = y + (ROW - BAR) / 2.0;
    writeln!(
        svg,
        r#"<rect class="{class}" x="{x:.1}" y="{top:.1}" width="{width:.1}" height="{BAR}"/>"#
    )?;
    let (low, high, middle) = (axis.x(seen.low), axis.x(seen.high), y + ROW / 2.0);
    writeln!(
        svg,
        r#"<line class="interval" x1="{low:.1}" y1="{middle:.1}" x2="{high:.1}" y2="{middle:.1}"/>"#
    )?;
    let figure = format!("{:.2} {class}", seen.ratio);
    text(svg, "", RIGHT + 14.0, y + 15.0, &figure)
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) -> fmt::Result {
    let text = escaped(text);
    writeln!(
        svg,
        r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::results::SAMPLE;
    use super::*;

    #[test]
    fn each_peer_has_a_bar_in_the_colour_of_its_verdict() {
        let results: Results = serde_json::from_str(SAMPLE).unwrap();
        let svg = svg(&results).unwrap();
        for (class, count) in [("ahead", 1), ("level", 1), ("behind", 1)] {
            let bars = svg.matches(&format!("<rect class=\"{class}\"")).count();
            assert_eq!(bars, count, "{class} in\n{svg}");
        }
        assert!(svg.contains("slow &amp; old") && !svg.contains("alone"));
    }

    #[test]
    fn twice_and_half_are_equally_far_from_the_line_at_one() {
        let axis = Axis { low: -3, high: 2 };
        let (one, twice, half) = (axis.x(1.0), axis.x(2.0), axis.x(0.5));
        assert!((twice - one - (one - half)).abs() < 1e-9);
        assert_eq!(axis.x(0.0), LEFT);
        assert_eq!(axis.x(1e9), RIGHT);
    }

    #[test]
    fn the_axis_holds_every_interval() {
        let wide = |low, high| Ratio {
            ratio: 1.0,
            low,
            high,
        };
        let axis = Axis::over([wide(0.9, 5.0), wide(0.12, 1.0)].into_iter());
        assert_eq!((axis.low, axis.high), (-4, 3));
        let axis = Axis::over([wide(0.99, 1.01)].into_iter());
        assert_eq!((axis.low, axis.high), (-1, 1));
    }
}
