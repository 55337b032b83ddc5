//! The figures that benches are compared with.
//!
//! They are what `pepita selftest` itself printed on [`MACHINE`]: medians of three runs on
//! the otherwise idle machine. They say how another host stands to that one, and nothing of how pepita
//! stands to other programs; for that see docs/benchmarks.md.

use serde::Serialize;

/// The machine of the figures.
pub(super) const MACHINE: &str = "the reference machine (2 vCPUs of an AMD EPYC, Linux 6.18)";

/// A figure of the reference machine.
#[derive(Debug, Serialize)]
pub(super) struct Reference {
    area: &'static str,
    name: &'static str,
    pub(super) value: f64,
}

const FIGURES: [Reference; 2] = [
    Reference {
        area: "tasks",
        name: "processes (`true`)",
        value: 3250.0,
    },
    Reference {
        area: "tasks",
        name: "functions",
        value: 740_000.0,
    },
];

/// The figure of a bench, if there is one.
pub(super) fn find(area: &str, name: &str) -> Option<&'static Reference> {
    FIGURES
        .iter()
        .find(|figure| figure.area == area && figure.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_belongs_to_a_bench() {
        let areas = super::super::areas(None);
        for figure in &FIGURES {
            let area = areas.iter().find(|area| area.name == figure.area).unwrap();
            assert!(
                area.benches.iter().any(|bench| bench.name == figure.name),
                "{figure:?}"
            );
        }
    }
}
