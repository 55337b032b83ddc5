//! The table of operations: what is written by hand, and the columns of figures.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Deserialize;

/// How the table begins.
const HEADING: [&str; 6] = ["operation", "error at most", "tiers", "test", "f32", "f64"];

/// How the line begins that says where the figures are from.
const ORIGIN: &str = "Measured by `pepita bench cpu`";

/// What `pepita bench cpu --json` says, as far as the table shows it.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    machine: Machine,
    operations: Vec<Figure>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    cpu: String,
    kernel: String,
    tier: String,
    levels: Vec<Level>,
}

#[derive(Debug, Deserialize)]
struct Level {
    name: String,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Figure {
    name: String,
    #[serde(rename = "type")]
    number: String,
    level: String,
    share: f64,
}

impl Measured {
    /// Reads what the program wrote.
    pub(crate) fn of(text: &str) -> Result<Self> {
        Ok(serde_json::from_str(text)?)
    }

    /// In percent, at each level: empty unless all of them were measured.
    fn shares(&self, name: &str, number: &str) -> String {
        let share = |level: &Level| {
            let figure = self.operations.iter().find(|figure| {
                (&*figure.name, &*figure.number, &figure.level) == (name, number, &level.name)
            })?;
            Some(format!("{:.0}", figure.share * 100.0))
        };
        let shares: Option<Vec<_>> = self.machine.levels.iter().map(share).collect();
        shares.unwrap_or_default().join(" ")
    }

    fn origin(&self) -> String {
        let Machine {
            cpu,
            kernel,
            tier,
            levels,
        } = &self.machine;
        let levels = levels
            .iter()
            .map(|Level { name, bytes }| match bytes >> 20 {
                0 => format!("{name} ({} KiB)", bytes >> 10),
                mib => format!("{name} ({mib} MiB)"),
            });
        let levels = levels.collect::<Vec<_>>().join(", ");
        format!(
            "{ORIGIN} on {cpu}, {kernel}, {tier}, one thread; all operands together in {levels}."
        )
    }
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// 1-based.
    pub(crate) line: usize,
    /// As many as [`HEADING`] has.
    pub(crate) cells: Vec<&'a str>,
}

impl Row<'_> {
    /// The operation that is measured, and others that do the same.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        quoted(self.cells.first().copied().unwrap_or_default())
    }

    /// The tests.
    pub(crate) fn tests(&self) -> impl Iterator<Item = &str> {
        quoted(self.cells.get(3).copied().unwrap_or_default())
    }

    /// The columns that are empty.
    pub(crate) fn lacks(&self) -> Vec<&'static str> {
        let cell = |at| self.cells.get(at).copied().unwrap_or_default();
        let columns = HEADING.into_iter().enumerate();
        columns
            .filter(|(at, _)| cell(*at).is_empty())
            .map(|(_, name)| name)
            .collect()
    }
}

/// What stands between back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The rows of the table in `readme`.
pub(crate) fn rows(readme: &str) -> Vec<Row<'_>> {
    let lines = readme.lines().enumerate();
    let below = lines.skip_while(|(_, line)| cells(line).is_none_or(|cells| cells != HEADING));
    let rows = below.skip(2).map_while(|(index, line)| {
        let (line, cells) = (index + 1, cells(line)?);
        Some(Row { line, cells })
    });
    rows.collect()
}

/// `readme` with the figures of `measured` in its table, and where they are from.
pub(crate) fn with_figures(readme: &str, measured: &Measured) -> String {
    let rows = rows(readme);
    let at: BTreeSet<_> = rows.iter().map(|row| row.line).collect();
    let mut text = String::new();
    for (index, line) in readme.lines().enumerate() {
        if at.contains(&(index + 1)) {
            let row = rows.iter().find(|row| row.line == index + 1);
            text += &row.map_or_else(|| line.to_owned(), |row| with_shares(row, measured));
        } else if line.starts_with(ORIGIN) {
            text += &measured.origin();
        } else {
            text += line;
        }
        text.push('\n');
    }
    text
}

fn with_shares(row: &Row<'_>, measured: &Measured) -> String {
    let name = row.names().next().unwrap_or_default();
    let mut cells: Vec<String> = row
        .cells
        .iter()
        .take(4)
        .map(|&cell| cell.to_owned())
        .collect();
    cells.resize(4, String::new());
    cells.extend(["f32", "f64"].map(|number| measured.shares(name, number)));
    format!("| {} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "\
# A crate

| operation | error at most | tiers | test | f32 | f64 |
|---|---|---|---|---|---|
| `add`, `vadd` | u | all | `sums_are_right` | 1 2 | |
| `sub` | | all | | | |

Measured by `pepita bench cpu` somewhere.
";

    const FIGURES: &str = r#"{
        "machine": { "cpu": "CPU", "kernel": "Linux 1", "tier": "AVX2", "levels": [
            { "name": "L1", "bytes": 16384 }, { "name": "memory", "bytes": 1073741824 }] },
        "operations": [
            { "name": "add", "type": "f32", "level": "L1", "share": 0.987 },
            { "name": "add", "type": "f32", "level": "memory", "share": 1.0 },
            { "name": "add", "type": "f64", "level": "L1", "share": 0.5 }] }"#;

    #[test]
    fn a_row_has_what_was_measured_at_all_levels_or_nothing() {
        let measured = Measured::of(FIGURES).unwrap();
        let text = with_figures(README, &measured);
        let want = "\
# A crate

| operation | error at most | tiers | test | f32 | f64 |
|---|---|---|---|---|---|
| `add`, `vadd` | u | all | `sums_are_right` | 99 100 |  |
| `sub` |  | all |  |  |  |

Measured by `pepita bench cpu` on CPU, Linux 1, AVX2, one thread; all operands together in L1 (16 KiB), memory (1024 MiB).
";
        assert_eq!(text, want);
        assert_eq!(with_figures(&text, &measured), text);
    }

    #[test]
    fn a_row_says_what_it_lacks() {
        let rows = rows(README);
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(rows[0].names().collect::<Vec<_>>(), ["add", "vadd"]);
        assert_eq!(rows[0].tests().collect::<Vec<_>>(), ["sums_are_right"]);
        assert_eq!(rows[0].lacks(), ["f64"]);
        assert_eq!(rows[1].lacks(), ["error at most", "test", "f32", "f64"]);
    }
}
