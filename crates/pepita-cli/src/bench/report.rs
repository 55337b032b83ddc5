//! [`Report`]: what was measured, for people and for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::machine::Machine;
use crate::units::show_size;

/// All figures are of one thread.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pepita: &'static str,
    pub(super) machine: Machine,
    /// Multiply-adds of numbers of each type a second, in registers.
    pub(super) multiply_adds: BTreeMap<&'static str, f64>,
    pub(super) traffic: Vec<Traffic>,
    pub(super) operations: Vec<Figure>,
}

/// The roof of memory.
#[derive(Debug, Serialize)]
pub(super) struct Traffic {
    pub(super) mix: &'static str,
    #[serde(rename = "type")]
    pub(super) number: &'static str,
    pub(super) level: &'static str,
    /// What the program reads and writes; not what caches do on top.
    pub(super) bytes_per_s: f64,
}

/// An operation.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    #[serde(rename = "type")]
    pub(super) number: &'static str,
    pub(super) level: &'static str,
    /// Of each operand.
    pub(super) numbers: usize,
    /// Of a call.
    pub(super) seconds: f64,
    /// Of the roof: the time of its traffic or of its multiply-adds, whichever is longer, over its own.
    pub(super) share: f64,
}

impl Report {
    /// Nothing yet.
    pub(super) fn of(machine: Machine) -> Self {
        Self {
            pepita: env!("CARGO_PKG_VERSION"),
            machine,
            multiply_adds: BTreeMap::new(),
            traffic: Vec::new(),
            operations: Vec::new(),
        }
    }

    pub(super) fn as_json(&self) -> String {
        // Strings and numbers: nothing in it can fail to be JSON.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    pub(super) fn as_text(&self) -> String {
        let Machine {
            cpu,
            kernel,
            tier,
            levels,
        } = &self.machine;
        let mut text = format!("{cpu}, {kernel}; one thread, {tier}\n\n");
        for (number, rate) in &self.multiply_adds {
            text += &format!(
                "{number}: {:.1} thousand million multiply-adds a second\n",
                rate / 1e9
            );
        }
        text += &format!("\n{:<18}", "memory, GB/s");
        text += &self.heading();
        text += &format!("{:<18}", "operands");
        for _ in &self.multiply_adds {
            for level in levels {
                text += &format!("{:>9}", show_size(level.bytes as u64));
            }
        }
        text += "\n";
        let traffic = self.traffic.iter().map(|row| {
            let rate = format!("{:.1}", row.bytes_per_s / 1e9);
            (row.mix, row.number, row.level, rate)
        });
        text += &self.rows(&traffic.collect::<Vec<_>>());
        text += &format!("\n{:<18}", "% of the roof");
        text += &self.heading();
        let shares = self.operations.iter().map(|row| {
            let percent = format!("{:.0}", row.share * 100.0);
            (row.name, row.number, row.level, percent)
        });
        text + &self.rows(&shares.collect::<Vec<_>>())
    }

    /// The types and levels, above their columns.
    fn heading(&self) -> String {
        let mut text = String::new();
        for number in self.multiply_adds.keys() {
            for level in &self.machine.levels {
                text += &format!("{:>9}", format!("{number} {}", short(level.name)));
            }
        }
        text + "\n"
    }

    /// One row for each first word of `cells`, with a column for each type and level.
    fn rows(&self, cells: &[(&str, &str, &str, String)]) -> String {
        let mut names: Vec<_> = cells.iter().map(|cell| cell.0).collect();
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        let mut text = String::new();
        for name in names {
            text += &format!("{name:<18}");
            for number in self.multiply_adds.keys() {
                for level in &self.machine.levels {
                    let place = (name, *number, level.name);
                    let mut found = cells
                        .iter()
                        .filter(|cell| (cell.0, cell.1, cell.2) == place);
                    let shown = found.next().map_or("-", |cell| cell.3.as_str());
                    text += &format!("{shown:>9}");
                }
            }
            text += "\n";
        }
        text
    }
}

fn short(level: &str) -> &str {
    match level {
        "memory" => "mem",
        cache => cache,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_and_level_has_its_column() {
        let levels = ["L1", "memory"].map(|name| super::super::machine::Level {
            name,
            bytes: 1 << 14,
        });
        let mut report = Report::of(Machine {
            cpu: "CPU".into(),
            kernel: "Linux 1".into(),
            tier: "Scalar",
            levels: levels.into(),
        });
        report.multiply_adds.insert("f32", 2e9);
        for (level, share) in [("L1", 0.5), ("memory", 1.0)] {
            report.operations.push(Figure {
                name: "add",
                number: "f32",
                level,
                numbers: 1,
                seconds: 1.0,
                share,
            });
        }
        let want = "\
CPU, Linux 1; one thread, Scalar

f32: 2.0 thousand million multiply-adds a second

memory, GB/s         f32 L1  f32 mem
operands             16 KiB   16 KiB

% of the roof        f32 L1  f32 mem
add                      50      100
";
        assert_eq!(report.as_text(), want);
        let json: serde_json::Value = serde_json::from_str(&report.as_json()).unwrap();
        assert_eq!(json["operations"][1]["share"], 1.0);
        assert_eq!(json["operations"][1]["type"], "f32");
    }
}
