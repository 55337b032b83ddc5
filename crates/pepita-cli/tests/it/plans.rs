//! Plans that cannot run: where the message points, and what it says.

use std::fs;

use tempfile::tempdir;

use crate::run;

/// `place` is `line:column`; nothing may have run.
#[track_caller]
fn check(plan: &str, place: &str, message: &str) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    fs::write(&path, plan).unwrap();
    let ran = run(["run", path.to_str().unwrap()]).expect(2, "");
    let want = format!("{}:{place}: {message}", path.display());
    assert!(
        ran.stderr.lines().any(|line| line.starts_with(&want)),
        "{want}\ngot {}",
        ran.stderr
    );
    assert!(!dir.path().join("has-run").exists());
}

/// A task that leaves a mark if it is run, and one more line.
fn with(line: &str) -> String {
    format!("[[task]]\nname = \"a\"\ncommand = [\"touch\", \"has-run\"]\n{line}\n")
}

#[test]
fn a_key_that_is_not_known_points_at_itself() {
    check(
        &with("timout = \"5s\""),
        "4:1",
        "unknown key `timout` in [[task]]; did you mean `timeout`?",
    );
    check(
        &with("env_clear = true"),
        "4:1",
        "unknown key `env_clear` in [[task]]; did you mean `env-clear`?",
    );
    check(
        &with("colour = 1"),
        "4:1",
        "unknown key `colour` in [[task]]; expected one of `name`, ",
    );
    check(
        &with("limits = { memroy = \"1MiB\" }"),
        "4:12",
        "unknown key `memroy` in `limits`; did you mean `memory`?",
    );
    check(
        &with("retry = { attempts = 2, dely = \"1s\" }"),
        "4:25",
        "unknown key `dely` in `retry`; did you mean `delay`?",
    );
    check(
        "[default]\n",
        "1:2",
        "unknown key `default` in the file; did you mean `defaults`?",
    );
    check(
        "[defaults]\nname = \"x\"\n",
        "2:1",
        "unknown key `name` in [defaults]; expected one of",
    );
}

#[test]
fn a_value_of_the_wrong_type_points_at_itself() {
    check(
        &with("timeout = 5"),
        "4:11",
        "`timeout` is an integer; expected a string such as `\"5s\"`",
    );
    check(
        &with("retries = \"3\""),
        "4:11",
        "`retries` is a string; expected an integer from 0 to",
    );
    check(
        &with("allow-failure = 1"),
        "4:17",
        "`allow-failure` is an integer; expected `true` or `false`",
    );
    check(
        &with("after = \"b\""),
        "4:9",
        "`after` is a string; expected an array",
    );
    check(&with("after = [1]"), "4:10", "`after` is an integer");
    check(
        &with("env = { A = 1 }"),
        "4:13",
        "`env.A` is an integer; expected a string",
    );
    check(
        &with("cpus = [0, -1]"),
        "4:12",
        "`cpus` is -1; expected an integer from 0 to 8191",
    );
    check(
        &with("cpus = [8190]"),
        "4:8",
        "`cpus` names none of the CPUs of this host, which are 0",
    );
    check(
        &with("stdout = \"nul\""),
        "4:10",
        "`stdout` is `nul`; expected",
    );
    check(
        &with("stdout = { file = \"a\", append = \"b\" }"),
        "4:10",
        "`stdout` must say one thing",
    );
    check(
        &with("priority = \"hihg\""),
        "4:12",
        "`priority` is `hihg`; did you mean `high`?",
    );
    check(
        "[[task]]\nname = \"a\"\ncommand = \"ls -l\"\n",
        "3:11",
        "`command` is a string; expected an array",
    );
    check("task = 1\n", "1:8", "`task` is an integer; expected tables");
    check(
        "jobs = 0\n",
        "1:8",
        "`jobs` is 0; expected an integer from 1 to 4096",
    );
}

#[test]
fn bad_durations_and_sizes_say_what_is_expected() {
    check(
        &with("timeout = \"5\""),
        "4:11",
        "`timeout`: `5` is not a duration: the unit is missing; expected a number with a unit, such as `250ms`",
    );
    check(&with("timeout = \"0s\""), "4:11", "`timeout` is zero");
    check(
        &with("grace = \"1 week\""),
        "4:9",
        "`grace`: `1 week` is not a duration",
    );
    check(
        &with("limits = { memory = \"1G\" }"),
        "4:21",
        "`limits.memory`: `1G` is not a size: the unit could mean",
    );
    check(
        &with("limits = { cpu-time = \"1.5s\" }"),
        "4:23",
        "`limits.cpu-time` has a fraction of a second",
    );
    check(
        &with("limits = { processes = 0 }"),
        "4:24",
        "`limits.processes` is 0; expected an integer of at least 1",
    );
    check(
        &with("retry = { attempts = 0 }"),
        "4:22",
        "`retry.attempts` is 0",
    );
    check(
        &with("retry = { delay = \"1s\" }"),
        "4:9",
        "`retry` has no `attempts`",
    );
    check(
        &with("retry = { attempts = 3, factor = 0.5 }"),
        "4:9",
        "`retry`: factor 0.5 is not",
    );
}

