//! Definitions that enumerate themselves, so that the test of the ABI can leave nothing out.
//!
//! Constants of the kernel are defined by `constants!`, structures by `structs!`, and by nothing
//! else; each call also makes a table for `tests`, which compares it with what the C compiler says of
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

/// Defines structures as the kernel lays them out, asserts size and offsets, and makes their table.
///
/// `Name = "kernel_name", size { field: Type = offset [other names], }`. The other names are those that
/// the kernel's structure has for the same bytes or a part of them: members of a union, or a name that
/// starts with underscores.
macro_rules! structs {
    ($(
        $(#[$meta:meta])*
        $name:ident = $kernel:literal, $size:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty = $offset:literal $([$($alias:ident),*])?,)*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[doc = concat!("\n\n`struct ", $kernel, "`, ", stringify!($size), " bytes.")]
            #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
            };
        )*

        #[cfg(test)]
        pub(crate) const STRUCTS: &[crate::abi::tests::Struct] = &[
            $(crate::abi::tests::Struct {
                name: $kernel,
                size: size_of::<$name>(),
                fields: &[
                    $(crate::abi::tests::Field {
                        name: stringify!($field),
                        aliases: &[$($(stringify!($alias)),*)?],
                        offset: core::mem::offset_of!($name, $field),
                        size: {
                            const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
                                size_of::<F>()
                            }
                            size_of_field(|value: &$name| &value.$field)
                        },
                    },)*
                ],
            },)*
        ];
    };
}

#[cfg(test)]
pub(crate) mod tests;
