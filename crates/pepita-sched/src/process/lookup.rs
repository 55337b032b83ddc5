//! Finds a program as a shell does.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, accessat, statat};
use rustix::io::Errno;

use crate::task::SpawnError;

/// Where a program without a slash is looked for when there is no `PATH` (`_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path to hand to `execve`, seen from `dir`.
///
/// A name with a slash is that file. Another name is searched in the directories of `PATH` (an
/// empty one is `dir` itself); the first file that may be executed is taken, and one that may not
/// is only reported if none is found.
pub(super) fn executable(
    program: &Path,
    path_variable: Option<&OsStr>,
    dir: BorrowedFd<'_>,
) -> Result<PathBuf, SpawnError> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return Ok(program.to_owned());
    }
    let variable = path_variable.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for entry in variable.as_bytes().split(|&byte| byte == b':') {
        let entry = if entry.is_empty() { b"." } else { entry };
        let candidate = Path::new(OsStr::from_bytes(entry)).join(program);
        match check(&candidate, dir) {
            Ok(()) => return Ok(candidate),
            Err(Errno::ACCESS) => refused = refused.or(Some(candidate)),
            // As a shell does, look on past entries that are missing, or no directory, or broken.
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(program) => SpawnError::NotExecutable { program },
        None => SpawnError::NotFound {
            program: program.to_owned(),
            path_variable: Some(variable.to_owned()),
        },
    })
}

/// Whether `candidate` is a file that may be executed; `EACCES` if it is there and may not be.
fn check(candidate: &Path, dir: BorrowedFd<'_>) -> Result<(), Errno> {
    accessat(dir, candidate, Access::EXEC_OK, AtFlags::EACCESS)?;
    let kind = FileType::from_raw_mode(statat(dir, candidate, AtFlags::empty())?.st_mode);
    if kind == FileType::RegularFile {
        Ok(())
    } else {
        Err(Errno::ACCESS)
    }
}

/// Tells apart what `execve` calls ENOENT and EACCES.
pub(super) fn explain(errno: Errno, path: &Path, dir: BorrowedFd<'_>, bytes: usize) -> SpawnError {
    let program = path.to_owned();
    match errno {
        Errno::NOENT if statat(dir, path, AtFlags::empty()).is_ok() => {
            SpawnError::NoInterpreter { program }
        }
        Errno::NOENT | Errno::NOTDIR => SpawnError::NotFound {
            program,
            path_variable: None,
        },
        Errno::ACCESS | Errno::PERM | Errno::ISDIR => SpawnError::NotExecutable { program },
        Errno::NOEXEC => SpawnError::BadFormat { program },
        Errno::TOOBIG => SpawnError::TooLong { program, bytes },
        errno => SpawnError::System {
            operation: "execve",
            program,
            source: errno.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    struct Tree {
        root: tempfile::TempDir,
    }

    impl Tree {
        fn new(files: &[(&str, u32)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            for (name, mode) in files {
                let path = root.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "#!/bin/sh\n").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            fs::create_dir_all(root.path().join("dirs/tool")).unwrap();
            Self { root }
        }

        #[track_caller]
        fn check(&self, program: &str, path: &str, want: Result<&str, &str>) {
            let dir = fs::File::open(self.root.path()).unwrap();
            let found = executable(Path::new(program), Some(OsStr::new(path)), dir.as_fd());
            match (found, want) {
                (Ok(found), Ok(want)) => assert_eq!(found, Path::new(want)),
                (Err(error), Err(want)) => {
                    let text = error.to_string();
                    assert!(text.contains(want), "{text:?} does not say {want:?}");
                }
                (found, want) => panic!("found {found:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let tree = Tree::new(&[
            ("a/tool", 0o644),
            ("b/tool", 0o755),
            ("tool", 0o755),
            ("a/only", 0o644),
        ]);
        tree.check("tool", "b:a", Ok("b/tool"));
        // A file that may not be executed, a directory and a missing entry are passed over.
        tree.check("tool", "a:dirs:missing:b", Ok("b/tool"));
        // An empty entry is the working directory.
        tree.check("tool", ":b", Ok("./tool"));
        tree.check("./b/tool", "ignored", Ok("./b/tool"));
        tree.check("only", "a:b", Err("may not be executed"));
        tree.check("tool", "dirs", Err("may not be executed"));
        tree.check(
            "missing",
            "a:b",
            Err("\"missing\" was not found in the directories of its PATH"),
        );
    }
}
