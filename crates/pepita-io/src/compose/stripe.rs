//! A device over several by turns: [`StripeDevice`].

use pepita_sys::blk_mq::{
    BlockDevice, DeviceId, DiscardLimits, Geometry, Lane, Request, RequestOp, SECTOR_SHIFT,
    Segments, WriteCache,
};
use pepita_sys::error::{Errno, Result};

use super::below::Below;
use super::parent::{Parent, Part};

/// A block device over several: the first chunk of sectors is the first member's, the next one the second's, and so
/// in turn.
///
/// Each member is used up to the whole chunks of the smallest one. A request that crosses chunks is done in parts, one
/// for each member, since a member's chunks lie together; it ends once, with the first error if a part fails: then, as
/// with every device, each block has its old data or the new. A flush goes to all members.
///
/// The geometry is what all members take: the largest blocks, the least limits, and a discard only if all have it. Many
/// members do not make a request longer. It does not go over zones: a stripe would have others than its members.
///
/// ```
/// use pepita_io::RamDevice;
/// use pepita_io::compose::StripeDevice;
/// use pepita_sys::blk_mq::BlockDevice;
///
/// let members = [2048, 2100].map(RamDevice::new);
/// let stripe = StripeDevice::new(members, 128)?; // chunks of 64 KiB
/// assert_eq!(stripe.geometry().capacity_sectors, 4096);
/// # Ok::<(), pepita_io::compose::StripeError>(())
/// ```
#[derive(Debug)]
pub struct StripeDevice<D> {
    members: Vec<D>,
    geometry: Geometry,
    chunk_sectors: u32,
    /// The most segments of a request that each member takes.
    max_segments: Vec<u16>,
}

/// Why there is no stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StripeError {
    /// There is nothing to stripe over.
    NoMember,
    /// A chunk is no whole blocks, or none.
    Chunk {
        /// Sectors of a chunk.
        chunk_sectors: u32,
        /// Sectors of the largest block of a member.
        block_sectors: u32,
    },
    /// A member has no whole chunk.
    Small {
        /// Number of the member.
        member: usize,
        /// Its sectors.
        sectors: u64,
        /// Sectors of a chunk.
        chunk_sectors: u32,
    },
    /// A member has zones.
    Zoned {
        /// Number of the member.
        member: usize,
    },
    /// The members together have more sectors than can be counted.
    Large,
    /// A limit of a member is below the largest block of another one.
    Limits(pepita_sys::blk_mq::GeometryError),
}

impl std::fmt::Display for StripeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoMember => f.write_str("a stripe needs a member"),
            Self::Chunk {
                chunk_sectors,
                block_sectors,
            } => write!(
                f,
                "a chunk of {chunk_sectors} sectors: whole blocks of {block_sectors} sectors are needed"
            ),
            Self::Small {
                member,
                sectors,
                chunk_sectors,
            } => write!(
                f,
                "member {member} of the stripe has {sectors} sectors, and a chunk {chunk_sectors}"
            ),
            Self::Zoned { member } => write!(
                f,
                "member {member} of the stripe has zones, which a stripe cannot have"
            ),
            Self::Large => f.write_str("the members have more than 2^64 sectors"),
            Self::Limits(error) => write!(f, "the members do not go together: {error}"),
        }
    }
}

impl std::error::Error for StripeError {}

