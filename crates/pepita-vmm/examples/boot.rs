//! Boots a kernel, with its console on standard output.
//!
//! ```sh
//! cargo run --release -p pepita-vmm --example boot -- /boot/vmlinuz "console=ttyS0 panic=-1" /boot/initrd.img
//! ```

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use pepita_vmm::{MicroVm, VmConfig};

    let mut arguments = std::env::args().skip(1);
    let kernel = arguments
        .next()
        .ok_or("usage: boot KERNEL [COMMAND-LINE [INITRD]]")?;
    let mut config = VmConfig::builder().memory_mb(256).kernel_path(kernel);
    if let Some(cmdline) = arguments.next() {
        config = config.kernel_cmdline(cmdline);
    }
    if let Some(initrd) = arguments.next() {
        config = config.initrd_path(initrd);
    }
    let vm = MicroVm::with_console(config.build()?, std::io::stdout())?;
    let reason = vm.run()?;
    println!("{reason:?} after {} exits", vm.exit_count());
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {}
