//! What the host and the lab's first process say to each other over the control port.
//!
//! The host sends one [`Job`] as a line of JSON, then [`PING`] bytes at its own pace. The lab answers
//! with [`Report`]s, one line each. Pings come from the host because the lab's clock may be emulated.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Asks for a [`Report::Pong`].
pub(crate) const PING: u8 = b'\n';

/// The ports of the virtio-serial device, by name.
pub(crate) mod port {
    /// [`super::Job`] and pings in, [`super::Report`]s out.
    pub(crate) const CONTROL: &str = "control";
    /// The command's standard output.
    pub(crate) const STDOUT: &str = "stdout";
    /// The command's standard error.
    pub(crate) const STDERR: &str = "stderr";
}

/// The tag of the shared root.
pub(crate) const ROOT_TAG: &str = "root";
/// The tag of the shared writable folder.
pub(crate) const OUT_TAG: &str = "out";

/// What the lab shall do.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// Its whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub(crate) folder: PathBuf,
    /// Where the writable share is mounted: the path that it has on the host.
    pub(crate) out: PathBuf,
    /// What becomes `/lib/modules`.
    pub(crate) modules: PathBuf,
}

/// What the lab says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command is about to start.
    Ready,
    /// The answer to [`PING`].
    Pong,
    /// The command has ended, and all of its output is sent. A signal counts as 128 + its number.
    Exit(u8),
    /// The lab could not be set up.
    Broken(String),
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn a_job_survives_the_trip_with_bytes_that_are_not_utf8() {
        let job = Job {
            command: vec!["printf".into(), OsString::from_vec(vec![0xff, b'\n', b'"'])],
            environment: vec![("A".into(), "b=c".into())],
            folder: "/tmp".into(),
            out: "/out".into(),
            modules: "/modules".into(),
        };
        let line = serde_json::to_string(&job).expect("paths are UTF-8");
        assert!(!line.contains('\n'), "one line");
        assert_eq!(
            serde_json::from_str::<Job>(&line).expect("what was written"),
            job
        );
    }
}
