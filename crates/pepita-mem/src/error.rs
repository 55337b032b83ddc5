//! The errors of this crate as [`KernelError`]s, for programs that use one type throughout.

use pepita_sys::error::KernelError;

/// Each error as the failure of the operation that it is about, with its error number.
macro_rules! convert {
    ($($(#[$condition:meta])* $error:ty => $operation:literal,)*) => {$(
        $(#[$condition])*
        impl From<$error> for KernelError {
            fn from(error: $error) -> Self {
                Self::from_errno($operation, error.errno())
            }
        }
    )*};
}

convert! {
    crate::AddError => "adding frames to an allocator",
    crate::AddrError => "making an address",
    crate::AllocError => "allocating frames",
    crate::DmaError => "making a DMA buffer",
    crate::FreeError => "freeing frames",
    crate::RangeError => "making a range of addresses",
    crate::SetupError => "setting up an allocator",
    crate::SizeError => "making a page size",
    #[cfg(feature = "std")]
    crate::MapError => "mapping memory",
    #[cfg(feature = "std")]
    crate::PagemapError => "reading /proc/self/pagemap",
}

#[cfg(test)]
mod tests {
    use pepita_sys::error::{Errno, KernelError};

    #[test]
    fn an_error_keeps_its_number_as_a_kernel_error() {
        let error = KernelError::from(crate::AllocError::Nothing);
        assert_eq!(error.to_errno(), Errno::EINVAL);
        assert_eq!(
            error.to_string(),
            "allocating frames: EINVAL (22): invalid argument"
        );
    }
}
