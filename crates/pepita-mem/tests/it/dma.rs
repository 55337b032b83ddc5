#![expect(
    unsafe_code,
    reason = "plays the driver, which says when a device is done"
)]
//! Buffers that a device has: a thread with its own mapping of the memfd, which knows addresses only.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use pepita_mem::{
    Bidirectional, BuddyAllocator, CoherentBuffer, Direction, DmaAddr, DmaBuffer, DmaDirection,
    DmaError, DmaMask, FrameState, FromDevice, Mapping, Memfd, MemfdDma, PAGE_SIZE, Pfn, PfnRange,
    Protection, SgList, ToDevice,
};

/// 4 MiB on both sides of 4 GiB.
const GUEST: PfnRange = PfnRange::new(Pfn::new((4 << 30) / 4096 - 512), 1024);
const LOW: DmaMask = DmaMask::new(32);

/// The books of the guest's frames.
struct Guest {
    states: Vec<FrameState>,
    words: Vec<u64>,
}

impl Guest {
    fn new() -> Self {
        Self {
            states: GUEST.iter().map(|_| FrameState::new()).collect(),
            words: vec![0; BuddyAllocator::words_for(GUEST)],
        }
    }

    fn frames(&mut self) -> BuddyAllocator<'_> {
        let mut frames = BuddyAllocator::new(GUEST, &mut self.states, &mut self.words).unwrap();
        frames.add(GUEST).unwrap();
        frames
    }

    fn platform(&mut self) -> (Memfd, MemfdDma<'_>) {
        let memfd = Memfd::new("guest", 4 << 20).unwrap();
        let platform = MemfdDma::new(&memfd, self.frames()).unwrap();
        (memfd, platform)
    }
}

/// A device: it sees the memfd, and adds one to each byte that it is told of.
struct Device {
    orders: Sender<Vec<(DmaAddr, usize)>>,
    done: Receiver<()>,
}

impl Device {
    fn start(memfd: &Memfd) -> Self {
        let mut memory = memfd.map().unwrap();
        let (orders, inbox) = channel::<Vec<(DmaAddr, usize)>>();
        let (interrupt, done) = channel();
        thread::spawn(move || {
            for order in inbox {
                for (addr, len) in order {
                    let base = GUEST.start().to_addr().as_u64();
                    let offset = usize::try_from(addr.as_u64() - base).unwrap();
                    let mut bytes = vec![0; len];
                    memory.read_at(offset, &mut bytes).unwrap();
                    let added = bytes.iter().map(|byte| byte.wrapping_add(1));
                    let added: Vec<u8> = added.collect();
                    memory.write_at(offset, &added).unwrap();
                }
                interrupt.send(()).unwrap();
            }
        });
        Self { orders, done }
    }

    /// Lets the device work, and waits for its interrupt.
    fn run(&self, order: Vec<(DmaAddr, usize)>) {
        self.orders.send(order).unwrap();
        self.done.recv().unwrap();
    }
}

#[test]
fn a_buffer_goes_to_the_device_and_comes_back() {
    let mut guest = Guest::new();
    let (memfd, platform) = guest.platform();
    let device = Device::start(&memfd);
    let mut buffer = DmaBuffer::<Bidirectional, _>::new(&platform, 5000, LOW).unwrap();
    buffer.write_at(4998, &[1, 2]).unwrap();
    let flight = buffer.submit();
    assert!(LOW.reaches(flight.addr(), flight.len() as u64));
    device.run(vec![(flight.addr(), flight.len())]);
    // SAFETY: the device has said that it is done.
    let buffer = unsafe { flight.complete() };
    let mut seen = [0; 3];
    buffer.read_at(4997, &mut seen).unwrap();
    assert_eq!(seen, [1, 2, 3], "0, 1, 2, and one each");
    let error = DmaError::Bounds {
        offset: 4999,
        bytes: 2,
        len: 5000,
    };
    assert_eq!(buffer.read_at(4999, &mut [0; 2]), Err(error));
}

#[test]
fn memory_is_zeroed_for_the_next_and_all_of_it_comes_back() {
    let mut guest = Guest::new();
    let (memfd, platform) = guest.platform();
    let device = Device::start(&memfd);
    for turn in 0..3 {
        let all = DmaBuffer::<FromDevice, _>::new(&platform, 4 << 20, DmaMask::ALL).unwrap();
        let more = DmaBuffer::<ToDevice, _>::new(&platform, 1, DmaMask::ALL).unwrap_err();
        assert_eq!(
            more,
            DmaError::NoMemory {
                bytes: 1,
                mask: DmaMask::ALL
            }
        );
        let mut bytes = vec![9; 4 << 20];
        all.read_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "turn {turn}");
        let flight = all.submit();
        device.run(vec![(flight.addr(), flight.len())]);
        // SAFETY: the device has said that it is done.
        let all = unsafe { flight.complete() };
        all.read_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 1), "turn {turn}");
    }
}

#[test]
fn what_a_device_has_is_never_freed() {
    let mut guest = Guest::new();
    let (_memfd, platform) = guest.platform();
    let flight = DmaBuffer::<ToDevice, _>::new(&platform, 1 << 20, LOW)
        .unwrap()
        .submit();
    drop(flight);
    let mut ring = CoherentBuffer::new(&platform, 1 << 20, LOW).unwrap();
    let lost = ring.expose();
    drop(ring);
    assert!(LOW.reaches(lost, 1 << 20));
    assert!(
        CoherentBuffer::new(&platform, 1, LOW).is_err(),
        "2 MiB are below 4 GiB, both gone"
    );
    assert!(CoherentBuffer::new(&platform, 2 << 20, DmaMask::ALL).is_ok());
}

