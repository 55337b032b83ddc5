//! [`Image`]: what `execve` takes, laid out in memory before the child exists.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::lookup;
use crate::task::{Program, SpawnError};

/// The variables of this process, as `NAME=value`.
///
/// Taken once: a program's environment costs nothing to lay out then, and is not read while another
/// thread changes it.
#[derive(Debug)]
pub(super) struct Inherited(Vec<CString>);

impl Inherited {
    /// Those of now, without `mark`, which each program has of its own.
    pub(super) fn take(mark: &str) -> Self {
        let variables = std::env::vars_os().filter(|(name, _)| name != mark);
        Self(
            variables
                .map(|(name, value)| entry(&name, &value))
                .collect(),
        )
    }
}

/// Path, arguments, environment and directory of one program, as NUL-terminated strings.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) path: CString,
    pub(super) args: Vec<CString>,
    inherited: Vec<&'a CStr>,
    /// What the program sets itself, and the mark.
    own: Vec<CString>,
    /// Its working directory; `None` is that of this process.
    pub(super) dir: Option<OwnedFd>,
}

impl<'a> Image<'a> {
    /// Looks the program up and lays out its strings; `mark` is one more variable.
    pub(super) fn new(
        program: &Program,
        inherited: &'a Inherited,
        mark: (&str, &str),
    ) -> Result<Self, SpawnError> {
        let dir = match &program.working_dir {
            Some(dir) => Some(open_dir(dir)?),
            None => None,
        };
        let mut image = Self {
            path: CString::default(),
            args: std::iter::once(program.path.as_os_str())
                .chain(program.args.iter().map(OsString::as_os_str))
                .map(|text| c_string(text.as_bytes()))
                .collect(),
            inherited: Vec::new(),
            own: Vec::new(),
            dir,
        };
        image.lay_out_environment(program, inherited);
        let from = image.dir.as_ref().map_or(CWD, |dir| dir.as_fd());
        let path_variable = image.variable("PATH");
        let path = lookup::executable(&program.path, path_variable, from)?;
        image.path = c_string(path.as_os_str().as_bytes());
        image
            .own
            .push(entry(OsStr::new(mark.0), OsStr::new(mark.1)));
        Ok(image)
    }

    /// Strings that `execve` finds no program for.
    pub(super) fn of_nothing() -> Self {
        Self {
            path: CString::default(),
            args: Vec::new(),
            inherited: Vec::new(),
            own: Vec::new(),
            dir: None,
        }
    }

    fn lay_out_environment(&mut self, program: &Program, inherited: &'a Inherited) {
        if !program.env_clear {
            self.inherited = inherited.0.iter().map(CString::as_c_str).collect();
        }
        for (name, value) in &program.env {
            let is_other = |present: &CStr| value_of(present, name).is_none();
            self.inherited.retain(|present| is_other(present));
            self.own.retain(|present| is_other(present));
            if let Some(value) = value {
                self.own.push(entry(name, value));
            }
        }
    }

    /// Every variable, as `NAME=value`.
    pub(super) fn environment(&self) -> impl Iterator<Item = &CStr> {
        let own = self.own.iter().map(CString::as_c_str);
        self.inherited.iter().copied().chain(own)
    }

    /// The value of a variable; of several, the last counts.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        let values = self
            .environment()
            .filter_map(|entry| value_of(entry, OsStr::new(name)));
        values.last()
    }

    /// Bytes that the kernel copies: strings, their NULs and the pointers to them.
    pub(super) fn size_bytes(&self) -> usize {
        let args = self.args.iter().map(CString::as_c_str);
        args.chain(self.environment())
            .map(|string| string.count_bytes() + 1 + size_of::<usize>())
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

fn entry(name: &OsStr, value: &OsStr) -> CString {
    c_string([name.as_bytes(), value.as_bytes()].join(&b'='))
}

/// What `entry` says that `name` is, if it is about `name`.
fn value_of<'e>(entry: &'e CStr, name: &OsStr) -> Option<&'e OsStr> {
    let value = entry.to_bytes().strip_prefix(name.as_bytes())?;
    value.strip_prefix(b"=").map(OsStr::from_bytes)
}

fn open_dir(dir: &PathBuf) -> Result<OwnedFd, SpawnError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, dir, flags, Mode::empty()).map_err(|errno| SpawnError::WorkingDir {
        dir: dir.clone(),
        source: errno.into(),
    })
}

fn c_string(text: impl AsRef<[u8]>) -> CString {
    CString::new(text.as_ref())
        .expect("`TaskBuilder::build` refuses NUL, and an inherited variable came as a C string")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_setting_of_a_variable_counts() {
        let inherited = Inherited(["PATH=a", "PATHX=b"].map(c_string).into());
        let program = Program::new("/bin/true").env("A", "1").env("A", "2");
        let set = |program: Program| {
            let image = Image::new(&program, &inherited, ("MARK", "m")).unwrap();
            let path = image.variable("PATH").map(OsStr::to_owned);
            let all: Vec<String> = image
                .environment()
                .map(|entry| entry.to_string_lossy().into_owned())
                .collect();
            (path, all.join(" "))
        };
        let path = |value: &str| Some(OsString::from(value));
        assert_eq!(
            set(program.clone()),
            (path("a"), "PATH=a PATHX=b A=2 MARK=m".into())
        );
        assert_eq!(
            set(program.clone().env("PATH", "c")),
            (path("c"), "PATHX=b A=2 PATH=c MARK=m".into())
        );
        assert_eq!(
            set(program.env_remove("PATH")),
            (None, "PATHX=b A=2 MARK=m".into())
        );
    }
}
