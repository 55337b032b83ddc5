//! Programs that come from Debian packages: found, installed when root, else asked for.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A program and the Debian package that holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// The program: a name looked up on `PATH` and in the `sbin` folders, or an absolute path.
    pub(crate) program: &'static str,
    /// The package.
    pub(crate) package: &'static str,
}

/// Makes sure that all `tools` are here: installs the missing ones when root.
///
/// # Errors
/// Names the one `apt-get` line to run when this process may not install.
pub(crate) fn ensure_tools(tools: &[Tool]) -> Result<()> {
    let mut packages: Vec<&str> = tools
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .map(|tool| tool.package)
        .collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let line = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        bail!("programs are missing; as root run: apt-get update && {line}");
    }
    notice(&line);
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "-y", "--no-install-recommends"])
            .args(&packages);
        quiet(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_err() {
        update()?;
        install()?;
    }
    Ok(())
}

/// Tells a person what takes so long. A program that reads standard error must find only what the
/// command wrote there.
pub(crate) fn notice(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("xtask: {what}");
    }
}

/// Refreshes the package lists.
///
/// # Errors
/// What `apt-get update` said.
pub(crate) fn update() -> Result<()> {
    quiet(Command::new("apt-get").args(["update", "-q"]))
}

/// The newest package whose name starts with `prefix` and ends with `suffix`, if the lists have one.
pub(crate) fn newest_package(prefix: &str, suffix: &str) -> Result<Option<String>> {
    let names = output(Command::new("apt-cache").args(["pkgnames", prefix]))?;
    let fits = |name: &&str| name.starts_with(prefix) && name.ends_with(suffix);
    Ok(names
        .lines()
        .filter(fits)
        .max_by_key(|name| numbers(name))
        .map(str::to_owned))
}

/// The numbers in a package name, in order: `linux-image-6.12.9+deb12` gives `[6, 12, 9, 12]`.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Where `program` is: on `PATH`, or in a folder that only root's `PATH` names.
pub(crate) fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = Path::new(program.as_ref());
    if program.is_absolute() {
        return program.exists().then(|| program.to_path_buf());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Runs `command` without showing its output unless it fails.
///
/// # Errors
/// The command and what it printed.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// The command and what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        done.status.success(),
        "{command:?}: {}\n{}{}",
        done.status,
        text(&done.stdout),
        text(&done.stderr)
    );
    Ok(text(&done.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_versions_compare_as_numbers() {
        assert!(numbers("linux-image-6.12.117+deb12") > numbers("linux-image-6.12.99+deb12"));
        assert!(numbers("linux-image-6.1.0-100") > numbers("linux-image-6.1.0-56"));
    }

    #[test]
    fn a_program_is_found_outside_path_too() {
        assert!(find("sh").is_some());
        assert!(find("/no/such/program").is_none());
        assert!(find("no-such-program").is_none());
    }
}
