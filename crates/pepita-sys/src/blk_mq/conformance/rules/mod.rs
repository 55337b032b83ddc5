//! The rules, in the order in which they are looked at: later ones rely on what earlier ones have shown.

mod data;
mod lanes;
mod limits;

use std::string::String;
use std::time::Duration;
use std::vec::Vec;
use std::{format, vec};

use super::super::{BlockDevice, Geometry, Lane, RequestFlags, RequestOp, WriteCache};
use super::front::{Ask, Ended, Front};
use super::model::{self, Model, Random, Sectors, bytes_of};

/// Why a rule was not looked at to its end.
pub(super) enum Stop {
    /// The device broke it.
    Broken(String),
    /// The device has no such thing.
    NothingToDo(&'static str),
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

type Outcome = Result<(), Stop>;

/// A rule: what it says, and who looks.
type Rule<'d, D> = (&'static str, fn(&mut Run<'d, D>) -> Outcome);

/// All of them.
pub(super) fn all<'d, D: BlockDevice>() -> Vec<Rule<'d, D>> {
    vec![
        ("the geometry can be, and stays", limits::geometry),
        ("what is read twice is the same", data::stable),
        ("what was written is read, in any shape", data::written),
        (
            "any order of requests gives what the model says",
            data::random,
        ),
        ("segments may overlap", data::overlapping),
        ("a request of no sectors does nothing", limits::empty),
        ("behind the end there is EIO", limits::past_end),
        ("what is not known is EOPNOTSUPP", limits::unknown),
        (
            "a flush succeeds, also in the middle of writes",
            data::flushed,
        ),
        ("zeroes are read where they were written", data::zeroes),
        ("a discard leaves its neighbours alone", data::discard),
        ("an idle lane has nothing to do", lanes::idle),
        ("many in flight end once each", lanes::many),
        ("lanes of little depth do the same", lanes::shallow),
        ("a dropped lane has ended its requests", lanes::dropped),
        (
            "lanes of two threads see each other's writes",
            lanes::threads,
        ),
    ]
}

/// Where the suite stands with a device.
pub(super) struct Run<'d, D: BlockDevice> {
    pub(super) device: &'d D,
    pub(super) geometry: Geometry,
    pub(super) model: Model,
    pub(super) random: Random,
    pub(super) patience: Duration,
    /// Requests so far; picks the shapes in turn.
    pub(super) turn: usize,
}

/// Requests in flight that lanes are opened for.
pub(super) const DEPTH: u16 = 64;

impl<'d, D: BlockDevice> Run<'d, D> {
    pub(super) fn new(device: &'d D, patience: Duration) -> Self {
        // Of no sectors, until the geometry is known to be one.
        let geometry = Geometry::new(0);
        Self {
            device,
            geometry,
            model: Model::new(&geometry),
            random: Random::new(0x5eed),
            patience,
            turn: 0,
        }
    }

    fn front(&self) -> Result<Front, String> {
        Front::new(self.patience)
    }

    fn lane(&self, depth: u16) -> Result<D::Lane<'d>, String> {
        let lane = self.device.open_lane(depth);
        lane.map_err(|error| format!("no lane of depth {depth}: {error}"))
    }

    /// The sectors of a logical block.
    fn block(&self) -> u32 {
        self.geometry.block_sectors()
    }

    /// The limit of reads and writes, at most a window.
    fn max(&self) -> u32 {
        self.geometry.max_sectors.min(2048)
    }

    /// Stops where nothing can be written.
    fn writable(&self) -> Outcome {
        if self.geometry.read_only {
            Err(Stop::NothingToDo("the device can only be read"))
        } else {
            Ok(())
        }
    }

    /// A request of `op` for `range`, in the next shape, with `data` or with some that a read has to
    /// overwrite.
    fn ask(&mut self, op: RequestOp, range: Sectors, data: Option<Vec<u8>>) -> Ask {
        self.turn += 1;
        let moves = op.reads_data() || op.writes_data();
        let bytes = if moves { bytes_of(range.1) } else { 0 };
        let places = if moves {
            model::shape(self.turn, bytes, self.geometry.max_segments)
        } else {
            Vec::new()
        };
        Ask {
            op,
            flags: RequestFlags::NONE,
            sector: range.0,
            nr_sectors: range.1,
            places,
            data: data.unwrap_or_else(|| self.random.bytes(bytes)),
        }
    }

    /// A range anywhere.
    fn any(&mut self) -> Sectors {
        let (block, max) = (self.block(), self.max_whole());
        self.model.any(&mut self.random, block, max)
    }

    fn read(&mut self, range: Sectors) -> Ask {
        self.ask(RequestOp::Read, range, None)
    }

    /// A write of new data, which the model takes for done.
    fn write(&mut self, range: Sectors) -> Ask {
        let data = self.random.bytes(bytes_of(range.1));
        self.model.set(range, &data);
        self.ask(RequestOp::Write, range, Some(data))
    }

    /// Does `asks`, all in flight together, and says how each ended.
    fn run<L: Lane>(&self, lane: &mut L, asks: Vec<Ask>) -> Result<Vec<Ended>, String> {
        self.front()?.run(lane, asks)
    }

    /// Does `ask` and expects success; what it reads is what the model says.
    fn right<L: Lane>(&self, lane: &mut L, asks: Vec<Ask>) -> Result<(), String> {
        for ended in self.run(lane, asks)? {
            self.judge(&ended)?;
        }
        Ok(())
    }

    fn judge(&self, ended: &Ended) -> Result<(), String> {
        let Ended { ask, result, data } = ended;
        if let Err(errno) = result {
            return Err(format!("{} failed: {errno}", ask));
        }
        if ask.op == RequestOp::Read {
            let range = (ask.sector, ask.nr_sectors);
            let compared = self.model.compare(range, data);
            compared.map_err(|wrong| format!("{wrong} ({} segments)", ask.places.len()))?;
        }
        Ok(())
    }

    /// Reads everything that the model knows.
    fn all_right<L: Lane>(&mut self, lane: &mut L) -> Result<(), String> {
        let pieces = self.model.pieces(self.max_whole());
        let asks = pieces.into_iter().map(|range| self.read(range)).collect();
        self.right(lane, asks)
    }

    /// The limit of reads and writes in whole blocks, 64 of them at most.
    fn max_whole(&self) -> u32 {
        let block = self.block();
        (self.geometry.max_sectors / block).min(64) * block
    }
}

/// Whether a write may ask to be durable at once.
fn takes_fua(geometry: &Geometry) -> bool {
    geometry.write_cache != WriteCache::WriteBack
}
