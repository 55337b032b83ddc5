//! Which hardware queue a CPU's requests go to. After the kernel's `group_cpus_evenly` (`lib/group_cpus.c`).

use core::num::NonZeroU16;

/// Where a CPU stands, and the hardware queue that [`map_queues`] gave it.
///
/// Source: `/sys/devices/system/cpu/cpu*/topology`, `/sys/devices/system/node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuPlace {
    /// The CPU.
    pub cpu: u32,
    /// Its core: a number that its SMT siblings share, and no others, such as the first sibling's.
    pub core: u32,
    /// Its NUMA node.
    pub node: u32,
    /// The queue.
    pub queue: u16,
}

impl CpuPlace {
    /// CPU number `cpu` of a core and a node.
    #[must_use]
    pub const fn new(cpu: u32, core: u32, node: u32) -> Self {
        Self {
            cpu,
            core,
            node,
            queue: 0,
        }
    }
}

/// Spreads `cpus` over `nr_queues` queues, and sorts them by number, so that CPU n of a machine without
/// gaps is `cpus[n]`.
///
/// No queue that could have a CPU stays without one. Queues do not reach over nodes if there are as many as
/// nodes; SMT siblings share a queue unless there are more queues than cores; and CPUs have queues of their
/// own if there are as many as CPUs. Queues beyond that stay without.
///
/// ```
/// use core::num::NonZeroU16;
/// use pepita_sys::blk_mq::{CpuPlace, map_queues};
///
/// // Two cores of two threads: 0 and 2 are siblings, and so are 1 and 3.
/// let mut cpus = [0, 1, 2, 3].map(|cpu| CpuPlace::new(cpu, cpu % 2, 0));
/// map_queues(&mut cpus, NonZeroU16::new(2).unwrap());
/// assert_eq!(cpus.map(|place| place.queue), [0, 1, 0, 1]);
/// ```
pub fn map_queues(cpus: &mut [CpuPlace], nr_queues: NonZeroU16) {
    cpus.sort_unstable_by_key(|place| (place.node, place.core, place.cpu));
    let queues = usize::from(nr_queues.get()).min(cpus.len());
    spread(cpus, 0, queues, Level::Node);
    cpus.sort_unstable_by_key(|place| place.cpu);
}

/// What a list of CPUs is divided by.
#[derive(Clone, Copy)]
enum Level {
    Node,
    Core,
    Cpu,
}

impl Level {
    const fn is_together(self, one: &CpuPlace, other: &CpuPlace) -> bool {
        match self {
            Self::Node => one.node == other.node,
            Self::Core => one.node == other.node && one.core == other.core,
            Self::Cpu => one.cpu == other.cpu,
        }
    }

    const fn below(self) -> Self {
        match self {
            Self::Node => Self::Core,
            Self::Core | Self::Cpu => Self::Cpu,
        }
    }
}

