//! Operations on every tier of this CPU, against references with more bits.

mod roof;
mod support;
mod vector;
