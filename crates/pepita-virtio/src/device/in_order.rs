//! [`InOrder`]: buffers that are complete before their turn. virtio 1.3, 2.7.9 and 2.8.8

use super::Taken;

/// The buffers that a device has, in the order in which it took them.
#[derive(Debug)]
pub(super) struct InOrder {
    /// What became of each, by its turn.
    ended: Box<[Option<(Taken, u32)>]>,
    /// The turn of the next to be taken.
    begin: u16,
    /// The turn of the next that the driver sees.
    end: u16,
}

impl InOrder {
    /// For as many buffers as there are descriptors.
    pub(super) fn new(size: u16) -> Self {
        Self {
            ended: vec![None; usize::from(size)].into_boxed_slice(),
            begin: 0,
            end: 0,
        }
    }

    /// The turn of a buffer that was taken; there are at most as many as descriptors.
    pub(super) fn begin(&mut self) -> u16 {
        let turn = self.begin;
        self.begin = self.after(turn);
        turn
    }

    /// The buffer of a turn is complete.
    pub(super) fn end(&mut self, turn: u16, taken: Taken, written: u32) {
        self.ended[usize::from(turn)] = Some((taken, written));
    }

    /// The next buffer, if it is complete.
    pub(super) fn next(&mut self) -> Option<(Taken, u32)> {
        let next = self.ended[usize::from(self.end)].take()?;
        self.end = self.after(self.end);
        Some(next)
    }

    fn after(&self, turn: u16) -> u16 {
        let next = turn + 1;
        if usize::from(next) < self.ended.len() {
            next
        } else {
            0
        }
    }
}
