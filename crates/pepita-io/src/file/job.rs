//! [`Job`]: a request under way, as the operations on the file that it takes, one after the other. It makes
//! no system call: whoever serves it does each [`Step`], and says what came of it.

use std::ptr;

use pepita_sys::blk_mq::{Request, RequestFlags, RequestOp, SECTOR_SHIFT, Segment, Source};
use pepita_sys::error::Errno;

use super::backing::Backing;

/// Times that an operation is begun again because of `EINTR` or `EAGAIN`.
const RETRIES: u8 = 100;

/// Bytes of a [`Page`].
const PAGE: usize = 4096;

/// Pages of a bounce buffer: 128 KiB.
const BOUNCE_PAGES: usize = 32;

/// Memory that is aligned for any file.
#[derive(Debug, Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// What is written where a file cannot be told to be zero.
static ZEROES: Page = Page([0; PAGE]);

/// The same, 1 MiB of it.
static MANY_ZEROES: [Segment; 256] = [zeroes(PAGE); 256];

/// `len` bytes of [`ZEROES`], to be read only.
const fn zeroes(len: usize) -> Segment {
    Segment::new((&raw const ZEROES).cast::<u8>().cast_mut(), len)
}

/// Aligned memory between a request's and the file, made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Bounce(Vec<Page>);

impl Bounce {
    /// Makes the memory, if it is not there.
    fn prepare(&mut self) -> Result<(), Errno> {
        if self.0.is_empty() {
            let tried = self.0.try_reserve_exact(BOUNCE_PAGES);
            tried.map_err(|_| Errno::ENOMEM)?;
            self.0.resize(BOUNCE_PAGES, Page([0; PAGE]));
        }
        Ok(())
    }

    /// The first `len` bytes, as a place.
    fn segment(&mut self, len: usize) -> Segment {
        Segment::new(self.0.as_mut_ptr().cast(), len)
    }
}

/// Where an operation finds its data, or puts it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Memory<'a> {
    One(Segment),
    List(&'a [Segment]),
}

/// An operation on the file; offsets and lengths are in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Read {
        into: Memory<'a>,
        offset: u64,
    },
    Write {
        from: Memory<'a>,
        offset: u64,
        durable: bool,
    },
    /// fdatasync(2)
    Sync,
    /// fallocate(2) with [`FALLOC_FL_KEEP_SIZE`](libc::FALLOC_FL_KEEP_SIZE)
    Punch {
        offset: u64,
        len: u64,
    },
    /// The same.
    ZeroRange {
        offset: u64,
        len: u64,
    },
    /// A block device's own.
    Discard {
        offset: u64,
        len: u64,
    },
}

/// How a request is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From or to its segments.
    Segments,
    /// The same by way of a [`Bounce`], piece by piece.
    Bounce,
    /// By writing [`ZEROES`].
    Zeroes,
    Punch,
    ZeroRange,
    Discard,
    Sync,
}

impl Way {
    /// What is tried where a file does not know this.
    const fn next(self, op: RequestOp) -> Option<Self> {
        match (self, op) {
            (Self::Discard, _) => Some(Self::Punch),
            (Self::Punch, RequestOp::WriteZeroes) => Some(Self::ZeroRange),
            (Self::ZeroRange, RequestOp::WriteZeroes) => Some(Self::Zeroes),
            _ => None,
        }
    }

    const fn is_range(self) -> bool {
        matches!(self, Self::Punch | Self::ZeroRange | Self::Discard)
    }
}

/// A request under way. Dropping it ends the request with `EIO`.
#[derive(Debug)]
pub(super) struct Job {
    request: Request,
    way: Way,
    retries: u8,
    /// Bytes read or written, of those of the request.
    done: usize,
}

impl Job {
    /// Begins `request`; one that needs nothing of the file ends at once.
    pub(super) fn start(request: Request, backing: &Backing) -> Option<Self> {
        match plan(&request, backing) {
            Ok(Some(way)) => Some(Self {
                request,
                way,
                retries: 0,
                done: 0,
            }),
            Ok(None) => {
                request.complete(Ok(()));
                None
            }
            Err(errno) => {
                request.complete(Err(errno));
                None
            }
        }
    }

