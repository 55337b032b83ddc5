//! `cargo xtask ci`: everything that must hold before a change lands, ending in one table.
//!
//! Reading order: this module lists the steps of each set; [`step`] runs one; [`report`] reads what its
//! tests said and prints the table; [`tools`] installs what steps need.

mod aarch64;
mod coverage;
mod fuzz;
mod kernel_mode;
mod labs;
mod report;
mod step;
mod tools;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::tidy::manifests::{self, Package};
use crate::workspace_root;
use report::Row;
use step::{Cargo, Step};

/// Crates with `unsafe`: their tests also run under AddressSanitizer.
const UNSAFE_CRATES: [&str; 8] = [
    "pepita-io",
    "pepita-mem",
    "pepita-sched",
    "pepita-simd",
    "pepita-sys",
    "pepita-virtio",
    "pepita-vmm",
    "pepita-zram",
];

/// Crates with models: tests named `loom_`, run by loom in every order that the memory model allows.
const MODELLED_CRATES: [&str; 6] = [
    "pepita-io",
    "pepita-mem",
    "pepita-sched",
    "pepita-sys",
    "pepita-virtio",
    "pepita-zram",
];

/// The sanitizer's target: naming it keeps build scripts and macros out of it.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Which steps.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What a person runs before a commit: fmt, clippy, tidy, tests. Within 5 minutes, warm.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The long counts of the named areas (`lab`, or a crate's name without `pepita-`); of all without
    /// a name.
    #[arg(long, value_name = "AREA", num_args = 0..)]
    full: Option<Vec<String>>,
}

/// Runs the wanted steps, prints the table.
///
/// # Errors
/// When a step fails.
pub(crate) fn main(options: &Options) -> Result<()> {
    let packages = manifests::packages(workspace_root())?;
    let started = Instant::now();
    let mut rows = Vec::new();
    for (name, plan) in plans(options, &packages)? {
        eprintln!("ci: {name} …");
        let row = run(name, plan, &packages);
        eprintln!("ci: {}", row.line());
        rows.push(row);
    }
    println!("\n{}", report::table(&rows, started.elapsed()));
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    if failed > 0 {
        bail!("{failed} failed step(s): see above");
    }
    Ok(())
}

/// How a step is made: late, since it may need what an earlier one installs.
type Plan = Box<dyn Fn(&[Package]) -> Result<Step>>;

fn plans(options: &Options, packages: &[Package]) -> Result<Vec<(String, Plan)>> {
    if let Some(areas) = &options.full {
        return full(areas, packages);
    }
    let quick: Vec<(&str, Plan)> = vec![
        (
            "fmt",
            Box::new(|_| Ok(Step::of(Cargo::new(&["fmt", "--all", "--check"])))),
        ),
        ("clippy", Box::new(|packages| Ok(clippy(packages)))),
        (
            "tidy",
            Box::new(|_| Ok(Step::of(Cargo::new(&["xtask", "tidy"])))),
        ),
    ];
    let rest: Vec<(&str, Plan)> = if options.quick {
        vec![("tests", Box::new(|_| Ok(tests("quick"))))]
    } else {
        vec![
            ("deny", Box::new(|_| deny())),
            ("docs", Box::new(|_| Ok(docs()))),
            ("tests", Box::new(|_| coverage::tests())),
            ("doc tests", Box::new(|_| Ok(doc_tests()))),
            ("coverage", Box::new(|_| coverage::floor())),
            ("loom", Box::new(|_| Ok(loom()))),
            ("sanitizer", Box::new(|_| sanitizer())),
            (
                "fuzz virtio",
                Box::new(|_| fuzz::step(&fuzz::VIRTIO, fuzz::CI_SECONDS)),
            ),
            (
                "fuzz zram",
                Box::new(|_| fuzz::step(&fuzz::ZRAM, fuzz::CI_SECONDS)),
            ),
            ("kernel-mode", Box::new(|_| Ok(kernel_mode::step()))),
            ("aarch64", Box::new(|_| aarch64::step())),
            ("benches", Box::new(|_| Ok(benches()))),
            ("lab", Box::new(labs::step)),
        ]
    };
    Ok(quick
        .into_iter()
        .chain(rest)
        .map(|(name, plan)| (name.to_owned(), plan))
        .collect())
}

fn run(name: String, plan: Plan, packages: &[Package]) -> Row {
    let started = Instant::now();
    let done = plan(packages)
        .map_err(Into::into)
        .and_then(|step| step.run(&name));
    Row::new(name, started.elapsed(), done)
}

