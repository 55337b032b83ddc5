//! [`ZramDevice`]: pages in, pages out.

use std::sync::Arc;
use std::thread;

use pepita_mem::PAGE_SIZE;
use pepita_sys::blk_mq::BlockDevice;
use pepita_sys::error::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::backing::{Backing, Blocks};
use crate::chunked::Chunked;
use crate::config::{Deduplication, ZramConfig};
use crate::counters::Counters;
use crate::duplicates::Duplicates;
use crate::error::ZramError;
use crate::objects::{Form, Objects};
use crate::page::{self, Page};
use crate::reading::Unread;
use crate::slot::{Content, Slot};
use crate::stats::ZramStats;
use crate::store::StoreError;
use crate::stream::Streams;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The most pages of a device: 16 TiB, less what has a number of its own.
const PAGES_MAX: u64 = u32::MAX as u64 - OBJECTS_SPARE as u64 - 1;

/// Objects beyond one for each page: a page that is written anew has two for a moment.
const OBJECTS_SPARE: u32 = 1 << 16;

/// Memory that is compressed: a device of pages of 4096 bytes, for any number of threads.
///
/// A page that was never written reads as zeroes. It is stored in the smallest of these ways:
///
/// * one that repeats 8 bytes takes no memory;
/// * one that is stored already, at whatever number, takes no memory (the bytes are compared);
/// * the others are compressed, and kept raw where that saves less than a thirty-second.
///
/// Each is checked against a hash when it is read: what is not as it was written is an error, and is not returned.
///
/// As a block device ([`BlockDevice`]) it has sectors of 512 bytes.
///
/// ```
/// use pepita_zram::{ZramConfig, ZramDevice};
///
/// let device = ZramDevice::new(ZramConfig::with_size(1 << 30))?; // takes next to nothing
/// let text: [u8; 4096] = std::array::from_fn(|at| b"all work and no play "[at % 21]);
/// for page in 0..1000 {
///     device.write_page(page, &text)?;
/// }
/// let mut back = [0; 4096];
/// device.read_page(999, &mut back)?;
/// assert_eq!(back, text);
/// let stats = device.stats();
/// assert_eq!((stats.pages_stored, stats.duplicate_pages), (1000, 999));
/// assert!(stats.mem_used_total <= 4096);
/// # Ok::<(), pepita_zram::ZramError>(())
/// ```
#[derive(Debug)]
pub struct ZramDevice {
    config: ZramConfig,
    slots: Chunked<Slot>,
    pub(crate) objects: Objects,
    pub(crate) streams: Streams,
    counters: Counters<COUNTS>,
    limit: AtomicU64,
    /// In nanoseconds of the clock of [`now`](Self::now).
    pub(crate) born_ns: i64,
    pub(crate) backing: Option<Backing>,
    /// Of a page; tests have others.
    pub(crate) hash: fn(&Page) -> u64,
}

/// The last second that is counted: after 68 years.
const SECONDS_MAX: u32 = (1 << 31) - 1;

/// Counts of a [`ZramDevice`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    Pages,
    Zero,
    Same,
    HugeSince,
    Compacted,
    Reads,
    Writes,
    FailedReads,
    FailedWrites,
    InvalidIo,
    NotifyFree,
    Corrupt,
    BdReads,
    BdWrites,
}

const COUNTS: usize = Count::BdWrites as usize + 1;

/// What a reset begins anew.
const SINCE_RESET: [Count; 11] = [
    Count::HugeSince,
    Count::Compacted,
    Count::Reads,
    Count::Writes,
    Count::FailedReads,
    Count::FailedWrites,
    Count::InvalidIo,
    Count::NotifyFree,
    Count::Corrupt,
    Count::BdReads,
    Count::BdWrites,
];

impl ZramDevice {
    /// A device without data. Its books take 8 bytes for each page, once a page nearby was written, and 45 to 65 for each
    /// object, the more the larger it is. They stay until the device is dropped, for what is written later: a discard and
    /// [`reset`](Self::reset) give back what pages take, and not these.
    ///
    /// # Errors
    /// [`ZramError::Size`], and [`ZramError::NoMemory`].
    pub fn new(config: ZramConfig) -> Result<Self, ZramError> {
        Self::make(config, None)
    }

