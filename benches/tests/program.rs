//! The `bench` program as a whole.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .env("OPENBLAS_CORETYPE", "Prescott")
        .output()
        .expect("the program starts")
}

#[test]
fn the_last_line_is_one_json_object_with_every_contender() {
    let options = ["--case", "functions", "--size", "50", "--rounds", "3"];
    let output = bench(&[&["run", "tasks"], &options[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let last = text.lines().last().unwrap_or_default();
    let json: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let case = &json["cases"][0];
    assert_eq!(json["bench"], "tasks");
    assert_eq!(json["complete"], false);
    assert_eq!(
        (&case["case"], &case["rounds"]),
        (&"functions".into(), &3.into())
    );
    assert!(case["ours"].as_f64() > Some(0.0), "{case}");
    assert_eq!(case["peers"].as_object().map(serde_json::Map::len), Some(2));
    assert!(case["low"].as_f64() <= case["ratio"].as_f64());
}

#[test]
fn a_case_without_its_program_fails_and_says_so() {
    let output = bench(&[
        "run",
        "tasks",
        "--case",
        "start-up",
        "--pepita",
        "/no/pepita",
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(
        text.contains("start-up: NOT MEASURED: `pepita run -j1` is missing"),
        "{text}"
    );
}

#[test]
fn an_unknown_suite_is_refused_with_the_known_ones() {
    let output = bench(&["run", "taks"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        text.contains("no bench `taks`; there is codec, dgemm, join, pages, sgemm, tags, tasks"),
        "{text}"
    );
}
