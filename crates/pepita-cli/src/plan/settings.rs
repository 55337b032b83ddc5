//! [`Settings`]: what `[defaults]` and every `[[task]]` can set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pepita::fault::{Cause, Codes, Jitter, RetryOn, RetryPolicy};
use pepita::task::{CpuAffinity, Limits, Output, Priority, Stdin, TaskBuilder};
use toml::de::DeTable;

use super::decode::{Decoder, Value};
use super::task::task_dir;
use crate::units::{parse_duration, parse_size};

/// The keys that stand in `[defaults]` as well as in `[[task]]`.
pub(super) const SETTING_KEYS: [&str; 14] = [
    "env",
    "env-clear",
    "dir",
    "stdin",
    "stdout",
    "stderr",
    "timeout",
    "grace",
    "priority",
    "cpus",
    "retries",
    "retry",
    "limits",
    "metadata",
];

/// The delay before the first retry when a plan or the command line does not say.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What was set; the rest is `None` or empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    env: Vec<(String, String)>,
    env_clear: Option<bool>,
    dir: Option<PathBuf>,
    stdin: Option<RawStdin>,
    stdout: Option<RawOutput>,
    stderr: Option<RawOutput>,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    priority: Option<Priority>,
    cpus: Option<Vec<u32>>,
    retry: Option<RetryPolicy>,
    limits: Limits,
    metadata: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
enum RawStdin {
    Text(String),
    File(PathBuf),
}

#[derive(Debug, Clone)]
enum RawOutput {
    File(PathBuf),
    Append(PathBuf),
    Capture(usize),
    Inherit,
    Null,
}

impl Settings {
    /// Takes the settings out of `table`.
    pub(super) fn read(decoder: &mut Decoder<'_>, table: &DeTable<'_>) -> Self {
        let mut settings = Self::default();
        for (key, value) in table {
            settings.read_one(decoder, key.get_ref(), value);
        }
        if let (Some(_), Some((key, _))) = (table.get("retry"), table.get_key_value("retries")) {
            let message = "both `retries` and `retry` are set; expected one of them";
            decoder.problem(key.span(), message);
        }
        settings
    }

    fn read_one(&mut self, decoder: &mut Decoder<'_>, key: &str, value: &Value<'_>) {
        match key {
            "env" => self.env = read_map(decoder, key, value, check_variable),
            "env-clear" => self.env_clear = decoder.boolean(key, value),
            "dir" => self.dir = decoder.string(key, value, "a path").map(PathBuf::from),
            "stdin" => self.stdin = read_stdin(decoder, value),
            "stdout" => self.stdout = read_output(decoder, key, value),
            "stderr" => self.stderr = read_output(decoder, key, value),
            "timeout" => self.timeout = read_positive(decoder, key, value),
            "grace" => self.grace = decoder.unit(key, value, "10s", parse_duration),
            "priority" => self.priority = decoder.word(key, value, &PRIORITIES),
            "cpus" => self.cpus = read_cpus(decoder, value),
            "retries" => self.retry = read_retries(decoder, value),
            "retry" => self.retry = read_retry(decoder, value),
            "limits" => self.limits = read_limits(decoder, value),
            "metadata" => self.metadata = read_map(decoder, key, value, |_| None),
            _ => {}
        }
    }

    /// These settings, and those of `defaults` where these say nothing. Tables are merged.
    pub(super) fn over(self, defaults: &Self) -> Self {
        let merge = |below: &[(String, String)], above: Vec<(String, String)>| {
            let mut merged = below.to_vec();
            merged.retain(|(name, _)| above.iter().all(|(other, _)| other != name));
            merged.extend(above);
            merged
        };
        let (mine, theirs) = (self.limits, defaults.limits);
        Self {
            env: merge(&defaults.env, self.env),
            env_clear: self.env_clear.or(defaults.env_clear),
            dir: self.dir.or_else(|| defaults.dir.clone()),
            stdin: self.stdin.or_else(|| defaults.stdin.clone()),
            stdout: self.stdout.or_else(|| defaults.stdout.clone()),
            stderr: self.stderr.or_else(|| defaults.stderr.clone()),
            timeout: self.timeout.or(defaults.timeout),
            grace: self.grace.or(defaults.grace),
            priority: self.priority.or(defaults.priority),
            cpus: self.cpus.or_else(|| defaults.cpus.clone()),
            retry: self.retry.or_else(|| defaults.retry.clone()),
            limits: Limits {
                address_space_bytes: mine.address_space_bytes.or(theirs.address_space_bytes),
                cpu_time_s: mine.cpu_time_s.or(theirs.cpu_time_s),
                open_files: mine.open_files.or(theirs.open_files),
                file_size_bytes: mine.file_size_bytes.or(theirs.file_size_bytes),
                memory_bytes: mine.memory_bytes.or(theirs.memory_bytes),
                processes: mine.processes.or(theirs.processes),
            },
            metadata: merge(&defaults.metadata, self.metadata),
        }
    }

