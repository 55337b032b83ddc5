//! Compressed memory, in this process and as a disk, which is measured beside the kernel's zram.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pepita::io::LocalRing;
use pepita::io::buf::AlignedBuf;
use pepita::io::ublk::{Control, Disk, Server, UblkError};
use pepita::memory::PAGE_SIZE;
use pepita::zram::{ZramConfig, ZramDevice, ZramError};
use rustix::fs::OFlags;

use super::{Area, Bench, Case, Finding, Unmeasured};

pub(super) const AREA: Area = Area {
    name: "zram",
    cases: &CASES,
    benches: &BENCHES,
};

const CASES: [Case; 4] = [
    Case {
        name: "pages are what was written, whatever they hold",
        run: pages_come_back,
    },
    Case {
        name: "pages of one word, and pages that are there already, take no memory",
        run: same_pages_take_nothing,
    },
    Case {
        name: "at the memory limit a write fails, and nothing that is stored is lost",
        run: limit_loses_nothing,
    },
    Case {
        name: "a disk of compressed memory is what was written to it",
        run: disk_keeps_its_data,
    },
];

const BENCHES: [Bench; 4] = [
    Bench {
        name: "writing",
        unit: "pages/s",
        run: || Ok(in_process()?.0),
    },
    Bench {
        name: "reading",
        unit: "pages/s",
        run: || Ok(in_process()?.1),
    },
    Bench {
        name: "writing a disk",
        unit: "% of the kernel's zram",
        run: || beside_the_kernel(Direction::Write),
    },
    Bench {
        name: "reading a disk",
        unit: "% of the kernel's zram",
        run: || beside_the_kernel(Direction::Read),
    },
];

type Page = [u8; PAGE_SIZE];

/// Pages of this program that benches use, at most.
const MAX_PAGES: usize = 2048;

/// Bytes at the beginning of the program that these are looked for in.
const MAX_BYTES: u64 = 16 << 20;

/// Requests that benches of disks keep in flight.
const DEPTH: usize = 32;

/// Rounds of a bench, which counts by its median.
const ROUNDS: usize = 5;

/// Pages of this program, none of which repeats 8 bytes.
fn pages() -> io::Result<Vec<Page>> {
    let mut program = Vec::new();
    let file = File::open("/proc/self/exe")?;
    file.take(MAX_BYTES).read_to_end(&mut program)?;
    let pages = program.as_chunks().0.iter();
    let is_of_many = |page: &&Page| page[8..] != page[..PAGE_SIZE - 8];
    Ok(pages.filter(is_of_many).take(MAX_PAGES).copied().collect())
}

/// A device with room for `pages` pages.
fn device(pages: usize) -> Result<ZramDevice, ZramError> {
    ZramDevice::new(ZramConfig::with_size(pages as u64 * PAGE_SIZE as u64))
}

/// Pages of one byte, of one word, of noise, and of this program.
fn all_sorts() -> io::Result<Vec<Page>> {
    let noise = |seed: usize| {
        let mut state = seed as u64;
        std::array::from_fn(|_| {
            state = state
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            state.to_be_bytes()[0]
        })
    };
    let mut all: Vec<Page> = vec![[0; PAGE_SIZE], [7; PAGE_SIZE]];
    all.push(std::array::from_fn(|at| b"pepita!\n"[at % 8]));
    all.extend((1..8).map(noise));
    all.extend(pages()?.iter().take(64));
    Ok(all)
}

/// Why a case has no finding of its own.
#[derive(Debug, thiserror::Error)]
enum CaseError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Zram(#[from] ZramError),
}

fn judge(finding: Result<Finding, CaseError>) -> Finding {
    finding.unwrap_or_else(Into::into)
}

