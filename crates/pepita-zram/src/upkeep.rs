//! [`Upkeep`]: recompression, write-back and compaction in the background, within a share of a CPU.

use std::io;
use std::ops::AddAssign;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::device::ZramDevice;
use crate::error::{Unfinished, ZramError};
use crate::idle::{PageKind, Wanted};

/// Objects that are worked on before the thread rests.
const PIECE: u64 = 128;

/// What is done in the background, and how much of it.
///
/// ```
/// use std::time::Duration;
/// use pepita_zram::{UpkeepPolicy, PageKind, ZramConfig, ZramDevice};
///
/// let policy = UpkeepPolicy::every(Duration::from_secs(60))
///     .write_back(PageKind::Idle, Duration::from_secs(3600))
///     .cpu_percent(5);
/// let device = ZramDevice::new(ZramConfig::default())?;
/// let done = policy.run_once(&device); // by hand; `Upkeep::start` does so again and again
/// assert_eq!(done.compacted_bytes, 0);
/// # Ok::<(), pepita_zram::ZramError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpkeepPolicy {
    /// The time between two passes.
    pub every: Duration,
    /// What is compressed again, and after how long without use a page counts as idle.
    pub recompress: Option<(PageKind, Duration)>,
    /// Before pages are compressed again, a dictionary of at most so many bytes (24 KiB for more) is trained, when there is
    /// none, and when four times as many pages were written since as there were; 0 for none.
    pub dictionary_bytes: usize,
    /// What is written back, and after how long without use a page counts as idle.
    pub write_back: Option<(PageKind, Duration)>,
    /// Memory is compacted when objects have more than this many hundredths of their bytes.
    pub compact_above_percent: u32,
    /// The most of a CPU that this takes, in hundredths, 1 to 100; what the backing device takes comes on top.
    pub cpu_percent: u32,
}

impl UpkeepPolicy {
    /// Compaction from 125 % on, with 5 % of a CPU at most.
    #[must_use]
    pub const fn every(every: Duration) -> Self {
        Self {
            every,
            recompress: None,
            dictionary_bytes: 0,
            write_back: None,
            compact_above_percent: 125,
            cpu_percent: 5,
        }
    }

    /// Sets what is compressed again, and after how long without use a page counts as idle.
    #[must_use]
    pub const fn recompress(mut self, which: PageKind, idle_after: Duration) -> Self {
        self.recompress = Some((which, idle_after));
        self
    }

    /// Lets pages that are compressed again have a dictionary of at most so many bytes; see
    /// [`ZramDevice::train_dictionary`].
    #[must_use]
    pub const fn dictionary_bytes(mut self, bytes: usize) -> Self {
        self.dictionary_bytes = bytes;
        self
    }

    /// Sets what is written back, and after how long without use a page counts as idle.
    #[must_use]
    pub const fn write_back(mut self, which: PageKind, idle_after: Duration) -> Self {
        self.write_back = Some((which, idle_after));
        self
    }

    /// Sets from where on memory is compacted.
    #[must_use]
    pub const fn compact_above_percent(mut self, percent: u32) -> Self {
        self.compact_above_percent = percent;
        self
    }

    /// Sets the most of a CPU that this takes. What is not in 1 to 100 becomes the next that is.
    #[must_use]
    pub const fn cpu_percent(mut self, percent: u32) -> Self {
        self.cpu_percent = percent;
        self
    }

    /// One pass, without rests, and what it has done.
    pub fn run_once(&self, device: &ZramDevice) -> UpkeepReport {
        self.pass(device, |_| true)
    }

    /// One pass. After each piece `rest` hears how much CPU time that took, and says whether to go on.
    fn pass(&self, device: &ZramDevice, mut rest: impl FnMut(Duration) -> bool) -> UpkeepReport {
        let mut report = UpkeepReport {
            passes: 1,
            ..UpkeepReport::default()
        };
        let mut last = cpu_time();
        let mut pause = |report: &mut UpkeepReport| {
            let now = cpu_time();
            let took = now.saturating_sub(last);
            report.cpu_time += took;
            last = now;
            rest(took)
        };
        let trains = self.recompress.is_some() && self.dictionary_bytes > 0;
        if trains && device.wants_training() {
            match device.train_dictionary(self.dictionary_bytes) {
                Ok(training) => report.trained += u64::from(training.is_used),
                Err(error) => report.last_error = Some(error),
            }
        }
        for (what, does) in [
            (self.recompress, Does::Recompress),
            (self.write_back, Does::WriteBack),
        ] {
            let Some((which, idle_after)) = what else {
                continue;
            };
            let wanted = device.unused_for(which, idle_after);
            let mut next = Some(0);
            while next.is_some() {
                if !pause(&mut report) {
                    return report;
                }
                if let Err(ended) = does.piece(device, wanted, &mut next, &mut report) {
                    report.last_error = Some(ended.error);
                    if ended.done == 0 {
                        break;
                    }
                }
            }
        }
        let stats = device.stats();
        let enough = u128::from(stats.compr_data_size) * u128::from(self.compact_above_percent);
        if u128::from(stats.mem_used_total) * 100 > enough {
            report.compacted_bytes += device.compact();
        }
        pause(&mut report);
        report
    }

