//! Commands to sockets, seen by other calls.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use pepita_io::ops::{self, Operation, SocketOption};
use pepita_io::{LocalRing, Submitted};
use pepita_sys::error::{Errno, Result};
use rustix::net::sockopt;

use super::local_ring;

fn run<O: Operation>(ring: &LocalRing, operation: O) -> O::Output {
    ring.block_on(ring.submit(operation))
}

/// A connection, and a ring whose kernel has commands of sockets; `None` after saying why `test` is skipped.
fn connected(test: &str) -> Option<(LocalRing, TcpStream, Rc<TcpStream>)> {
    let ring = local_ring(test, 8)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let theirs = TcpStream::connect(address).expect("a connection");
    let ours = Rc::new(listener.accept().expect("a connection").0);
    let kind = run(&ring, ops::socket_option(&ours, SocketOption::KIND));
    match kind.map_err(|error| error.to_errno()) {
        Err(Errno::EOPNOTSUPP) => {
            println!("SKIPPED: {test}: no commands of sockets here (Linux 6.7)");
            None
        }
        kind => {
            assert_eq!(kind, Ok(libc::SOCK_STREAM));
            Some((ring, theirs, ours))
        }
    }
}

#[test]
fn a_socket_says_what_it_holds() {
    let Some((ring, mut theirs, ours)) = connected("a_socket_says_what_it_holds") else {
        return;
    };
    assert_eq!(run(&ring, ops::unreceived(&ours)), Ok(0));
    theirs.write_all(b"seven b").expect("bytes");
    run(&ring, ops::poll(&ours, ops::PollFlags::IN.bits().into())).expect("readable");
    assert_eq!(run(&ring, ops::unreceived(&ours)), Ok(7));
    (&*ours).read_exact(&mut [0; 5]).expect("bytes");
    assert_eq!(run(&ring, ops::unreceived(&ours)), Ok(2));

    // Nobody reads, so that what is sent stays here in the end.
    assert_eq!(run(&ring, ops::unsent(&ours)), Ok(0));
    ours.set_nonblocking(true).expect("a flag");
    let mut sent = 0;
    let full = loop {
        match (&*ours).write(&[0; 65536]) {
            Ok(count) => sent += count,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(full, ErrorKind::WouldBlock);
    let unsent = run(&ring, ops::unsent(&ours)).expect("TCP knows");
    assert!((1..=sent).contains(&unsent), "{unsent} of {sent}");
    let mut all = vec![0; sent];
    theirs.read_exact(&mut all).expect("all of it");
    while run(&ring, ops::unsent(&ours)).expect("TCP knows") > 0 {
        run(&ring, ops::sleep(Duration::from_millis(1))).expect("a while");
    }

    let (_other, unix) = UnixStream::pair().expect("a pair");
    let error = run(&ring, ops::unreceived(&Rc::new(unix)));
    assert_eq!(
        error.map_err(|error| error.to_errno()),
        Err(Errno::EOPNOTSUPP)
    );
}

#[test]
fn options_that_are_set_are_seen_by_other_calls_and_the_other_way_round() {
    let name = "options_that_are_set_are_seen_by_other_calls_and_the_other_way_round";
    let Some((ring, _theirs, ours)) = connected(name) else {
        return;
    };
    let get = |option| run(&ring, ops::socket_option(&ours, option));
    let set = |option, value| run(&ring, ops::set_socket_option(&ours, option, value));
    for value in [1, 0] {
        set(SocketOption::KEEP_ALIVE, value).expect("it is set");
        assert_eq!(sockopt::socket_keepalive(&ours), Ok(value == 1));
        assert_eq!(get(SocketOption::KEEP_ALIVE), Ok(value));
        sockopt::set_socket_reuseaddr(&ours, value == 1).expect("it is set");
        assert_eq!(get(SocketOption::REUSE_ADDRESS), Ok(value));
        set(SocketOption::REUSE_PORT, value).expect("it is set");
        assert_eq!(sockopt::socket_reuseport(&ours), Ok(value == 1));
        sockopt::set_socket_broadcast(&ours, value == 1).expect("it is set");
        assert_eq!(get(SocketOption::BROADCAST), Ok(value));
        set(SocketOption::TCP_NO_DELAY, value).expect("it is set");
        assert_eq!(ours.nodelay().expect("an option"), value == 1);
    }
    set(SocketOption::RECV_BUFFER, 20_000).expect("it is set");
    assert_eq!(sockopt::socket_recv_buffer_size(&ours), Ok(40_000));
    sockopt::set_socket_send_buffer_size(&ours, 30_000).expect("it is set");
    assert_eq!(get(SocketOption::SEND_BUFFER), Ok(60_000));
    set(SocketOption::TCP_KEEP_ALIVE_COUNT, 3).expect("it is set");
    assert_eq!(sockopt::tcp_keepcnt(&ours), Ok(3));
    set(SocketOption::TCP_KEEP_ALIVE_IDLE_SECONDS, 40).expect("it is set");
    assert_eq!(sockopt::tcp_keepidle(&ours), Ok(Duration::from_secs(40)));
    set(SocketOption::TCP_KEEP_ALIVE_STEP_SECONDS, 50).expect("it is set");
    assert_eq!(sockopt::tcp_keepintvl(&ours), Ok(Duration::from_secs(50)));
    set(SocketOption::TCP_USER_TIMEOUT_MS, 6000).expect("it is set");
    assert_eq!(sockopt::tcp_user_timeout(&ours), Ok(6000));
    assert_eq!(get(SocketOption::FAMILY), Ok(libc::AF_INET));
    assert_eq!(
        (get(SocketOption::LISTENS), get(SocketOption::ERROR)),
        (Ok(0), Ok(0))
    );

    let errno = |result: Result<i32>| result.map_err(|error| error.to_errno());
    assert_eq!(
        errno(get(SocketOption::TCP_NO_DELAY)),
        Err(Errno::EOPNOTSUPP)
    );
    let refused = set(SocketOption::LISTENS, 1).map_err(|error| error.to_errno());
    assert_eq!(refused, Err(Errno::ENOPROTOOPT));
}

#[test]
fn commands_that_nobody_waits_for_keep_their_values_until_the_kernel_is_done() {
    let name = "commands_that_nobody_waits_for_keep_their_values_until_the_kernel_is_done";
    let Some((ring, _theirs, ours)) = connected(name) else {
        return;
    };
    for value in [3, 4, 5] {
        let option = SocketOption::TCP_KEEP_ALIVE_COUNT;
        let set: Submitted<_> = ring.submit(ops::set_socket_option(&ours, option, value));
        let get = ring.submit(ops::socket_option(&ours, SocketOption::RECV_BUFFER));
        drop((set, get));
        // Not handed over yet: what the entries lead to is still there.
        assert_eq!(Rc::strong_count(&ours), 3);
        while Rc::strong_count(&ours) > 1 {
            ring.turn(Some(Duration::from_secs(10))).expect("a turn");
        }
        assert_eq!(sockopt::tcp_keepcnt(&ours), Ok(value.cast_unsigned()));
    }
}
