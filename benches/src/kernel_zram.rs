//! [`Device`]: a zram device of the kernel, gone when it is dropped.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const CONTROL: &str = "/sys/class/zram-control";

/// A device `/dev/zramN`, with lz4.
pub(crate) struct Device {
    number: String,
    file: Option<File>,
}

impl Device {
    pub(crate) fn new() -> Result<Self> {
        let number = fs::read_to_string(format!("{CONTROL}/hot_add"))
            .context("adding a zram device: it takes root, and the module zram")?;
        Ok(Self {
            number: number.trim().to_owned(),
            file: None,
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/dev/zram{}", self.number).into()
    }

    /// What it was [opened](Self::renew) as.
    pub(crate) fn file(&self) -> Result<&File> {
        self.file.as_ref().context("the device is open")
    }

    fn attribute(&self, name: &str) -> PathBuf {
        format!("/sys/block/zram{}/{name}", self.number).into()
    }

    fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = self.attribute(name);
        fs::write(&path, value).with_context(|| format!("{value} to {}", path.display()))
    }

    /// Empties it, and opens it with room for `bytes` bytes.
    pub(crate) fn renew(&mut self, bytes: usize) -> Result<&File> {
        self.file = None;
        self.reset()?;
        self.set("comp_algorithm", "lz4")?;
        self.set("disksize", &bytes.to_string())?;
        let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(direct);
        Ok(self.file.insert(options.open(self.path())?))
    }

    /// Whoever looks at new devices, such as udev, may have it open for a moment.
    fn reset(&self) -> Result<()> {
        let begin = Instant::now();
        loop {
            match self.set("reset", "1") {
                Err(_) if begin.elapsed() < Duration::from_secs(2) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
    }

    /// The bytes that are stored and the memory that they take.
    pub(crate) fn sizes(&self) -> Result<(f64, f64)> {
        let line = fs::read_to_string(self.attribute("mm_stat"))?;
        let mut numbers = line.split_whitespace().skip(1).map(str::parse);
        let mut next = || numbers.next().context("mm_stat is short");
        Ok((next()??, next()??))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.file = None;
        let _ = self.reset();
        let _ = fs::write(format!("{CONTROL}/hot_remove"), &self.number);
    }
}
