//! Every target that keeps what is written, by every way in which its data is copied.

use std::path::Path;

use pepita::io::FileOptions;
use pepita_sys::blk_mq::conformance::Conformance;
use serde_json::Value;

use super::{DISK, Home, in_lab, is_full, tool};

/// How a disk is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) target: &'static str,
    pub(super) copy: &'static str,
}

/// All of them; outside the full set two, of both copy modes.
pub(super) fn kinds() -> Vec<Kind> {
    let all = ["ram", "zram", "file", "disk", "stripe", "fault"]
        .into_iter()
        .flat_map(|target| ["driver", "user"].map(|copy| Kind { target, copy }))
        .chain(["ram", "file"].map(|target| Kind {
            target,
            copy: "get-data",
        }));
    let short = [("zram", "user"), ("file", "driver")];
    all.filter(|kind| is_full() || short.contains(&(kind.target, kind.copy)))
        .collect()
}

/// Those of [`kinds`] that have each target once, by the ways to copy in turn: who copies does not ask whose data it is.
fn each_target() -> impl Iterator<Item = Kind> {
    let all = kinds().into_iter().enumerate();
    all.filter(|(index, _)| index / 2 % 2 == index % 2)
        .map(|(_, kind)| kind)
}

impl Home {
    /// Makes a disk of `mebibytes`, or of the whole scratch disk.
    #[track_caller]
    pub(super) fn disk(&self, kind: Kind, mebibytes: u32, more: &[&str]) -> Value {
        let size = format!("{mebibytes}MiB");
        let [image, second] = ["disk.img", "second.img"].map(|name| self.path(name));
        let mut args = vec!["add", "-q", "2", "-t"];
        match kind.target {
            "file" => {
                tool(&format!("truncate --size {mebibytes}M {image}"));
                args.extend(["file", "--file", &image]);
            }
            "stripe" => {
                args.extend(["stripe", "--chunk", "64KiB"]);
                for member in [&image, &second] {
                    tool(&format!("truncate --size {}M {member}", mebibytes / 2));
                    args.extend(["--file", member]);
                }
            }
            // Delays alone, so that all that is written is there.
            "fault" => {
                tool(&format!("truncate --size {mebibytes}M {image}"));
                args.extend(["fault", "--file", &image]);
                args.extend([
                    "--plan",
                    "seed=7; read delay=5ms chance=0.02; write delay=5ms chance=0.02",
                ]);
            }
            "disk" => args.extend(["file", "--file", DISK, "--direct"]),
            memory => args.extend([memory, "--size", &size]),
        }
        match kind.copy {
            "driver" => {}
            "user" => args.push("--user-copy"),
            copy => args.extend(["--copy", copy]),
        }
        args.extend(more);
        self.done(&args)
    }
}

/// The path of `disk`.
pub(super) fn path_of(disk: &Value) -> &str {
    disk["path"].as_str().unwrap()
}

#[test]
fn every_target_keeps_the_contract_through_ublk() {
    let test = "every_target_keeps_the_contract_through_ublk";
    if !in_lab(test) {
        return;
    }
    if !is_full() {
        // A minute for each, under emulation.
        println!("SKIPPED: {test}: only in the full set");
        return;
    }
    for kind in each_target() {
        let home = Home::new();
        let disk = home.disk(kind, 16, &[]);
        let device = FileOptions::new().direct().open(Path::new(path_of(&disk)));
        let report = Conformance::new().run(&device.unwrap()).unwrap();
        println!(
            "{kind:?}: {} rules, without {:?}",
            report.checked.len(),
            report.left_out
        );
        assert!(report.checked.len() > 10, "{report:?}");
        home.done(&["del", &disk["id"].to_string()]);
    }
}
