//! Devices and lanes behind pointers are devices and lanes.

use super::device::{BlockDevice, DeviceId, Lane};
use super::geometry::Geometry;
use super::request::Request;
use crate::error::Result;

/// Implements [`BlockDevice`] for pointers, whose lanes borrow what they point to.
macro_rules! devices {
    ($($pointer:ty),*) => {$(
        impl<D: BlockDevice> BlockDevice for $pointer {
            type Lane<'d>
                = D::Lane<'d>
            where
                Self: 'd;

            fn geometry(&self) -> Geometry {
                (**self).geometry()
            }

            fn id(&self) -> DeviceId {
                (**self).id()
            }

            fn open_lane(&self, depth: u16) -> Result<Self::Lane<'_>> {
                (**self).open_lane(depth)
            }
        }
    )*};
}

devices!(&D);
#[cfg(feature = "std")]
devices!(std::sync::Arc<D>, std::boxed::Box<D>);

/// Implements [`Lane`] for pointers.
macro_rules! lanes {
    ($($pointer:ty),*) => {$(
        impl<L: Lane + ?Sized> Lane for $pointer {
            #[inline]
            fn submit(&mut self, request: Request) -> core::result::Result<(), Request> {
                (**self).submit(request)
            }

            #[inline]
            fn commit(&mut self) {
                (**self).commit();
            }

            #[inline]
            fn poll(&mut self) {
                (**self).poll();
            }

            #[inline]
            fn descriptor(&self) -> Option<i32> {
                (**self).descriptor()
            }
        }
    )*};
}

lanes!(&mut L);
#[cfg(feature = "std")]
lanes!(std::boxed::Box<L>);
