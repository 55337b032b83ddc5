//! What the figures were measured on.

use std::fs;
use std::num::NonZero;
use std::process::Command;

use serde::Serialize;

/// Machine, kernel, compiler and date.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    machine: Machine,
    kernel: String,
    rustc: &'static str,
    /// UTC, to the minute.
    date: String,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    /// Processes that ran or wanted to, over the last minute before the bench.
    load: f64,
}

const UNKNOWN: &str = "unknown";

impl Host {
    /// Looks at this machine; what it does not tell is `unknown` or 0.
    pub(crate) fn look() -> Self {
        Self {
            machine: Machine {
                cpu: field("/proc/cpuinfo", "model name"),
                cores: std::thread::available_parallelism().map_or(0, NonZero::get),
                memory_gib: memory_gib("MemTotal"),
                load: first_number(&read("/proc/loadavg")),
            },
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: env!("BENCH_RUSTC"),
            date: date(),
        }
    }
}

/// A figure of `/proc/meminfo`, in GiB.
pub(crate) fn memory_gib(name: &str) -> f64 {
    let kib = first_number(&field("/proc/meminfo", name));
    (kib / f64::from(1 << 20) * 10.0).round() / 10.0
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| UNKNOWN.to_owned())
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = read(path);
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values
        .filter(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .next()
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

fn first_number(text: &str) -> f64 {
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn date() -> String {
    let output = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%MZ"])
        .output();
    output.map_or_else(
        |_| UNKNOWN.to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
