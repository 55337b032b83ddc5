//! `cargo xtask operations`: measures the operations of pepita-simd, and writes what came of it into their table.

pub(crate) mod table;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{debian, workspace_root};
use table::Measured;

/// What `pepita bench cpu` said, from the workspace's root.
pub(crate) const FIGURES: &str = "docs/simd.json";

/// The file with the table.
pub(crate) const README: &str = "crates/pepita-simd/README.md";

/// Options of `cargo xtask operations`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the table again from the figures that are there
    #[arg(long)]
    no_bench: bool,
}

/// Measures, unless told not to, and writes the table.
pub(crate) fn main(options: &Options) -> Result<()> {
    let root = workspace_root();
    let figures = root.join(FIGURES);
    if !options.no_bench {
        let bench = [
            "run",
            "--release",
            "--quiet",
            "--package",
            "pepita-cli",
            "--",
            "--json",
            "bench",
            "cpu",
        ];
        let text = debian::output(Command::new(env!("CARGO")).args(bench).current_dir(root))?;
        fs::write(&figures, text).with_context(|| FIGURES)?;
    }
    let text = fs::read_to_string(&figures).with_context(|| FIGURES)?;
    let measured = Measured::of(&text).with_context(|| FIGURES)?;
    let readme = root.join(README);
    let text = fs::read_to_string(&readme).with_context(|| README)?;
    fs::write(&readme, table::with_figures(&text, &measured)).with_context(|| README)?;
    Ok(())
}
