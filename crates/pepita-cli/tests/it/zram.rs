//! `pepita zram`: what compressed memory would make of files and processes.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{pepita, run, run_with_input};

/// 5 zero pages, 3 that repeat 8 bytes, 4 that are the same, 6 that no coder makes shorter.
fn image() -> Vec<u8> {
    let mut bytes = vec![0; 5 * 4096];
    bytes.extend(b"abcdefgh".repeat(3 * 512));
    let text = b"all work and no play ".repeat(200);
    for _ in 0..4 {
        bytes.extend(&text[..4096]);
    }
    let mut state = 1_u64;
    bytes.extend((0..6 * 4096).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    }));
    bytes
}

#[track_caller]
fn holds(report: &Value, pages: u64) {
    for (name, want) in [
        ("pages", pages),
        ("zero_pages", 5),
        ("same_pages", 8),
        ("duplicate_pages", 3),
        ("distinct_pages", pages - 11),
        ("looked_at_one_in", 1),
        ("unreadable_pages", 0),
        ("lost_bytes", 0),
    ] {
        assert_eq!(report[name], want, "{name} of {report}");
    }
    let codecs = report["codecs"].as_array().unwrap();
    let names: Vec<_> = codecs.iter().map(|codec| &codec["name"]).collect();
    assert_eq!(names, ["lz4", "lz4-fast", "dense", "none"]);
    for codec in codecs {
        let distinct = pages - 11;
        let histogram = codec["histogram"].as_array().unwrap();
        let sum: u64 = histogram.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, distinct, "{codec}");
        let raw = if codec["name"] == "none" { distinct } else { 6 };
        assert_eq!(codec["incompressible_pages"], raw, "{codec}");
    }
    assert_eq!(codecs[3]["compressed_bytes"], (pages - 11) * 4096);
}

