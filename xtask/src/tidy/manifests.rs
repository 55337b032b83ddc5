//! Rules about manifests: the layers, and that each crate can stand alone.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Finding, line_of};
use crate::debian;

/// A package of the workspace, as `cargo metadata` tells it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: String,
    pub(crate) features: HashMap<String, Vec<String>>,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
    metadata: Option<Metadata>,
    publish: Option<Vec<String>>,
    description: Option<String>,
    license: Option<String>,
    repository: Option<String>,
    readme: Option<String>,
    rust_version: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    name: String,
    /// Normal, or `dev` or `build`.
    kind: Option<String>,
    /// Where it is, for a crate of the workspace.
    path: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    pepita: Option<Layer>,
}

#[derive(Debug, Clone, Deserialize)]
struct Layer {
    layer: u8,
}

impl Package {
    /// Whether users get this crate.
    pub(crate) fn ships(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }

    /// Whether it has the integration test `name`.
    pub(crate) fn has_test(&self, name: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.name == name && target.kind.iter().any(|kind| kind == "test"))
    }

    fn layer(&self) -> Option<u8> {
        Some(self.metadata.as_ref()?.pepita.as_ref()?.layer)
    }
}

/// The workspace's packages.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Workspace {
        packages: Vec<Package>,
    }
    let arguments = ["metadata", "--format-version=1", "--no-deps"];
    let json = debian::output(
        Command::new(env!("CARGO"))
            .args(arguments)
            .current_dir(root),
    )?;
    let workspace: Workspace = serde_json::from_str(&json).context("cargo metadata")?;
    Ok(workspace.packages)
}

/// Applies all rules of this module.
pub(super) fn check(root: &Path, packages: &[Package]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.ships()) {
        let text = fs::read_to_string(&package.manifest_path)
            .with_context(|| package.manifest_path.clone())?;
        let manifest = Path::new(&package.manifest_path);
        let shown = manifest
            .strip_prefix(root)
            .unwrap_or(manifest)
            .display()
            .to_string();
        findings.extend(layers(package, packages, &shown, &text));
        findings.extend(fields(package, &shown));
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::error(&shown, 1, "add [lints] workspace = true"));
        }
        for target in package.targets.iter().filter(|target| {
            target
                .kind
                .iter()
                .any(|kind| kind == "lib" || kind == "bin")
        }) {
            let source =
                fs::read_to_string(&target.src_path).with_context(|| target.src_path.clone())?;
            let path = Path::new(&target.src_path);
            findings.extend(crate_doc(
                &path
                    .strip_prefix(root)
                    .unwrap_or(path)
                    .display()
                    .to_string(),
                &source,
            ));
        }
    }
    Ok(findings)
}

/// Normal and build dependencies point to lower layers.
fn layers(package: &Package, all: &[Package], manifest: &str, text: &str) -> Vec<Finding> {
    let Some(own) = package.layer() else {
        return vec![Finding::error(
            manifest,
            1,
            "add [package.metadata.pepita] layer = N, as docs/architecture.md orders them",
        )];
    };
    let mut findings = Vec::new();
    let binding = |dependency: &&Dependency| {
        dependency.kind.as_deref() != Some("dev") && dependency.path.is_some()
    };
    for dependency in package.dependencies.iter().filter(binding) {
        let name = &dependency.name;
        let target = all
            .iter()
            .find(|other| other.name == *name)
            .and_then(Package::layer);
        if target.is_none_or(|layer| layer >= own) {
            let theirs = target.map_or("none".to_owned(), |layer| layer.to_string());
            let what = format!(
                "layer {own} depends on {name}, layer {theirs}: only lower layers are allowed; move the code down"
            );
            findings.push(Finding::error(manifest, line_of(text, name), what));
        }
    }
    findings
}

/// What the registry and its readers need.
fn fields(package: &Package, manifest: &str) -> Vec<Finding> {
    let missing = [
        ("description", package.description.is_none()),
        ("license", package.license.is_none()),
        ("repository", package.repository.is_none()),
        ("readme", package.readme.is_none()),
        ("rust-version", package.rust_version.is_none()),
        ("keywords", package.keywords.is_empty()),
        ("categories", package.categories.is_empty()),
    ];
    let mut findings: Vec<Finding> = missing
        .iter()
        .filter(|(_, missing)| *missing)
        .map(|(field, _)| Finding::error(manifest, 1, format!("the manifest has no {field}")))
        .collect();
    let folder = Path::new(&package.manifest_path)
        .parent()
        .unwrap_or(Path::new(""));
    if package
        .readme
        .as_ref()
        .is_some_and(|readme| !folder.join(readme).is_file())
    {
        findings.push(Finding::error(manifest, 1, "the readme does not exist"));
    }
    findings
}

/// A crate opens with its documentation.
fn crate_doc(path: &str, text: &str) -> Option<Finding> {
    let documented = text
        .lines()
        .take_while(|line| !line.starts_with("use ") && !line.starts_with("mod "))
        .any(|line| line.starts_with("//!") || line.starts_with("#![doc = include_str!"));
    (!documented).then(|| {
        Finding::error(
            path,
            1,
            "the crate opens without documentation: say in //! what it is",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, layer: u8, needs: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).into(),
            kind: kind.map(str::to_owned),
            path: Some(format!("crates/{name}")),
        };
        Package {
            name: name.into(),
            dependencies: needs.iter().map(dependency).collect(),
            metadata: Some(Metadata {
                pepita: Some(Layer { layer }),
            }),
            ..Package::default()
        }
    }

    #[test]
    fn a_dependency_on_the_same_or_a_higher_layer_is_an_error_with_its_line() {
        let low = package(
            "low",
            1,
            &[
                ("high", Some("build")),
                ("peer", None),
                ("test-kit", Some("dev")),
            ],
        );
        let all = [
            low.clone(),
            package("high", 2, &[]),
            package("peer", 1, &[]),
            package("test-kit", 6, &[]),
        ];
        let text = "[dependencies]\npeer = {}\n[build-dependencies]\nhigh = {}\n";
        let found: Vec<String> = layers(&low, &all, "low/Cargo.toml", text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("low/Cargo.toml:4: error: layer 1 depends on high, layer 2"),
            "{}",
            found[0]
        );
        assert!(
            found[1].starts_with("low/Cargo.toml:2: error: layer 1 depends on peer, layer 1"),
            "{}",
            found[1]
        );
        let high = package("high", 2, &[("low", None)]);
        assert_eq!(layers(&high, &all, "high/Cargo.toml", ""), []);
    }

    #[test]
    fn a_crate_without_a_layer_or_fields_is_an_error() {
        let bare = Package {
            name: "bare".into(),
            ..Package::default()
        };
        assert_eq!(layers(&bare, &[], "Cargo.toml", "").len(), 1);
        assert_eq!(fields(&bare, "Cargo.toml").len(), 7);
    }

    #[test]
    fn a_crate_that_opens_without_documentation_is_an_error() {
        assert_eq!(
            crate_doc("lib.rs", "#![no_std]\n//! What it is.\nmod a;"),
            None
        );
        assert!(crate_doc("lib.rs", "mod a {\n//! Not the crate's.\n}").is_some());
    }
}