    /// The same, with a device that pages can be [written back](Self::write_back) to, until this device is dropped.
    /// Nobody else may write to it meanwhile. What it holds then is of no use.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use pepita_io::RamDevice;
    /// use pepita_zram::{Idle, PageKind, ZramConfig, ZramDevice};
    ///
    /// let disk = Arc::new(RamDevice::new(2048)); // or a file: `FileDevice`
    /// let device = ZramDevice::with_backing(ZramConfig::with_size(1 << 20), disk)?;
    /// device.write_page(7, &std::array::from_fn(|at| (at % 251) as u8))?;
    /// device.mark_idle(Idle::All);
    /// assert_eq!(device.write_back(PageKind::Idle, u64::MAX)?, 1);
    /// assert_eq!(device.stats().compr_data_size, 0);
    /// let mut page = [0; 4096];
    /// device.read_page(7, &mut page)?;
    /// assert_eq!(page[250], 250);
    /// # Ok::<(), pepita_zram::ZramError>(())
    /// ```
    ///
    /// # Errors
    /// As those of [`new`](Self::new), [`ZramError::BackingGeometry`] if `backing` has blocks that are larger than a page, or
    /// is otherwise as no device can be, and [`ZramError::Backing`] if it cannot be written, has no room for a page, has
    /// zones, or does not open.
    pub fn with_backing(
        config: ZramConfig,
        backing: Arc<impl BlockDevice + 'static>,
    ) -> Result<Self, ZramError> {
        Self::make(config, Some(Backing::new(backing)?))
    }

    fn make(config: ZramConfig, backing: Option<Backing>) -> Result<Self, ZramError> {
        let pages = config.pages();
        let in_range = (1..=PAGES_MAX).contains(&pages);
        let count = u32::try_from(pages).ok().filter(|_| in_range);
        let Some(count) = count else {
            return Err(ZramError::Size {
                pages,
                max: PAGES_MAX,
            });
        };
        let streams = match config.num_streams {
            0 => thread::available_parallelism().map_or(1, usize::from),
            streams => streams,
        };
        let make = || {
            let duplicates = match config.deduplication {
                Deduplication::On => Some(Duplicates::new()),
                Deduplication::Off => None,
            };
            // More blocks than objects are of no use, whatever the backing device says that it has.
            let blocks_max = u64::from(count + OBJECTS_SPARE);
            let blocks = backing
                .as_ref()
                .map(|backing| Blocks::new(backing.blocks().min(blocks_max)));
            let objects = Objects::new(count + OBJECTS_SPARE, duplicates, blocks.transpose()?)?;
            Ok((Chunked::new(count as usize)?, objects))
        };
        let made: Result<_, Errno> = make();
        let (slots, objects) = made.map_err(|errno| ZramError::NoMemory { errno })?;
        let device = Self {
            config,
            slots,
            streams: Streams::new(streams, config.compressor, &objects.dictionaries),
            objects,
            counters: Counters::default(),
            limit: AtomicU64::new(0),
            born_ns: coarse_ns(),
            backing,
            hash: page::hash,
        };
        device.set_mem_limit(config.mem_limit);
        Ok(device)
    }

    /// What it was made from.
    #[must_use]
    pub const fn config(&self) -> &ZramConfig {
        &self.config
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`ZramError::PastEnd`]; [`ZramError::Corrupt`], and `page` is zeroes then.
    pub fn read_page(&self, page_index: u64, page: &mut [u8; PAGE_SIZE]) -> Result<(), ZramError> {
        let slot = self.slot(page_index)?;
        self.count(Count::Reads);
        let Some(slot) = slot else {
            page.fill(0);
            return Ok(());
        };
        let locked = slot.lock();
        match self.read_content(page_index, locked.content(), page) {
            Ok(()) => Ok(()),
            Err(Unread::Error(error)) => Err(error),
            Err(Unread::Backed(id)) => {
                drop(locked);
                let read = self.read_backed(page_index, id, page);
                self.objects.release(id);
                read
            }
        }
    }

    /// Writes a page.
    ///
    /// # Errors
    /// [`ZramError::PastEnd`], [`ZramError::MemLimit`], [`ZramError::NoMemory`]; the page is what it was then.
    pub fn write_page(&self, page_index: u64, page: &[u8; PAGE_SIZE]) -> Result<(), ZramError> {
        let slot = self.slot_to_write(page_index)?;
        let content = self.store(page)?;
        self.account(content, 1);
        let old = slot.lock().replace(content);
        self.forget(old);
        Ok(())
    }

