//! The project's own commands: `cargo xtask ci`, `tidy`, `lab`, `bench`.

fn main() {}
