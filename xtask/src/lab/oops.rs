//! What a kernel that has panicked says of its reason.

use std::fmt;

/// What begins the first report of a fault in the kernel's log.
const BEGINNINGS: [&str; 7] = [
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "general protection fault",
    "stack segment: ",
    "invalid opcode: ",
    "double fault: ",
];

/// How many functions of the call trace are told.
const CALLERS_MAX: usize = 16;

/// A kernel's panic, and the fault that it began with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Oops {
    /// What the panic itself says, such as "Fatal exception in interrupt".
    reason: String,
    /// The lines of the first fault that say what it was, which task had it, where and by which calls.
    fault: Vec<String>,
}

impl Oops {
    /// The panic that `log` tells of, if any.
    pub(super) fn read(log: &str) -> Option<Self> {
        let (_, reason) = log.split_once("Kernel panic - not syncing: ")?;
        let reason = reason.lines().next().unwrap_or_default().trim().to_owned();
        let fault = fault(log).map(digest).unwrap_or_default();
        Some(Self { reason, fault })
    }
}

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.fault
            .iter()
            .try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// The log from its first fault on.
pub(super) fn fault(log: &str) -> Option<&str> {
    let line = log.lines().find(|line| {
        let said = without_time(line);
        BEGINNINGS.iter().any(|begin| said.starts_with(begin))
    })?;
    let at = line.as_ptr() as usize - log.as_ptr() as usize;
    Some(&log[at..])
}

/// The lines of a fault that tell the most.
fn digest(fault: &str) -> Vec<String> {
    let mut lines = fault.lines().map(without_time);
    let mut told: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    let mut callers = Vec::new();
    for line in lines {
        if line.starts_with("</TASK>") || line.starts_with("---[ end trace") {
            break;
        }
        if ["CPU: ", "Workqueue: ", "RIP: 0010:"]
            .iter()
            .any(|begin| line.starts_with(begin))
        {
            told.push(line.to_owned());
        }
        // A caller that the unwinder is not sure of begins with a question mark.
        if callers.len() < CALLERS_MAX && line.contains("+0x") && !line.contains([':', '?']) {
            callers.push(line.split("+0x").next().unwrap_or(line));
        }
    }
    if !callers.is_empty() {
        told.push(format!("called by {}", callers.join(", ")));
    }
    told
}

/// `line` of the log without its time.
fn without_time(line: &str) -> &str {
    let said = line.trim();
    said.strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(said, |(_, said)| said.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    1.0] ublk: hello\r\n\
        [   10.1] BUG: unable to handle page fault for address: ffff8c3e00000000\r\n\
        [   10.1] #PF: supervisor read access in kernel mode\r\n\
        [   10.1] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI\r\n\
        [   10.1] CPU: 0 UID: 0 PID: 3786 Comm: kworker/0:1 Not tainted 6.12\r\n\
        [   10.1] Workqueue: events vduse_work\r\n\
        [   10.1] RIP: 0010:first_function+0x12/0x40\r\n\
        [   10.1] Call Trace:\r\n\
        [   10.1]  <TASK>\r\n\
        [   10.1]  ? __die_body+0x1a/0x60\r\n\
        [   10.1]  caller+0x5/0x10 [vduse]\r\n\
        [   10.1]  its_caller+0x5/0x10\r\n\
        [   10.1]  </TASK>\r\n\
        [   10.2] BUG: another\r\n\
        [   10.3] Kernel panic - not syncing: Fatal exception in interrupt\r\n";

    #[test]
    fn a_panic_tells_its_first_fault_with_place_and_callers() {
        let oops = Oops::read(LOG).expect("the log has a panic");
        let said = "Fatal exception in interrupt\n    \
            BUG: unable to handle page fault for address: ffff8c3e00000000\n    \
            CPU: 0 UID: 0 PID: 3786 Comm: kworker/0:1 Not tainted 6.12\n    \
            Workqueue: events vduse_work\n    \
            RIP: 0010:first_function+0x12/0x40\n    \
            called by caller, its_caller";
        assert_eq!(oops.to_string(), said);
    }

    #[test]
    fn a_panic_without_a_fault_tells_its_reason_alone() {
        let log =
            "[ 1.0] Kernel panic - not syncing: No working init found.  Try passing\n[ 1.0] more\n";
        let oops = Oops::read(log).expect("the log has a panic");
        assert_eq!(oops.to_string(), "No working init found.  Try passing");
        assert_eq!(Oops::read("[ 1.0] BUG: a fault that nobody minds\n"), None);
    }
}
