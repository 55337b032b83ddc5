//! How the process that serves a disk says what that holds: to whoever connects to a socket beside its record, it
//! writes one object and closes. It reads nothing.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, thread};

use pepita::zram::ZramDevice;
use rustix::fs::{Mode, OFlags};

use super::figures::Figures;
use crate::ublk::record::RunDir;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// More than any server says.
const ANSWER_MAX: u64 = 1 << 16;

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
    let stream = at(&dir.socket(id), |place| UnixStream::connect(place));
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(io::Error::new(error.kind(), "its server is gone"));
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(Some(serde_json::from_slice(&answer)?))
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
        connect().unwrap().write_all(&[b'x'; 1000]).unwrap();
        device.write_page(3, &[1; 4096]).unwrap();
        let figures = ask(&dir, 7).unwrap().unwrap();
        assert_eq!((figures.disk.as_str(), figures.bytes), ("ublkb7", 1 << 20));
        assert_eq!(figures.mm_stat.line(), device.stats().mm_stat());
        assert_eq!(figures.more.unwrap().num_writes, 1);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let dir = RunDir::of(home.path());
        dir.make().unwrap();
        let listener = listen(&dir.socket(1)).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(br#"{"disk": 5}"#).unwrap();
        });
        assert!(ask(&dir, 1).is_err());
        server.join().unwrap();
        let error = ask(&dir, 1).unwrap_err().to_string();
        assert_eq!(error, "its server is gone");
    }
}
