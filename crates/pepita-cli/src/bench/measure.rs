//! How operations and roofs are measured: in turns, the best of many rounds each.
//!
//! Operations that make the same traffic, the roof of that traffic and that of multiply-adds take turns, so that what
//! slows the machine down for a while slows all of them down. The best round is the one that was disturbed least.

use std::time::Instant;

use pepita::simd::{SimdOps, roof, scratch_len};

use super::machine::{Level, Machine};
use super::mix::{Mix, Operands, Work};
use super::operations::{Number, operations};
use super::report::{Figure, Report, Traffic};
use crate::progress::Progress;

/// Seconds of a round, about.
const ROUND_S: f64 = 5e-4;

/// The most rounds.
const ROUNDS: u32 = 15;

/// Seconds from which on there are no more rounds but two.
const ENOUGH_S: f64 = 0.25;

/// Steps of the roof of multiply-adds.
const STEPS: usize = 256;

/// Bytes between an operand's first page and its first number, times its index: equal places in pages would be taken for
/// the same memory by a CPU that looks at a load after a store.
const STAGGER_BYTES: usize = 17 * 64;

/// Bytes of a page, to begin on.
const PAGE_BYTES: usize = 4096;

/// Rows and columns are a multiple of this.
const SIDE_STEP: usize = 16;

/// Measures everything on `machine`.
pub(super) fn all(machine: Machine, progress: &mut Progress) -> Report {
    let mut report = Report::of(machine);
    of_type::<f32>(&mut report, progress);
    of_type::<f64>(&mut report, progress);
    report
}

fn of_type<T: Number>(report: &mut Report, progress: &mut Progress) {
    let levels = report.machine.levels.clone();
    let most = levels.iter().map(|level| level.bytes).max().unwrap_or(0);
    let mut memory = vec![T::ZERO; most / size_of::<T>() + 8 * PAGE_BYTES];
    let mut fastest = 0.0_f64;
    for mix in Mix::ALL {
        for level in &levels {
            progress.draw(|_| format!("{} in {}: {}", T::NAME, level.name, mix.name()));
            let rate = group::<T>(mix, *level, &mut memory, report);
            fastest = fastest.max(rate);
        }
    }
    report.multiply_adds.insert(T::NAME, fastest);
}

/// Measures the operations of a mix at a level; gives the multiply-adds of numbers a second that were seen meanwhile.
fn group<T: Number>(mix: Mix, level: Level, memory: &mut [T], report: &mut Report) -> f64 {
    let ops = SimdOps::new();
    let side = side(level.bytes / size_of::<T>() / mix.operands());
    let scratch_len = match mix {
        Mix::Product => scratch_len::<T>(side, side, side),
        // For the vectors beside a matrix.
        Mix::Read1 => 2 * side,
        _ => 0,
    };
    let mut scratch = vec![T::ZERO; scratch_len];
    let mut sums = [T::ZERO; roof::SUMS_LEN];
    let mut at = carve(memory, mix, side, (&mut scratch, &mut sums));
    let operations = operations::<T>().into_iter();
    let operations: Vec<_> = operations.filter(|each| each.mix == mix).collect();
    let roofs = mix.roofs();
    let peak: Work<T> = |ops, at| at.answer(roof::multiply_adds::<T>(ops, STEPS));
    let works = operations.iter().map(|operation| operation.work);
    let works: Vec<_> = [peak]
        .into_iter()
        .chain(roofs.clone())
        .chain(works)
        .collect();
    let seconds = in_turns(&works, &ops, &mut at);
    let [peak, rest @ ..] = &seconds[..] else {
        return 0.0;
    };
    let (roofs, taken) = rest.split_at(roofs.len());
    let numbers = side * side;
    let multiply_adds_per_s = amount(roof::multiply_adds::<T>(&ops, STEPS)) / peak;
    let moved_s = roofs.iter().copied().reduce(f64::min);
    if let Some(seconds) = moved_s {
        report.traffic.push(Traffic {
            mix: mix.name(),
            number: T::NAME,
            level: level.name,
            bytes_per_s: amount(numbers * mix.accesses() * size_of::<T>()) / seconds,
        });
    }
    for (operation, &seconds) in operations.iter().zip(taken) {
        let each = match mix {
            Mix::Product => side,
            _ => operation.multiply_adds,
        };
        let computed_s = amount(numbers * each) / multiply_adds_per_s;
        let roof_s = moved_s.unwrap_or(0.0).max(computed_s);
        report.operations.push(Figure {
            name: operation.name,
            number: T::NAME,
            level: level.name,
            numbers,
            seconds,
            share: roof_s / seconds,
        });
    }
    multiply_adds_per_s
}

/// Rows and columns of a square matrix of at most so many numbers.
fn side(numbers: usize) -> usize {
    (numbers.isqrt() / SIDE_STEP).max(1) * SIDE_STEP
}