#[test]
fn what_zram_would_make_of_a_file_is_told() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("image");
    fs::write(&path, image()).unwrap();
    let path = path.to_str().unwrap();
    let ran = run(["--json", "zram", "analyze", path]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    holds(&ran.json()[0], 18);

    // The end of a file is a page too, with zeroes behind it.
    let mut longer = image();
    longer.extend(b"the end");
    fs::write(path, &longer).unwrap();
    let ran = run(["zram", "analyze", path]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for part in [
        "76 KiB, 19 pages of 4 KiB",
        "zero                        5  26.3 %",
        "repeat 8 bytes              3  15.7 %",
        "duplicate                   3  15.7 %",
        "distinct                    8  42.1 %",
        "lz4-fast ",
        " 3841-4096            6          6          6  ##############################",
    ] {
        assert!(ran.stdout.contains(part), "{part}\n{}", ran.stdout);
    }
    // What comes through a pipe is read to its end.
    let ran = run_with_input(["--json", "zram", "analyze", "/dev/stdin"], &longer);
    holds(&ran.json()[0], 19);
}

#[test]
fn what_zram_would_make_of_a_process_is_told_and_it_goes_on() {
    // A shell that has text in a variable, says so, and waits.
    let script =
        "t=$(yes 'all work and no play' | head -c 3000000); echo ready; read end; echo ${#t}";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    let ran = run(["--json", "zram", "analyze", &child.id().to_string()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report = &ran.json()[0];
    assert_eq!(report["source"], format!("process {}", child.id()));
    let pages = report["pages"].as_u64().unwrap();
    assert!((3_000_000 / 4096..20_000).contains(&pages), "{report}");
    let ratio = report["codecs"][0]["ratio"].as_f64().unwrap();
    assert!(ratio > 5.0, "{report}");
    child.stdin.take().unwrap().write_all(b"end\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "3000000");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_analysed_says_why() {
    // A process that has ended, and is not waited for.
    let mut gone = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    let mut end = String::new();
    std::io::Read::read_to_string(gone.stdout.as_mut().unwrap(), &mut end).unwrap();
    let zombie = gone.id().to_string();
    while !fs::read_to_string(format!("/proc/{zombie}/stat"))
        .unwrap()
        .contains(") Z ")
    {
        std::thread::yield_now();
    }
    for (what, reason) in [
        ("/no/such/file", "/no/such/file: No such file"),
        ("", "'': No such file"),
        ("/no\x1b[2J\n", "/no\\u{1b}[2J\\n: No such file"),
        ("/", "/ is a directory; expected a file, a disk or"),
        (
            "4194305",
            "there is no process 4194305; a file of this name is `./4194305`",
        ),
        (&zombie, "has no memory of its own"),
    ] {
        let ran = run(["zram", "analyze", what]);
        assert_eq!(ran.code, 1, "{what}");
        assert!(ran.stderr.contains(reason), "{what}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{what}");
    }
    gone.wait().unwrap();
    for args in [
        &["zram", "stat", "sda"][..],
        &["--json", "zram", "stat", "--raw", "mm_stat"],
    ] {
        assert_eq!(run(args).code, 2, "{args:?}");
    }
}

#[test]
fn disks_of_servers_that_say_nothing_are_told_of() {
    let home = tempfile::tempdir().unwrap();
    let stat = |args: &[&str]| {
        let args = [&["--json", "zram", "stat"], args].concat();
        let output = pepita(args)
            .env("PEPITA_RUN_DIR", home.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, _, stderr) = stat(&["ublkb7"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("ublkb7"), "{stderr}");
    // A socket without a server, as after kill -9.
    let ublk = home.path().join("ublk");
    fs::create_dir(&ublk).unwrap();
    fs::write(ublk.join("7.json"), "{}").unwrap();
    drop(std::os::unix::net::UnixListener::bind(ublk.join("7.sock")).unwrap());
    // Another that says something.
    let figures = json!({
        "disk": "ublkb8",
        "bytes": 4096,
        "compressor": "lz4",
        "mm_stat": {
            "orig_data_size": 0, "compr_data_size": 0, "mem_used_total": 0, "mem_limit": 0, "mem_used_max": 0,
            "same_pages": 1, "pages_compacted": 0, "huge_pages": 0, "huge_pages_since": 0
        },
        "io_stat": { "failed_reads": 0, "failed_writes": 0, "invalid_io": 0, "notify_free": 0 },
        "bd_stat": null,
        "more": null
    });
    fs::write(ublk.join("8.json"), "{}").unwrap();
    let server = std::os::unix::net::UnixListener::bind(ublk.join("8.sock")).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = server.accept().unwrap();
            write!(stream, "{figures}").unwrap();
        });
        let (code, stdout, stderr) = stat(&[]);
        assert_eq!(code, Some(1));
        let shown: Value = serde_json::from_str(&stdout).unwrap();
        let disks = shown["disks"].as_array().unwrap();
        assert!(disks.contains(&figures), "{shown}");
        let gone = json!({ "disk": "ublkb7", "error": "its server is gone" });
        assert!(disks.contains(&gone), "{shown}");
        let error: Value = serde_json::from_str(&stderr).unwrap();
        assert_eq!(error, json!({ "error": "ublkb7: its server is gone" }));
    });
}

#[test]
fn a_directory_of_records_that_cannot_be_read_is_named() {
    for disks in [&[][..], &["ublkb0"]] {
        let mut stat = pepita([&["zram", "stat"], disks].concat());
        let output = stat.env("PEPITA_RUN_DIR", "/dev/null").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{disks:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let said = "/dev/null/ublk: Not a directory (os error 20); PEPITA_RUN_DIR names another";
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn a_name_that_is_no_text_names_a_file_nevertheless() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(OsStr::from_bytes(b"\xff\x1b"));
    fs::write(&path, image()).unwrap();
    let what = [OsStr::new("zram"), OsStr::new("analyze"), path.as_os_str()];
    let ran = run(what);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(
        ran.stdout.contains("\u{fffd}\\u{1b}: 72 KiB"),
        "{}",
        ran.stdout
    );
}

#[test]
fn what_is_missing_or_wrong_on_the_command_line_is_said_to_programs_too() {
    for (args, said) in [
        (&["zram", "analyze"][..], "<FILE|PID>"),
        (&["zram", "stat", "ublkb00"], "ublkb00 is no zram disk"),
        (
            &["ublk", "add", "-t", "zram", "--size", "4608B"],
            "expected a multiple of 4096 bytes",
        ),
    ] {
        let ran = run([&["--json"], args].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        let error = error["error"].as_str().unwrap();
        assert!(error.contains(said), "{error}");
    }
}