    /// Gives them to a task. Relative paths start from `base`, the directory of the plan.
    pub(super) fn apply(self, mut builder: TaskBuilder, base: Option<&Path>) -> TaskBuilder {
        let dir = task_dir(base, self.dir.as_deref());
        let at = |path: PathBuf| match &dir {
            Some(dir) => dir.join(path),
            None => path,
        };
        if self.env_clear == Some(true) {
            builder = builder.env_clear();
        }
        for (name, value) in self.env {
            builder = builder.env(name, value);
        }
        if let Some(stdin) = self.stdin {
            builder = builder.stdin(match stdin {
                RawStdin::Text(text) => Stdin::from(text),
                RawStdin::File(path) => Stdin::File(at(path)),
            });
        }
        let output = |raw| match raw {
            RawOutput::File(path) => Output::File(at(path)),
            RawOutput::Append(path) => Output::Append(at(path)),
            RawOutput::Capture(limit_bytes) => Output::Capture { limit_bytes },
            RawOutput::Inherit => Output::Inherit,
            RawOutput::Null => Output::Null,
        };
        builder = builder.stdout(self.stdout.map(output).unwrap_or_default());
        builder = builder.stderr(self.stderr.map(output).unwrap_or_default());
        if let Some(dir) = dir {
            builder = builder.working_dir(dir);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(grace) = self.grace {
            builder = builder.grace(grace);
        }
        if let Some(policy) = self.retry {
            builder = builder.retry(policy);
        }
        for (name, value) in self.metadata {
            builder = builder.metadata(name, value);
        }
        builder
            .priority(self.priority.unwrap_or_default())
            .affinity(CpuAffinity::cpus(self.cpus.unwrap_or_default()))
            .limits(self.limits)
    }
}

const PRIORITIES: [(&str, Priority); 3] = [
    ("low", Priority::Low),
    ("normal", Priority::Normal),
    ("high", Priority::High),
];

const JITTERS: [(&str, Jitter); 4] = [
    ("none", Jitter::None),
    ("full", Jitter::Full),
    ("equal", Jitter::Equal),
    ("decorrelated", Jitter::Decorrelated),
];

/// A table of strings; `check` says what is wrong with a name.
fn read_map(
    decoder: &mut Decoder<'_>,
    key: &str,
    value: &Value<'_>,
    check: impl Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let mut map = Vec::new();
    for (name, value) in decoder
        .table(key, value, "a table of strings")
        .into_iter()
        .flatten()
    {
        if let Some(problem) = check(name.get_ref()) {
            decoder.problem(name.span(), problem);
        }
        let text = decoder.string(&format!("{key}.{name}"), value, "a string");
        map.extend(text.map(|text| (name.get_ref().to_string(), text)));
    }
    map
}

fn check_variable(name: &str) -> Option<String> {
    let is_bad = name.is_empty() || name.contains(['=', '\0']);
    is_bad.then(|| format!("`{name}` cannot be the name of an environment variable"))
}

fn read_positive(decoder: &mut Decoder<'_>, key: &str, value: &Value<'_>) -> Option<Duration> {
    let duration = decoder.unit(key, value, "5s", parse_duration)?;
    if duration.is_zero() {
        decoder.problem(
            value.span(),
            format!("`{key}` is zero; expected more (leave it out for no limit)"),
        );
        return None;
    }
    Some(duration)
}

fn read_stdin(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<RawStdin> {
    if let Some(text) = value.get_ref().as_str() {
        return Some(RawStdin::Text(text.to_owned()));
    }
    let expected = "a string (the text itself) or `{ file = \"path\" }`";
    let table = decoder.table("stdin", value, expected)?;
    decoder.only_keys(table, "`stdin`", &["file"]);
    let Some(file) = table.get("file") else {
        decoder.problem(
            value.span(),
            format!("`stdin` names no file; expected {expected}"),
        );
        return None;
    };
    decoder
        .string("stdin.file", file, "a path")
        .map(|path| RawStdin::File(path.into()))
}

fn read_output(decoder: &mut Decoder<'_>, key: &str, value: &Value<'_>) -> Option<RawOutput> {
    let words = ["capture", "inherit", "null"];
    let kinds = ["file", "append", "capture"];
    let expected = "`\"capture\"`, `\"inherit\"`, `\"null\"`, `{ file = \"path\" }`, \
                    `{ append = \"path\" }` or `{ capture = \"1MiB\" }`";
    if let Some(text) = value.get_ref().as_str() {
        return match words.iter().position(|word| *word == text) {
            Some(0) => Some(RawOutput::Capture(pepita::task::CAPTURE_LIMIT_BYTES)),
            Some(1) => Some(RawOutput::Inherit),
            Some(_) => Some(RawOutput::Null),
            None => {
                decoder.problem(
                    value.span(),
                    format!("`{key}` is `{text}`; expected {expected}"),
                );
                None
            }
        };
    }
    let table = decoder.table(key, value, expected)?;
    decoder.only_keys(table, &format!("`{key}`"), &kinds);
    let mut given = kinds
        .into_iter()
        .filter_map(|kind| Some((kind, table.get(kind)?)));
    let (Some((kind, inner)), None) = (given.next(), given.next()) else {
        decoder.problem(
            value.span(),
            format!("`{key}` must say one thing; expected {expected}"),
        );
        return None;
    };
    let name = format!("{key}.{kind}");
    match kind {
        "capture" => {
            let bytes = decoder.unit(&name, inner, "1MiB", parse_size)?;
            Some(RawOutput::Capture(
                usize::try_from(bytes).unwrap_or(usize::MAX),
            ))
        }
        "file" => decoder
            .string(&name, inner, "a path")
            .map(|path| RawOutput::File(path.into())),
        _ => decoder
            .string(&name, inner, "a path")
            .map(|path| RawOutput::Append(path.into())),
    }
}

fn read_cpus(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<Vec<u32>> {
    let expected = "an array of numbers of CPUs such as `[0, 1]`";
    let mut cpus = Vec::new();
    for item in decoder.array("cpus", value, expected)? {
        let cpu = decoder.integer("cpus", item, 0..=8191)?;
        cpus.extend(u32::try_from(cpu));
    }
    if cpus.is_empty() {
        decoder.problem(
            value.span(),
            format!("`cpus` is empty; expected {expected}"),
        );
    } else if let Some(online) = online_cpus()
        && !cpus.iter().any(|cpu| has_cpu(&online, *cpu))
    {
        let message = format!("`cpus` names none of the CPUs of this host, which are {online}");
        decoder.problem(value.span(), message);
    }
    Some(cpus)
}

/// The CPUs that are there, as the kernel lists them: `0-3,6`.
fn online_cpus() -> Option<String> {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    Some(list.trim().to_owned()).filter(|list| !list.is_empty())
}

fn has_cpu(list: &str, cpu: u32) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u32>().ok().zip(last.parse().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&cpu))
    })
}

