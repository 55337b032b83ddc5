//! Operations on every tier of this CPU, against references with more bits.

mod support;
mod vector;
