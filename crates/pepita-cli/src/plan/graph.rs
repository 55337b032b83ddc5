//! Dependencies: names to indices, and no cycle among them.

use std::collections::HashMap;

use super::decode::Decoder;
use super::suggest;
use super::task::RawTask;

/// For each task the indices of those it comes after.
pub(super) fn link(decoder: &mut Decoder<'_>, tasks: &[RawTask]) -> Vec<Vec<usize>> {
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (index, task) in tasks.iter().enumerate() {
        if by_name.insert(&task.name, index).is_some() {
            let message = format!("another task is named `{}` already", task.name);
            decoder.problem(task.name_span.clone(), message);
        }
    }
    let mut links = Vec::with_capacity(tasks.len());
    let mut suggestions = 0;
    for task in tasks {
        let mut after = Vec::new();
        for (name, span) in &task.after {
            match by_name.get(name.as_str()) {
                Some(&index) if !after.contains(&index) => after.push(index),
                Some(_) => {}
                None => {
                    suggestions += 1;
                    let hint = (suggestions <= SUGGESTIONS_MAX)
                        .then(|| suggest::closest(name, by_name.keys().copied()))
                        .flatten()
                        .map(|closest| format!("; did you mean `{closest}`?"))
                        .unwrap_or_default();
                    let message = format!("`after` names `{name}`, which is no task here{hint}");
                    decoder.problem(span.clone(), message);
                }
            }
        }
        links.push(after);
    }
    for cycle in find_cycles(&links) {
        let first = &tasks[cycle[0]];
        let span = first
            .after
            .iter()
            .find(|(name, _)| by_name.get(name.as_str()) == cycle.get(1))
            .map_or(first.name_span.clone(), |(_, span)| span.clone());
        let message = format!("these tasks wait for each other: {}", walk(tasks, &cycle));
        decoder.problem(span, message);
    }
    links
}

/// A cycle in words: `` `a` after `b` after `a` ``.
fn walk(tasks: &[RawTask], cycle: &[usize]) -> String {
    let name = |at: &usize| format!("`{}`", tasks[*at].name);
    let (shown, rest) = cycle.split_at(cycle.len().min(WALK_MAX));
    let mut names: Vec<_> = shown.iter().map(name).collect();
    if let [between @ .., last] = rest {
        if !between.is_empty() {
            names.push(format!("… {} more …", between.len()));
        }
        names.push(name(last));
    }
    names.join(" after ")
}

/// More tasks of one cycle than anybody reads about.
const WALK_MAX: usize = 10;

/// Each is a comparison with every name there is.
const SUGGESTIONS_MAX: usize = 20;

/// More cycles than anybody reads about at once.
const CYCLES_MAX: usize = 100;

/// Walks along the links that end where they began, each from its task of the lowest index. There
/// may be others, but each of these has a link that is in none of the others: without those links
/// there is no cycle.
fn find_cycles(links: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        OnPath,
        Done,
    }
    let mut seen = vec![Seen::No; links.len()];
    let mut cycles = Vec::new();
    for start in 0..links.len() {
        // Each entry is a task on the path and how many of its links were followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if seen[start] == Seen::No {
            seen[start] = Seen::OnPath;
            path.push((start, 0));
        }
        while let Some(&mut (at, ref mut followed)) = path.last_mut() {
            let Some(&next) = links[at].get(*followed) else {
                seen[at] = Seen::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match seen[next] {
                Seen::Done => {}
                Seen::OnPath if cycles.len() == CYCLES_MAX => return cycles,
                Seen::No => {
                    seen[next] = Seen::OnPath;
                    path.push((next, 0));
                }
                Seen::OnPath => {
                    let tasks = path.iter().map(|(task, _)| *task);
                    let mut cycle: Vec<_> = tasks.skip_while(|task| *task != next).collect();
                    let lowest = (0..cycle.len()).min_by_key(|&i| cycle[i]).unwrap_or(0);
                    cycle.rotate_left(lowest);
                    cycle.push(cycle[0]);
                    cycles.push(cycle);
                }
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cycle_is_found_wherever_it_is_and_only_if_it_is() {
        for (links, want) in [
            (vec![], vec![]),
            (vec![vec![], vec![0], vec![0, 1]], vec![]),
            (vec![vec![0]], vec![vec![0, 0]]),
            (
                vec![vec![], vec![3], vec![1], vec![2, 0]],
                vec![vec![1, 3, 2, 1]],
            ),
            (vec![vec![1], vec![2], vec![1]], vec![vec![1, 2, 1]]),
            (
                vec![vec![1], vec![0], vec![3], vec![2]],
                vec![vec![0, 1, 0], vec![2, 3, 2]],
            ),
            (
                vec![vec![1, 2], vec![0], vec![0]],
                vec![vec![0, 1, 0], vec![0, 2, 0]],
            ),
        ] {
            assert_eq!(find_cycles(&links), want, "{links:?}");
        }
    }

    #[test]
    fn a_chain_of_100_000_tasks_does_not_overflow_the_stack() {
        let links: Vec<_> = (0..100_000)
            .map(|i| if i < 99_999 { vec![i + 1] } else { vec![] })
            .collect();
        assert!(find_cycles(&links).is_empty());
    }
}
