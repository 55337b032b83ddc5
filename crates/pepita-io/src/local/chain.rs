#![expect(unsafe_code, reason = "starts operations")]
//! Operations that wait for each other in the kernel.

use super::LocalHandle;
use super::op::Submitted;
use super::slots::Key;
use crate::ops::{Operation, linked};

/// Operations of which each waits for the one before: a tuple of two to eight of any kinds, or a vector of one
/// kind.
///
/// What it means that one has ended is [`Operation::LINK`]'s to say: an ordinary one has to succeed, and to do
/// all that it was asked for; else those behind it come to `ECANCELED`. Behind a
/// [`hard`](crate::ops::hard) one the next starts in any case.
pub trait Chain: sealed::Sealed {
    /// The futures of its operations: a tuple, or a vector.
    type Submitted;

    /// Starts them.
    #[doc(hidden)]
    fn start(self, io: &LocalHandle) -> Self::Submitted;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! chains {
    ($($($kind:ident $operation:ident),+;)*) => {
        $(
            impl<$($kind: Operation),+> sealed::Sealed for ($($kind,)+) {}

            impl<$($kind: Operation),+> Chain for ($($kind,)+) {
                type Submitted = ($(Submitted<$kind>,)+);

                fn start(self, io: &LocalHandle) -> Self::Submitted {
                    let driver = &io.driver;
                    let ($(mut $operation,)+) = self;
                    let mut entries = [$(linked(&mut $operation)),+];
                    // SAFETY: kept: the operations keep what their entries lead to, and are in the futures.
                    unsafe { driver.start_linked(&mut entries) };
                    let mut keys = entries.iter().map(Key::of);
                    ($(Submitted::of(driver, next(&mut keys), $operation),)+)
                }
            }
        )*
    };
}

chains! {
    A a, B b;
    A a, B b, C c;
    A a, B b, C c, D d;
    A a, B b, C c, D d, E e;
    A a, B b, C c, D d, E e, F f;
    A a, B b, C c, D d, E e, F f, G g;
    A a, B b, C c, D d, E e, F f, G g, H h;
}

impl<O: Operation> sealed::Sealed for Vec<O> {}

impl<O: Operation> Chain for Vec<O> {
    type Submitted = Vec<Submitted<O>>;

    fn start(mut self, io: &LocalHandle) -> Vec<Submitted<O>> {
        let driver = &io.driver;
        let mut entries: Vec<_> = self.iter_mut().map(linked).collect();
        // SAFETY: kept: the operations keep what their entries lead to, and are in the futures.
        unsafe { driver.start_linked(&mut entries) };
        let keys = entries.iter().map(Key::of);
        let started = self.into_iter().zip(keys);
        started
            .map(|(operation, key)| Submitted::of(driver, key, operation))
            .collect()
    }
}

fn next(keys: &mut impl Iterator<Item = Key>) -> Key {
    keys.next().expect("as many as operations")
}
