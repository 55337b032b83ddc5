//! Matrices: views of slices, and their product.

mod gemm;
mod gemv;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;
mod view;

pub(crate) use gemm::Gemm;
pub use gemm::scratch_len;
pub(crate) use gemv::Gemv;
pub(crate) use transpose::transpose;
pub use view::{MatMut, MatRef};