impl<D: BlockDevice> StripeDevice<D> {
    /// A stripe over `members`, in their order, by chunks of `chunk_sectors` sectors.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn new(
        members: impl Into<Vec<D>>,
        chunk_sectors: u32,
    ) -> std::result::Result<Self, StripeError> {
        let members = members.into();
        let geometries: Vec<Geometry> = members.iter().map(D::geometry).collect();
        let geometry = together(&geometries, chunk_sectors)?;
        Ok(Self {
            max_segments: geometries.iter().map(|one| one.max_segments).collect(),
            members,
            geometry,
            chunk_sectors,
        })
    }

    /// The members, in their order.
    #[must_use]
    pub fn members(&self) -> &[D] {
        &self.members
    }

    /// Lists the parts of `request`, which has sectors, all on the device.
    fn split(&self, request: &Request, parent: &mut Parent) {
        let members = self.members.len() as u64;
        let chunk = u64::from(self.chunk_sectors);
        let (begin, end) = (
            request.sector(),
            request.sector() + u64::from(request.nr_sectors()),
        );
        let (first, last) = (begin / chunk, (end - 1) / chunk);
        // The chunks of each member, one after the other.
        for number in first..=last.min(first + members - 1) {
            let mut data = Segments::new(request.segments());
            let mut at = begin;
            let member = usize::try_from(number % members).unwrap_or(0);
            let mut number = number;
            while number <= last {
                let (from, to) = (begin.max(number * chunk), end.min((number + 1) * chunk));
                let sector = number / members * chunk + from % chunk;
                // Operations without data have no segments.
                let _ = data.split_to(bytes(from - at));
                let here = data.split_to(bytes(to - from)).ok();
                self.add(
                    parent,
                    member,
                    (sector, to - from),
                    here.into_iter().flatten(),
                );
                at = to;
                number += members;
            }
        }
    }

    /// Adds a piece to the last part, or begins a part where it does not fit there.
    fn add(
        &self,
        parent: &mut Parent,
        member: usize,
        (sector, nr_sectors): (u64, u64),
        data: impl Iterator<Item = pepita_sys::blk_mq::Segment>,
    ) {
        let begin = parent.list.len();
        parent.list.extend(data);
        let list = begin..parent.list.len();
        // A request has fewer sectors than 2^32.
        let nr_sectors = u32::try_from(nr_sectors).unwrap_or(u32::MAX);
        let most = usize::from(self.max_segments[member]);
        if let Some(part) = parent.parts.last_mut() {
            let goes_on = part.member == member
                && part.sector + u64::from(part.nr_sectors) == sector
                && list.end - part.list.start <= most;
            if goes_on {
                part.nr_sectors += nr_sectors;
                part.list.end = list.end;
                return;
            }
        }
        parent.parts.push(Part {
            member,
            sector,
            nr_sectors,
            list,
        });
    }
}

/// Bytes of so many sectors of a request.
fn bytes(sectors: u64) -> usize {
    usize::try_from(sectors << SECTOR_SHIFT).unwrap_or(usize::MAX)
}

/// What a stripe over devices of `all` geometries is.
fn together(all: &[Geometry], chunk_sectors: u32) -> std::result::Result<Geometry, StripeError> {
    let first = *all.first().ok_or(StripeError::NoMember)?;
    if let Some(member) = all.iter().position(|one| one.zones.is_some()) {
        return Err(StripeError::Zoned { member });
    }
    let mut stripe = all.iter().fold(first, join);
    let block_sectors = stripe.block_sectors();
    if chunk_sectors == 0 || !chunk_sectors.is_multiple_of(block_sectors) {
        return Err(StripeError::Chunk {
            chunk_sectors,
            block_sectors,
        });
    }
    let chunks = stripe.capacity_sectors / u64::from(chunk_sectors);
    if chunks == 0 {
        let sectors = stripe.capacity_sectors;
        let member = all.iter().position(|one| one.capacity_sectors == sectors);
        return Err(StripeError::Small {
            member: member.unwrap_or(0),
            sectors,
            chunk_sectors,
        });
    }
    let of_member = chunks * u64::from(chunk_sectors);
    stripe.capacity_sectors = of_member
        .checked_mul(all.len() as u64)
        .ok_or(StripeError::Large)?;
    let whole = |sectors: u32| sectors - sectors % block_sectors;
    stripe.max_sectors = whole(stripe.max_sectors);
    stripe.max_write_zeroes_sectors = whole(stripe.max_write_zeroes_sectors);
    stripe.discard = stripe.discard.map(|limits| DiscardLimits {
        max_sectors: whole(limits.max_sectors),
        granularity_sectors: limits
            .granularity_sectors
            .checked_next_multiple_of(block_sectors)
            .unwrap_or(whole(u32::MAX)),
    });
    stripe.validate().map_err(StripeError::Limits)?;
    Ok(stripe)
}

