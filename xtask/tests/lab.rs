//! The lab's own tests. `ci` boots once for them; `PEPITA_TEST_SET=full` runs all.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Which tests this run wants.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TestSet {
    Quick,
    Ci,
    Full,
}

/// Whether the run wants tests of `set`; says so when not.
fn wanted(name: &str, set: TestSet) -> bool {
    let run = match std::env::var("PEPITA_TEST_SET").as_deref() {
        Ok("full") => TestSet::Full,
        Ok("ci") => TestSet::Ci,
        _ => TestSet::Quick,
    };
    if run < set {
        let full = if set == TestSet::Full {
            " --full lab"
        } else {
            ""
        };
        println!("SKIPPED: {name}: only in cargo xtask ci{full}");
    }
    let root = rustix::process::geteuid().is_root();
    if run >= set && !root {
        println!("SKIPPED: {name}: a lab needs root");
    }
    run >= set && root
}

fn lab(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .arg("lab")
        .args(options)
        .args(["--", "bash", "-c", script])
        .stdin(Stdio::null());
    command
}

fn run(options: &[&str], script: &str) -> Output {
    lab(options, script).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A lab run that must end with `status`, and must say `words` last.
#[track_caller]
fn fails(options: &[&str], script: &str, status: i32, words: &str) -> Output {
    let output = run(options, script);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("lab: ") && last.contains(words),
        "{stderr}"
    );
    output
}

/// 1 MiB that holds every byte value and no short period.
fn noise() -> Vec<u8> {
    let step = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(state.to_be_bytes()[0])
    };
    std::iter::repeat_with(|| ())
        .scan(1, |state, ()| step(state))
        .take(1 << 20)
        .collect()
}

#[test]
fn a_command_has_its_outputs_its_status_and_every_real_part() {
    if !wanted(
        "a_command_has_its_outputs_its_status_and_every_real_part",
        TestSet::Ci,
    ) {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(folder.path().join("noise"), noise()).unwrap();
    let script = r#"
        set -e
        cat noise; cat noise >&2
        for file in /dev/ublk-control /dev/kvm /dev/vda /dev/zram0 /sys/module/virtio_blk; do test -e $file; done
        test "$(blockdev --getsize64 /dev/vda)" = 4294967296
        test "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs
        for controller in cpu memory pids; do grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control; done
        mkdir /sys/fs/cgroup/t; test -e /sys/fs/cgroup/t/memory.max -a -e /sys/fs/cgroup/t/pids.max
        modprobe null_blk
        test "$(id -u)" = 0; test -z "$(cat)"
        touch written-inside
        unshare --user true
        uname -r > "$PEPITA_LAB_OUT/release"; test "$(uname -r)" = "$PEPITA_LAB"
        sleep 1000 &
        exit 41"#;
    let name = "selftest-parts";
    let output = lab(&["--name", name], script)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (ours, after) = output.stderr.split_at(output.stderr.len().min(1 << 20));
    assert!(
        output.stdout == noise(),
        "standard output is not byte-exact: {} bytes; {}",
        output.stdout.len(),
        text(after)
    );
    assert!(
        ours == noise(),
        "standard error is not byte-exact: {}",
        text(ours)
    );
    assert_eq!(output.status.code(), Some(41), "{}", text(after));
    assert!(text(after).ends_with("lab: the command ended with status 41\n"));
    assert!(
        !folder.path().join("written-inside").exists(),
        "the host's files are read-only"
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let release = fs::read_to_string(root.join("target/lab").join(name).join("release")).unwrap();
    assert!(release.starts_with("6.12."), "{release}");
}

#[test]
fn a_time_limit_a_panic_and_a_hang_are_different_errors() {
    if !wanted(
        "a_time_limit_a_panic_and_a_hang_are_different_errors",
        TestSet::Full,
    ) {
        return;
    }
    let output = fails(
        &["--timeout", "45"],
        "echo begun; sleep 1000",
        124,
        "time limit of 45 s",
    );
    assert_eq!(
        text(&output.stdout),
        "begun\n",
        "what came before the limit is kept"
    );
    fails(
        &[],
        "echo c > /proc/sysrq-trigger",
        120,
        "panicked: sysrq triggered crash",
    );
    let freeze = "mkdir /sys/fs/cgroup/ice; echo 1 > /sys/fs/cgroup/ice/cgroup.procs
        echo 1 > /sys/fs/cgroup/ice/cgroup.freeze; sleep 1000";
    fails(
        &["--hang", "15", "--timeout", "240"],
        freeze,
        121,
        "hangs: no answer for 15 s",
    );
}

#[test]
fn a_command_that_cannot_start_says_so() {
    if !wanted("a_command_that_cannot_start_says_so", TestSet::Full) {
        return;
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["lab", "--", "/no/such/program"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert!(
        text(&missing.stderr).contains("lab: cannot run /no/such/program"),
        "{}",
        text(&missing.stderr)
    );
}

#[test]
fn two_labs_run_at_once_and_do_not_meet() {
    if !wanted("two_labs_run_at_once_and_do_not_meet", TestSet::Full) {
        return;
    }
    let start = |number: &str| {
        let script = format!(
            "echo {number} | tee $PEPITA_LAB_OUT/number /tmp/pepita-lab-number; sleep 5; cat /tmp/pepita-lab-number"
        );
        lab(&["--cpus", "1"], &script)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    for (child, number) in [(start("1"), 1), (start("2"), 2)] {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(text(&output.stdout), format!("{number}\n{number}\n"));
    }
    let name = "selftest-taken";
    let mut first = lab(&["--name", name], "echo up; sleep 1000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Once it speaks, it has the folder.
    let mut up = String::new();
    let stdout = first.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut up).unwrap();
    assert_eq!(up, "up\n");
    let refused = text(&run(&["--name", name], "true").stderr);
    assert!(
        refused.contains("another lab runs under the name"),
        "{refused}"
    );
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn an_interrupt_leaves_no_process_behind() {
    if !wanted("an_interrupt_leaves_no_process_behind", TestSet::Full) {
        return;
    }
    let mut child = lab(&["--name", "selftest-interrupt"], "echo up; sleep 1000")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    let helpers = children_of(&child);
    assert_eq!(helpers.len(), 3, "two file servers and QEMU: {helpers:?}");
    let done = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(done.success());
    child.wait().unwrap();
    wait_until("the helpers end", || {
        !helpers
            .iter()
            .any(|pid| Path::new("/proc").join(pid).exists())
    });
}

#[test]
fn the_old_kernel_numa_and_instruction_time_work() {
    if !wanted(
        "the_old_kernel_numa_and_instruction_time_work",
        TestSet::Full,
    ) {
        return;
    }
    let old = run(&["--kernel", "6.1"], "uname -r; test -e /dev/kvm; echo $?");
    assert!(
        text(&old.stdout).starts_with("6.1.") && text(&old.stdout).ends_with("\n0\n"),
        "{old:?}"
    );
    let nodes = run(
        &["--numa", "2"],
        "ls -d /sys/devices/system/node/node* | wc -l",
    );
    assert_eq!(text(&nodes.stdout), "2\n");
    let counted = run(&["--icount"], "echo counted");
    assert_eq!(
        text(&counted.stdout),
        "counted\n",
        "{}",
        text(&counted.stderr)
    );
}

/// The process ids of `parent`'s children.
fn children_of(parent: &Child) -> Vec<String> {
    let path = format!("/proc/{0}/task/{0}/children", parent.id());
    fs::read_to_string(path)
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
