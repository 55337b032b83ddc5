//! How pages become small: each module is one way.

pub(crate) mod deflate;
pub(crate) mod lz4;

/// What was stored is no page: its bytes were changed, or the code that made or read it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CorruptPage;
