//! The keys of `[[task]]` and `[defaults]`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use pepita::task::{Program, Task, TaskBuilder};
use toml::de::{DeTable, DeValue};

use super::decode::{Decoder, Value};
use super::settings::{SETTING_KEYS, Settings};
use crate::quote;

/// A `[[task]]` whose dependencies are still names.
#[derive(Debug)]
pub(super) struct RawTask {
    pub(super) name: String,
    pub(super) name_span: Range<usize>,
    /// `None` if something about it was noted as wrong.
    pub(super) task: Option<Task>,
    pub(super) command: String,
    pub(super) after: Vec<(String, Range<usize>)>,
    pub(super) allow_failure: bool,
}

const TOP_KEYS: [&str; 3] = ["defaults", "jobs", "task"];
const TASK_ONLY_KEYS: [&str; 6] = [
    "name",
    "command",
    "pipeline",
    "shell",
    "after",
    "allow-failure",
];
const JOBS_MAX: i64 = 4096;

/// Reads the whole document: its tasks, and `jobs`.
pub(super) fn read(decoder: &mut Decoder<'_>, dir: Option<&Path>) -> (Vec<RawTask>, Option<usize>) {
    let document = decoder.document();
    if !decoder.is_clean() {
        return (Vec::new(), None);
    }
    decoder.only_keys(&document, "the file", &TOP_KEYS);
    let jobs = document
        .get("jobs")
        .and_then(|value| decoder.integer("jobs", value, 1..=JOBS_MAX))
        .and_then(|jobs| usize::try_from(jobs).ok());
    let defaults = match document.get("defaults") {
        Some(value) => read_defaults(decoder, value),
        None => Settings::default(),
    };
    let mut tasks = Vec::new();
    match document.get("task") {
        Some(value) => {
            let expected = "tables, each under a line `[[task]]`";
            for item in decoder.array("task", value, expected).into_iter().flatten() {
                if let Some(table) = decoder.table("task", item, expected) {
                    tasks.extend(read_task(decoder, table, &item.span(), &defaults, dir));
                }
            }
        }
        None => decoder.problem(
            0..0,
            "no task in this file; expected at least one `[[task]]`",
        ),
    }
    (tasks, jobs)
}

fn read_defaults(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Settings {
    match decoder.table("defaults", value, "a table of settings for all tasks") {
        Some(table) => {
            decoder.only_keys(table, "[defaults]", &SETTING_KEYS);
            Settings::read(decoder, table)
        }
        None => Settings::default(),
    }
}

fn read_task(
    decoder: &mut Decoder<'_>,
    table: &DeTable<'_>,
    span: &Range<usize>,
    defaults: &Settings,
    dir: Option<&Path>,
) -> Option<RawTask> {
    let known: Vec<_> = TASK_ONLY_KEYS.into_iter().chain(SETTING_KEYS).collect();
    decoder.only_keys(table, "[[task]]", &known);
    let settings = Settings::read(decoder, table).over(defaults);
    let work = read_work(decoder, table, span);
    let allow_failure = table
        .get("allow-failure")
        .and_then(|value| decoder.boolean("allow-failure", value))
        .unwrap_or(false);
    let after = match table.get("after") {
        Some(value) => read_strings(decoder, "after", value, "an array of names of tasks"),
        None => Vec::new(),
    };
    let (name, name_span) = read_name(decoder, table, span)?;
    let command = work.as_ref().map(Work::command_line).unwrap_or_default();
    let task = work.and_then(|work| {
        let builder = settings.apply(work.builder(), dir).metadata("name", &*name);
        match builder.build() {
            Ok(task) => Some(task),
            Err(error) => {
                decoder.problem(name_span.clone(), format!("task `{name}`: {error}"));
                None
            }
        }
    });
    Some(RawTask {
        name,
        name_span,
        task,
        command,
        after,
        allow_failure,
    })
}

fn read_name(
    decoder: &mut Decoder<'_>,
    table: &DeTable<'_>,
    span: &Range<usize>,
) -> Option<(String, Range<usize>)> {
    let Some(value) = table.get("name") else {
        decoder.problem(
            span.clone(),
            "this task has no `name`; expected `name = \"…\"`",
        );
        return None;
    };
    let name = decoder.string("name", value, "a string")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        decoder.problem(value.span(), "`name` is empty or holds a control character");
        return None;
    }
    Some((name, value.span()))
}