/// The steps of `--full`: the tests of each area with their full counts.
fn full(areas: &[String], packages: &[Package]) -> Result<Vec<(String, Plan)>> {
    let area_of = |name: &str| {
        if name == "xtask" {
            "lab".to_owned()
        } else {
            name.replacen("pepita-", "", 1)
        }
    };
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for package in packages {
        let area = area_of(&package.name);
        if areas.is_empty() || areas.contains(&area) {
            let name = package.name.clone();
            plans.push((
                format!("full {area}"),
                Box::new(move |_| Ok(full_tests(&name))),
            ));
            if package.ships() && package.has_test("lab") {
                let name = package.name.clone();
                plans.push((
                    format!("full {area} lab"),
                    Box::new(move |packages| labs::full(named(packages, &name)?)),
                ));
            }
            if let Some(targets) = fuzz::of(&area) {
                let step: Plan = Box::new(move |_| fuzz::step(targets, fuzz::FULL_SECONDS));
                plans.push((format!("full fuzz {area}"), step));
            }
        }
    }
    for area in areas {
        let known = packages
            .iter()
            .map(|package| area_of(&package.name))
            .collect::<Vec<_>>();
        ensure!(
            known.contains(area),
            "no area {area}: one of {}",
            known.join(", ")
        );
    }
    Ok(plans)
}

fn named<'a>(packages: &'a [Package], name: &str) -> Result<&'a Package> {
    let found = packages.iter().find(|package| package.name == name);
    found.with_context(|| format!("no package {name}"))
}

fn full_tests(package: &str) -> Step {
    let cargo = Cargo::new(&[
        "test",
        "--package",
        package,
        "--all-features",
        "--no-fail-fast",
    ]);
    Step::of(
        cargo
            .env("PEPITA_TEST_SET", "full")
            .env("PROPTEST_CASES", "10000")
            .tests(),
    )
}

/// Everything with all features, then the facade with none and with each alone.
fn clippy(packages: &[Package]) -> Step {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    let all = Cargo::new(&[
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--all-features",
    ])
    .args(&DENY);
    let mut step = Step::of(all);
    let facade = || {
        Cargo::new(&[
            "clippy",
            "--quiet",
            "--package",
            "pepita",
            "--no-default-features",
        ])
    };
    let features = packages
        .iter()
        .filter(|package| package.name == "pepita")
        .flat_map(|package| package.features.keys());
    let mut features: Vec<&str> = features
        .map(String::as_str)
        .filter(|feature| *feature != "default")
        .collect();
    features.sort_unstable();
    step = step.then(facade().args(&DENY));
    for feature in features {
        step = step.then(facade().args(&["--features", feature]).args(&DENY));
    }
    step
}

fn tests(set: &str) -> Step {
    let cargo = Cargo::new(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    Step::of(cargo.env("PEPITA_TEST_SET", set).tests())
}

fn doc_tests() -> Step {
    Step::of(
        Cargo::new(&[
            "test",
            "--workspace",
            "--all-features",
            "--doc",
            "--no-fail-fast",
        ])
        .tests(),
    )
}

fn docs() -> Step {
    let cargo = Cargo::new(&[
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--document-private-items",
    ]);
    Step::of(cargo.env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> Result<Step> {
    let program = tools::CARGO_DENY.ensure()?;
    let checks = [
        "--all-features",
        "--log-level=warn",
        "check",
        "bans",
        "licenses",
        "sources",
    ];
    Ok(Step::of(Cargo::program(program, &checks)))
}

fn loom() -> Step {
    let mut cargo = Cargo::new(&["test", "--lib", "--release", "--no-fail-fast"]);
    for package in MODELLED_CRATES {
        cargo = cargo.args(&["--package", package]);
    }
    Step::of(
        cargo
            .env("RUSTFLAGS", "--cfg pepita_loom")
            .env("CARGO_TARGET_DIR", "target/loom")
            .tests()
            .args(&["loom_"]),
    )
}

fn sanitizer() -> Result<Step> {
    tools::ensure_nightly()?;
    let mut cargo = Cargo::new(&[
        "+nightly",
        "test",
        "--lib",
        "--tests",
        "--all-features",
        "--no-fail-fast",
        "--target",
        TARGET,
    ]);
    for package in UNSAFE_CRATES {
        cargo = cargo.args(&["--package", package]);
    }
    let flags = "-Zsanitizer=address -Cforce-frame-pointers=yes";
    Ok(Step::of(
        cargo
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", "target/sanitizer")
            .tests(),
    ))
}

/// Only that they compile: figures come from `cargo xtask bench`.
fn benches() -> Step {
    let manifest = "benches/Cargo.toml";
    if !workspace_root().join(manifest).is_file() {
        return Step::nothing("no benches/ in this tree");
    }
    Step::of(Cargo::new(&[
        "check",
        "--quiet",
        "--locked",
        "--all-targets",
        "--manifest-path",
        manifest,
    ]))
}
