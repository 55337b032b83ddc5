//! The project's own commands: `cargo xtask ci`, `abi`, `bench`, `lab`, `operations`, `tidy`.
//!
//! Each command is one module; `README.md` beside the manifest says what they do.

mod abi;
mod bench;
mod ci;
mod debian;
mod lab;
mod operations;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a command as root on a Debian kernel that has ublk, KVM and zram.
    Lab(lab::Options),
    /// Everything that must hold before a change lands.
    Ci(ci::Options),
    /// Ours and the peers side by side.
    Bench(bench::Options),
    /// Makes the tables of kernel constants and layouts again, from the kernel's headers.
    Abi,
    /// Measures the operations of pepita-simd, and writes the figures into their table.
    Operations(operations::Options),
    /// Checks the repository's own rules.
    Tidy,
    /// A helper process of `lab`: dies with its parent.
    #[command(hide = true)]
    LabChild(lab::child::Options),
    /// The first process inside the lab.
    #[command(hide = true)]
    LabInit,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Lab(options) => return lab::main(&options),
        Command::Ci(options) => ci::main(&options),
        Command::Bench(options) => return bench::main(&options),
        Command::Abi => abi::main(),
        Command::Operations(options) => operations::main(&options),
        Command::Tidy => tidy::main(),
        Command::LabChild(options) => lab::child::exec(&options),
        Command::LabInit => lab::guest::init(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace: the folder above this crate's.
fn workspace_root() -> &'static std::path::Path {
    let manifest_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir)
}