#[test]
fn a_ring_is_seen_by_both_sides_without_a_handover() {
    let mut guest = Guest::new();
    let (memfd, platform) = guest.platform();
    let device = Device::start(&memfd);
    let mut ring = CoherentBuffer::new(&platform, 64, LOW).unwrap();
    let addr = ring.expose();
    for turn in 0..10 {
        ring.write_at(0, &[turn]).unwrap();
        device.run(vec![(addr, 64)]);
        let mut seen = [0; 2];
        ring.read_at(0, &mut seen).unwrap();
        assert_eq!(seen, [turn + 1, turn + 1]);
    }
    // SAFETY: the device works on orders only, and has done the last.
    unsafe { ring.conceal() };
    drop(ring);
    assert!(
        CoherentBuffer::new(&platform, 2 << 20, LOW).is_ok(),
        "it is free again"
    );
}

/// One pass of `memory`, filled with 7, through the device: what it holds afterwards.
#[track_caller]
fn bounce<D: Direction>(want: u8) {
    let mut guest = Guest::new();
    let (memfd, platform) = guest.platform();
    let device = Device::start(&memfd);
    let mut memory = Mapping::anonymous(3 * PAGE_SIZE).unwrap();
    memory.as_mut_slice().unwrap().fill(7);
    let list: SgList<4, _, D, _> = SgList::new(&platform, memory, LOW).unwrap();
    assert_eq!(list.bounced(), 1);
    let flight = list.submit();
    let segments: Vec<_> = flight.segments().collect();
    assert_eq!(
        segments.iter().map(|segment| segment.1).sum::<usize>(),
        3 * PAGE_SIZE
    );
    assert!(
        segments
            .iter()
            .all(|(addr, bytes)| LOW.reaches(*addr, *bytes as u64))
    );
    device.run(segments);
    // SAFETY: the device has said that it is done.
    let memory = unsafe { flight.complete() }.into_memory();
    let bytes = memory.as_slice().unwrap();
    assert!(bytes.iter().all(|byte| *byte == want), "{:?}", D::DIRECTION);
    let all = DmaBuffer::<D, _>::new(&platform, 2 << 20, LOW);
    assert!(all.is_ok(), "the bounce buffer is free again");
}

#[test]
fn memory_that_no_device_sees_goes_through_a_bounce_buffer() {
    bounce::<FromDevice>(8);
    bounce::<Bidirectional>(8);
    bounce::<ToDevice>(7);
}

#[test]
fn what_a_device_leaves_alone_comes_back_as_it_was() {
    let mut guest = Guest::new();
    let (memfd, platform) = guest.platform();
    let device = Device::start(&memfd);
    let mut memory = Mapping::anonymous(PAGE_SIZE).unwrap();
    memory.as_mut_slice().unwrap().fill(7);
    let list: SgList<1, _, FromDevice, _> = SgList::new(&platform, memory, LOW).unwrap();
    let flight = list.submit();
    let (addr, _) = flight.segments().next().unwrap();
    device.run(vec![(addr, 1)]);
    // SAFETY: the device has said that it is done.
    let memory = unsafe { flight.complete() }.into_memory();
    assert_eq!(memory.as_slice().unwrap()[..2], [8, 7]);
}

#[test]
fn memory_comes_back_when_it_cannot_be_given() {
    let mut guest = Guest::new();
    let (_memfd, platform) = guest.platform();
    let large = Mapping::anonymous(8 << 20).unwrap();
    let addr = large.addr();
    let (large, error) = SgList::<1, _, ToDevice, _>::new(&platform, large, LOW).unwrap_err();
    assert_eq!(
        error,
        DmaError::NoMemory {
            bytes: 8 << 20,
            mask: LOW
        }
    );
    assert_eq!((large.addr(), error.errno().raw()), (addr, 12));
    let (large, error) = SgList::<0, _, ToDevice, _>::new(&platform, large, LOW).unwrap_err();
    assert_eq!(error, DmaError::Segments { max: 0 });
    let mut large = large;
    large.protect(Protection::READ).unwrap();
    let (_, error) = SgList::<1, _, ToDevice, _>::new(&platform, large, LOW).unwrap_err();
    assert_eq!(
        error,
        DmaError::Nothing,
        "what cannot be written is no memory for a device"
    );
}

#[test]
fn directions_are_types_and_values() {
    use DmaDirection as Way;
    for (direction, to, from) in [
        (Way::ToDevice, true, false),
        (Way::FromDevice, false, true),
        (Way::Bidirectional, true, true),
    ] {
        assert_eq!((direction.to_device(), direction.from_device()), (to, from));
    }
    assert_eq!(<ToDevice as Direction>::DIRECTION, Way::ToDevice);
}

#[test]
fn a_memfd_must_hold_every_frame() {
    let memfd = Memfd::new("small", PAGE_SIZE).unwrap();
    let mut guest = Guest::new();
    let error = MemfdDma::new(&memfd, guest.frames()).unwrap_err();
    assert_eq!(error.errno().raw(), 14, "{error}");
}
