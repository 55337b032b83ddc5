//! Definitions that enumerate themselves, so that the test of the ABI can leave nothing out.
//!
//! Constants of the kernel are defined by [`constants!`], structures by [`structs!`], and by nothing
//! else; each call also makes a table for [`tests`], which compares it with what the C compiler says of
//! the kernel's headers.

/// Defines constants, and the table of their names and values.
macro_rules! constants {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$meta])* pub const $name: $type = $value;)*

        #[cfg(test)]
        pub(crate) const CONSTANTS: &[crate::abi::tests::Constant] = &[
            $(crate::abi::tests::Constant { name: stringify!($name), value: $name as i128 },)*
        ];
    };
}

#[cfg(test)]
pub(crate) mod tests;