/// The number of the first page of `device` that is not as in `pages`.
fn first_wrong(device: &ZramDevice, pages: &[Page]) -> Result<Option<u64>, ZramError> {
    let mut read = [1; PAGE_SIZE];
    for (number, page) in (0..).zip(pages) {
        device.read_page(number, &mut read)?;
        if read != *page {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

fn pages_come_back() -> Finding {
    let written = || {
        let pages = all_sorts()?;
        let device = device(pages.len())?;
        for (number, page) in (0..).zip(&pages) {
            device.write_page(number, page)?;
        }
        let wrong = first_wrong(&device, &pages)?;
        Ok(Finding::check(wrong.is_none(), wrong))
    };
    judge(written())
}

fn same_pages_take_nothing() -> Finding {
    let taken = || {
        let device = device(32)?;
        let page = pages()?[0];
        device.write_page(0, &page)?;
        let before = device.stats();
        for number in 1..16 {
            device.write_page(number, &page)?;
            device.write_page(16 + number, &[3; PAGE_SIZE])?;
        }
        let after = device.stats();
        let holds = after.compr_data_size == before.compr_data_size;
        Ok(Finding::check(holds, (before, after)))
    };
    judge(taken())
}

fn limit_loses_nothing() -> Finding {
    let written = || {
        let pages = pages()?;
        let config = ZramConfig::with_size(pages.len() as u64 * PAGE_SIZE as u64);
        let device = ZramDevice::new(config.mem_limit(256 << 10))?;
        let mut stored = 0;
        let refusal = (0..).zip(&pages).find_map(|(number, page)| {
            let error = device.write_page(number, page).err();
            stored += usize::from(error.is_none());
            error
        });
        if !matches!(refusal, Some(ZramError::MemLimit { .. })) {
            return Ok(Finding::Failed(format!("{refusal:?}")));
        }
        let wrong = first_wrong(&device, &pages[..stored])?;
        Ok(Finding::check(wrong.is_none(), wrong))
    };
    judge(written())
}

/// What keeps a disk from being here.
#[derive(Debug)]
enum NoDisk {
    Missing(String),
    Failed(String),
}

impl From<NoDisk> for Finding {
    fn from(none: NoDisk) -> Self {
        match none {
            NoDisk::Missing(what) => Self::NotHere(what),
            NoDisk::Failed(seen) => Self::Failed(seen),
        }
    }
}

impl From<NoDisk> for Unmeasured {
    fn from(none: NoDisk) -> Self {
        match none {
            NoDisk::Missing(what) => Self::NotHere(what),
            NoDisk::Failed(seen) => Self::Failed(seen),
        }
    }
}

impl From<io::Error> for NoDisk {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<UblkError> for NoDisk {
    fn from(error: UblkError) -> Self {
        Self::Failed(crate::run::in_full(&error))
    }
}

/// A disk of compressed memory by ublk; goes when it is dropped.
fn ublk_disk(pages: usize) -> Result<Disk, NoDisk> {
    if let Err(error) = Control::open() {
        return Err(NoDisk::Missing(crate::run::in_full(&error)));
    }
    let device = device(pages).map_err(|error| NoDisk::Failed(error.to_string()))?;
    Ok(Server::new().serve(device)?)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let direct = OFlags::DIRECT.bits().cast_signed();
    let options = options.read(true).write(true).custom_flags(direct);
    options.open(path)
}

fn disk_keeps_its_data() -> Finding {
    let kept = || -> Result<Finding, NoDisk> {
        let pages = all_sorts()?;
        let disk = ublk_disk(pages.len())?;
        let file = open(&disk.path())?;
        fill(&file, &pages)?;
        let mut read = AlignedBuf::zeroed(PAGE_SIZE, PAGE_SIZE);
        let mut wrong = None;
        for (number, page) in (0..).zip(&pages) {
            file.read_exact_at(&mut read, number * PAGE_SIZE as u64)?;
            if *read != page[..] {
                wrong = Some(number);
            }
        }
        drop(file);
        disk.delete()?;
        Ok(Finding::check(wrong.is_none(), wrong))
    };
    kept().unwrap_or_else(Into::into)
}

fn fill(file: &File, pages: &[Page]) -> io::Result<()> {
    let mut buf = AlignedBuf::zeroed(PAGE_SIZE, PAGE_SIZE);
    for (number, page) in (0..).zip(pages) {
        buf.copy_from_slice(page);
        file.write_all_at(&buf, number * PAGE_SIZE as u64)?;
    }
    Ok(())
}

/// Pages a second that are written to an empty device, and read from it, by one thread.
fn in_process() -> Result<(f64, f64), Unmeasured> {
    let measured = || -> Result<_, CaseError> {
        let pages = pages()?;
        let device = device(pages.len())?;
        let (mut writing, mut reading) = (Vec::new(), Vec::new());
        let mut read = [0; PAGE_SIZE];
        for _ in 0..ROUNDS {
            device.reset();
            let begin = Instant::now();
            for (number, page) in (0..).zip(&pages) {
                device.write_page(number, page)?;
            }
            writing.push(rate(pages.len(), begin.elapsed()));
            let begin = Instant::now();
            for number in 0..pages.len() as u64 {
                device.read_page(number, &mut read)?;
            }
            reading.push(rate(pages.len(), begin.elapsed()));
        }
        Ok((median(writing), median(reading)))
    };
    measured().map_err(|error| Unmeasured::Failed(error.to_string()))
}

#[expect(clippy::cast_precision_loss, reason = "a count of pages")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// The rate of a disk of ours in percent of that of the kernel's zram, both with [`DEPTH`] requests of a page in flight.
fn beside_the_kernel(direction: Direction) -> Result<f64, Unmeasured> {
    Ok(compare(direction)?)
}

fn compare(direction: Direction) -> Result<f64, NoDisk> {
    let pages: Rc<[Page]> = pages()?.into();
    let kernel = KernelZram::new(pages.len())?;
    let disk = ublk_disk(pages.len())?;
    let (ours, kernels) = (open(&disk.path())?, open(&kernel.path())?);
    let both = [Rc::new(ours), Rc::new(kernels)];
    let ring = LocalRing::new(64).map_err(|error| NoDisk::Failed(error.to_string()))?;
    for file in &both {
        fill(file, &pages)?;
    }
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for file in &both {
            if direction == Direction::Write {
                // Else each page would be there already.
                discard(file, pages.len())?;
            }
            rates.push(load(&ring, file, direction, &pages)?);
        }
        ratios.push(100.0 * rates[0] / rates[1]);
    }
    drop(both);
    disk.delete()?;
    Ok(median(ratios))
}

/// Frees the memory of all pages.
fn discard(file: &File, pages: usize) -> io::Result<()> {
    let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(
        file,
        mode,
        0,
        pages as u64 * PAGE_SIZE as u64,
    )?)
}

/// Reads or writes each page once; pages a second.
fn load(
    ring: &LocalRing,
    file: &Rc<File>,
    direction: Direction,
    pages: &Rc<[Page]>,
) -> io::Result<f64> {
    let worker = |first: usize| {
        let (handle, file, pages) = (ring.handle(), Rc::clone(file), Rc::clone(pages));
        ring.spawn(async move {
            let mut buf = AlignedBuf::zeroed(PAGE_SIZE, PAGE_SIZE);
            for number in (first..pages.len()).step_by(DEPTH) {
                let at = (number * PAGE_SIZE) as u64;
                let result;
                (result, buf) = match direction {
                    Direction::Read => handle.read_exact(&file, buf, at).await,
                    Direction::Write => {
                        buf.copy_from_slice(&pages[number]);
                        handle.write_all(&file, buf, at).await
                    }
                };
                result?;
            }
            Ok::<_, io::Error>(())
        })
    };
    let workers: Vec<_> = (0..DEPTH).map(worker).collect();
    let begin = Instant::now();
    let done = ring.block_on(async {
        for worker in workers {
            worker.await?;
        }
        Ok::<_, io::Error>(())
    });
    done.map(|()| rate(pages.len(), begin.elapsed()))
}

/// A zram device of the kernel with lz4, gone when this is dropped.
struct KernelZram {
    number: String,
}

impl KernelZram {
    const CONTROL: &str = "/sys/class/zram-control";

    fn new(pages: usize) -> Result<Self, NoDisk> {
        let missing = |error: io::Error| {
            NoDisk::Missing(format!(
                "no device of the kernel's zram to compare with: {error}; as root: `modprobe zram`"
            ))
        };
        let number = fs::read_to_string(format!("{}/hot_add", Self::CONTROL)).map_err(missing)?;
        let device = Self {
            number: number.trim().to_owned(),
        };
        fs::write(device.attribute("comp_algorithm"), "lz4").map_err(|error| {
            NoDisk::Missing(format!(
                "the kernel's zram has no lz4 to compare with: {error}"
            ))
        })?;
        let bytes = pages * PAGE_SIZE;
        fs::write(device.attribute("disksize"), bytes.to_string())?;
        Ok(device)
    }

    fn path(&self) -> PathBuf {
        format!("/dev/zram{}", self.number).into()
    }

    fn attribute(&self, name: &str) -> PathBuf {
        format!("/sys/block/zram{}/{name}", self.number).into()
    }
}

impl Drop for KernelZram {
    fn drop(&mut self) {
        // Whoever looks at new devices, such as udev, may have it open for a moment.
        let begin = Instant::now();
        while fs::write(self.attribute("reset"), "1").is_err()
            && begin.elapsed() < Duration::from_secs(2)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = fs::write(format!("{}/hot_remove", Self::CONTROL), &self.number);
    }
}
