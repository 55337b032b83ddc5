//! Huge pages and the limits of this process.

use rustix::process::{Resource, getrlimit};

use super::{Check, read};
use crate::units::show_size;

pub(super) fn checks() -> Vec<Check> {
    vec![huge_pages(), transparent_huge_pages(), limits()]
}

fn huge_pages() -> Check {
    let meminfo = read("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    };
    let (total, free) = (field("HugePages_Total"), field("HugePages_Free"));
    let size = show_size(field("Hugepagesize") << 10);
    let remedy = "as root: `sysctl vm.nr_hugepages=64` (early after boot, while memory is whole)";
    match (total, free) {
        (0, _) => Check::missing("huge pages", format!("none of {size} reserved"), remedy),
        (_, 0) => Check::limited(
            "huge pages",
            format!("all {total} of {size} are in use"),
            remedy,
        ),
        _ => Check::ok("huge pages", format!("{free} of {total} of {size} free")),
    }
}

fn transparent_huge_pages() -> Check {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let name = "transparent huge pages";
    let Some(modes) = read(PATH) else {
        return Check::missing(
            name,
            format!("no {PATH}"),
            "a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
        );
    };
    let mode = modes.split(['[', ']']).nth(1).unwrap_or("?");
    match mode {
        "always" | "madvise" => Check::ok(name, mode),
        _ => Check::missing(name, mode, format!("as root: `echo madvise > {PATH}`")),
    }
}

fn limits() -> Check {
    let show = |value: Option<u64>| value.map_or("unlimited".into(), |value| value.to_string());
    let files = getrlimit(Resource::Nofile);
    let locked = getrlimit(Resource::Memlock).current;
    let processes = getrlimit(Resource::Nproc).current;
    let detail = format!(
        "open files {} (up to {}), locked memory {}, processes {}",
        show(files.current),
        show(files.maximum),
        locked.map_or("unlimited".into(), show_size),
        show(processes),
    );
    // A task with both outputs captured holds four descriptors while it runs.
    const FILES_MIN: u64 = 1024;
    match files.current {
        Some(current) if current < FILES_MIN => {
            Check::limited("limits", detail, format!("`ulimit -n {FILES_MIN}`"))
        }
        _ => Check::ok("limits", detail),
    }
}
