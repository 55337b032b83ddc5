//! Transports: what a driver may do with a device, and what comes of what it must not do.

mod life;
mod mmio;
mod pci;
mod probe;
mod queues;

use pepita_virtio::RingFeatures;

use crate::guest::{Guest, TRANSPORTS, Transport};
use probe::{Probe, Told};

/// All that a driver can accept of rings, but for what is said otherwise.
pub(crate) fn rings(packed: bool) -> u64 {
    let rings = RingFeatures {
        indirect: true,
        event_index: true,
        packed,
        in_order: false,
    };
    rings.to_bits()
}

/// Lets a story be told on each transport, of a driver that has done nothing yet.
fn on_each(story: impl Fn(Guest, Told)) {
    for transport in TRANSPORTS {
        on(transport, &story);
    }
}

fn on(transport: Transport, story: &impl Fn(Guest, Told)) {
    let (probe, told) = Probe::new();
    story(Guest::new(transport, Box::new(probe)), told);
}

/// The same of a driver that is ready.
fn on_each_ready(story: impl Fn(Guest, Told)) {
    on_each(|mut guest, told| {
        guest.init(probe::FEATURE | rings(false) | pepita_virtio::VIRTIO_F_RING_RESET);
        guest.bus.interrupts();
        told.take();
        story(guest, told);
    });
}
