//! Where a task's standard streams come from and go to.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// How much of a stream is captured when the task does not say: 16 MiB.
pub const CAPTURE_LIMIT_BYTES: usize = 16 << 20;

/// What the (first) program of a task reads on its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stdin {
    /// End of file at once (`/dev/null`).
    #[default]
    Null,
    /// These bytes, then end of file. A program that closes its input early misses the rest,
    /// which is not an error.
    Bytes(Arc<[u8]>),
    /// The file's content; a relative path is relative to the directory of the pool's process.
    File(PathBuf),
}

impl<T: Into<Vec<u8>>> From<T> for Stdin {
    fn from(bytes: T) -> Self {
        Self::Bytes(Arc::from(bytes.into()))
    }
}

/// Where a task's standard output or standard error goes.
#[derive(Clone)]
#[non_exhaustive]
pub enum Output {
    /// Kept in the [`ExecutionResult`](super::ExecutionResult): the first `limit_bytes`. What
    /// follows is read, counted and dropped, so that the task never stalls on a full pipe.
    Capture {
        /// Bytes kept at the most.
        limit_bytes: usize,
    },
    /// Handed to the callback as it arrives, on the thread that serves the task. While the
    /// callback runs nothing is read, so a slow one slows the task down, and a timeout or a
    /// cancellation takes effect when it returns. Attempts of one task follow one another.
    Stream(OutputCallback),
    /// Written to a file, emptied first; made with mode `0o666` less the umask.
    File(PathBuf),
    /// Added at the end of a file.
    Append(PathBuf),
    /// The stream of the pool's own process.
    Inherit,
    /// Thrown away (`/dev/null`).
    Null,
}

/// Takes what a task prints, chunk by chunk.
pub type OutputCallback = Arc<dyn Fn(&[u8]) + Send + Sync>;

impl Output {
    /// [`Output::Stream`] from a closure.
    pub fn stream(callback: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self::Stream(Arc::new(callback))
    }
}

impl Default for Output {
    /// Captures up to [`CAPTURE_LIMIT_BYTES`].
    fn default() -> Self {
        Self::Capture {
            limit_bytes: CAPTURE_LIMIT_BYTES,
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capture { limit_bytes } => f
                .debug_struct("Capture")
                .field("limit_bytes", limit_bytes)
                .finish(),
            Self::Stream(_) => f.write_str("Stream(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Append(path) => f.debug_tuple("Append").field(path).finish(),
            Self::Inherit => f.write_str("Inherit"),
            Self::Null => f.write_str("Null"),
        }
    }
}
