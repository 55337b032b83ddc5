//! [`Protection`].

use core::ops::BitOr;

/// What a program may do with the pages of a mapping.
///
/// ```
/// use pepita_mem::Protection;
///
/// assert_eq!(Protection::READ | Protection::WRITE, Protection::READ_WRITE);
/// assert!(Protection::READ_WRITE.is_writable() && !Protection::READ.is_writable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protection(u8);

impl Protection {
    /// Nothing: every access is a fault.
    pub const NONE: Self = Self(0);
    /// Read.
    pub const READ: Self = Self(1);
    /// Write.
    pub const WRITE: Self = Self(2);
    /// Execute.
    pub const EXEC: Self = Self(4);
    /// Read and write.
    pub const READ_WRITE: Self = Self(3);

    /// Whether reads are allowed.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.has(Self::READ)
    }

    /// Whether writes are allowed.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.has(Self::WRITE)
    }

    /// Whether execution is allowed.
    #[must_use]
    pub const fn is_executable(self) -> bool {
        self.has(Self::EXEC)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Protection {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_protection_allows_what_its_parts_allow(a: Protection, b: Protection) {
            let rights = |one: Protection| [one.is_readable(), one.is_writable(), one.is_executable()];
            let (a_rights, b_rights) = (rights(a), rights(b));
            prop_assert_eq!(rights(a | b), [0, 1, 2].map(|right| a_rights[right] || b_rights[right]));
            prop_assert_eq!(a == b, a_rights == b_rights);
        }
    }
}