    /// Reads a page into `scratch`, lets `change` have it, and writes it, as one: others see it before or after.
    ///
    /// # Errors
    /// As those of reading and writing; the page is what it was then.
    pub(crate) fn update_page(
        &self,
        page_index: u64,
        scratch: &mut Page,
        change: impl FnOnce(&mut Page),
    ) -> Result<(), ZramError> {
        let slot = self.slot_to_write(page_index)?;
        let mut locked = slot.lock();
        loop {
            let content = locked.content();
            let (read, is_same) = match self.read_content(page_index, content, scratch) {
                Ok(()) => break,
                Err(Unread::Error(error)) => (Err(error), true),
                Err(Unread::Backed(id)) => {
                    drop(locked);
                    let read = self.read_backed(page_index, id, scratch);
                    locked = slot.lock();
                    let is_same = locked.content() == content;
                    // Kept until they are compared, so that no other object has its number.
                    self.objects.release(id);
                    (read, is_same)
                }
            };
            read.inspect_err(|_| self.count(Count::FailedWrites))?;
            // Else it was written meanwhile.
            if is_same {
                break;
            }
        }
        change(scratch);
        let content = self.store(scratch)?;
        self.account(content, 1);
        let old = locked.replace(content);
        drop(locked);
        self.forget(old);
        Ok(())
    }

    /// Forgets a page: it takes no memory, and reads as zeroes.
    ///
    /// # Errors
    /// [`ZramError::PastEnd`].
    pub fn discard_page(&self, page_index: u64) -> Result<(), ZramError> {
        let slot = self.slot(page_index)?;
        self.count(Count::NotifyFree);
        self.clear(slot);
        Ok(())
    }

    /// Forgets a page for a write of zeroes.
    pub(crate) fn zero_page(&self, page_index: u64) -> Result<(), ZramError> {
        let slot = self.slot(page_index)?;
        self.clear(slot);
        Ok(())
    }

    /// Pages that are stored.
    #[must_use]
    pub fn stored_pages(&self) -> u64 {
        self.counters.sum(Count::Pages as usize)
    }

    /// What it has and has done.
    #[must_use]
    pub fn stats(&self) -> ZramStats {
        let count = |count: Count| self.counters.sum(count as usize);
        let pages = count(Count::Pages);
        let with_bytes = pages.saturating_sub(count(Count::Same));
        let books = self.slots.bytes() as u64 + self.objects.metadata_bytes();
        ZramStats {
            orig_data_size: ZramStats::orig_bytes(pages),
            compr_data_size: self.objects.bytes(),
            mem_used_total: self.objects.store.mapped_bytes(),
            mem_limit: self.limit.load(Ordering::Relaxed),
            mem_used_max: self.objects.store.mapped_bytes_max(),
            metadata_bytes: books,
            dictionaries: self.objects.dictionaries.held().0,
            pages_stored: pages,
            zero_pages: count(Count::Zero),
            same_pages: count(Count::Same),
            duplicate_pages: with_bytes
                .saturating_sub(self.objects.stored() + self.objects.blocks_in_use()),
            pages_compacted: count(Count::Compacted),
            huge_pages: self.objects.raw(),
            huge_pages_since: count(Count::HugeSince),
            num_reads: count(Count::Reads),
            num_writes: count(Count::Writes),
            failed_reads: count(Count::FailedReads),
            failed_writes: count(Count::FailedWrites),
            invalid_io: count(Count::InvalidIo),
            notify_free: count(Count::NotifyFree),
            corrupt_reads: count(Count::Corrupt),
            bd_count: self.objects.blocks_in_use(),
            bd_bad: self.objects.bad_blocks(),
            bd_reads: count(Count::BdReads),
            bd_writes: count(Count::BdWrites),
        }
    }

    /// Sets the most bytes of memory that pages may take, or that there is no such limit, which 0 says as well. What is
    /// stored stays. While that is moved together or compressed again, the limit may be passed by 128 KiB.
    pub fn set_mem_limit(&self, bytes: Option<u64>) {
        let limit = bytes.filter(|bytes| *bytes > 0);
        self.limit.store(limit.unwrap_or(0), Ordering::Relaxed);
        self.objects.store.set_limit(limit);
    }

    /// Lets [`ZramStats::mem_used_max`] begin with what is used.
    pub fn reset_mem_used_max(&self) {
        self.objects.store.reset_peak();
    }

    /// Moves what is stored together, gives what that frees back to the host, and says how many bytes that is.
    /// Others may use the device meanwhile.
    pub fn compact(&self) -> u64 {
        let pages = self.objects.compact();
        let counted = i64::try_from(pages).unwrap_or(i64::MAX);
        self.counters.add(Count::Compacted as usize, counted);
        pages * PAGE_SIZE as u64
    }

    /// Forgets all pages, what has been counted, and which blocks of the backing device are bad, and gives the memory back
    /// to the host, but for the books. What others write meanwhile may stay.
    pub fn reset(&self) {
        for (_, slot) in self.slots.iter() {
            self.clear(Some(slot));
        }
        self.objects.compact();
        self.objects.dictionaries.unset();
        self.objects.forget_bad_blocks();
        self.objects.store.reset_peak();
        for count in SINCE_RESET {
            self.counters.clear(count as usize);
        }
    }

