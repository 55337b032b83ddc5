//! What is known of the zones of a device: [`Books`], which knows the rules and has no data.
//!
//! # Invariants
//! * counted: `open` and `active` are the counts of zones that are open, and open or closed.

use pepita_sys::blk_mq::{Zone, ZoneCondition, ZoneLimits};
use pepita_sys::error::Errno;

/// A zone.
#[derive(Debug, Clone, Copy)]
struct State {
    condition: ZoneCondition,
    /// Sectors before the write pointer.
    written: u32,
}

/// The conditions and write pointers of all zones.
#[derive(Debug)]
pub(super) struct Books {
    limits: ZoneLimits,
    states: Box<[State]>,
    open: u32,
    active: u32,
}

impl Books {
    /// `zones` zones, the first `conventional` of them conventional, the others empty.
    pub(super) fn new(limits: ZoneLimits, zones: usize, conventional: usize) -> Self {
        let state = |index| State {
            condition: if index < conventional {
                ZoneCondition::Conventional
            } else {
                ZoneCondition::Empty
            },
            written: 0,
        };
        Self {
            limits,
            states: (0..zones).map(state).collect(),
            open: 0,
            active: 0,
        }
    }

    /// The zone number `index`; `None` behind the last one.
    pub(super) fn zone(&self, index: usize) -> Option<Zone> {
        let State { condition, written } = *self.states.get(index)?;
        let sectors = self.limits.zone_sectors;
        let start = index as u64 * u64::from(sectors);
        let before = match condition {
            ZoneCondition::Conventional | ZoneCondition::Full => sectors,
            _ => written,
        };
        Some(Zone {
            start,
            sectors,
            write_pointer: start + u64::from(before),
            condition,
        })
    }

    fn state(&self, index: usize) -> Result<State, Errno> {
        self.states.get(index).copied().ok_or(Errno::EIO)
    }

    /// Whether zone `index` is open, or can be.
    fn check_open(&self, state: State) -> Result<(), Errno> {
        let ZoneLimits {
            max_open_zones,
            max_active_zones,
            ..
        } = self.limits;
        match state.condition {
            ZoneCondition::ImplicitlyOpen | ZoneCondition::ExplicitlyOpen => return Ok(()),
            ZoneCondition::Empty if max_active_zones != 0 && self.active >= max_active_zones => {
                return Err(Errno::EOVERFLOW);
            }
            ZoneCondition::Empty | ZoneCondition::Closed => {}
            ZoneCondition::Conventional | ZoneCondition::Full => return Err(Errno::EIO),
        }
        let has_room = max_open_zones == 0 || self.open < max_open_zones;
        if has_room || self.implicitly_open().is_some() {
            return Ok(());
        }
        Err(Errno::ETOOMANYREFS)
    }

    /// The first zone that may be closed for another.
    fn implicitly_open(&self) -> Option<usize> {
        let is_it = |state: &State| state.condition == ZoneCondition::ImplicitlyOpen;
        self.states.iter().position(is_it)
    }

    /// Opens zone `index`, which [may be](Self::check_open), as `condition`.
    fn open(&mut self, index: usize, condition: ZoneCondition) {
        let was = self.states[index].condition;
        let is_closed = matches!(was, ZoneCondition::Empty | ZoneCondition::Closed);
        if is_closed {
            let most = self.limits.max_open_zones;
            if most != 0
                && self.open >= most
                && let Some(other) = self.implicitly_open()
            {
                self.leave(other, ZoneCondition::Closed);
            }
            self.open += 1;
            self.active += u32::from(was == ZoneCondition::Empty);
        }
        self.states[index].condition = condition;
    }

    /// Has zone `index` be `condition`, which is not open.
    fn leave(&mut self, index: usize, condition: ZoneCondition) {
        let state = &mut self.states[index];
        let (was_open, was_active) = match state.condition {
            ZoneCondition::ImplicitlyOpen | ZoneCondition::ExplicitlyOpen => (true, true),
            condition => (false, condition == ZoneCondition::Closed),
        };
        self.open -= u32::from(was_open);
        self.active -= u32::from(was_active);
        self.active += u32::from(condition == ZoneCondition::Closed);
        state.condition = condition;
    }

    /// Where `sectors` sectors of zone `index` would be written: `at` sectors behind its start, or for an append, which
    /// says none, at its write pointer.
    pub(super) fn check_write(
        &self,
        index: usize,
        at: Option<u32>,
        sectors: u32,
    ) -> Result<u32, Errno> {
        let state = self.state(index)?;
        self.check_open(state)?;
        let fits = sectors <= self.limits.zone_sectors - state.written;
        if !fits || at.is_some_and(|at| at != state.written) {
            return Err(Errno::EIO);
        }
        Ok(state.written)
    }

    /// Notes that `sectors` sectors of zone `index` have been written, which was [checked](Self::check_write).
    pub(super) fn wrote(&mut self, index: usize, sectors: u32) {
        if self.states[index].condition != ZoneCondition::ExplicitlyOpen {
            self.open(index, ZoneCondition::ImplicitlyOpen);
        }
        self.states[index].written += sectors;
        if self.states[index].written == self.limits.zone_sectors {
            self.leave(index, ZoneCondition::Full);
        }
    }

    /// Whether zone `index` is conventional.
    pub(super) fn is_conventional(&self, index: usize) -> bool {
        let state = self.states.get(index);
        state.is_some_and(|state| state.condition == ZoneCondition::Conventional)
    }

    /// Opens zone `index` until it is closed or full.
    pub(super) fn open_explicitly(&mut self, index: usize) -> Result<(), Errno> {
        self.check_open(self.state(index)?)?;
        self.open(index, ZoneCondition::ExplicitlyOpen);
        Ok(())
    }

    /// Closes zone `index`; one that has nothing written is empty again.
    pub(super) fn close(&mut self, index: usize) -> Result<(), Errno> {
        let state = self.state(index)?;
        match state.condition {
            ZoneCondition::Closed => Ok(()),
            ZoneCondition::ImplicitlyOpen | ZoneCondition::ExplicitlyOpen => {
                let is_empty = state.written == 0;
                let closed = [ZoneCondition::Closed, ZoneCondition::Empty];
                self.leave(index, closed[usize::from(is_empty)]);
                Ok(())
            }
            _ => Err(Errno::EIO),
        }
    }

    /// Has zone `index` be full.
    pub(super) fn finish(&mut self, index: usize) -> Result<(), Errno> {
        let state = self.state(index)?;
        if state.condition != ZoneCondition::Full {
            self.check_open(state)?;
            self.leave(index, ZoneCondition::Full);
            self.states[index].written = self.limits.zone_sectors;
        }
        Ok(())
    }

    /// Has zone `index` be empty.
    pub(super) fn reset(&mut self, index: usize) -> Result<(), Errno> {
        if self.state(index)?.condition == ZoneCondition::Conventional {
            return Err(Errno::EIO);
        }
        self.leave(index, ZoneCondition::Empty);
        self.states[index].written = 0;
        Ok(())
    }

    /// Count of zones.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }
}
