//! [`Machine`]: the CPU, its caches, and how much of each a measurement uses.

use std::fs;
use std::path::Path;

use pepita::simd::SimdCapabilities;
use serde::Serialize;

use super::Problem;
use crate::units::show_size;

/// Where the figures are from.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) kernel: String,
    /// The instructions that operations use.
    pub(super) tier: &'static str,
    /// From the smallest on.
    pub(super) levels: Vec<Level>,
}

/// A cache, or memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Level {
    pub(super) name: &'static str,
    /// All operands of an operation together: half of a cache of the core, a quarter of one that cores share.
    pub(super) bytes: usize,
}

impl Machine {
    pub(super) fn look() -> Result<Self, Problem> {
        let caches = Path::new("/sys/devices/system/cpu/cpu0/cache");
        let sizes = [1, 2, 3].map(|level| cache_bytes(caches, level));
        let memory_bytes = memory_level_bytes(sizes.iter().flatten().copied().max());
        let levels: Vec<_> = [("L1", 2), ("L2", 2), ("L3", 4)]
            .into_iter()
            .zip(sizes)
            .filter_map(|((name, part), size)| {
                let bytes = size? / part;
                Some(Level { name, bytes })
            })
            .collect();
        if levels.is_empty() {
            return Err(Problem::Caches);
        }
        let memory = Level {
            name: "memory",
            bytes: memory_bytes,
        };
        // As much again is left to others.
        let (need, free) = (2 * memory.bytes, free_bytes());
        if free < need {
            let [need, free] = [need, free].map(|bytes| show_size(bytes as u64));
            return Err(Problem::Memory { need, free });
        }
        let uname = rustix::system::uname();
        let kernel = format!("Linux {}", uname.release().to_string_lossy());
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unnamed CPU".into()),
            kernel,
            tier: SimdCapabilities::detect().description(),
            levels: levels.into_iter().chain([memory]).collect(),
        })
    }
}

/// Eight times the last cache, but no more than 1 GiB.
fn memory_level_bytes(last_cache: Option<usize>) -> usize {
    (8 * last_cache.unwrap_or(0)).clamp(64 << 20, 1 << 30)
}

/// Of the data cache of `level` of a core.
fn cache_bytes(caches: &Path, level: u8) -> Option<usize> {
    let folders = fs::read_dir(caches).ok()?.filter_map(Result::ok);
    folders.map(|folder| folder.path()).find_map(|cache| {
        let read = |name| fs::read_to_string(cache.join(name)).ok();
        let is_this = read("level")?.trim() == level.to_string();
        let is_for_data = read("type")?.trim() != "Instruction";
        let kib = read("size")?
            .trim()
            .strip_suffix('K')?
            .parse::<usize>()
            .ok()?;
        (is_this && is_for_data).then_some(kib << 10)
    })
}

fn free_bytes() -> usize {
    let free = field("/proc/meminfo", "MemAvailable");
    let kib = free.and_then(|free| free.strip_suffix("kB")?.trim().parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_beyond_the_last_cache_but_not_without_end() {
        assert_eq!(memory_level_bytes(None), 64 << 20);
        assert_eq!(memory_level_bytes(Some(32 << 20)), 256 << 20);
        assert_eq!(memory_level_bytes(Some(260 << 20)), 1 << 30);
    }

    #[test]
    fn caches_are_told_from_those_of_instructions() {
        let dir = tempfile::tempdir().unwrap();
        for (index, [level, kind, size]) in [
            ["1", "Instruction", "64K"],
            ["1", "Data", "32K"],
            ["2", "Unified", "1024K"],
        ]
        .into_iter()
        .enumerate()
        {
            let cache = dir.path().join(format!("index{index}"));
            fs::create_dir(&cache).unwrap();
            for (name, text) in [("level", level), ("type", kind), ("size", size)] {
                fs::write(cache.join(name), format!("{text}\n")).unwrap();
            }
        }
        let sizes = [1, 2, 3].map(|level| cache_bytes(dir.path(), level));
        assert_eq!(sizes, [Some(32 << 10), Some(1 << 20), None]);
    }
}
