//! What the driver can do: `pepita ublk features`.

use pepita::io::ublk::Control;
use pepita::ublk::*;
use serde_json::json;

use super::Problem;

/// Something that a driver may have.
struct Feature {
    name: &'static str,
    flag: u64,
    /// The first kernel with it.
    since: &'static str,
    /// Whether `pepita ublk` makes use of it.
    is_used: bool,
}

const fn feature(name: &'static str, flag: u64, since: &'static str, is_used: bool) -> Feature {
    Feature {
        name,
        flag,
        since,
        is_used,
    }
}

/// In the order of their bits. Source: `include/uapi/linux/ublk_cmd.h` of each kernel.
const FEATURES: [Feature; 20] = [
    feature("zero-copy", UBLK_F_SUPPORT_ZERO_COPY, "6.15", false),
    feature(
        "complete-in-task",
        UBLK_F_URING_CMD_COMP_IN_TASK,
        "6.0",
        false,
    ),
    feature("need-get-data", UBLK_F_NEED_GET_DATA, "6.0", true),
    feature("recovery", UBLK_F_USER_RECOVERY, "6.1", true),
    feature(
        "recovery-reissue",
        UBLK_F_USER_RECOVERY_REISSUE,
        "6.1",
        true,
    ),
    feature("unprivileged", UBLK_F_UNPRIVILEGED_DEV, "6.3", true),
    feature("ioctl-encoding", UBLK_F_CMD_IOCTL_ENCODE, "6.4", true),
    feature("user-copy", UBLK_F_USER_COPY, "6.5", true),
    feature("zoned", UBLK_F_ZONED, "6.6", true),
    feature(
        "recovery-fail-io",
        UBLK_F_USER_RECOVERY_FAIL_IO,
        "6.13",
        false,
    ),
    feature("update-size", UBLK_F_UPDATE_SIZE, "6.16", false),
    feature(
        "auto-buffer-registration",
        UBLK_F_AUTO_BUF_REG,
        "6.16",
        false,
    ),
    feature("quiesce", UBLK_F_QUIESCE, "6.16", false),
    feature("per-io-daemon", UBLK_F_PER_IO_DAEMON, "6.16", false),
    feature(
        "buffer-registration-anywhere",
        UBLK_F_BUF_REG_OFF_DAEMON,
        "6.17",
        false,
    ),
    feature("batch", UBLK_F_BATCH_IO, "7.0", false),
    feature("integrity", UBLK_F_INTEGRITY, "7.0", false),
    feature("safe-stop", UBLK_F_SAFE_STOP_DEV, "7.0", false),
    feature("no-partition-scan", UBLK_F_NO_AUTO_PART_SCAN, "7.0", false),
    feature("shared-memory-zero-copy", UBLK_F_SHMEM_ZC, "7.1", false),
];

/// The names of `flags`, for people.
pub(super) fn names(flags: u64) -> String {
    let named = FEATURES.iter().filter(|feature| flags & feature.flag != 0);
    named
        .map(|feature| feature.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What `pepita ublk features` shows.
pub(super) fn show(is_json: bool) -> Result<String, Problem> {
    let flags = Control::open()?.features()?;
    if is_json {
        let features = FEATURES.iter().map(|Feature { name, flag, since, is_used }| {
            json!({ "name": name, "driver": flags & flag != 0, "since": since, "used": is_used })
        });
        return Ok(
            json!({ "flags": flags, "features": features.collect::<Vec<_>>() }).to_string() + "\n",
        );
    }
    let mut text = format!(
        "{:<30} {:<8} {:<7} used by pepita\n",
        "feature", "since", "driver"
    );
    for Feature {
        name,
        flag,
        since,
        is_used,
    } in &FEATURES
    {
        let (has, used) = (yes(flags & flag != 0), yes(*is_used));
        text += &format!("{name:<30} {since:<8} {has:<7} {used}\n");
    }
    Ok(text)
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "-" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_named_once_in_order() {
        for (bit, feature) in FEATURES.iter().enumerate() {
            assert_eq!(feature.flag, 1 << bit, "{}", feature.name);
        }
        assert_eq!(
            names(UBLK_F_ZONED | UBLK_F_USER_RECOVERY),
            "recovery, zoned"
        );
    }
}
