//! `pepita bench`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::{pepita, run};

#[test]
fn what_cannot_be_measured_is_refused_with_what_can() {
    let ran = run(["bench", "gpu"]).expect(2, "");
    assert!(ran.stderr.contains("[possible values: cpu]"), "{ran:?}");
    run(["bench"]).expect(2, "");
}

#[test]
fn a_signal_ends_a_measurement_and_nothing_is_shown() {
    let mut command = pepita(["--json", "bench", "cpu"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::INT.as_raw()));
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}
