//! [`Image`]: what `execve` takes, laid out in memory before the child exists.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::lookup;
use crate::task::{Program, SpawnError};

/// Path, arguments, environment and directory of one program, as NUL-terminated strings.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) path: CString,
    pub(super) args: Vec<CString>,
    pub(super) environment: Vec<CString>,
    /// Its working directory; `None` is that of this process.
    pub(super) dir: Option<OwnedFd>,
}

impl Image {
    /// Looks the program up and lays out its strings; `mark` is one more variable.
    pub(super) fn new(program: &Program, mark: (&str, &str)) -> Result<Self, SpawnError> {
        let environment = environment(program, mark);
        let dir = match &program.working_dir {
            Some(dir) => Some(open_dir(dir)?),
            None => None,
        };
        let from = dir.as_ref().map_or(CWD, |dir| dir.as_fd());
        let path_variable = lookup::variable(&environment, "PATH");
        let path = lookup::executable(&program.path, path_variable.as_deref(), from)?;
        let args = std::iter::once(program.path.as_os_str())
            .chain(program.args.iter().map(OsString::as_os_str))
            .map(c_string)
            .collect();
        let environment = environment.iter().map(|entry| c_string(entry)).collect();
        Ok(Self {
            path: c_string(path.as_os_str()),
            args,
            environment,
            dir,
        })
    }

    /// Bytes that the kernel copies: strings, their NULs and the pointers to them.
    pub(super) fn size_bytes(&self) -> usize {
        let strings = self.args.iter().chain(&self.environment);
        strings
            .map(|string| string.as_bytes_with_nul().len() + size_of::<usize>())
            .sum()
    }

    /// What the child's failed `execve` means.
    pub(super) fn explain(&self, errno: rustix::io::Errno) -> SpawnError {
        let dir = self.dir.as_ref().map_or(CWD, |dir| dir.as_fd());
        lookup::explain(errno, &self.path(), dir, self.size_bytes())
    }

    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(self.path.as_bytes()))
    }
}

/// The variables of this process, if inherited, with the program's changes and the mark, as
/// `NAME=value`.
fn environment(program: &Program, mark: (&str, &str)) -> Vec<OsString> {
    let inherited = (!program.env_clear)
        .then(std::env::vars_os)
        .into_iter()
        .flatten();
    let mut variables: Vec<(OsString, OsString)> = inherited.collect();
    for (name, value) in &program.env {
        variables.retain(|(present, _)| present != name);
        if let Some(value) = value {
            variables.push((name.clone(), value.clone()));
        }
    }
    variables.retain(|(present, _)| present != mark.0);
    variables.push((mark.0.into(), mark.1.into()));
    let joined = variables.into_iter().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    });
    joined.collect()
}

fn open_dir(dir: &PathBuf) -> Result<OwnedFd, SpawnError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, dir, flags, Mode::empty()).map_err(|errno| SpawnError::WorkingDir {
        dir: dir.clone(),
        source: errno.into(),
    })
}

fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes())
        .expect("`TaskBuilder::build` refuses NUL, and an inherited variable came as a C string")
}
