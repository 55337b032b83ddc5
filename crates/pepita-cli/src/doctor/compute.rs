//! Vector units and GPUs.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;

use super::{Check, read};

pub(super) fn checks() -> Vec<Check> {
    vec![simd(), gpu(), vulkan()]
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Check {
    macro_rules! detected {
        ($($feature:tt),*) => {
            [$(($feature, std::is_x86_feature_detected!($feature))),*]
        };
    }
    let features = detected!(
        "sse2",
        "sse4.2",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512fp16",
        "avxvnni"
    );
    let names: Vec<_> = features
        .iter()
        .filter(|(_, is_here)| *is_here)
        .map(|(name, _)| *name)
        .collect();
    let has = |name: &str| names.contains(&name);
    let tier = match () {
        () if has("avx512f") && has("avx512bw") && has("avx512vl") => "AVX-512",
        () if has("avx2") && has("fma") => "AVX2",
        () if has("sse4.2") => "SSE4.2",
        () => "SSE2",
    };
    let detail = format!("{tier} ({})", names.join(" "));
    match has("avx2") {
        true => Check::ok("simd", detail),
        false => Check::limited(
            "simd",
            detail,
            "a processor, or a VM's CPU model, with AVX2",
        ),
    }
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Check {
    let neon = std::arch::is_aarch64_feature_detected!("neon");
    let sve = std::arch::is_aarch64_feature_detected!("sve");
    match (neon, sve) {
        (true, true) => Check::ok("simd", "NEON, and SVE, which is not used"),
        (true, false) => Check::ok("simd", "NEON"),
        _ => Check::limited("simd", "scalar", "a processor with NEON"),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Check {
    Check::limited("simd", "scalar", "x86-64 or aarch64")
}

/// Render nodes, and whether we may use them.
fn gpu() -> Check {
    let entries = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    let mut nodes: Vec<_> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("renderD"))
        .collect();
    nodes.sort();
    if nodes.is_empty() {
        return Check::missing(
            "gpu",
            "no render node in /dev/dri",
            "a GPU with its kernel driver (in a container: `--device /dev/dri`)",
        );
    }
    let is_usable = |node: &String| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/dev/dri/{node}"))
            .is_ok()
    };
    let (usable, closed): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| is_usable(node));
    let described: Vec<_> = nodes
        .iter()
        .map(|node| {
            let device = format!("/sys/class/drm/{node}/device");
            let id = |file| read(&format!("{device}/{file}")).unwrap_or_else(|| "?".into());
            format!("{node} (PCI {}:{})", id("vendor"), id("device"))
        })
        .collect();
    let detail = described.join(", ");
    let remedy = "as root: `usermod -aG render USER`, then log in again";
    match (usable.is_empty(), closed.is_empty()) {
        (false, true) => Check::ok("gpu", detail),
        (false, false) => Check::limited("gpu", format!("{detail}; some closed to us"), remedy),
        (true, _) => Check::missing("gpu", format!("{detail}; all closed to us"), remedy),
    }
}

/// The drivers that a Vulkan loader would find; none is loaded to look.
fn vulkan() -> Check {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let dirs = [
        "/usr/share/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
    ]
    .into_iter()
    .map(PathBuf::from)
    .chain(home.map(|home| home.join(".local/share/vulkan/icd.d")));
    let mut drivers: Vec<_> = dirs
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    drivers.sort();
    match drivers.is_empty() {
        false => Check::ok(
            "vulkan",
            format!("drivers registered: {}", drivers.join(" ")),
        ),
        true => Check::missing(
            "vulkan",
            "no driver is registered",
            "the GPU vendor's driver, or Vulkan on the CPU (Debian: `apt-get install mesa-vulkan-drivers`)",
        ),
    }
}
