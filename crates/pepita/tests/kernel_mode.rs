//! The program of `tests/kernel-mode/`: built by the toolchain of this workspace, examined, and run.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use object::elf::{FileHeader64, PT_DYNAMIC, PT_INTERP, SHN_UNDEF};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::{Endianness, SymbolIndex};

/// What the program prints when all is well, without its figures.
const LINES: [&str; 6] = [
    "bytes: copied",
    "frames: gave out",
    "tags: gave out",
    "ring: ",
    "file: wrote, synced, read back and removed",
    "kernel mode: all answers were right",
];

/// The workspace's root.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Cargo on `manifest`, without the network, and without what the cargo or the coverage tool around this
/// test have put into the environment for their own builds.
fn cargo(command: &str, manifest: &str) -> Command {
    const KEPT: [&str; 5] = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "TMPDIR"];
    let mut cargo = Command::new("cargo");
    cargo.args([command, "--quiet", "--offline", "--locked"]);
    cargo.arg("--manifest-path").arg(root().join(manifest));
    let kept = KEPT.map(|name| (name, std::env::var_os(name)));
    let kept = kept
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    cargo.env_clear().envs(kept).current_dir(root());
    cargo
}

const MANIFEST: &str = "crates/pepita/tests/kernel-mode/Cargo.toml";

/// What `command` printed, once it has succeeded.
#[track_caller]
fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Builds the program in `profile`; says where it is.
fn build(profile: &str) -> PathBuf {
    let target = root().join("target/kernel-mode");
    let mut cargo = cargo("build", MANIFEST);
    cargo.args(["--profile", profile]);
    cargo.arg("--target-dir").arg(&target);
    succeed(cargo);
    let folder = if profile == "dev" { "debug" } else { profile };
    target.join(folder).join("kernel-mode")
}

/// Whether the program could make a ring; says why `test` is skipped if not.
fn had_ring(test: &str, output: &Output) -> bool {
    let had = output.status.code() != Some(2);
    if !had {
        let reason = String::from_utf8_lossy(&output.stderr);
        println!("SKIPPED: {test}: {}", reason.trim());
    }
    had
}

#[test]
fn the_program_gets_right_answers_unoptimised_and_optimised() {
    for profile in ["dev", "release"] {
        let folder = tempfile::tempdir().unwrap();
        let mut program = Command::new(build(profile));
        let output = program.current_dir(&folder).output().unwrap();
        let test = "the_program_gets_right_answers_unoptimised_and_optimised";
        if !had_ring(test, &output) {
            return;
        }
        assert_eq!(output.status.code(), Some(0), "{profile}: {output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), LINES.len(), "{profile}: {printed}");
        for (line, start) in lines.iter().zip(LINES) {
            assert!(line.starts_with(start), "{profile}: {line}");
        }
        let left = fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 0, "{profile}: it removes its file");
    }
}

#[test]
fn what_the_kernel_refuses_is_named_and_has_its_status() {
    let program = build("release");
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("kernel-mode.file")).unwrap();
    for (script, status, want) in [
        ("exec $0", 3, "openat: EEXIST"),
        ("exec $0 > /dev/full", 3, "write: ENOSPC"),
        ("ulimit -n 3; exec $0", 2, "io_uring_setup: EMFILE"),
    ] {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .arg(&program)
            .current_dir(&folder);
        let output = shell.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let test = "what_the_kernel_refuses_is_named_and_has_its_status";
        if status != 2 && !had_ring(test, &output) {
            return;
        }
        assert_eq!(output.status.code(), Some(status), "{script}: {errors}");
        let start = format!("kernel-mode: {want}");
        assert!(errors.starts_with(&start), "{script}: {errors}");
    }
}

#[test]
fn the_program_is_one_static_file_that_needs_no_other() {
    for profile in ["dev", "release"] {
        let bytes = fs::read(build(profile)).unwrap();
        let bytes = bytes.as_slice();
        let header = FileHeader64::<Endianness>::parse(bytes).unwrap();
        let endian = header.endian().unwrap();
        let segments = header.program_headers(endian, bytes).unwrap();
        for segment in segments {
            let kind = segment.p_type(endian);
            assert_ne!(kind, PT_INTERP, "{profile}: it wants a dynamic linker");
            assert_ne!(kind, PT_DYNAMIC, "{profile}: it wants to be linked");
        }
        let sections = header.sections(endian, bytes).unwrap();
        let symbols = sections.symbols(endian, bytes, object::elf::SHT_SYMTAB);
        let symbols = symbols.unwrap();
        let mut defined = Vec::new();
        for (index, symbol) in symbols.enumerate() {
            let name = symbols.symbol_name(endian, symbol).unwrap();
            let name = String::from_utf8_lossy(name).into_owned();
            let is_defined = symbol.st_shndx(endian) != SHN_UNDEF;
            assert!(is_defined || index == SymbolIndex(0), "{profile}: {name}");
            defined.push(name);
        }
        for name in ["_start", "memcpy", "memmove", "memset"] {
            let ours = defined.iter().filter(|other| *other == name).count();
            assert_eq!(ours, 1, "{profile}: {name}");
        }
    }
}

#[test]
fn kernel_mode_has_no_crate_from_outside_of_the_workspace() {
    let fixed = ["--edges=normal,build", "--target=all", "--prefix=none"];
    let facade = ["--no-default-features", "--features", "kernel"];
    let mut facade_tree = cargo("tree", "crates/pepita/Cargo.toml");
    facade_tree.args(fixed).args(facade);
    let mut program_tree = cargo("tree", MANIFEST);
    program_tree.args(fixed);
    for (tree, own) in [(facade_tree, "pepita"), (program_tree, "kernel-mode")] {
        let listed = succeed(tree);
        let mut names: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        let core = ["pepita", "pepita-io", "pepita-mem", "pepita-sys"];
        let mut want: Vec<&str> = core.into_iter().chain([own]).collect();
        want.sort_unstable();
        want.dedup();
        assert_eq!(names, want, "{listed}");
        let is_ours = |line: &str| line.contains("(/");
        assert!(listed.lines().all(is_ours), "{listed}");
    }
}
