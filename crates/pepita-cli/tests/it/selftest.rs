//! `pepita selftest`: what works on this host, and what is not here.

use serde_json::Value;

use crate::run;

#[test]
fn the_checks_of_an_area_pass_or_say_what_is_not_here() {
    for (area, least) in [("tasks", 10), ("zram", 3)] {
        let ran = run(["--json", "selftest", area, "--no-bench"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["failed"], 0, "{report}");
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
