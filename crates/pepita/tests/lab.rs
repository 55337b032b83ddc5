//! The program of `tests/kernel-mode/` on the lab's kernel.

use std::path::Path;
use std::process::Command;

/// What `cargo xtask ci` builds before the lab boots.
const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/kernel-mode/release/kernel-mode"
);

#[test]
fn the_kernel_mode_program_gets_right_answers_from_this_kernel() {
    let test = "the_kernel_mode_program_gets_right_answers_from_this_kernel";
    let Some(kernel) = std::env::var_os("PEPITA_LAB") else {
        println!("SKIPPED: {test}: only in the lab");
        return;
    };
    assert!(
        Path::new(PROGRAM).is_file(),
        "{PROGRAM} is not here: cargo test --package pepita --test kernel_mode builds it"
    );
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM).current_dir(&folder).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{kernel:?}: {output:?}");
    let last = printed.lines().last();
    let want = Some("kernel mode: all answers were right");
    assert_eq!(last, want, "{kernel:?}: {printed}");
    println!("Linux {kernel:?}: {printed}");
}
