//! Operations that wait for each other in the kernel, from other threads.

use super::sent::Sent;
use super::{Item, Pushed, RingHandle};
use crate::local::Chain;
use crate::ops::{Operation, linked};

/// A [`Chain`] for other threads.
pub trait SendChain: Chain {
    /// The futures of its operations: a tuple, or a vector.
    type Sent;

    /// Hands them over.
    #[doc(hidden)]
    fn send(self, io: &RingHandle) -> Self::Sent;
}

macro_rules! chains {
    ($($($kind:ident $operation:ident),+;)*) => {
        $(
            impl<$($kind: Operation + Send),+> SendChain for ($($kind,)+) {
                type Sent = ($(Sent<$kind>,)+);

                fn send(self, io: &RingHandle) -> Self::Sent {
                    let ($(mut $operation,)+) = self;
                    let entries = [$(linked(&mut $operation)),+];
                    let sent = ($(Sent::pack(&io.shared, $operation),)+);
                    let ($($operation,)+) = &sent;
                    let remotes = [$($operation.remote()),+];
                    let item = Item::Chain(entries.into_iter().zip(remotes).collect());
                    let count = entries.len() as u64;
                    match io.shared.queue.push_operations(item, count) {
                        Ok(Pushed::Behind) => {}
                        Ok(Pushed::First) => io.shared.waker.wake_by_ref(),
                        Err(refused) => {
                            $($operation.refuse(refused);)+
                        }
                    }
                    sent
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

impl<O: Operation + Send> SendChain for Vec<O> {
    type Sent = Vec<Sent<O>>;

    fn send(self, io: &RingHandle) -> Vec<Sent<O>> {
        let mut chain = Vec::with_capacity(self.len());
        let pack = |mut operation| {
            let entry = linked(&mut operation);
            let sent = Sent::pack(&io.shared, operation);
            chain.push((entry, sent.remote()));
            sent
        };
        let sent: Vec<_> = self.into_iter().map(pack).collect();
        let count = sent.len() as u64;
        match io.shared.queue.push_operations(Item::Chain(chain), count) {
            Ok(Pushed::Behind) => {}
            Ok(Pushed::First) => io.shared.waker.wake_by_ref(),
            Err(refused) => sent.iter().for_each(|sent| sent.refuse(refused)),
        }
        sent
    }
}
