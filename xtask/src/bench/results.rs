//! [`Results`]: what a bench wrote, as far as the report shows it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A run of one bench.
#[derive(Debug, Deserialize)]
pub(super) struct Results {
    pub(super) bench: String,
    /// Every case in full.
    pub(super) complete: bool,
    pub(super) machine: Machine,
    pub(super) kernel: String,
    pub(super) rustc: String,
    pub(super) date: String,
    pub(super) cases: Vec<Case>,
}

/// What it ran on.
#[derive(Debug, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) memory_gib: f64,
    pub(super) load: f64,
}

/// One case.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) case: String,
    pub(super) work: String,
    pub(super) unit: String,
    pub(super) rounds: usize,
    pub(super) ours: f64,
    pub(super) ours_low: f64,
    pub(super) ours_high: f64,
    pub(super) ours_name: String,
    pub(super) peers: BTreeMap<String, f64>,
    pub(super) references: BTreeMap<String, f64>,
    pub(super) over_reference: Option<f64>,
    pub(super) ratios: BTreeMap<String, Ratio>,
    pub(super) bar: Option<String>,
    pub(super) holds: Option<bool>,
    pub(super) missing: BTreeMap<String, String>,
}

/// How ours compares with one peer: the median of the paired ratios and its 95 % interval.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Ratio {
    pub(super) ratio: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Ratio {
    /// What may be said: "ahead" only where the whole interval is above 1.
    pub(super) fn verdict(&self) -> &'static str {
        if self.low > 1.0 {
            "ahead"
        } else if self.high < 1.0 {
            "behind"
        } else {
            "level"
        }
    }
}

/// What a bench of one winning, one losing and one unopposed case writes.
#[cfg(test)]
pub(super) const SAMPLE: &str = r#"{"bench":"sample","complete":true,
    "machine":{"cpu":"A <CPU>","cores":2,"memory_gib":8.0,"load":0.1},
    "kernel":"6.12","rustc":"rustc 1.95.0","date":"2026-01-02T03:04Z","cases":[
    {"case":"won","work":"w1","unit":"ms","rounds":30,"ours":10.0,"ours_low":9.0,"ours_high":11.0,
     "ours_name":"ours","peers":{"slow & old":40.0,"near":10.1},"references":{},
     "over_reference":null,"ratios":{"slow & old":{"ratio":4.0,"low":3.9,"high":4.1},
     "near":{"ratio":1.01,"low":0.99,"high":1.02}},"bar":"ratio ≥ 2","holds":false,"missing":{}},
    {"case":"lost","work":"w2","unit":"tasks/s","rounds":30,"ours":1000000.0,"ours_low":900000.0,
     "ours_high":1100000.0,"ours_name":"ours","peers":{"quick":8000000.0},
     "references":{"roof":9000000.0},"over_reference":-8000000.0,
     "ratios":{"quick":{"ratio":0.125,"low":0.12,"high":0.13}},"bar":null,"holds":null,
     "missing":{"gone":"not installed"}},
    {"case":"alone","work":"w3","unit":"µs","rounds":3,"ours":0.0,"ours_low":0.0,"ours_high":0.0,
     "ours_name":"ours","peers":{},"references":{},"over_reference":null,"ratios":{},
     "bar":"ours < 1000","holds":true,"missing":{}}]}"#;
