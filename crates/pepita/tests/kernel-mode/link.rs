//! How the program is linked: without the C library's start files, which want its `main`, and at a fixed
//! address, since nobody would relocate it.

fn main() {
    for argument in ["-nostartfiles", "-static", "-no-pie"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed=link.rs");
}
