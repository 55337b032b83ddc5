//! `pepita selftest`: what works on this host, and what is not here.

use std::fs;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Ran, pepita, run};

#[test]
fn the_checks_of_an_area_pass_or_say_what_is_not_here() {
    for (area, least) in [("tasks", 10), ("zram", 3)] {
        let ran = run(["--json", "selftest", area, "--no-bench"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["failed"], 0, "{report}");
        assert_eq!(report["interrupted"], false, "{report}");
        assert!(report["passed"].as_u64() >= Some(least), "{report}");
        let cases = report["cases"].as_array().unwrap();
        assert!(cases.iter().all(|case| case["area"] == area), "{report}");
        let missing = cases.iter().filter(|case| case["finding"] == "not-here");
        for case in missing {
            assert!(!case["detail"].as_str().unwrap().is_empty(), "{case}");
        }
        assert_eq!(report["benches"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn what_was_found_before_an_interruption_is_told() {
    let mut selftest = pepita(["--json", "selftest"]);
    let child = selftest.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let pid = Pid::from_child(&child);
    // Until then, a signal would end it.
    let hears_signals = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        let both = [Signal::INT, Signal::TERM].map(|signal| 1 << (signal.as_raw() - 1));
        caught & (both[0] | both[1]) == both[0] | both[1]
    };
    while !hears_signals() {
        std::thread::yield_now();
    }
    kill_process(pid, Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["interrupted"], true, "{report}");
    let count = |kind| usize::try_from(report[kind].as_u64().unwrap()).unwrap();
    let found = ["passed", "failed", "not_here"].map(count);
    let told = report["cases"].as_array().map(Vec::len);
    assert_eq!(told, Some(found.iter().sum()), "{report}");
    assert!(!report["host"].as_array().unwrap().is_empty(), "{report}");
}
