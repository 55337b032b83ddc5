#![expect(unsafe_code, reason = "starts operations")]
//! An operation that completes again and again.

use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use pepita_sys::io_uring::IoUringCqe;

use super::driver::Driver;
use super::slots::{Key, Next, OrphanStream};
use crate::ops::MultiOperation;

/// An operation that completes again and again. Dropping it ends the operation; items that were not fetched
/// are dropped.
///
/// It may end by itself, also without an error: then the operation is to be started again.
#[must_use = "dropping it ends the operation"]
pub struct Multi<O: MultiOperation> {
    driver: Rc<Driver>,
    /// `None` after it has ended.
    state: Option<(Key, O)>,
}

impl<O: MultiOperation> Multi<O> {
    pub(super) fn start(driver: &Rc<Driver>, mut operation: O) -> Self {
        let entry = operation.entry();
        // SAFETY: kept: the operation keeps what its entry leads to, and is in this value, which gives it up
        // to the slot, or after the last completion.
        let key = unsafe { driver.start_stream(entry) };
        Self {
            driver: Rc::clone(driver),
            state: Some((key, operation)),
        }
    }

    /// The next item, or `None` at the end.
    ///
    /// The future may be dropped without losing an item.
    pub async fn next(&mut self) -> Option<O::Item> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Asks the kernel to end the operation. What has come of it until then still comes here, then an item
    /// that says `ECANCELED`.
    pub fn cancel(&self) {
        if let Some((key, _)) = &self.state
            && !key.is_failed()
        {
            self.driver.cancel(key.user_data());
        }
    }

    /// As [`Self::next`], for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<O::Item>> {
        let Some((key, operation)) = &mut self.state else {
            return Poll::Ready(None);
        };
        let (cqe, is_last) = match self.driver.next(*key, cx.waker()) {
            Next::Item(cqe) => (cqe, false),
            Next::Failed(cqe) => (cqe, true),
            Next::Pending => return Poll::Pending,
            Next::Ended => {
                self.state = None;
                return Poll::Ready(None);
            }
        };
        let item = operation.item(cqe, Origin(Some(&self.driver)));
        if is_last {
            self.state = None;
        }
        // The end of the data is the last completion, and its slot is freed by another look or by the drop.
        Poll::Ready(item)
    }
}

/// The ring that a completion came from, as far as the operations of this crate look at it.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a>(pub(super) Option<&'a Driver>);

impl Origin<'_> {
    /// The ring is on another thread, or has ended.
    pub(crate) const ELSEWHERE: Self = Self(None);
}

impl<O: MultiOperation> fmt::Debug for Multi<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multi")
            .field("has_ended", &self.state.is_none())
            .finish_non_exhaustive()
    }
}

impl<O: MultiOperation> Drop for Multi<O> {
    fn drop(&mut self) {
        if let Some((key, operation)) = self.state.take() {
            let orphan = Box::new(Abandoned(operation));
            self.driver.abandon_stream(key, orphan);
        }
    }
}

struct Abandoned<O>(O);

impl<O: MultiOperation> OrphanStream for Abandoned<O> {
    fn item(&mut self, cqe: IoUringCqe, origin: Origin<'_>) {
        drop(self.0.item(cqe, origin));
    }
}
