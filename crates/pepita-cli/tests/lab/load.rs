//! Load that knows what it has written: `fio` with checksums in every block.

use std::fs::File;
use std::process::{Child, Command};

use serde_json::Value;

use super::targets::{Kind, kinds, path_of};
use super::{Home, ended, in_lab, is_full};

/// Requests in flight of each of the two jobs.
pub(super) const DEPTH: u64 = 16;

/// What a `fio` of two jobs side by side does.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) path: &'a str,
    /// Where the first job begins.
    pub(super) first_kibibyte: u64,
    /// What each job writes, and reads again.
    pub(super) kibibytes: u64,
    pub(super) options: &'a [&'a str],
}

/// A `fio` that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    report: String,
    remarks: String,
}

/// Sizes of requests, and how many of a hundred are so.
const SIZES: &str = "--bssplit=512/10:4k/40:8k/20:12k/10:32k/15:128k/5";

impl Load<'_> {
    /// Begins.
    #[track_caller]
    pub(super) fn run(&self, home: &Home) -> Running {
        let (report, remarks) = (home.path("fio.json"), home.path("fio.txt"));
        let said = File::create(&remarks).unwrap();
        let job = |number: u64| {
            let offset = self.first_kibibyte + number * self.kibibytes;
            [format!("--name=job{number}"), format!("--offset={offset}k")]
        };
        let child = Command::new("fio")
            .args(["--ioengine=io_uring", "--direct=1", "--output-format=json"])
            .args(["--verify=crc32c", "--verify_fatal=1", "--verify_dump=0"])
            .args([
                format!("--filename={}", self.path),
                format!("--iodepth={DEPTH}"),
            ])
            .args([
                format!("--output={report}"),
                format!("--size={}k", self.kibibytes),
            ])
            .args(self.options)
            .args(job(0))
            .args(job(1))
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn();
        Running {
            child: child.unwrap(),
            report,
            remarks,
        }
    }
}

impl Running {
    /// Whether it has not ended.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What each job says in its end; all data that it was told is written was right.
    #[track_caller]
    pub(super) fn report(mut self) -> Vec<Value> {
        let status = ended("fio ends", &mut self.child);
        let text = std::fs::read_to_string(&self.report).unwrap();
        let remarks = std::fs::read_to_string(&self.remarks).unwrap();
        assert!(status.success(), "{status}: {remarks}{text}");
        // Remarks may stand before it.
        let json = text.find("\n{").map_or(&*text, |begin| &text[begin..]);
        let report: Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{text}"));
        let jobs = report["jobs"].as_array().unwrap().clone();
        assert_eq!(jobs.len(), 2, "{text}");
        jobs
    }
}

#[test]
fn data_is_what_was_written_whoever_copies_it_and_the_list_says_who() {
    if !in_lab("data_is_what_was_written_whoever_copies_it_and_the_list_says_who") {
        return;
    }
    for copy in ["driver", "get-data", "user"] {
        let home = Home::new();
        let disk = home.disk(
            Kind {
                target: "ram",
                copy,
            },
            16,
            &["-d", "8"],
        );
        let listed = home.done(&["list"])["disks"][0].clone();
        assert_eq!(
            (&listed["copy"], &listed["state"]),
            (&copy.into(), &"live".into())
        );
        let load = Load {
            path: path_of(&disk),
            first_kibibyte: 8,
            kibibytes: 1 << 10,
            options: &["--rw=randrw", SIZES],
        };
        for job in load.run(&home).report() {
            let [written, read] =
                ["write", "read"].map(|way| job[way]["total_ios"].as_u64().unwrap());
            println!("{copy}: {written} writes, {read} reads");
            assert!(job["error"] == 0 && written > 10 && read > written, "{job}");
        }
        home.done(&["del", &disk["id"].to_string()]);
    }
}

#[test]
fn data_of_two_jobs_of_mixed_sizes_with_discards_is_what_they_wrote() {
    if !in_lab("data_of_two_jobs_of_mixed_sizes_with_discards_is_what_they_wrote") {
        return;
    }
    let kibibytes = if is_full() { 4 << 10 } else { 1 << 10 };
    for kind in kinds() {
        let home = Home::new();
        let disk = home.disk(kind, 128, &[]);
        let loads: [&[&str]; 2] = [
            &["--rw=randwrite", SIZES],
            // Each block is discarded before it is written, which `fio` keeps in order one at a time only.
            &["--rw=trimwrite", "--bs=16k", "--iodepth=1"],
        ];
        for options in loads {
            let load = Load {
                path: path_of(&disk),
                first_kibibyte: 8,
                kibibytes,
                options,
            };
            for job in load.run(&home).report() {
                let [written, read, trimmed] =
                    ["write", "read", "trim"].map(|way| job[way]["total_ios"].as_u64().unwrap());
                assert_eq!(job["error"], 0, "{job}");
                println!("{kind:?}: {written} writes, {read} reads, {trimmed} discards");
                assert_eq!(read, written, "all of it was read again");
                let discards = options[0].contains("trim");
                assert_eq!(trimmed, if discards { written } else { 0 });
            }
        }
        home.done(&["del", &disk["id"].to_string()]);
    }
}
