//! Connections that are there, in their order, when `connect` returns: those of TCP may come later, and another way
//! round.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A listener, and where it is.
pub(crate) fn local_listener() -> (Arc<UnixListener>, SocketAddr) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("pepita-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let listener = UnixListener::bind_addr(&address).expect("a listener");
    (Arc::new(listener), address)
}

/// Clients of `address`, each of which says its number.
pub(crate) fn numbered_clients<const COUNT: usize>(address: &SocketAddr) -> [UnixStream; COUNT] {
    std::array::from_fn(|number| {
        let mut client = UnixStream::connect_addr(address).expect("a connection");
        let number = u8::try_from(number).expect("few");
        client.write_all(&[number]).expect("room for a byte");
        client
    })
}

/// What the other end of `connection` said.
pub(crate) fn number_of(connection: OwnedFd) -> usize {
    let mut number = [0];
    UnixStream::from(connection)
        .read_exact(&mut number)
        .expect("a byte");
    number[0].into()
}
