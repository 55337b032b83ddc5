//! Sockets between a guest and the host, as the guest's driver and the host's programs see them. virtio 1.3, 5.10

mod flow;
mod hostile;
mod life;
mod programs;
mod rig;