#[test]
fn names_and_dependencies_are_checked_before_anything_runs() {
    check(
        &with("after = [\"b\"]"),
        "4:10",
        "`after` names `b`, which is no task here",
    );
    let near = with("after = [\"buidl\"]") + "[[task]]\nname = \"build\"\ncommand = [\"true\"]\n";
    check(
        &near,
        "4:10",
        "`after` names `buidl`, which is no task here; did you mean `build`?",
    );
    check(
        &(with("") + &with("")),
        "6:8",
        "another task is named `a` already",
    );
    check(
        &with("after = [\"a\"]"),
        "4:10",
        "these tasks wait for each other: `a` after `a`",
    );
    let cycle =
        with("after = [\"b\"]") + "[[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"true\"]\n";
    check(
        &cycle,
        "4:10",
        "these tasks wait for each other: `a` after `b` after `a`",
    );
    let other = "[[task]]\nname = \"c\"\nafter = [\"c\"]\ncommand = [\"true\"]\n";
    let message = "these tasks wait for each other: `c` after `c`";
    check(&(cycle + other), "11:10", message);
    let long = (0..100).map(|task| {
        let before = (task + 1) % 100;
        format!("[[task]]\nname = \"t{task}\"\nafter = [\"t{before}\"]\ncommand = [\"true\"]\n")
    });
    let message = "these tasks wait for each other: `t0` after `t1` after `t2` after `t3` after `t4` \
                   after `t5` after `t6` after `t7` after `t8` after `t9` after … 90 more … after `t0`";
    check(&long.collect::<String>(), "3:10", message);
    check(
        "[[task]]\ncommand = [\"true\"]\n",
        "1:1",
        "this task has no `name`",
    );
    check(
        "[[task]]\nname = \"\"\ncommand = [\"true\"]\n",
        "2:8",
        "`name` is empty",
    );
}

#[test]
fn a_task_runs_one_thing() {
    check(
        "[[task]]\nname = \"a\"\n",
        "1:1",
        "this task has nothing to run; expected `command`",
    );
    check(
        &with("shell = \"true\""),
        "4:1",
        "this task has both `command` and `shell`",
    );
    check(
        "[[task]]\nname = \"a\"\ncommand = []\n",
        "3:11",
        "a command in `command` is empty",
    );
    check(
        "[[task]]\nname = \"a\"\npipeline = []\n",
        "3:12",
        "`pipeline` is empty",
    );
    check(
        "[[task]]\nname = \"a\"\npipeline = [[\"a\"], []]\n",
        "3:20",
        "a command in `pipeline` is empty",
    );
    check(
        "[[task]]\nname = \"a\"\ncommand = [\"a\\u0000\"]\n",
        "2:8",
        "task `a`: program",
    );
    check(
        &with("env = { \"A=B\" = \"1\" }"),
        "4:9",
        "`A=B` cannot be the name of an environment",
    );
    check(
        &with("retries = 1\nretry = { attempts = 2 }"),
        "4:1",
        "both `retries` and `retry` are set",
    );
}

#[test]
fn what_is_no_toml_points_at_the_mistake() {
    check("[[task]]\nname = \n", "2:8", "");
    check(
        "",
        "1:1",
        "no task in this file; expected at least one `[[task]]`",
    );
    check(
        "[[task]]\nname = \"a\"\nname = \"b\"\n",
        "3:1",
        "duplicate key",
    );
}

#[test]
fn columns_count_characters_and_every_mistake_is_shown() {
    let plan = "[[task]]\nname = \"\u{e4}\"\ncommand = [\"\u{f6}\", 1]\ntimeout = 1\nunknown = 1\n";
    check(plan, "3:17", "`command` is an integer");
    check(plan, "4:11", "`timeout` is an integer");
    check(plan, "5:1", "unknown key `unknown`");
}

#[test]
fn bytes_that_are_no_text_are_an_error_with_a_place() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    fs::write(&path, b"jobs = 1\nx = \"\xff\"\n").unwrap();
    let ran = run(["run", path.to_str().unwrap()]).expect(2, "");
    assert!(
        ran.stderr.contains("plan.toml:2:6: this byte is not UTF-8"),
        "{}",
        ran.stderr
    );
}

#[test]
fn of_many_unknown_names_the_first_get_a_suggestion() {
    let names: Vec<String> = (0..30)
        .map(|number| format!("\"task-{number:02}\""))
        .collect();
    let plan = with(&format!("after = [{}]", names.join(", ")));
    let plan = plan + "[[task]]\nname = \"task-x\"\ncommand = [\"true\"]\n";
    let dir = tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    fs::write(&path, plan).unwrap();
    let ran = run(["run", path.to_str().unwrap()]).expect(2, "");
    let has_hint = |line: &str| line.contains("did you mean `task-x`");
    let hints: Vec<bool> = ran.stderr.lines().map(has_hint).collect();
    assert_eq!(hints, [vec![true; 20], vec![false; 10]].concat());
}

#[test]
fn a_plan_without_end_is_refused() {
    let ran = run(["run", "/dev/zero"]).expect(2, "");
    let message = "/dev/zero: larger than 64 MiB, the most that a plan may have\n";
    assert_eq!(ran.stderr, message);
}