    /// How long to rest after so much CPU time.
    fn rest_after(&self, took: Duration) -> Duration {
        let percent = self.cpu_percent.clamp(1, 100);
        took * (100 - percent) / percent
    }
}

/// What is done in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Recompress,
    WriteBack,
}

impl Does {
    fn piece(
        self,
        device: &ZramDevice,
        wanted: Wanted,
        next: &mut Option<u32>,
        report: &mut UpkeepReport,
    ) -> Result<(), Unfinished> {
        let (done, count) = match self {
            Self::Recompress => (
                device.recompress_from(wanted, PIECE, next),
                &mut report.recompressed,
            ),
            Self::WriteBack => (
                device.write_back_from(wanted, PIECE, next),
                &mut report.written_back,
            ),
        };
        *count += done.unwrap_or_else(|ended| ended.done);
        done.map(drop)
    }
}

/// What upkeep has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UpkeepReport {
    /// Passes.
    pub passes: u64,
    /// Dictionaries that were trained and are used.
    pub trained: u64,
    /// Objects that take less memory, because they were compressed again.
    pub recompressed: u64,
    /// Objects that were written back.
    pub written_back: u64,
    /// Bytes that compaction gave back to the host.
    pub compacted_bytes: u64,
    /// CPU time that it took.
    pub cpu_time: Duration,
    /// What hindered it, the last time that something failed.
    pub last_error: Option<ZramError>,
}

impl AddAssign for UpkeepReport {
    fn add_assign(&mut self, more: Self) {
        self.passes += more.passes;
        self.trained += more.trained;
        self.recompressed += more.recompressed;
        self.written_back += more.written_back;
        self.compacted_bytes += more.compacted_bytes;
        self.cpu_time += more.cpu_time;
        self.last_error = more.last_error.or(self.last_error);
    }
}