    /// The next operation. Its memory is the request's, the bounce buffer's or static.
    ///
    /// # Errors
    /// With which the request has to end.
    pub(super) fn step<'a>(&'a self, bounce: &mut Bounce) -> Result<Step<'a>, Errno> {
        let start = self.request.sector() << SECTOR_SHIFT;
        let (offset, len) = (start + self.done as u64, self.len() as u64);
        let memory = match self.way {
            Way::Sync => return Ok(Step::Sync),
            Way::Punch => return Ok(Step::Punch { offset, len }),
            Way::ZeroRange => return Ok(Step::ZeroRange { offset, len }),
            Way::Discard => return Ok(Step::Discard { offset, len }),
            Way::Segments => rest_of(self.request.segments(), self.done),
            Way::Bounce => self.fill(bounce)?,
            Way::Zeroes => match self.left() / PAGE {
                0 => Memory::One(zeroes(self.left())),
                pages => Memory::List(&MANY_ZEROES[..pages.min(MANY_ZEROES.len())]),
            },
        };
        if self.request.op() == RequestOp::Read {
            let into = memory;
            return Ok(Step::Read { into, offset });
        }
        Ok(Step::Write {
            from: memory,
            offset,
            durable: self.is_fua(),
        })
    }

    /// Takes what came of the last step: the count of bytes of a read or write. Says how the request ends, if
    /// it does.
    pub(super) fn advance(
        &mut self,
        result: Result<usize, Errno>,
        backing: &Backing,
        bounce: &Bounce,
    ) -> Option<Result<(), Errno>> {
        let bytes = match result {
            Ok(bytes) => bytes,
            Err(Errno::EINTR | Errno::EAGAIN) if self.retries < RETRIES => {
                self.retries += 1;
                return None;
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENOTTY) if self.way.is_range() => {
                backing.note_lack(self.way);
                return match available(self.way, self.request.op(), backing) {
                    Ok(way) => {
                        self.way = way;
                        None
                    }
                    Err(errno) => Some(Err(errno)),
                };
            }
            Err(errno) => return Some(Err(errno)),
        };
        if self.way == Way::Sync {
            return Some(Ok(()));
        }
        if self.way.is_range() {
            if !self.is_fua() {
                return Some(Ok(()));
            }
            self.way = Way::Sync;
            return None;
        }
        self.moved(bytes.min(self.left()), bounce)
    }

    /// Ends the request.
    pub(super) fn complete(self, result: Result<(), Errno>) {
        self.request.complete(result);
    }

    /// Goes on after `bytes` bytes.
    fn moved(&mut self, bytes: usize, bounce: &Bounce) -> Option<Result<(), Errno>> {
        if bytes == 0 {
            // The file ends here, which was longer.
            return Some(Err(Errno::EIO));
        }
        if self.way == Way::Bounce && self.request.op() == RequestOp::Read {
            let mut sink = self.request.sink();
            if sink.split_to(self.done).is_err() {
                return Some(Err(Errno::EINVAL));
            }
            let mut left = bytes;
            for page in &bounce.0 {
                let here = left.min(PAGE);
                if let Err(short) = sink.write(&page.0[..here]) {
                    return Some(Err(short.to_errno()));
                }
                left -= here;
            }
        }
        self.done += bytes;
        (self.left() == 0).then_some(Ok(()))
    }

    /// The bounce buffer, with what is to be written.
    fn fill(&self, bounce: &mut Bounce) -> Result<Memory<'static>, Errno> {
        bounce.prepare()?;
        let len = self.left().min(BOUNCE_PAGES * PAGE);
        if self.request.op() == RequestOp::Write {
            let mut source: Source<'_> = self.request.source();
            source.split_to(self.done)?;
            let mut left = len;
            for page in &mut bounce.0 {
                let here = left.min(PAGE);
                source.read(&mut page.0[..here])?;
                left -= here;
            }
        }
        Ok(Memory::One(bounce.segment(len)))
    }

    /// Bytes of the request.
    const fn len(&self) -> usize {
        (self.request.nr_sectors() as usize) << SECTOR_SHIFT
    }

    /// Bytes that are not done.
    const fn left(&self) -> usize {
        self.len() - self.done
    }

    fn is_fua(&self) -> bool {
        self.request.flags().contains(RequestFlags::FUA)
    }
}

