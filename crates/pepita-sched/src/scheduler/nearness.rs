//! In which order a worker goes to the others for work: [`Topology`], [`victims`].
//!
//! A worker that takes from one of its own NUMA node finds the job, and mostly what that is about, in memory that is near. So
//! workers that are bound to CPUs go to others by their distance, and begin with the next one among those that are equally far, so
//! that not all go to the same.
//!
//! Source: Documentation/ABI/stable/sysfs-devices-node in Linux.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

/// Where Linux says which nodes there are.
pub(super) const NODES: &str = "/sys/devices/system/node";

/// The NUMA nodes of a host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Topology(Vec<Node>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    number: usize,
    cpus: Vec<RangeInclusive<usize>>,
    /// To each node, in the order of their numbers; 10 is to itself.
    distances: Vec<u32>,
}

/// Reads `0-3,8`.
fn ranges(list: &str) -> Option<Vec<RangeInclusive<usize>>> {
    let parts = list.trim().split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .collect()
}

impl Node {
    fn read(folder: &Path) -> Option<Self> {
        let number = folder.file_name()?.to_str()?.strip_prefix("node")?;
        let distances = fs::read_to_string(folder.join("distance")).ok()?;
        let distances = distances.split_whitespace();
        Some(Self {
            number: number.parse().ok()?,
            cpus: ranges(&fs::read_to_string(folder.join("cpulist")).ok()?)?,
            distances: distances
                .map(|distance| distance.parse().ok())
                .collect::<Option<_>>()?,
        })
    }
}

impl Topology {
    /// What the folder says, or nothing: then all are equally near.
    pub(super) fn read(root: &Path) -> Self {
        let folders = fs::read_dir(root).into_iter().flatten().flatten();
        let nodes = folders.filter_map(|folder| Node::read(&folder.path()));
        let mut nodes: Vec<Node> = nodes.collect();
        nodes.sort_unstable_by_key(|node| node.number);
        Self(nodes)
    }

    fn node_of(&self, cpu: usize) -> Option<usize> {
        let has = |node: &Node| node.cpus.iter().any(|range| range.contains(&cpu));
        self.0.iter().position(has)
    }

    /// From one CPU to another; 0 where that is not known.
    pub(super) fn distance(&self, from: usize, to: usize) -> u32 {
        let nodes = self.node_of(from).zip(self.node_of(to));
        let distance = nodes.and_then(|(from, to)| self.0[from].distances.get(to).copied());
        distance.unwrap_or(0)
    }
}

/// The other ones of `count` workers in the order in which worker `index` goes to them.
pub(super) fn victims(
    index: usize,
    count: usize,
    distance: impl Fn(usize, usize) -> u32,
) -> Box<[usize]> {
    let others = (1..count).map(|step| (index + step) % count);
    let mut others: Box<[usize]> = others.collect();
    // Keeps the order of those that are equally far.
    others.sort_by_key(|other| distance(index, *other));
    others
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::io;

    use super::*;

    /// Makes a folder as Linux does.
    fn host(nodes: &[(usize, &str, &str)]) -> io::Result<Topology> {
        let root = tempfile::tempdir()?;
        fs::write(root.path().join("online"), "0")?;
        for (number, cpus, distances) in nodes {
            let folder = root.path().join(format!("node{number}"));
            fs::create_dir(&folder)?;
            fs::write(folder.join("cpulist"), format!("{cpus}\n"))?;
            fs::write(folder.join("distance"), format!("{distances}\n"))?;
        }
        Ok(Topology::read(root.path()))
    }

    /// The victims of each worker, which are bound to `cpus` in turn.
    #[track_caller]
    fn check(topology: &Topology, cpus: &[usize], wanted: &[&[usize]]) {
        let distance = |from: usize, to: usize| topology.distance(cpus[from], cpus[to]);
        let all = (0..cpus.len()).map(|index| victims(index, cpus.len(), distance));
        assert!(all.eq(wanted.iter().map(|row| row.to_vec().into_boxed_slice())));
    }

    #[test]
    fn the_nearest_come_first_and_the_next_one_among_those_that_are_equally_near() {
        let one = host(&[(0, "0-7", "10")]).unwrap();
        check(&one, &[0, 1, 2], &[&[1, 2], &[2, 0], &[0, 1]]);
        let two = host(&[(0, "0-1,4", "10 21"), (1, "2-3", "21 10")]).unwrap();
        let wanted: [&[usize]; 5] = [
            &[1, 4, 2, 3],
            &[4, 0, 2, 3],
            &[3, 4, 0, 1],
            &[2, 4, 0, 1],
            &[0, 1, 2, 3],
        ];
        check(&two, &[0, 1, 2, 3, 4], &wanted);
        // Numbers of nodes have gaps, and the tenth comes after the second.
        let three = host(&[
            (10, "2", "31 21 10"),
            (0, "0", "10 21 31"),
            (2, "1", "21 10 12"),
        ])
        .unwrap();
        check(&three, &[0, 1, 2], &[&[1, 2], &[2, 0], &[1, 0]]);
    }

    #[test]
    fn what_the_host_does_not_say_makes_all_equally_near() {
        let order: [&[usize]; 3] = [&[1, 2], &[2, 0], &[0, 1]];
        let nowhere = Topology::read(Path::new("/nowhere"));
        assert_eq!(nowhere, Topology::default());
        for unknown in [
            nowhere,
            host(&[]).unwrap(),
            host(&[(0, "a-b", "10")]).unwrap(),
            host(&[(0, "0-9", "far")]).unwrap(),
            host(&[(0, "", "10")]).unwrap(),
            host(&[(0, "7", "10")]).unwrap(),
        ] {
            check(&unknown, &[0, 1, 2], &order);
        }
        // A CPU of no node counts as near.
        let part = host(&[(0, "0", "10 20"), (1, "1", "20 10")]).unwrap();
        check(&part, &[0, 1, 2], &[&[2, 1], &[2, 0], &[0, 1]]);
    }
}
