//! [`TaskId`]: unique across hosts, sortable by time.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Identifies one task, on whatever host it was made.
///
/// A [ULID](https://github.com/ulid/spec): 48 bits of Unix time in milliseconds, then 80 bits
/// that no other id shares. Here those are a 16-bit counter, which keeps ids of one millisecond
/// in the order they were made, and 64 random bits that the process drew once.
/// Sorting ids, or their 26-character text, sorts by time of creation.
///
/// ```
/// use pepita_sched::task::TaskId;
///
/// let first = TaskId::new();
/// let second = TaskId::new();
/// assert!(first < second);
/// assert_eq!(first.to_string().parse::<TaskId>(), Ok(first));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u128);

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LEN: usize = 26;
const TIME_BITS: u32 = 48;
const SEQUENCE_BITS: u32 = 16;
const PROCESS_BITS: u32 = 64;

impl TaskId {
    /// Makes an id later than every id that this process made before.
    #[expect(clippy::new_without_default, reason = "each call gives another value")]
    #[must_use]
    pub fn new() -> Self {
        /// The last stamp handed out: milliseconds above, sequence below.
        static LAST: AtomicU64 = AtomicU64::new(0);

        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            & ((1 << TIME_BITS) - 1);
        // The clock may stand still or step back: the stamp then counts on from the last one.
        let floor = now_ms << SEQUENCE_BITS;
        let last = LAST
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(floor.max(last + 1))
            })
            .unwrap_or_else(|last| last);
        let stamp = floor.max(last + 1);
        Self(u128::from(stamp) << PROCESS_BITS | process_bits())
    }

    /// The time of creation, in milliseconds since 1970.
    #[must_use]
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0 >> (SEQUENCE_BITS + PROCESS_BITS)).unwrap_or(u64::MAX)
    }

    /// The id as a 128-bit number, for storage.
    #[must_use]
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The id that [`to_u128`](Self::to_u128) gave.
    #[must_use]
    pub fn from_u128(value: u128) -> Self {
        Self(value)
    }
}

/// 64 bits that tell this process from every other.
fn process_bits() -> u128 {
    static BITS: OnceLock<u64> = OnceLock::new();
    u128::from(*BITS.get_or_init(crate::fault::random_seed))
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; TEXT_LEN];
        let mut rest = self.0;
        for byte in text.iter_mut().rev() {
            *byte = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({self})")
    }
}

/// The text is not a [`TaskId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a task id: expected 26 characters of Crockford's base 32, at most 7ZZZ…")]
pub struct ParseTaskIdError {
    text: String,
}

impl FromStr for TaskId {
    type Err = ParseTaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseTaskIdError {
            text: text.to_owned(),
        };
        if text.len() != TEXT_LEN {
            return Err(refuse());
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let upper = byte.to_ascii_uppercase();
            let digit = ALPHABET
                .iter()
                .position(|&c| c == upper)
                .ok_or_else(refuse)?;
            if value >> (128 - 5) != 0 {
                return Err(refuse());
            }
            value = value << 5 | digit as u128;
        }
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn any_id_reads_back_from_its_number_and_its_text(id: TaskId, other: TaskId) {
            prop_assert_eq!(TaskId::from_u128(id.to_u128()), id);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().cmp(&other.to_string()), id.cmp(&other));
        }
    }

    #[test]
    fn ids_of_one_thread_rise_and_ids_of_all_threads_differ() {
        let per_thread = || (0..10_000).map(|_| TaskId::new()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(per_thread)).collect();
        let lists: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(lists.iter().all(|ids| ids.is_sorted_by(|a, b| a < b)));
        assert_eq!(
            lists.concat().into_iter().collect::<HashSet<_>>().len(),
            40_000
        );
    }

    #[test]
    fn text_sorts_as_the_id_does_and_reads_back() {
        let ids: Vec<_> = (0..100).map(|_| TaskId::new()).collect();
        let texts: Vec<_> = ids.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted());
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!(text.to_lowercase().parse(), Ok(*id));
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "01ARZ3NDEKTSV4RRFFQ69G5FAI",
            "80000000000000000000000000",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
        assert_eq!(
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse(),
            Ok(TaskId::from_u128(u128::MAX))
        );
    }

    #[test]
    fn the_time_of_an_id_is_the_time_it_was_made() {
        let before = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let id = TaskId::new();
        // Ids made faster than 65,536 a millisecond run ahead of the clock.
        assert!(u128::from(id.unix_ms()) >= before);
    }
}