/// What both take.
fn join(a: Geometry, b: &Geometry) -> Geometry {
    Geometry {
        capacity_sectors: a.capacity_sectors.min(b.capacity_sectors),
        logical_block_size: a.logical_block_size.max(b.logical_block_size),
        physical_block_size: a.physical_block_size.max(b.physical_block_size),
        max_sectors: a.max_sectors.min(b.max_sectors),
        max_segments: a.max_segments.min(b.max_segments),
        discard: a.discard.zip(b.discard).map(|(a, b)| DiscardLimits {
            max_sectors: a.max_sectors.min(b.max_sectors),
            granularity_sectors: a.granularity_sectors.max(b.granularity_sectors),
        }),
        max_write_zeroes_sectors: a.max_write_zeroes_sectors.min(b.max_write_zeroes_sectors),
        write_cache: match (a.write_cache, b.write_cache) {
            (WriteCache::WriteBack, _) | (_, WriteCache::WriteBack) => WriteCache::WriteBack,
            (WriteCache::WriteThrough, other) | (other, WriteCache::WriteThrough) => other,
            _ => WriteCache::WriteBackWithFua,
        },
        rotational: a.rotational || b.rotational,
        read_only: a.read_only || b.read_only,
        zones: None,
    }
}

impl<D: BlockDevice> BlockDevice for StripeDevice<D> {
    type Lane<'d>
        = StripeLane<'d, D>
    where
        D: 'd;

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn id(&self) -> DeviceId {
        DeviceId::new("stripe")
    }

    fn open_lane(&self, depth: u16) -> Result<StripeLane<'_, D>> {
        let lanes = self.members.iter().map(|member| member.open_lane(depth));
        Ok(StripeLane {
            device: self,
            depth: depth.max(1).into(),
            below: Below::new(lanes.collect::<Result<_>>()?, None)?,
        })
    }
}

/// A lane of a [`StripeDevice`]: a lane of each member.
pub struct StripeLane<'d, D: BlockDevice> {
    device: &'d StripeDevice<D>,
    depth: usize,
    below: Below<D::Lane<'d>>,
}

impl<D: BlockDevice> Lane for StripeLane<'_, D> {
    fn submit(&mut self, request: Request) -> std::result::Result<(), Request> {
        if self.below.is_full(self.depth) {
            return Err(request);
        }
        match request.op() {
            RequestOp::Flush => self.flush(request),
            RequestOp::Read | RequestOp::Write | RequestOp::Discard | RequestOp::WriteZeroes => {
                let sectors = u64::from(request.nr_sectors());
                let end = request.sector().checked_add(sectors);
                if end.is_none_or(|end| end > self.device.geometry.capacity_sectors) {
                    request.complete(Err(Errno::EIO));
                } else if sectors == 0 {
                    request.complete(Ok(()));
                } else {
                    self.start(request);
                }
            }
            _ => request.complete(Err(Errno::EOPNOTSUPP)),
        }
        Ok(())
    }

    fn commit(&mut self) {
        self.below.commit();
    }

    fn poll(&mut self) {
        self.below.poll();
    }

    fn descriptor(&self) -> Option<i32> {
        self.below.descriptor()
    }
}

impl<D: BlockDevice> StripeLane<'_, D> {
    fn start(&mut self, request: Request) {
        let mut parent = self.below.parent();
        if let Some(parent) = std::sync::Arc::get_mut(&mut parent) {
            self.device.split(&request, parent);
        }
        self.below.start(parent, request, Ok(()));
    }

    fn flush(&mut self, request: Request) {
        let mut parent = self.below.parent();
        if let Some(parent) = std::sync::Arc::get_mut(&mut parent) {
            let all = (0..self.device.members.len()).map(|member| Part {
                member,
                sector: 0,
                nr_sectors: 0,
                list: 0..0,
            });
            parent.parts.extend(all);
        }
        self.below.start(parent, request, Ok(()));
    }
}

impl<D: BlockDevice> std::fmt::Debug for StripeLane<'_, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StripeLane").finish_non_exhaustive()
    }
}
