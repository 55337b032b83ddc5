//! How the process that serves a disk says what that holds: to whoever connects to a socket beside its record, it
//! writes one object and closes. It reads nothing.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pepita::zram::ZramDevice;
use rustix::fs::{Mode, OFlags};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::figures::Figures;
use crate::ublk::record::RunDir;

/// How long either side waits for the other, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any server says.
const ANSWER_MAX: usize = 1 << 16;

/// Answers for `device`, which is served as `id`, until the process ends.
pub(crate) fn start(device: Arc<ZramDevice>, dir: &RunDir, id: u32) -> io::Result<()> {
    let listener = listen(&dir.socket(id))?;
    thread::Builder::new()
        .name("zram-stat".into())
        .spawn(move || {
            for stream in listener.incoming() {
                let answer = stream.and_then(|stream| tell(stream, &device, id));
                if let Err(error) = answer {
                    tracing::debug!(id, %error, "nobody heard what the disk holds");
                }
            }
        })?;
    Ok(())
}

fn tell(mut stream: UnixStream, device: &ZramDevice, id: u32) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let figures = Figures::of(format!("ublkb{id}"), device);
    stream.write_all(&serde_json::to_vec(&figures)?)
}

/// What the server of `id` says; none if there is none that says anything.
pub(super) fn ask(dir: &RunDir, id: u32) -> io::Result<Option<Figures>> {
    ask_within(dir, id, PATIENCE)
}

fn ask_within(dir: &RunDir, id: u32, patience: Duration) -> io::Result<Option<Figures>> {
    let deadline = Instant::now() + patience;
    let answer = at(&dir.socket(id), |place| connect(place, deadline))
        .and_then(|stream| hear(stream, deadline));
    let says = |kind, message| Err(io::Error::new(kind, message));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => return Ok(None),
            kind @ io::ErrorKind::ConnectionRefused => return says(kind, "its server is gone"),
            kind @ (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return says(kind, "its server does not answer");
            }
            _ => return Err(error),
        },
    };
    let invalid = io::ErrorKind::InvalidData;
    match serde_json::from_slice::<Figures>(&answer) {
        Ok(figures) if figures.disk == format!("ublkb{id}") => Ok(Some(figures)),
        Ok(_) => says(invalid, "its server answers for another disk"),
        Err(_) => says(
            invalid,
            "what its server answers is not what a zram disk holds",
        ),
    }
}

/// Connects; waits for a place in the queue of who listens there.
fn connect(place: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(place)?;
    rustix::io::retry_on_intr(|| {
        let left = left(deadline).map_err(|_| rustix::io::Errno::TIMEDOUT)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(left))?;
        net::connect(&socket, &address)
    })?;
    Ok(UnixStream::from(socket))
}

/// All that `stream` has until its end; of what is too long, the beginning.
fn hear(mut stream: UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while answer.len() < ANSWER_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // Left by a server that was killed: the disk is this one's by now.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => at(path, |place| UnixListener::bind(place)),
    }
}

/// Calls `f` with a short name of `path`, since the address of a socket has 108 bytes.
fn at<R>(path: &Path, f: impl FnOnce(&Path) -> io::Result<R>) -> io::Result<R> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return f(path);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    f(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use pepita::zram::ZramConfig;

    use super::*;

    #[test]
    fn whoever_asks_hears_what_the_device_holds_and_nobody_holds_it_up() {
        let home = tempfile::tempdir().unwrap();
        // Longer than the address of a socket.
        let dir = RunDir::of(&home.path().join("d".repeat(120)));
        dir.make().unwrap();
        assert_eq!(ask(&dir, 7).unwrap(), None);
        fs::write(dir.socket(7), "what was left").unwrap();
        let device = Arc::new(ZramDevice::new(ZramConfig::with_size(1 << 20)).unwrap());
        start(device.clone(), &dir, 7).unwrap();
        // One that reads nothing, and one that writes and goes away.
        let connect = || at(&dir.socket(7), |place| UnixStream::connect(place));
        let _idle = connect().unwrap();
        // The server may have said all by then.
        let _ = connect().unwrap().write_all(&[b'x'; 1000]);
        device.write_page(3, &[1; 4096]).unwrap();
        let figures = ask(&dir, 7).unwrap().unwrap();
        assert_eq!((figures.disk.as_str(), figures.bytes), ("ublkb7", 1 << 20));
        assert_eq!(figures.mm_stat.line(), device.stats().mm_stat());
        assert_eq!(figures.more.unwrap().num_writes, 1);
    }

    fn home() -> (tempfile::TempDir, RunDir) {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::of(home.path());
        dir.make().unwrap();
        (home, dir)
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let (_home, dir) = home();
        let device = ZramDevice::new(ZramConfig::with_size(1 << 20)).unwrap();
        let other = serde_json::to_vec(&Figures::of("ublkb2".into(), &device)).unwrap();
        let no_figures = "what its server answers is not what a zram disk holds";
        let long = vec![b' '; 2 * ANSWER_MAX];
        for (answer, said) in [
            (&br#"{"disk": 5}"#[..], no_figures),
            (b"", no_figures),
            (b"null", no_figures),
            (b"\x1b[2J\xff", no_figures),
            (&long, no_figures),
            (&other, "its server answers for another disk"),
        ] {
            let listener = listen(&dir.socket(1)).unwrap();
            let error = thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().unwrap();
                    // Who asks does not hear all of what is too long.
                    let _ = stream.write_all(answer);
                });
                ask(&dir, 1).unwrap_err()
            });
            assert_eq!(error.to_string(), said);
        }
        let error = ask(&dir, 1).unwrap_err().to_string();
        assert_eq!(error, "its server is gone");
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_waited_for_without_end() {
        let (_home, dir) = home();
        let silent = listen(&dir.socket(1)).unwrap();
        let patience = Duration::from_millis(50);
        let asks = || ask_within(&dir, 1, patience).unwrap_err().to_string();
        assert_eq!(asks(), "its server does not answer");
        // One that says something again and again.
        thread::scope(|scope| {
            scope.spawn(|| {
                let _first = silent.accept().unwrap();
                let (mut stream, _) = silent.accept().unwrap();
                while stream.write_all(b" ").is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            assert_eq!(asks(), "its server does not answer");
            // Where it gave up before it was in the queue.
            drop(at(&dir.socket(1), |place| UnixStream::connect(place)));
        });
        // One whose queue is full.
        net::listen(&silent, 0).unwrap();
        let mut waiting = Vec::new();
        let join = || {
            let deadline = Instant::now() + patience;
            at(&dir.socket(1), |place| connect(place, deadline))
        };
        while let Ok(stream) = join() {
            waiting.push(stream);
        }
        assert_eq!(asks(), "its server does not answer");
    }
}
