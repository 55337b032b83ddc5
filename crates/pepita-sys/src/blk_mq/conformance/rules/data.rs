//! Rules about what a device holds.

use std::vec::Vec;
use std::{format, vec};

use super::super::super::{BlockDevice, Lane, RequestFlags, RequestOp};
use super::super::front::Ask;
use super::super::model::{Sectors, bytes_of};
use super::{DEPTH, Outcome, Run, Stop, takes_fua};

pub(super) fn stable<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    for range in run.model.pieces(run.max_whole()) {
        let ask = run.read(range);
        for ended in run.run(&mut lane, [ask].into())? {
            if let Err(errno) = ended.result {
                return Err(format!("{} failed: {errno}", ended.ask).into());
            }
            run.model.set(range, &ended.data);
        }
    }
    for range in run.model.awkward(run.block(), run.max()) {
        let ask = run.read(range);
        run.right(&mut lane, [ask].into())?;
    }
    Ok(())
}

pub(super) fn written<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    run.writable()?;
    let mut lane = run.lane(DEPTH)?;
    for range in run.model.awkward(run.block(), run.max()) {
        let ask = run.write(range);
        run.right(&mut lane, [ask].into())?;
        let ask = run.read(range);
        run.right(&mut lane, [ask].into())?;
    }
    run.all_right(&mut lane)?;
    Ok(())
}

pub(super) fn random<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    run.writable()?;
    let mut lane = run.lane(DEPTH)?;
    for _ in 0..400 {
        let range = run.any();
        let ask = if run.random.below(2) == 0 {
            run.write(range)
        } else {
            run.read(range)
        };
        run.right(&mut lane, [ask].into())?;
    }
    run.all_right(&mut lane)?;
    Ok(())
}

pub(super) fn overlapping<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    run.writable()?;
    if run.geometry.max_segments < 2 {
        return Err(Stop::NothingToDo("the device takes one segment"));
    }
    let mut lane = run.lane(DEPTH)?;
    let (block, bytes) = (run.block(), bytes_of(run.block()));
    if run.max() < 2 * block {
        return Err(Stop::NothingToDo("the device takes one block"));
    }
    let range = (0, 2 * block);
    // A write of the same memory twice is that data twice.
    let mut ask = run.write(range);
    let data = ask.data[..bytes].to_vec();
    let twice = data.repeat(2);
    run.model.set(range, &twice);
    ask.places = vec![64..64 + bytes; 2];
    ask.data = twice;
    run.right(&mut lane, vec![ask])?;
    run.all_right(&mut lane)?;
    // A read into the same memory twice finds one of the two blocks there, or a mixture of both.
    let ask = run.write(range);
    run.right(&mut lane, vec![ask])?;
    let mut ask = run.read(range);
    ask.places = vec![64..64 + bytes; 2];
    ask.data.copy_within(..bytes, bytes);
    for ended in run.run(&mut lane, vec![ask])? {
        let (first, second) = run.model.get(range).split_at(bytes);
        let either = first.iter().zip(second);
        let wrong = ended.data[..bytes]
            .iter()
            .zip(either)
            .position(|(got, (first, second))| got != first && got != second);
        if ended.result.is_err() || wrong.is_some() {
            let result = ended.result;
            return Err(format!(
                "a read into overlapping segments: {result:?}, wrong at {wrong:?}"
            )
            .into());
        }
    }
    run.all_right(&mut lane)?;
    Ok(())
}

fn flush() -> Ask {
    Ask {
        op: RequestOp::Flush,
        flags: RequestFlags::NONE,
        sector: 0,
        nr_sectors: 0,
        places: Vec::new(),
        data: Vec::new(),
    }
}

pub(super) fn flushed<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    run.right(&mut lane, vec![flush()])?;
    run.right(&mut lane, vec![flush(), flush()])?;
    if !run.geometry.read_only {
        let block = run.block();
        let mut asks = Vec::new();
        for index in 0..16 {
            let mut ask = run.write((u64::from(index * block), block));
            if takes_fua(&run.geometry) && index % 2 == 0 {
                ask.flags = RequestFlags::FUA;
            }
            asks.push(ask);
            if index % 5 == 0 {
                asks.push(flush());
            }
        }
        run.right(&mut lane, asks)?;
    }
    run.all_right(&mut lane)?;
    Ok(())
}

/// Ranges in the middle of others, of at most `max` sectors, that a range operation is tried on.
fn ranges<D: BlockDevice>(run: &Run<'_, D>, max: u32) -> Vec<Sectors> {
    let whole = max / run.block() * run.block();
    run.model.awkward(run.block(), whole.min(2048))
}

/// `range` in parts that one read or write can have.
fn parts<D: BlockDevice>(run: &Run<'_, D>, range: Sectors) -> Vec<Sectors> {
    let (max, end) = (run.max_whole(), range.0 + u64::from(range.1));
    let starts = (range.0..end).step_by(max as usize);
    let part = |start| {
        let left = u32::try_from(end - start).unwrap_or(u32::MAX);
        (start, left.min(max))
    };
    starts.map(part).collect()
}

/// Writes new data to `range`, and reads what is there and around.
fn refill<D: BlockDevice, L: Lane>(run: &mut Run<'_, D>, lane: &mut L, range: Sectors) -> Outcome {
    let writes = parts(run, range);
    let writes = writes.into_iter().map(|part| run.write(part)).collect();
    run.right(lane, writes)?;
    look_around(run, lane, range)
}

/// Reads `range` and its neighbours.
fn look_around<D: BlockDevice, L: Lane>(
    run: &mut Run<'_, D>,
    lane: &mut L,
    range: Sectors,
) -> Outcome {
    let wide = run.model.widened(range, 16 * run.block());
    let reads = parts(run, wide);
    let reads = reads.into_iter().map(|part| run.read(part)).collect();
    run.right(lane, reads)?;
    Ok(())
}

pub(super) fn zeroes<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    run.writable()?;
    let max = run.geometry.max_write_zeroes_sectors;
    if max == 0 {
        return Err(Stop::NothingToDo("the device does not write zeroes"));
    }
    let mut lane = run.lane(DEPTH)?;
    for (index, range) in ranges(run, max).into_iter().enumerate() {
        let mut ask = run.ask(RequestOp::WriteZeroes, range, None);
        if index % 2 == 1 {
            ask.flags = RequestFlags::NOUNMAP;
        }
        run.right(&mut lane, vec![ask])?;
        run.model.set(range, &vec![0; bytes_of(range.1)]);
        look_around(run, &mut lane, range)?;
        if index % 2 == 0 {
            refill(run, &mut lane, range)?;
        }
    }
    run.all_right(&mut lane)?;
    Ok(())
}

pub(super) fn discard<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    run.writable()?;
    let Some(limits) = run.geometry.discard else {
        return Err(Stop::NothingToDo("the device does not discard"));
    };
    let mut lane = run.lane(DEPTH)?;
    for range in ranges(run, limits.max_sectors) {
        let ask = run.ask(RequestOp::Discard, range, None);
        run.right(&mut lane, vec![ask])?;
        // Its own sectors may hold anything until they are written, its neighbours may not.
        refill(run, &mut lane, range)?;
    }
    run.all_right(&mut lane)?;
    Ok(())
}
