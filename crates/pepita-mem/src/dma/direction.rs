//! Which way the bytes go, as a value ([`DmaDirection`]) and in a type ([`Direction`]).

/// Which way the bytes of a transfer go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DmaDirection {
    /// The device reads what the CPU wrote.
    ToDevice,
    /// The CPU reads what the device wrote.
    FromDevice,
    /// Both.
    Bidirectional,
}

impl DmaDirection {
    /// Whether the device reads.
    #[must_use]
    pub const fn to_device(self) -> bool {
        matches!(self, Self::ToDevice | Self::Bidirectional)
    }

    /// Whether the device writes.
    #[must_use]
    pub const fn from_device(self) -> bool {
        matches!(self, Self::FromDevice | Self::Bidirectional)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A direction as a type parameter; [`ToDevice`], [`FromDevice`] and [`Bidirectional`] are all there are.
pub trait Direction: sealed::Sealed {
    /// The same as a value.
    const DIRECTION: DmaDirection;
}

/// Directions in which the CPU writes.
pub trait CpuWrites: Direction {}

/// Directions in which the CPU reads.
pub trait CpuReads: Direction {}

/// The device reads what the CPU wrote.
#[derive(Debug)]
pub enum ToDevice {}

/// The CPU reads what the device wrote.
#[derive(Debug)]
pub enum FromDevice {}

/// Both.
#[derive(Debug)]
pub enum Bidirectional {}

macro_rules! directions {
    ($($Name:ident: $($Side:ident)+;)+) => {
        $(
            impl sealed::Sealed for $Name {}
            impl Direction for $Name {
                const DIRECTION: DmaDirection = DmaDirection::$Name;
            }
            $(impl $Side for $Name {})+
        )+
    };
}

directions! {
    ToDevice: CpuWrites;
    FromDevice: CpuReads;
    Bidirectional: CpuWrites CpuReads;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_go_one_way_or_both(direction: DmaDirection) {
            let is_both = direction.to_device() && direction.from_device();
            prop_assert!(direction.to_device() || direction.from_device());
            prop_assert_eq!(is_both, direction == DmaDirection::Bidirectional);
        }
    }
}