/// Gives the sorted `cpus` the `queues` queues from `first` on, of which there are at most as many as CPUs.
fn spread(cpus: &mut [CpuPlace], first: usize, queues: usize, level: Level) {
    let together = |one: &CpuPlace, other: &CpuPlace| level.is_together(one, other);
    let parts = cpus.chunk_by(together).count();
    // Beside one queue for each part, each CPU but the first of a part can have one more.
    let (more_queues, more_cpus) = (queues.saturating_sub(parts), cpus.len() - parts);
    let share = |cpus_before: usize| match more_cpus {
        0 => 0,
        _ => more_queues * cpus_before / more_cpus,
    };
    let mut more_before = 0;
    for (index, part) in cpus.chunk_by_mut(together).enumerate() {
        let more_behind = more_before + part.len() - 1;
        if queues <= parts {
            let queue = first + index * queues / parts;
            let queue = u16::try_from(queue).unwrap_or(u16::MAX);
            part.iter_mut().for_each(|place| place.queue = queue);
        } else {
            let own = 1 + share(more_behind) - share(more_before);
            let from = first + index + share(more_before);
            spread(part, from, own, level.below());
        }
        more_before = more_behind;
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    use super::*;

    /// A machine: for each node the count of threads of each of its cores; CPUs are numbered thread by
    /// thread, as firmware does.
    fn machine(nodes: &[&[u32]]) -> Vec<CpuPlace> {
        let cores = nodes
            .iter()
            .enumerate()
            .flat_map(|(node, cores)| cores.iter().map(move |threads| (node, *threads)));
        let mut places: Vec<(u32, CpuPlace)> = Vec::new();
        for (core, (node, threads)) in cores.enumerate() {
            let number = |count: usize| u32::try_from(count).expect("a small machine");
            places.extend(
                (0..threads).map(|thread| (thread, CpuPlace::new(0, number(core), number(node)))),
            );
        }
        places.sort_by_key(|(thread, place)| (*thread, place.core));
        for (cpu, (_, place)) in (0..).zip(&mut places) {
            place.cpu = cpu;
        }
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// The values of `of` that each queue's CPUs have.
    fn by_queue(cpus: &[CpuPlace], of: fn(&CpuPlace) -> u32) -> BTreeMap<u16, BTreeSet<u32>> {
        let mut sets: BTreeMap<u16, BTreeSet<u32>> = BTreeMap::new();
        for place in cpus {
            sets.entry(place.queue).or_default().insert(of(place));
        }
        sets
    }

    const MACHINES: [&[&[u32]]; 8] = [
        &[&[1]],
        &[&[1, 1]],
        &[&[2, 2, 2, 2]],
        &[&[1, 1, 1, 1], &[1, 1, 1, 1]],
        &[&[2; 12], &[2; 12]],
        &[&[2; 6], &[2; 2], &[1; 3]],
        &[&[2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]],
        &[&[4; 3], &[1]],
    ];

    #[test]
    fn every_queue_has_cpus_and_crosses_no_border_that_it_need_not() {
        for (machine, queues) in MACHINES
            .map(machine)
            .iter()
            .flat_map(|machine| (1..70).map(move |queues| (machine, queues)))
        {
            let mut cpus = machine.clone();
            map_queues(&mut cpus, NonZeroU16::new(queues).expect("above 0"));
            let queues = usize::from(queues);
            let say = std::format!("{queues} queues over {cpus:?}");

            let used: Vec<usize> = by_queue(&cpus, |place| place.cpu)
                .into_keys()
                .map(usize::from)
                .collect();
            assert_eq!(
                used,
                (0..queues.min(cpus.len())).collect::<Vec<_>>(),
                "{say}"
            );
            let nodes: BTreeSet<u32> = cpus.iter().map(|place| place.node).collect();
            let crosses =
                |sets: BTreeMap<u16, BTreeSet<u32>>| sets.values().any(|set| set.len() > 1);
            assert!(
                queues < nodes.len() || !crosses(by_queue(&cpus, |place| place.node)),
                "{say}"
            );
            let cores: BTreeMap<u32, BTreeSet<u16>> =
                cpus.iter().fold(BTreeMap::new(), |mut map, place| {
                    map.entry(place.core)
                        .or_insert_with(BTreeSet::new)
                        .insert(place.queue);
                    map
                });
            let split = cores.values().any(|queues| queues.len() > 1);
            if nodes.len() == 1 {
                assert!(queues > cores.len() || !split, "{say}");
                assert!(
                    queues < cores.len() || !crosses(by_queue(&cpus, |place| place.core)),
                    "{say}"
                );
            }
            assert!(cpus.is_sorted_by_key(|place| place.cpu));
        }
    }

    #[test]
    fn alike_machines_have_queues_of_like_size() {
        for (machine, queues) in [&MACHINES[1], &MACHINES[2], &MACHINES[3], &MACHINES[4]]
            .into_iter()
            .flat_map(|nodes| (1..49).map(move |queues| (machine(nodes), queues)))
        {
            let mut cpus = machine;
            map_queues(&mut cpus, NonZeroU16::new(queues).expect("above 0"));
            let sizes: Vec<usize> = by_queue(&cpus, |place| place.cpu)
                .values()
                .map(BTreeSet::len)
                .collect();
            let (least, most) = (sizes.iter().min(), sizes.iter().max());
            let (least, most) = (least.expect("a queue"), most.expect("a queue"));
            // Whole cores of two go to each queue.
            assert!(
                most - least <= 2 || most <= &(2 * least),
                "{queues}: {sizes:?}"
            );
        }
    }

    #[test]
    fn no_cpu_is_no_fault() {
        map_queues(&mut [], NonZeroU16::MIN);
    }
}
