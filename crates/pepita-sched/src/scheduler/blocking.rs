//! [`blocking`]: what keeps a worker from its work lends its slot.

use super::local::{self, Local};

/// Ends a section, also by a panic.
struct Section<'a>(&'a Local);

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.0.ends_section();
    }
}

/// Runs `section`, which may wait for a file, a lock or another process; meanwhile another worker, of those that the scheduler
/// has [to spare](super::SchedulerBuilder::max_workers), takes the place of this one, so that as many closures run as before.
///
/// What this worker holds for itself it gives away first, as far as it can: the outermost join that nobody has taken, and jobs of scopes that
/// it took from others. When the section ends the closure goes on at once, and one worker too many goes as soon as it has ended what it
/// runs.
///
/// Where no worker is to spare, inside of another section, and outside of a scheduler, `section` is just run. It takes a lock and a
/// wake-up, so it is for waits of a tenth of a millisecond or more.
///
/// # Panics
/// With the panic of `section`.
///
/// ```
/// use std::sync::mpsc::channel;
/// use pepita_sched::scheduler::{Scheduler, blocking};
///
/// let scheduler = Scheduler::builder().workers(1).max_workers(2).start()?;
/// let (sender, receiver) = channel();
/// let waits = scheduler.spawn(move || blocking(|| receiver.recv()));
/// // The one worker that there is waits, and yet this runs.
/// scheduler.spawn_detached(move || sender.send("hello").unwrap());
/// assert_eq!(waits.wait()?, Ok("hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn blocking<R>(section: impl FnOnce() -> R) -> R {
    local::with(|local| {
        let _section = local.filter(|local| local.begins_section()).map(Section);
        section()
    })
}