fn read_retries(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<RetryPolicy> {
    let retries = decoder.integer("retries", value, 0..=1_000_000)?;
    let attempts = u32::try_from(retries).unwrap_or(u32::MAX).saturating_add(1);
    RetryPolicy::builder(attempts, RETRY_DELAY).build().ok()
}

fn read_retry(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<RetryPolicy> {
    let expected = "a table such as `{ attempts = 3, delay = \"1s\" }`";
    let table = decoder.table("retry", value, expected)?;
    let known = ["attempts", "delay", "factor", "max-delay", "jitter", "on"];
    decoder.only_keys(table, "`retry`", &known);
    let Some(attempts) = table.get("attempts") else {
        decoder.problem(
            value.span(),
            format!("`retry` has no `attempts`; expected {expected}"),
        );
        return None;
    };
    let attempts = decoder.integer("retry.attempts", attempts, 1..=1_000_000)?;
    let delay = match table.get("delay") {
        Some(value) => decoder.unit("retry.delay", value, "1s", parse_duration)?,
        None => RETRY_DELAY,
    };
    let mut builder = RetryPolicy::builder(u32::try_from(attempts).ok()?, delay);
    if let Some(value) = table.get("factor") {
        builder = builder.factor(decoder.number("retry.factor", value)?);
    }
    if let Some(value) = table.get("max-delay") {
        builder =
            builder.max_delay(decoder.unit("retry.max-delay", value, "30s", parse_duration)?);
    }
    if let Some(value) = table.get("jitter") {
        builder = builder.jitter(decoder.word("retry.jitter", value, &JITTERS)?);
    }
    if let Some(value) = table.get("on") {
        builder = builder.retry_on(read_retry_on(decoder, value)?);
    }
    match builder.build() {
        Ok(policy) => Some(policy),
        Err(error) => {
            decoder.problem(value.span(), format!("`retry`: {error}"));
            None
        }
    }
}

/// What a failure without an exit code is called in `retry.on`.
const FAILURES: [(&str, Named); 4] = [
    ("signal", Named::Signal),
    ("timeout", Named::Cause(Cause::Timeout)),
    ("memory-limit", Named::Cause(Cause::MemoryLimit)),
    ("start", Named::Cause(Cause::Start)),
];

#[derive(Debug, Clone, Copy)]
enum Named {
    Signal,
    Cause(Cause),
}

fn read_retry_on(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<RetryOn> {
    let expected = "an array of exit codes and failures such as `[75, \"timeout\"]`";
    let mut retry_on = RetryOn::nothing();
    let mut codes = Vec::new();
    for item in decoder.array("retry.on", value, expected)? {
        if item.get_ref().is_str() {
            retry_on = match decoder.word("retry.on", item, &FAILURES)? {
                Named::Signal => retry_on.signals(Codes::Any),
                Named::Cause(cause) => retry_on.also(cause),
            };
        } else {
            let code = decoder.integer("retry.on", item, 1..=255)?;
            codes.extend(i32::try_from(code));
        }
    }
    Some(retry_on.exits(Codes::only(codes)))
}

fn read_limits(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Limits {
    let mut limits = Limits::default();
    let known = [
        "memory",
        "address-space",
        "cpu-time",
        "open-files",
        "file-size",
        "processes",
    ];
    let Some(table) = decoder.table("limits", value, "a table such as `{ memory = \"256MiB\" }`")
    else {
        return limits;
    };
    decoder.only_keys(table, "`limits`", &known);
    for (key, value) in table {
        let name = format!("limits.{key}");
        let key = key.get_ref().as_ref();
        let limit = match key {
            "memory" | "address-space" | "file-size" => {
                decoder.unit(&name, value, "256MiB", parse_size)
            }
            "open-files" | "processes" => decoder
                .integer(&name, value, 1..=i64::MAX)
                .and_then(|count| u64::try_from(count).ok()),
            "cpu-time" => read_whole_seconds(decoder, &name, value),
            _ => continue,
        };
        if limit == Some(0) {
            decoder.problem(
                value.span(),
                format!("`{name}` is 0, with which nothing can run"),
            );
        }
        match key {
            "memory" => limits.memory_bytes = limit,
            "address-space" => limits.address_space_bytes = limit,
            "file-size" => limits.file_size_bytes = limit,
            "open-files" => limits.open_files = limit,
            "processes" => limits.processes = limit,
            _ => limits.cpu_time_s = limit,
        }
    }
    limits
}

/// The kernel counts CPU time in seconds.
fn read_whole_seconds(decoder: &mut Decoder<'_>, key: &str, value: &Value<'_>) -> Option<u64> {
    let duration = decoder.unit(key, value, "60s", parse_duration)?;
    if duration.subsec_nanos() != 0 {
        let message = format!("`{key}` has a fraction of a second; expected whole seconds");
        decoder.problem(value.span(), message);
        return None;
    }
    Some(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_holds_ranges_and_single_ones() {
        let held: Vec<_> = (0..9).filter(|cpu| has_cpu("0-2,5,7-8", *cpu)).collect();
        assert_eq!(held, [0, 1, 2, 5, 7, 8]);
    }
}
