//! What programs read: `--json`, `doctor`, `completions`, the log.

use std::process::Command;

use serde_json::json;

use crate::run;

#[test]
fn each_line_of_a_run_is_an_object_and_events_of_a_job_come_in_order() {
    let script = "printf out; printf err >&2; exit $0";
    let ran = run([
        "run", "--json", "-j2", "--", "sh", "-c", script, ":::", "0", "3",
    ]);
    let lines = ran.json();
    assert_eq!(ran.code, 1);
    for (seq, status, code) in [(1, "succeeded", 0), (2, "failed", 3)] {
        let of_job: Vec<_> = lines.iter().filter(|line| line["seq"] == seq).collect();
        let events: Vec<_> = of_job.iter().map(|line| &line["event"]).collect();
        assert_eq!(events, ["started", "finished"], "{lines:?}");
        let end = of_job[1];
        assert_eq!(
            (&end["status"], &end["exit_code"]),
            (&json!(status), &json!(code))
        );
        assert_eq!(
            end["stdout"],
            json!({ "text": "out", "bytes": 3, "is_truncated": false })
        );
        assert_eq!(end["stderr"]["text"], "err");
        assert!(end["wall_s"].as_f64().unwrap() > 0.0);
    }
    let last = lines.last().unwrap();
    assert_eq!(last["event"], "summary");
    assert_eq!(
        (&last["succeeded"], &last["failed"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_retry_is_an_event() {
    let options = ["run", "--json", "--retries", "2", "--retry-delay", "1ms"];
    let ran = run(options
        .into_iter()
        .chain(["--", "sh", "-c", "exit 5", ":::", "x"]));
    let lines = ran.json();
    let events: Vec<_> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    let want = [
        "started", "retrying", "started", "retrying", "started", "finished", "summary",
    ];
    assert_eq!(events, want);
    assert_eq!(
        (&lines[4]["attempt"], &lines[5]["attempts"]),
        (&json!(3), &json!(3))
    );
}

#[test]
fn the_tasks_of_a_plan_have_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.toml");
    let plan = "[[task]]\nname = \"a\"\ncommand = [\"false\"]\nmetadata = { owner = \"me\" }\n\
                [[task]]\nname = \"b\"\nafter = [\"a\"]\ncommand = [\"true\"]\n";
    std::fs::write(&path, plan).unwrap();
    let ran = run(["run", "--json", path.to_str().unwrap()]);
    let ends: Vec<_> = ran
        .json()
        .into_iter()
        .filter(|line| line["event"] == "finished")
        .map(|line| json!([line["name"], line["status"], line["metadata"]]))
        .collect();
    assert_eq!(
        ends,
        [
            json!(["a", "failed", { "owner": "me" }]),
            json!(["b", "skipped", {}])
        ]
    );
    let planned = run(["run", "--json", "--dry-run", path.to_str().unwrap()]).json();
    assert_eq!(
        planned,
        [
            json!({ "event": "planned", "seq": 1, "name": "a", "command": "false", "after": [] }),
            json!({ "event": "planned", "seq": 2, "name": "b", "command": "true", "after": ["a"] }),
        ]
    );
}

#[test]
fn a_dry_run_for_programs_is_lines_of_json() {
    let ran = run(["run", "--json", "--dry-run", "--", "echo", ":::", "a b"]);
    let want = json!({ "event": "planned", "seq": 1, "command": "echo 'a b'" });
    assert_eq!(ran.json(), [want]);
}

#[test]
fn the_doctor_reports_the_same_checks_to_people_and_programs() {
    let people = run(["doctor"]);
    let report: serde_json::Value =
        serde_json::from_str(&run(["doctor", "--json"]).stdout).unwrap();
    assert_eq!(people.code, 0);
    let checks = report["checks"].as_array().unwrap();
    for check in checks {
        let name = check["name"].as_str().unwrap();
        assert!(people.stdout.contains(name), "{name}");
        assert_eq!(
            check.get("remedy").is_none(),
            check["status"] == "ok",
            "{check}"
        );
    }
    for name in [
        "kernel",
        "io_uring",
        "ublk",
        "kvm",
        "simd",
        "gpu",
        "cgroup v2",
        "limits",
    ] {
        assert!(checks.iter().any(|check| check["name"] == name), "{name}");
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(["completions", shell]);
        assert!(ran.code == 0 && ran.stdout.contains("joblog"), "{shell}");
    }
}

#[test]
fn the_log_goes_to_standard_error_at_the_level_that_was_asked_for() {
    let quiet = run(["run", "--", "true", ":::", "x"]);
    assert_eq!(quiet.stderr, "");
    let ran = run(["run", "--log", "trace", "--json", "--", "true", ":::", "x"]);
    for line in ran.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["level"].is_string(), "{line}");
    }
    assert!(!ran.stderr.is_empty());
}

#[test]
fn with_json_an_error_is_one_object_on_standard_error() {
    for args in [
        &["run", "--json"][..],
        &["run", "--json", "no-such.toml"],
        &["run", "--json", "echo", ":::", "a"],
        &["run", "--json", "--timeout", "5", "--", "x"],
        &["--json", "rum"],
    ] {
        let ran = run(args).expect(2, "");
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert!(error["error"].is_string(), "{args:?}: {error}");
    }
}

/// What `pepita run` prints on a terminal that controls its session.
fn on_a_terminal(arguments: &str) -> String {
    let program = env!("CARGO_BIN_EXE_pepita");
    let line = format!("exec < /dev/tty && {program} run {arguments}");
    let mut script = Command::new("script");
    let output = script.args(["-qec", &line, "/dev/null"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_job_has_no_terminal_even_if_pepita_has_one() {
    let job = "(exec < /dev/tty) 2>/dev/null; echo status $?:";
    let text = on_a_terminal(&format!("--shell -- '{job}' ::: x"));
    assert!(text.contains("status 2: x"), "{text:?}");
}

#[test]
fn on_a_terminal_a_bar_counts_the_jobs_and_is_wiped_at_the_end() {
    let text = on_a_terminal("-j1 -- true ::: a b");
    let wiped = text.rsplit_once("\x1b[K").unwrap().1;
    assert!(text.contains("0/2") && !wiped.contains("/2"), "{text:?}");
    assert!(wiped.starts_with("pepita: 2 succeeded in "), "{text:?}");
}