/// What a task runs.
#[derive(Debug)]
enum Work {
    Command(Vec<String>),
    Pipeline(Vec<Vec<String>>),
    Shell(String),
}

impl Work {
    /// As a shell would have to be given it.
    fn command_line(&self) -> String {
        let line = |words: &[String]| quote::join(words).to_string_lossy().into_owned();
        match self {
            Self::Command(words) => line(words),
            Self::Pipeline(stages) => {
                let stages: Vec<_> = stages.iter().map(|words| line(words)).collect();
                stages.join(" | ")
            }
            Self::Shell(script) => line(&["/bin/sh".into(), "-c".into(), script.clone()]),
        }
    }

    fn builder(&self) -> TaskBuilder {
        match self {
            Self::Command(words) => Task::binary(&words[0]).args(&words[1..]),
            Self::Pipeline(stages) => Task::pipeline(
                stages
                    .iter()
                    .map(|words| Program::new(&words[0]).args(&words[1..])),
            ),
            Self::Shell(script) => Task::binary("/bin/sh").args(["-c", script]),
        }
    }
}

fn read_work(decoder: &mut Decoder<'_>, table: &DeTable<'_>, span: &Range<usize>) -> Option<Work> {
    let kinds = ["command", "pipeline", "shell"];
    let mut given = kinds
        .into_iter()
        .filter_map(|key| Some((key, table.get_key_value(key)?)));
    let Some((key, (_, value))) = given.next() else {
        let message = "this task has nothing to run; expected `command`, `pipeline` or `shell`";
        decoder.problem(span.clone(), message);
        return None;
    };
    if let Some((other, (other_key, _))) = given.next() {
        let message = format!("this task has both `{key}` and `{other}`; expected one of them");
        decoder.problem(other_key.span(), message);
        return None;
    }
    match key {
        "command" => Some(Work::Command(read_command(decoder, "command", value)?)),
        "pipeline" => read_pipeline(decoder, value).map(Work::Pipeline),
        _ => decoder
            .string("shell", value, "a string, run by `/bin/sh -c`")
            .map(Work::Shell),
    }
}

fn read_pipeline(decoder: &mut Decoder<'_>, value: &Value<'_>) -> Option<Vec<Vec<String>>> {
    let expected = "an array of commands such as `[[\"sort\", \"-u\"], [\"wc\", \"-l\"]]`";
    let stages = decoder.array("pipeline", value, expected)?;
    if stages.is_empty() {
        decoder.problem(
            value.span(),
            format!("`pipeline` is empty; expected {expected}"),
        );
        return None;
    }
    stages
        .iter()
        .map(|stage| read_command(decoder, "pipeline", stage))
        .collect()
}

fn read_command(decoder: &mut Decoder<'_>, key: &str, value: &Value<'_>) -> Option<Vec<String>> {
    let expected = match value.get_ref() {
        DeValue::String(_) => "an array such as `[\"ls\", \"-l\"]` (a line for a shell is `shell`)",
        _ => "an array of strings such as `[\"ls\", \"-l\"]`",
    };
    let count = decoder.array(key, value, expected)?.len();
    if count == 0 {
        decoder.problem(
            value.span(),
            format!("a command in `{key}` is empty; expected {expected}"),
        );
        return None;
    }
    let words = read_strings(decoder, key, value, expected);
    (words.len() == count).then(|| words.into_iter().map(|(word, _)| word).collect())
}

/// The strings of an array and where they stand; without those that are no strings.
fn read_strings(
    decoder: &mut Decoder<'_>,
    key: &str,
    value: &Value<'_>,
    expected: &str,
) -> Vec<(String, Range<usize>)> {
    let mut strings = Vec::new();
    for item in decoder.array(key, value, expected).into_iter().flatten() {
        let text = decoder.string(key, item, expected);
        strings.extend(text.map(|text| (text, item.span())));
    }
    strings
}

/// The directory of a task: its `dir`, seen from the directory of the file.
pub(super) fn task_dir(base: Option<&Path>, dir: Option<&Path>) -> Option<PathBuf> {
    match (base, dir) {
        (Some(base), Some(dir)) => Some(base.join(dir)),
        (base, dir) => base.or(dir).map(Path::to_owned),
    }
}
