//! What every [`BlockDevice`] must do, as a suite that runs on yours.
//!
//! It plays a front end: it makes requests of awkward places, lengths and shapes of memory, compares what
//! the device says with a model, and looks at what the contract of [`BlockDevice`] says beside that. What
//! only a power failure can show, that a flush made data durable, it cannot see.
//!
//! ```
//! use pepita_sys::blk_mq::conformance::Conformance;
//! # use pepita_sys::blk_mq::{BlockDevice, DeviceId, Geometry, Lane, Request, RequestOp};
//! # use pepita_sys::error::{Errno, Result};
//! # struct MyDevice(std::sync::Mutex<Vec<u8>>);
//! # impl BlockDevice for MyDevice {
//! #     type Lane<'d> = &'d Self;
//! #     fn geometry(&self) -> Geometry { Geometry::new(2048) }
//! #     fn id(&self) -> DeviceId { DeviceId::new("mine") }
//! #     fn open_lane(&self, _depth: u16) -> Result<&Self> { Ok(self) }
//! # }
//! # impl Lane for &MyDevice {
//! #     fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
//! #         let done = self.serve(&request);
//! #         request.complete(done);
//! #         Ok(())
//! #     }
//! #     fn commit(&mut self) {}
//! #     fn poll(&mut self) {}
//! #     fn descriptor(&self) -> Option<i32> { None }
//! # }
//! # impl MyDevice {
//! #     fn serve(&self, request: &Request) -> std::result::Result<(), Errno> {
//! #         let start = request.sector().checked_mul(512).ok_or(Errno::EIO)? as usize;
//! #         let mut memory = self.0.lock().unwrap();
//! #         let bytes = request.nr_sectors() as usize * 512;
//! #         let place = memory.get_mut(start..).and_then(|rest| rest.get_mut(..bytes));
//! #         match (request.op(), place) {
//! #             (RequestOp::Flush, _) => Ok(()),
//! #             (RequestOp::Read, Some(place)) => Ok(request.sink().write(place)?),
//! #             (RequestOp::Write, Some(place)) => Ok(request.source().read(place)?),
//! #             (RequestOp::Read | RequestOp::Write, None) => Err(Errno::EIO),
//! #             _ => Err(Errno::EOPNOTSUPP),
//! #         }
//! #     }
//! # }
//!
//! let device = MyDevice(vec![0; 1 << 20].into());
//! let report = Conformance::new().run(&device)?;
//! println!("{} rules checked, not applicable: {:?}", report.checked.len(), report.left_out);
//! # Ok::<(), pepita_sys::blk_mq::conformance::Violation>(())
//! ```

mod front;
mod model;
mod rules;
mod wait;

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use super::BlockDevice;
use rules::{Run, Stop};

/// The suite, and how long it waits.
///
/// It overwrites the device: the first MiB and the last one. Nobody else may use it meanwhile.
#[derive(Debug, Clone)]
pub struct Conformance {
    patience: Duration,
}

/// What was looked at, where no rule was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The rules that hold.
    pub checked: Vec<&'static str>,
    /// The rules that the device has no use for, with the reason.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// A rule that a device broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What the device did.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broke \"{}\": {}", self.rule, self.what)
    }
}

impl std::error::Error for Violation {}

impl Default for Conformance {
    fn default() -> Self {
        Self::new()
    }
}

impl Conformance {
    /// A suite that waits 30 seconds for a request before it takes it for lost.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            patience: Duration::from_secs(30),
        }
    }

    /// Waits `patience` for a request.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tries `device`, rule by rule.
    ///
    /// # Errors
    /// The first rule that it broke. Memory of requests that did not end by then is kept for ever.
    pub fn run<D: BlockDevice>(&self, device: &D) -> Result<Report, Violation> {
        let mut run = Run::new(device, self.patience);
        let mut report = Report {
            checked: Vec::new(),
            left_out: Vec::new(),
        };
        for (rule, check) in rules::all::<D>() {
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| check(&mut run)));
            let stopped = outcome.unwrap_or_else(|panic| Err(Stop::Broken(told(&*panic))));
            match stopped {
                Ok(()) => report.checked.push(rule),
                Err(Stop::NothingToDo(why)) => report.left_out.push((rule, why)),
                Err(Stop::Broken(what)) => return Err(Violation { rule, what }),
            }
        }
        Ok(report)
    }
}

/// What a panic says.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    std::format!("it panicked: {}", text.unwrap_or("without a word"))
}
