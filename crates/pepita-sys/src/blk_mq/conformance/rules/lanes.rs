//! Rules about lanes: how many requests they take, and what becomes of them.

use std::panic::{self, AssertUnwindSafe};
use std::string::String;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{format, thread, vec};

use super::super::super::{BlockDevice, Lane, RequestOp};
use super::super::front::{Ask, Ended, Front};
use super::super::model::{Sectors, bytes_of};
use super::super::{told, wait};
use super::{DEPTH, Outcome, Run};

pub(super) fn idle<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    for _ in 0..3 {
        lane.poll();
        lane.commit();
    }
    let fds = [lane.descriptor().unwrap_or(-1), -1];
    match wait::readable(fds, Instant::now()) {
        Ok([false, _]) => {}
        Ok([true, _]) => return Err(String::from("its descriptor is readable").into()),
        Err(errno) => return Err(format!("its descriptor cannot be waited for: {errno}").into()),
    }
    drop(lane);
    for _ in 0..100 {
        drop(run.lane(DEPTH)?);
    }
    Ok(())
}

/// Distinct blocks, in an order without order.
fn scattered<D: BlockDevice>(run: &mut Run<'_, D>) -> Vec<Sectors> {
    let mut blocks = run.model.pieces(run.block());
    blocks.truncate(4 * usize::from(DEPTH));
    for last in (1..blocks.len()).rev() {
        let other = run.random.below(last as u64 + 1);
        blocks.swap(last, usize::try_from(other).unwrap_or(0));
    }
    blocks
}

pub(super) fn many<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    deep(run, DEPTH)
}

pub(super) fn shallow<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    deep(run, 1)
}

fn deep<D: BlockDevice>(run: &mut Run<'_, D>, depth: u16) -> Outcome {
    let mut lane = run.lane(depth)?;
    for _ in 0..3 {
        let blocks = scattered(run);
        if !run.geometry.read_only {
            let asks = blocks.iter().map(|range| run.write(*range)).collect();
            run.right(&mut lane, asks)?;
        }
        let asks = blocks.iter().map(|range| run.read(*range)).collect();
        run.right(&mut lane, asks)?;
    }
    Ok(())
}

pub(super) fn dropped<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    for round in 0..6 {
        let blocks = scattered(run);
        let asks: Vec<Ask> = blocks
            .iter()
            .map(|range| {
                if run.geometry.read_only || round % 3 == 2 {
                    return run.read(*range);
                }
                let data = run.random.bytes(bytes_of(range.1));
                run.ask(RequestOp::Write, *range, Some(data))
            })
            .collect();
        let mut front = run.front()?;
        let mut lane = run.lane(DEPTH)?;
        for ask in asks {
            let request = front.request(ask);
            // One that a full lane gives back is dropped, and so ends too.
            let _ = lane.submit(request);
        }
        if round % 2 == 0 {
            lane.commit();
        }
        drop(lane);
        let ended = front.ended()?;
        if front.in_flight() > 0 {
            let (left, all) = (front.in_flight(), blocks.len());
            return Err(format!("{left} of {all} requests have not ended with their lane").into());
        }
        take_over(run, ended)?;
    }
    Ok(())
}

/// Takes into the model what became of writes of which some may have failed: the old data, or the new.
fn take_over<D: BlockDevice>(run: &mut Run<'_, D>, ended: Vec<Ended>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    for Ended { ask, result, .. } in ended {
        let range = (ask.sector, ask.nr_sectors);
        let ask_again = run.read(range);
        let [now] = &run.run(&mut lane, vec![ask_again])?[..] else {
            return Err(format!("{range:?} cannot be read").into());
        };
        let is_old = now.data == run.model.get(range);
        let is_new = ask.op == RequestOp::Write && now.data == ask.data;
        if !is_new && (!is_old || (ask.op == RequestOp::Write && result.is_ok())) {
            return Err(format!("{range:?} is neither old nor new after {result:?}").into());
        }
        run.model.set(range, &now.data);
    }
    Ok(())
}

/// What a thread of [`threads`] writes, and then reads.
struct Share {
    writes: Vec<Ask>,
    reads: Vec<Ask>,
}

pub(super) fn threads<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    for _ in 0..3 {
        let blocks = scattered(run);
        // Neighbouring blocks go to different threads, and each reads what the other has written.
        let half = |parity: u64| {
            let block = u64::from(run.geometry.block_sectors());
            let mine = blocks
                .iter()
                .filter(move |range| range.0 / block % 2 == parity);
            mine.copied().collect::<Vec<_>>()
        };
        let halves = [half(0), half(1)];
        let mut writes = [Vec::new(), Vec::new()];
        if !run.geometry.read_only {
            writes = halves
                .each_ref()
                .map(|half| half.iter().map(|range| run.write(*range)).collect());
        }
        let reads = halves
            .each_ref()
            .map(|half| half.iter().map(|range| run.read(*range)).collect());
        let ([mine, others], [my_reads, other_reads]): ([_; 2], [Vec<Ask>; 2]) = (writes, reads);
        let shares = [
            Share {
                writes: mine,
                reads: other_reads,
            },
            Share {
                writes: others,
                reads: my_reads,
            },
        ];
        let (device, patience, barrier) = (run.device, run.patience, &Barrier::new(2));
        let ended = thread::scope(|scope| {
            let threads =
                shares.map(|share| scope.spawn(move || serve(device, patience, barrier, share)));
            let joined = threads.map(|thread| {
                let outcome = thread.join();
                outcome.unwrap_or_else(|panic| Err(told(&*panic)))
            });
            joined.into_iter().collect::<Result<Vec<_>, String>>()
        })?;
        ended
            .iter()
            .flatten()
            .try_for_each(|ended| run.judge(ended))?;
    }
    Ok(())
}

fn serve<D: BlockDevice>(
    device: &D,
    patience: Duration,
    barrier: &Barrier,
    share: Share,
) -> Result<Vec<Ended>, String> {
    let write = AssertUnwindSafe(|| write_share(device, patience, share.writes));
    let written = panic::catch_unwind(write);
    // Also after a failure, since the other one waits.
    barrier.wait();
    let written = written.unwrap_or_else(|panic| Err(told(&*panic)));
    let (mut ended, mut front, mut lane) = written?;
    ended.append(&mut front.run(&mut lane, share.reads)?);
    Ok(ended)
}

type Written<'d, D> = (Vec<Ended>, Front, <D as BlockDevice>::Lane<'d>);

fn write_share<D: BlockDevice>(
    device: &D,
    patience: Duration,
    writes: Vec<Ask>,
) -> Result<Written<'_, D>, String> {
    let mut lane = device
        .open_lane(DEPTH)
        .map_err(|error| format!("no lane: {error}"))?;
    let mut front = Front::new(patience)?;
    let ended = front.run(&mut lane, writes)?;
    Ok((ended, front, lane))
}