/// A thread that does what a [`UpkeepPolicy`] says, until this is dropped.
#[derive(Debug)]
pub struct Upkeep {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    report: Mutex<UpkeepReport>,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Upkeep {
    /// Starts with a pass.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(device: Arc<ZramDevice>, policy: UpkeepPolicy) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("zram-upkeep".to_owned())
            .spawn(move || {
                loop {
                    let rest = |took| of_thread.rest(policy.rest_after(took));
                    let done = policy.pass(&device, rest);
                    *held(&of_thread.report) += done;
                    if !of_thread.rest(policy.every) {
                        return;
                    }
                }
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// What has been done in passes that have ended.
    #[must_use]
    pub fn report(&self) -> UpkeepReport {
        *held(&self.shared.report)
    }
}

/// Locks; who panics with a lock has left nothing half-made.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Waits; false if it is over.
    fn rest(&self, time: Duration) -> bool {
        let is_over = held(&self.is_over);
        let waited = self
            .over
            .wait_timeout_while(is_over, time, |is_over| !*is_over);
        let (is_over, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*is_over
    }
}

impl Drop for Upkeep {
    /// Waits for the piece that is being done.
    fn drop(&mut self) {
        *held(&self.shared.is_over) = true;
        self.shared.over.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// CPU time that this thread has had.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use pepita_io::RamDevice;

    use super::*;
    use crate::ZramConfig;
    use crate::device::tests::{holds, page_of};
    use crate::training::tests::record;

    fn filled() -> Arc<ZramDevice> {
        let elsewhere = Arc::new(RamDevice::new(1024 * 8));
        let config = ZramConfig::with_size(1024 * 4096);
        let device = ZramDevice::with_backing(config, elsewhere).expect("it can be one");
        for index in 0..500 {
            device
                .write_page(index, &page_of(3 + (index % 2) as u8, index))
                .expect("room");
        }
        Arc::new(device)
    }

    #[test]
    fn a_pass_writes_back_what_is_idle_and_compacts_what_is_sparse() {
        let device = filled();
        let hour = Duration::from_secs(3600);
        let policy = UpkeepPolicy::every(hour).write_back(PageKind::Idle, hour);
        let done = policy.run_once(&device);
        assert_eq!(
            (done.passes, done.written_back, done.compacted_bytes),
            (1, 0, 0)
        );
        for index in (0..500).filter(|index| index % 5 > 0) {
            device.discard_page(index).expect("it is there");
        }
        assert!(policy.run_once(&device).compacted_bytes > 0);
        let policy = policy
            .recompress(PageKind::Idle, Duration::ZERO)
            .write_back(PageKind::Idle, Duration::ZERO);
        let done = policy.run_once(&device);
        assert_eq!((done.written_back, done.last_error), (100, None));
        assert_eq!(done.recompressed, 50, "the others are incompressible");
        assert_eq!(device.stats().compr_data_size, 0);
        holds(&device, 495, &page_of(4, 495));
    }

    #[test]
    fn what_is_written_back_later_than_it_is_compressed_again_waits_for_its_time() {
        let device = filled();
        let hour = Duration::from_secs(3600);
        let policy = UpkeepPolicy::every(hour)
            .recompress(PageKind::Idle, Duration::ZERO)
            .write_back(PageKind::Idle, hour);
        for recompressed in [250, 0] {
            let done = policy.run_once(&device);
            assert_eq!((done.recompressed, done.written_back), (recompressed, 0));
        }
    }

    #[test]
    fn a_dictionary_is_trained_for_what_is_compressed_again_and_anew_for_what_came_since() {
        let device = ZramDevice::new(ZramConfig::with_size(300 * 4096)).expect("memory");
        let policy = UpkeepPolicy::every(Duration::ZERO)
            .recompress(PageKind::Idle, Duration::from_secs(3600))
            .dictionary_bytes(4096);
        let trained = || policy.run_once(&device).trained;
        assert_eq!(trained(), 0, "there is nothing to train on");
        for round in 0..15 {
            for index in 0..300 {
                device
                    .write_page(index, &record(round, index))
                    .expect("room");
            }
            assert_eq!(trained(), u64::from(round % 14 == 0), "in round {round}");
        }
        let without = UpkeepPolicy::every(Duration::ZERO).dictionary_bytes(4096);
        assert_eq!(without.run_once(&device).trained, 0);
    }

    #[test]
    fn what_hinders_it_is_told() {
        let alone = ZramDevice::new(ZramConfig::with_size(4096)).expect("there is memory");
        let policy = UpkeepPolicy::every(Duration::ZERO).write_back(PageKind::Huge, Duration::ZERO);
        assert_eq!(
            policy.run_once(&alone).last_error,
            Some(ZramError::NoBacking)
        );
    }

    #[test]
    fn rests_leave_it_its_share_of_a_cpu() {
        let millis = Duration::from_millis;
        for (percent, took, rest) in [
            (5, millis(10), millis(190)),
            (50, millis(10), millis(10)),
            (100, millis(10), Duration::ZERO),
            (0, millis(1), millis(99)),
            (1000, millis(1), Duration::ZERO),
        ] {
            let policy = UpkeepPolicy::every(Duration::ZERO).cpu_percent(percent);
            assert_eq!(policy.rest_after(took), rest, "{percent} %");
        }
    }

    #[test]
    fn the_thread_does_it_again_and_again_until_it_is_dropped() {
        let device = filled();
        let policy = UpkeepPolicy::every(Duration::ZERO)
            .write_back(PageKind::Idle, Duration::ZERO)
            .cpu_percent(100);
        let upkeep = Upkeep::start(device.clone(), policy).expect("a thread");
        while upkeep.report().written_back < 500 {
            thread::yield_now();
        }
        let passes = upkeep.report().passes;
        while upkeep.report().passes == passes {
            thread::yield_now();
        }
        drop(upkeep);
        assert_eq!(device.stats().bd_count, 500);
        assert_eq!(Arc::strong_count(&device), 1, "the thread is gone");
        let slow = Upkeep::start(device, UpkeepPolicy::every(Duration::MAX)).expect("a thread");
        while slow.report().passes == 0 {
            thread::yield_now();
        }
        drop(slow); // does not wait for the next pass
    }
}
