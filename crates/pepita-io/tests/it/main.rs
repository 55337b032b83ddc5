//! Tests on the running kernel.

mod ring;
