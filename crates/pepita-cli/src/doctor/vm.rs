//! KVM.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;

use super::raw::{KvmRequest, kvm as ask, kvm_create_vm};
use super::{Check, read};

const NAME: &str = "kvm";
const DEVICE: &str = "/dev/kvm";
/// What `KVM_GET_API_VERSION` has answered since Linux 2.6.22.
const API_VERSION: i32 = 12;
// include/uapi/linux/kvm.h, v6.12
const KVM_CAP_IRQCHIP: i32 = 0;
const KVM_CAP_IRQFD: i32 = 32;
const KVM_CAP_IOEVENTFD: i32 = 36;
const KVM_CAP_MAX_VCPUS: i32 = 66;

pub(super) fn kvm() -> Check {
    let device = match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(device) => device,
        Err(error) => return unopened(&error),
    };
    match ask(&device, KvmRequest::ApiVersion) {
        Ok(API_VERSION) => {}
        Ok(other) => {
            let detail = format!("{DEVICE} speaks version {other} of its interface");
            return Check::missing(NAME, detail, format!("a kernel with version {API_VERSION}"));
        }
        Err(error) => {
            let detail = format!("{DEVICE} opens and answers: {error}");
            return Check::missing(NAME, detail, "a kernel or sandbox with a working KVM");
        }
    }
    if let Err(error) = kvm_create_vm(&device) {
        let detail = format!("{DEVICE} opens, and KVM_CREATE_VM fails: {error}");
        return Check::missing(NAME, detail, "see the kernel's log (`dmesg | grep kvm`)");
    }
    let extension = |number| ask(&device, KvmRequest::Extension(number)).unwrap_or(0);
    let needed = [
        ("irqchip", KVM_CAP_IRQCHIP),
        ("irqfd", KVM_CAP_IRQFD),
        ("ioeventfd", KVM_CAP_IOEVENTFD),
    ];
    let absent: Vec<_> = needed
        .iter()
        .filter(|(_, number)| extension(*number) == 0)
        .map(|(name, _)| *name)
        .collect();
    let vcpus = extension(KVM_CAP_MAX_VCPUS);
    let (kind, is_hardware) = kind();
    let detail = format!("API {API_VERSION}, a VM can be made, up to {vcpus} vCPUs; {kind}");
    match (absent.is_empty(), is_hardware) {
        (true, true) => Check::ok(NAME, detail),
        (true, false) => Check::limited(
            NAME,
            detail,
            "small guests run; for stock kernels as guests, a host or cloud instance with (nested) \
             VMX or SVM",
        ),
        (false, _) => Check::limited(
            NAME,
            format!("{detail}; without {}", absent.join(", ")),
            "a kernel whose KVM has them",
        ),
    }
}

fn unopened(error: &std::io::Error) -> Check {
    match error.kind() {
        ErrorKind::NotFound => Check::missing(
            NAME,
            format!("no {DEVICE}"),
            "as root: `modprobe kvm_intel` or `modprobe kvm_amd`; turn virtualisation on in the \
             firmware, or nested virtualisation in the hypervisor",
        ),
        ErrorKind::PermissionDenied => Check::missing(
            NAME,
            format!("{DEVICE} is closed to us"),
            "as root: `usermod -aG kvm USER`, then log in again",
        ),
        _ => Check::missing(
            NAME,
            format!("{DEVICE}: {error}"),
            "a kernel with a working KVM",
        ),
    }
}

/// What KVM stands on, in words, and whether that is the processor's own virtualisation.
fn kind() -> (String, bool) {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| {
        cpuinfo
            .lines()
            .filter(|line| line.starts_with("flags") || line.starts_with("Features"))
            .any(|line| line.split_whitespace().any(|word| word == flag))
    };
    let nested = if has("hypervisor") {
        ", nested (this host is a guest itself)"
    } else {
        ""
    };
    let module = |name: &str| Path::new("/sys/module").join(name).exists();
    if module("kvm_intel") && has("vmx") {
        (format!("Intel VMX{nested}"), true)
    } else if module("kvm_amd") && has("svm") {
        (format!("AMD SVM{nested}"), true)
    } else if module("kvm_pvm") {
        (
            "paravirtual (kvm_pvm: no VMX or SVM behind it)".into(),
            false,
        )
    } else if cfg!(target_arch = "x86_64") {
        (
            "of an unknown kind: the processor shows neither VMX nor SVM".into(),
            false,
        )
    } else {
        ("the processor's own virtualisation".into(), true)
    }
}