/// Operands of a mix, in `memory`.
fn carve<'a, T: Number>(
    memory: &'a mut [T],
    mix: Mix,
    side: usize,
    (scratch, sums): (&'a mut [T], &'a mut [T; roof::SUMS_LEN]),
) -> Operands<'a, T> {
    let mut parts: [&mut [T]; 4] = Default::default();
    let is_read = matches!(mix, Mix::Read1 | Mix::Read2);
    let reads = mix.operands() - usize::from(!is_read);
    let mut memory = memory;
    for (index, part) in parts.iter_mut().enumerate() {
        let is_used = index < reads || index == 3 && !is_read;
        let head =
            memory.as_ptr().align_offset(PAGE_BYTES) + index * STAGGER_BYTES / size_of::<T>();
        let len = if is_used { side * side } else { 0 };
        let (_, rest) = memory.split_at_mut(head);
        (*part, memory) = rest.split_at_mut(len);
        fill(part, index);
    }
    let [x, y, z, out] = parts;
    Operands {
        x,
        y,
        z,
        out,
        side,
        scratch,
        sums,
    }
}

/// Numbers from 1/2 to 1, and at the end a smaller and a larger one, for those that look for it.
fn fill<T: Number>(part: &mut [T], index: usize) {
    let mut state = 0x9e37_79b9_u32.wrapping_add(u32::try_from(index).unwrap_or(0));
    for x in &mut *part {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let bits = u16::try_from(state >> 16).unwrap_or(0);
        *x = T::of(0.5 + f32::from(bits) / 131_072.0);
    }
    if let [.., smallest, largest] = part {
        (*smallest, *largest) = (T::of(0.25), T::of(2.0));
    }
}

/// Seconds of each of `works`, at its best.
fn in_turns<T: Number>(works: &[Work<T>], ops: &SimdOps, at: &mut Operands<'_, T>) -> Vec<f64> {
    let mut turns: Vec<_> = works.iter().map(|work| Turn::of(*work, ops, at)).collect();
    for round in 1..ROUNDS {
        for turn in &mut turns {
            if round < 2 || turn.spent_s < ENOUGH_S {
                turn.take(ops, at);
            }
        }
    }
    turns.iter().map(|turn| turn.best_s).collect()
}

/// Something that is measured in turn with others.
struct Turn<T> {
    work: Work<T>,
    calls: u32,
    best_s: f64,
    spent_s: f64,
}

impl<T: Number> Turn<T> {
    /// With as many calls as make a round.
    fn of(work: Work<T>, ops: &SimdOps, at: &mut Operands<'_, T>) -> Self {
        let mut turn = Self {
            work,
            calls: 1,
            best_s: f64::INFINITY,
            spent_s: 0.0,
        };
        while turn.take(ops, at) < ROUND_S / 2.0 {
            turn.calls *= 2;
        }
        turn
    }

    /// One round; the seconds that it took.
    fn take(&mut self, ops: &SimdOps, at: &mut Operands<'_, T>) -> f64 {
        let begin = Instant::now();
        for _ in 0..self.calls {
            (self.work)(ops, at);
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.best_s = self.best_s.min(seconds / f64::from(self.calls));
        self.spent_s += seconds;
        seconds
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn amount(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_apart_aligned_and_as_many_as_the_mix_has() {
        for mix in Mix::ALL {
            let mut memory = vec![0.0_f32; 4 * 32 * 32 + 8 * PAGE_BYTES];
            let mut sums = [0.0; roof::SUMS_LEN];
            let at = carve(&mut memory, mix, 32, (&mut [], &mut sums));
            let parts = [at.x, at.y, at.z, at.out];
            let used: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            assert_eq!(used.len(), mix.operands(), "{mix:?}");
            for part in &used {
                assert_eq!(part.len(), 32 * 32, "{mix:?}");
                assert_eq!(part.as_ptr().addr() % 64, 0, "{mix:?}");
            }
            assert_eq!(at.out.is_empty(), matches!(mix, Mix::Read1 | Mix::Read2));
        }
    }

    #[test]
    fn every_operation_is_measured_at_every_level() {
        let level = |name, bytes| Level { name, bytes };
        let levels = vec![level("L1", 16 << 10), level("L2", 64 << 10)];
        let machine = Machine {
            cpu: "any".into(),
            kernel: "any".into(),
            tier: "any",
            levels,
        };
        let report = all(machine, &mut Progress::new(true).unwrap());
        let names = operations::<f32>().len();
        assert_eq!(report.operations.len(), names * 2 * 2);
        for figure in &report.operations {
            let is_right = figure.share > 0.0 && figure.share.is_finite() && figure.seconds > 0.0;
            assert!(is_right, "{figure:?}");
        }
        assert!(report.multiply_adds.values().all(|rate| *rate > 0.0));
    }
}
