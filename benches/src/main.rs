//! The program that `cargo xtask bench` runs; see the library.

fn main() -> std::process::ExitCode {
    pepita_bench::main()
}
