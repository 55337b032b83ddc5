//! Rules about what a device is, and about requests that it cannot do.

use std::format;
use std::vec::Vec;

use super::super::super::{BlockDevice, RequestFlags, RequestOp};
use super::super::model::{Model, Sectors, bytes_of};
use super::{DEPTH, Outcome, Run, Stop};
use crate::error::Errno;

/// The least device that there is room on for the rules.
const BLOCKS_MIN: u64 = 64;

pub(super) fn geometry<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let geometry = run.device.geometry();
    if let Err(error) = geometry.validate() {
        return Err(Stop::Broken(format!("{error}")));
    }
    let again = run.device.geometry();
    if geometry != again {
        return Err(Stop::Broken(format!("{geometry:?}, then {again:?}")));
    }
    let blocks = geometry.capacity_sectors / u64::from(geometry.block_sectors());
    if blocks < BLOCKS_MIN {
        return Err(Stop::Broken(format!(
            "a device of {blocks} blocks: the suite needs {BLOCKS_MIN}"
        )));
    }
    run.geometry = geometry;
    run.model = Model::new(&geometry);
    Ok(())
}

/// The operations that the device has for ranges.
fn ranged<D: BlockDevice>(run: &Run<'_, D>) -> Vec<RequestOp> {
    let geometry = &run.geometry;
    let mut ops = std::vec![RequestOp::Read];
    if !geometry.read_only {
        ops.push(RequestOp::Write);
        ops.extend(geometry.discard.map(|_| RequestOp::Discard));
        ops.extend((geometry.max_write_zeroes_sectors > 0).then_some(RequestOp::WriteZeroes));
    }
    ops
}

pub(super) fn empty<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    let capacity = run.geometry.capacity_sectors;
    for op in ranged(run) {
        for sector in [0, u64::from(run.block()), capacity] {
            let mut ask = run.ask(op, (sector, 0), None);
            run.right(&mut lane, [ask.clone()].into())?;
            // Neither no segment nor one of no bytes is a fault.
            ask.places.clear();
            run.right(&mut lane, [ask].into())?;
        }
    }
    run.all_right(&mut lane)?;
    Ok(())
}

/// Ranges of at most `max` sectors that end behind the device.
fn behind(capacity: u64, block: u32, max: u32) -> [Sectors; 7] {
    let step = u64::from(block);
    let last = u64::MAX / step * step;
    [
        (capacity, block),
        (capacity - step, (2 * block).min(max)),
        (capacity + step, block),
        (last, block),
        (last - step, block),
        // In bytes, these are 0 and 512 modulo 2^64.
        (1 << 55, block),
        ((1 << 55) + step, block),
    ]
}

pub(super) fn past_end<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    let capacity = run.geometry.capacity_sectors;
    for op in ranged(run) {
        let max = match op {
            RequestOp::Discard => run.geometry.discard.map_or(0, |limits| limits.max_sectors),
            RequestOp::WriteZeroes => run.geometry.max_write_zeroes_sectors,
            _ => run.max(),
        };
        for range in behind(capacity, run.block(), max) {
            if range.0.saturating_add(u64::from(range.1)) <= capacity {
                continue;
            }
            let data = op.writes_data().then(|| std::vec![0xee; bytes_of(range.1)]);
            let ask = run.ask(op, range, data);
            for ended in run.run(&mut lane, [ask].into())? {
                if ended.result != Err(Errno::EIO) {
                    let (ask, result) = (&ended.ask, ended.result);
                    return Err(format!("{ask}: {result:?} on {capacity} sectors").into());
                }
            }
        }
    }
    // Nothing of that may have gone anywhere.
    run.all_right(&mut lane)?;
    Ok(())
}

pub(super) fn unknown<D: BlockDevice>(run: &mut Run<'_, D>) -> Outcome {
    let mut lane = run.lane(DEPTH)?;
    for op in [
        RequestOp::SecureErase,
        RequestOp::ZoneOpen,
        RequestOp::ZoneClose,
        RequestOp::ZoneFinish,
        RequestOp::ZoneReset,
        RequestOp::ZoneResetAll,
    ] {
        let mut ask = run.ask(op, (0, run.block()), None);
        ask.flags = RequestFlags::SYNC;
        for ended in run.run(&mut lane, [ask].into())? {
            if ended.result != Err(Errno::EOPNOTSUPP) {
                let (ask, result) = (&ended.ask, ended.result);
                return Err(format!("{ask}: {result:?}").into());
            }
        }
    }
    run.all_right(&mut lane)?;
    Ok(())
}
