//! Who would lose a disk that goes: mounts, swap, devices made of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Who uses the disk `id` or a partition of it, for people.
pub(super) fn of(id: u32) -> io::Result<Option<String>> {
    let disk = Disk::of(id);
    let mounts = table("/proc/self/mountinfo")?;
    if let Some(place) = disk.mounted_at(&mounts) {
        return Ok(Some(format!("mounted at {place}")));
    }
    let swaps = match table("/proc/swaps") {
        // A kernel without swap.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        swaps => swaps?,
    };
    if swaps.lines().any(|line| disk.is(line)) {
        return Ok(Some("swap".to_owned()));
    }
    if let Some(holder) = disk.holder() {
        return Ok(Some(format!("held by {holder}")));
    }
    // A file system of several disks is mounted by the name of one.
    if disk.is_of_btrfs(Path::new("/sys/fs/btrfs")) {
        return Ok(Some("part of a btrfs that is mounted".to_owned()));
    }
    Ok(disk.mounted_elsewhere())
}

/// A table of the kernel's, in which names are any bytes.
fn table(path: impl AsRef<Path>) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// The names and numbers of a disk and its partitions.
struct Disk {
    /// As `ublkb0`.
    name: String,
    /// As `259:0`.
    numbers: Vec<String>,
    /// In sysfs.
    folders: Vec<PathBuf>,
}

impl Disk {
    fn of(id: u32) -> Self {
        let name = format!("ublkb{id}");
        let folder = Path::new("/sys/block").join(&name);
        let inside = fs::read_dir(&folder).into_iter().flatten().flatten();
        let is_partition = |path: &PathBuf| path.join("partition").exists();
        let partitions = inside.map(|entry| entry.path()).filter(is_partition);
        let folders: Vec<PathBuf> = partitions.chain([folder.clone()]).collect();
        let numbers = folders.iter().filter_map(|folder| {
            let number = fs::read_to_string(folder.join("dev")).ok()?;
            Some(number.trim().to_owned())
        });
        Self {
            name,
            numbers: numbers.collect(),
            folders,
        }
    }

    /// Whether `text` begins with the path of the disk or a partition.
    fn is(&self, text: &str) -> bool {
        let word = text.split_whitespace().next().unwrap_or_default();
        let name = word.strip_prefix("/dev/");
        name.is_some_and(|name| self.is_named(name))
    }

    fn is_named(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('p'))
    }

    /// The first place where it is mounted, by a table as of proc_pid_mountinfo(5).
    fn mounted_at<'t>(&self, table: &'t str) -> Option<&'t str> {
        table.lines().find_map(|line| {
            let (mount, source) = line.split_once(" - ")?;
            let mut words = mount.split(' ').skip(2);
            let (number, place) = (words.next()?, words.nth(1)?);
            let source = source.split_once(' ')?.1;
            let is_it = self.numbers.iter().any(|own| own == number) || self.is(source);
            is_it.then_some(place)
        })
    }

    /// A device of the kernel's that is made of it.
    fn holder(&self) -> Option<String> {
        self.folders.iter().find_map(|folder| {
            let mut holders = fs::read_dir(folder.join("holders")).ok()?.flatten();
            Some(holders.next()?.file_name().display().to_string())
        })
    }

    /// Whether one of the file systems in `folder` is on it, among others.
    fn is_of_btrfs(&self, folder: &Path) -> bool {
        let systems = fs::read_dir(folder).into_iter().flatten().flatten();
        let disks = systems.filter_map(|system| fs::read_dir(system.path().join("devices")).ok());
        let mut names = disks.flatten().flatten().map(|disk| disk.file_name());
        names.any(|name| name.to_str().is_some_and(|name| self.is_named(name)))
    }

    /// Where it is mounted in another mount namespace, such as a container's.
    fn mounted_elsewhere(&self) -> Option<String> {
        let mut seen = HashSet::from([fs::read_link("/proc/self/ns/mnt").ok()?]);
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes.into_iter().find_map(|process| {
            let (name, path) = (process.file_name(), process.path());
            let pid: u32 = name.to_str()?.parse().ok()?;
            // One that has ended, or is somebody else's, tells nothing.
            let namespace = fs::read_link(path.join("ns/mnt")).ok()?;
            if seen.contains(&namespace) {
                return None;
            }
            let table = table(path.join("mountinfo")).ok()?;
            seen.insert(namespace);
            let place = self.mounted_at(&table)?;
            Some(format!("mounted at {place} of process {pid}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(id: u32, numbers: &[&str]) -> Disk {
        Disk {
            name: format!("ublkb{id}"),
            numbers: numbers.iter().map(|&number| number.to_owned()).collect(),
            folders: Vec::new(),
        }
    }

    #[test]
    fn a_disk_is_in_use_when_it_or_a_partition_is_mounted_by_name_or_number() {
        let mounts = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n\
             36 22 259:0 / /a rw - ext4 /dev/ublkb1 rw\n\
             37 22 259:1 /sub /b rw,noatime shared:2 master:1 - xfs /dev/ublkb20p1 rw\n\
             38 22 0:44 / /c rw - btrfs /dev/ublkb3 rw\n\
             39 22 259:4 / /d rw - ext4 /dev/disk/by-label/data rw\n";
        let cases = [
            (1, "259:0", Some("/a")),
            (20, "259:9", Some("/b")),
            (3, "259:3", Some("/c")),
            (4, "259:4", Some("/d")),
            (2, "259:2", None),
            (0, "254:1", None),
        ];
        for (id, number, place) in cases {
            assert_eq!(disk(id, &[number]).mounted_at(mounts), place, "{id}");
        }
    }

    #[test]
    fn names_in_a_table_are_any_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            file.path(),
            b"36 22 259:0 / /\xff rw - ext4 /dev/ublkb1 rw\n",
        )
        .unwrap();
        let place = disk(1, &[])
            .mounted_at(&table(file.path()).unwrap())
            .map(str::to_owned);
        assert_eq!(place.as_deref(), Some("/\u{fffd}"));
    }

    #[test]
    fn a_disk_is_in_use_when_a_file_system_of_several_has_it() {
        let home = tempfile::tempdir().unwrap();
        let devices = home.path().join("1b2c/devices");
        fs::create_dir_all(&devices).unwrap();
        fs::create_dir(home.path().join("features")).unwrap();
        for name in ["ublkb7", "ublkb12p2"] {
            fs::write(devices.join(name), "").unwrap();
        }
        for (id, is_used) in [(7, true), (12, true), (1, false), (2, false)] {
            assert_eq!(disk(id, &[]).is_of_btrfs(home.path()), is_used, "{id}");
        }
    }
}