/// How `request` is begun; `None` if it is done already.
fn plan(request: &Request, backing: &Backing) -> Result<Option<Way>, Errno> {
    let op = request.op();
    let moves = op.reads_data() || op.writes_data();
    let way = match op {
        RequestOp::Flush => return Ok(Some(Way::Sync)),
        RequestOp::Read | RequestOp::Write if backing.takes(request.segments()) => Way::Segments,
        RequestOp::Read | RequestOp::Write => Way::Bounce,
        RequestOp::Discard if backing.is_block_device() => Way::Discard,
        RequestOp::WriteZeroes if request.flags().contains(RequestFlags::NOUNMAP) => Way::ZeroRange,
        RequestOp::Discard | RequestOp::WriteZeroes => Way::Punch,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if backing.is_read_only() && op.changes_device() {
        return Err(Errno::EPERM);
    }
    backing.check_range(request.sector(), request.nr_sectors())?;
    if request.nr_sectors() == 0 {
        return Ok(None);
    }
    let bytes = (request.nr_sectors() as usize) << SECTOR_SHIFT;
    if moves && Segment::total_len(request.segments()) != bytes {
        return Err(Errno::EINVAL);
    }
    if backing.lacks(way) {
        return available(way, op, backing).map(Some);
    }
    Ok(Some(way))
}

/// What to do instead of `way`, which the file does not know.
fn available(way: Way, op: RequestOp, backing: &Backing) -> Result<Way, Errno> {
    let mut next = way.next(op);
    while let Some(way) = next {
        if !backing.lacks(way) {
            return Ok(way);
        }
        next = way.next(op);
    }
    Err(Errno::EOPNOTSUPP)
}

/// What lies behind the first `done` bytes of `list`: the rest of a piece that is begun, or else all further
/// ones, so that no list has to be made.
fn rest_of(list: &[Segment], done: usize) -> Memory<'_> {
    let mut skip = done;
    let mut rest = list;
    while let [first, behind @ ..] = rest {
        if skip < first.len() || skip == 0 {
            break;
        }
        skip -= first.len();
        rest = behind;
    }
    match rest {
        [first, ..] if skip > 0 => {
            let base = first.base().wrapping_add(skip);
            Memory::One(Segment::new(base, first.len() - skip))
        }
        [only] => Memory::One(*only),
        [] => Memory::One(Segment::new(ptr::null_mut(), 0)),
        _ => Memory::List(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses of what `memory` leads to, byte for byte.
    fn bytes(memory: Memory<'_>) -> Vec<usize> {
        let list = match &memory {
            Memory::One(segment) => std::slice::from_ref(segment),
            Memory::List(list) => list,
        };
        let range =
            |segment: &Segment| segment.base().addr()..segment.base().addr() + segment.len();
        list.iter().flat_map(range).collect()
    }

    #[test]
    fn the_rest_of_a_list_begins_where_it_was_left() {
        let at = |index: usize| ptr::without_provenance_mut(0x1000 * (index + 1));
        for lens in [
            vec![5],
            vec![0, 3, 0, 0, 4, 0],
            vec![1, 1, 1],
            vec![7, 512, 2],
        ] {
            let lens = lens.iter().enumerate();
            let list: Vec<Segment> = lens
                .map(|(index, len)| Segment::new(at(index), *len))
                .collect();
            let all = bytes(Memory::List(&list));
            for done in 0..all.len() {
                let rest = bytes(rest_of(&list, done));
                assert!(!rest.is_empty(), "{list:?} from {done} on");
                assert!(all[done..].starts_with(&rest), "{list:?} from {done} on");
            }
        }
    }

    #[test]
    fn zeroes_are_a_mebibyte_of_aligned_pages() {
        assert_eq!(Segment::total_len(&MANY_ZEROES), 1 << 20);
        assert!(
            MANY_ZEROES
                .iter()
                .all(|page| page.base().addr() % PAGE == 0)
        );
    }
}