    /// The page's slot; none if no page nearby was ever written.
    fn slot(&self, page_index: u64) -> Result<Option<&Slot>, ZramError> {
        let index = self.check(page_index)?;
        Ok(self.slots.get(index))
    }

    /// The page's slot, for a write, which is counted.
    fn slot_to_write(&self, page_index: u64) -> Result<&Slot, ZramError> {
        let index = self.check(page_index)?;
        self.count(Count::Writes);
        self.slots.get_or_make(index).map_err(|errno| {
            self.count(Count::FailedWrites);
            ZramError::NoMemory { errno }
        })
    }

    fn check(&self, page_index: u64) -> Result<usize, ZramError> {
        let pages = self.config.pages();
        match usize::try_from(page_index) {
            Ok(index) if page_index < pages => Ok(index),
            _ => {
                self.count(Count::InvalidIo);
                Err(ZramError::PastEnd {
                    page: page_index,
                    pages,
                })
            }
        }
    }

    /// Brings `page` into the device. What this returns is to become the content of a slot; no slot of another
    /// page is locked.
    fn store(&self, page: &Page) -> Result<Content, ZramError> {
        let done = self.store_somehow(page);
        done.map_err(|error| {
            self.count(Count::FailedWrites);
            self.store_error(error)
        })
    }

    pub(crate) fn store_error(&self, error: StoreError) -> ZramError {
        let limit = self.limit.load(Ordering::Relaxed);
        ZramError::of_store(error, Some(limit).filter(|limit| *limit > 0))
    }

    fn store_somehow(&self, page: &Page) -> Result<Content, StoreError> {
        if let Some(word) = page::filled_with(page) {
            let (low, high) = (word & u64::from(u32::MAX), word >> 32);
            return match u32::try_from(low) {
                Ok(half) if low == high => Ok(Content::Filled(half)),
                _ => {
                    let id = self.objects.insert(Form::Filled, &[], word, self.now());
                    id.map(Content::Object)
                }
            };
        }
        let hash = (self.hash)(page);
        let mut stream = self.streams.get();
        let parts = &mut *stream;
        let (scratch, decoder) = (&mut parts.scratch, &mut parts.decoder);
        let shared = self.objects.share(hash, |form, bytes| {
            form == Form::Raw && bytes == page
                || decoder.decompress(form, bytes, scratch).is_ok() && **scratch == *page
        });
        if let Some(id) = shared {
            self.objects.get(id).touch(self.now());
            return Ok(Content::Object(id));
        }
        let (form, bytes) = stream.compress(page);
        let id = self.objects.insert(form, bytes, hash, self.now())?;
        if form == Form::Raw {
            self.count(Count::HugeSince);
        }
        Ok(Content::Object(id))
    }

    fn clear(&self, slot: Option<&Slot>) {
        if let Some(slot) = slot {
            let old = slot.lock().replace(Content::Nothing);
            self.forget(old);
        }
    }

    /// Counts that a slot had `content` for the last time, and lets go of its object.
    fn forget(&self, content: Content) {
        self.account(content, -1);
        if let Content::Object(id) = content {
            self.objects.release(id);
        }
    }

    /// Counts a slot's content. Its object is the caller's: not yet in a slot, or no more.
    fn account(&self, content: Content, sign: i64) {
        let is_same = match content {
            Content::Nothing => return,
            Content::Filled(_) => true,
            Content::Object(id) => self.objects.form(id) == Form::Filled,
        };
        self.counters.add(Count::Pages as usize, sign);
        if is_same {
            self.counters.add(Count::Same as usize, sign);
        }
        if content == Content::Filled(0) {
            self.counters.add(Count::Zero as usize, sign);
        }
    }

    pub(crate) fn count(&self, count: Count) {
        self.counters.add(count as usize, 1);
    }

    /// Seconds since the device was made.
    pub(crate) fn now(&self) -> u32 {
        let seconds = u32::try_from((coarse_ns() - self.born_ns) / NS_PER_SECOND);
        seconds.unwrap_or(u32::MAX).min(SECONDS_MAX)
    }
}

pub(crate) const NS_PER_SECOND: i64 = 1_000_000_000;

/// A clock that is exact to some milliseconds, and is read in a quarter of the time of the exact one.
/// Source: clock_gettime(2).
fn coarse_ns() -> i64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec * NS_PER_SECOND + time.tv_nsec
}

#[cfg(all(test, pepita_loom))]
mod models;
#[cfg(test)]
pub(crate) mod tests;
