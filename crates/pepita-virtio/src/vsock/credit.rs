//! Flow control: how much each side may send. virtio 1.3, 5.10.6.3
//!
//! Counters are of 32 bits and wrap; differences of two of them are small numbers all the same, and those are what is
//! checked.

/// Bytes of payload that a connection has room for: the most that the host's side holds back when its socket is full.
pub(super) const WINDOW: u32 = 64 << 10;

/// What the guest may send.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    /// Bytes that have come.
    received: u32,
    /// Bytes that were handed on.
    forwarded: u32,
    /// Bytes that were handed on when the guest was last told.
    told: u32,
}

/// The guest has sent more than it was allowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overrun;

impl Window {
    /// Bytes that the guest may still send, by what it was told.
    pub(super) const fn allowed(&self) -> u32 {
        WINDOW - self.received.wrapping_sub(self.told)
    }

    /// Bytes that have come, and were not handed on.
    pub(super) const fn held(&self) -> u32 {
        self.received.wrapping_sub(self.forwarded)
    }

    /// `len` bytes have come.
    pub(super) const fn receive(&mut self, len: u32) -> Result<(), Overrun> {
        if len > self.allowed() {
            return Err(Overrun);
        }
        self.received = self.received.wrapping_add(len);
        Ok(())
    }

    /// `len` bytes were handed on.
    ///
    /// # Panics
    /// When there are fewer.
    pub(super) fn forward(&mut self, len: u32) {
        assert!(len <= self.held(), "what is handed on has come");
        self.forwarded = self.forwarded.wrapping_add(len);
    }

    /// Whether the guest believes that there is less than half of the room, and there is more.
    pub(super) const fn is_update_due(&self) -> bool {
        self.forwarded != self.told && self.allowed() < WINDOW / 2
    }

    /// The counter for a packet to the guest, who knows it from then on.
    pub(super) const fn tell(&mut self) -> u32 {
        self.told = self.forwarded;
        self.told
    }
}

/// What the guest has room for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// Bytes that were sent.
    sent: u32,
    /// Bytes that the guest has not handed on, as far as it has said.
    in_flight: u32,
    /// Its whole room.
    room: u32,
}

/// The guest says that it has handed on what it never got, or takes back what it has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lie;

impl Allowance {
    /// The guest has said what room it has, and what it has handed on.
    pub(super) const fn hear(&mut self, room: u32, forwarded: u32) -> Result<(), Lie> {
        let in_flight = self.sent.wrapping_sub(forwarded);
        if in_flight > self.in_flight {
            return Err(Lie);
        }
        self.in_flight = in_flight;
        self.room = room;
        Ok(())
    }

    /// Bytes that may be sent. A guest may make its room smaller than what is on its way: then it is none.
    pub(super) const fn free(&self) -> u32 {
        self.room.saturating_sub(self.in_flight)
    }

    /// `len` bytes are sent.
    ///
    /// # Panics
    /// When that is more than is free.
    pub(super) fn send(&mut self, len: u32) {
        assert!(len <= self.free(), "no more is sent than there is room for");
        self.sent = self.sent.wrapping_add(len);
        self.in_flight += len;
    }
}

#[cfg(all(test, not(pepita_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Come(u32),
        Forward(u32),
        Tell,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0..WINDOW + 9).prop_map(Op::Come),
            (0..WINDOW).prop_map(Op::Forward),
            Just(Op::Tell),
        ]
    }

    proptest! {
        /// Against counters that never wrap.
        #[test]
        fn a_window_lets_through_what_the_guest_was_told(
            start in any::<u32>(),
            ops in prop::collection::vec(op(), 0..200),
        ) {
            let mut window = Window { received: start, forwarded: start, told: start };
            let (mut received, mut forwarded, mut told) = (0_u64, 0_u64, 0_u64);
            let whole = u64::from(WINDOW);
            for op in ops {
                match op {
                    Op::Come(len) => {
                        let fits = received + u64::from(len) <= told + whole;
                        prop_assert_eq!(window.receive(len).is_ok(), fits);
                        received += if fits { u64::from(len) } else { 0 };
                    }
                    Op::Forward(len) => {
                        let len = len.min(window.held());
                        window.forward(len);
                        forwarded += u64::from(len);
                    }
                    Op::Tell => {
                        window.tell();
                        told = forwarded;
                    }
                }
                prop_assert_eq!(u64::from(window.held()), received - forwarded);
                prop_assert!(window.held() <= WINDOW);
                prop_assert_eq!(u64::from(window.allowed()), told + whole - received);
                let is_due = forwarded > told && told + whole - received < whole / 2;
                prop_assert_eq!(window.is_update_due(), is_due);
            }
        }

        #[test]
        fn an_allowance_believes_a_count_between_the_last_one_and_what_was_sent(
            start in any::<u32>(),
            steps in prop::collection::vec((any::<u32>(), 0..1_u32 << 20, any::<i8>()), 0..100),
        ) {
            let mut allowance = Allowance { sent: start, in_flight: 0, room: 0 };
            let (mut sent, mut heard) = (0_i64, 0_i64);
            for (room, len, off) in steps {
                // About the two ends of what may be said, and in between.
                let said = if off % 2 == 0 { heard } else { sent } + i64::from(off / 2);
                let count = i64::from(start).wrapping_add(said).rem_euclid(1 << 32);
                let count = u32::try_from(count).expect("32 bits");
                let is_true = (heard..=sent).contains(&said);
                prop_assert_eq!(allowance.hear(room, count).is_ok(), is_true);
                if is_true {
                    heard = said;
                    let free = (i64::from(room) - (sent - heard)).max(0);
                    prop_assert_eq!(i64::from(allowance.free()), free);
                }
                let len = len.min(allowance.free());
                allowance.send(len);
                sent += i64::from(len);
            }
        }
    }

    #[test]
    #[should_panic(expected = "no more is sent")]
    fn more_than_there_is_room_for_is_never_sent() {
        Allowance::default().send(1);
    }
}
