//! The table of operations in `abi/operations.md`: it is what this file says, and this file is true.

use std::fmt::Write;

use pepita_sys::io_uring::IORING_OP_NOP;

use crate::ring::Ring;

/// Operation, the kernel that brought it (io_uring_enter(2)), its builder, and the test that submits it.
/// Without builder: nothing here can run it.
const OPERATIONS: [(&str, &str, &str, &str); 65] = [
    (
        "NOP",
        "5.1",
        "nop",
        "nop_completes_with_nothing_or_what_it_is_told",
    ),
    (
        "READV",
        "5.1",
        "readv",
        "writev_and_readv_move_several_pieces",
    ),
    (
        "WRITEV",
        "5.1",
        "writev",
        "writev_and_readv_move_several_pieces",
    ),
    (
        "FSYNC",
        "5.1",
        "fsync",
        "fsync_and_sync_file_range_take_files_and_refuse_pipes",
    ),
    (
        "READ_FIXED",
        "5.1",
        "read_fixed",
        "write_fixed_and_read_fixed_use_a_registered_buffer",
    ),
    (
        "WRITE_FIXED",
        "5.1",
        "write_fixed",
        "write_fixed_and_read_fixed_use_a_registered_buffer",
    ),
    (
        "POLL_ADD",
        "5.1",
        "poll_add",
        "poll_add_tells_events_once_or_again_and_again",
    ),
    (
        "POLL_REMOVE",
        "5.1",
        "poll_remove",
        "polls_are_changed_and_removed",
    ),
    (
        "SYNC_FILE_RANGE",
        "5.2",
        "sync_file_range",
        "fsync_and_sync_file_range_take_files_and_refuse_pipes",
    ),
    (
        "SENDMSG",
        "5.3",
        "sendmsg",
        "sendmsg_and_recvmsg_move_messages",
    ),
    (
        "RECVMSG",
        "5.3",
        "recvmsg",
        "sendmsg_and_recvmsg_move_messages",
    ),
    (
        "TIMEOUT",
        "5.4",
        "timeout",
        "timeout_ends_by_time_or_by_count",
    ),
    (
        "TIMEOUT_REMOVE",
        "5.5",
        "timeout_remove",
        "timeouts_are_changed_and_removed",
    ),
    (
        "ACCEPT",
        "5.5",
        "accept",
        "a_server_is_made_by_socket_bind_listen_and_accept",
    ),
    (
        "ASYNC_CANCEL",
        "5.5",
        "cancel",
        "cancel_ends_what_waits_by_user_data_descriptor_or_all",
    ),
    (
        "LINK_TIMEOUT",
        "5.5",
        "link_timeout",
        "link_timeout_cancels_what_it_is_linked_to",
    ),
    ("CONNECT", "5.5", "connect", "connect_reaches_who_listens"),
    (
        "FALLOCATE",
        "5.6",
        "fallocate",
        "fallocate_and_ftruncate_change_the_length",
    ),
    ("OPENAT", "5.6", "openat", "openat_opens_and_makes_files"),
    ("CLOSE", "5.6", "close", "close_ends_a_descriptor"),
    (
        "FILES_UPDATE",
        "5.6",
        "files_update",
        "the_file_table_is_updated_used_and_emptied",
    ),
    ("STATX", "5.6", "statx", "statx_tells_the_length"),
    (
        "READ",
        "5.6",
        "read",
        "write_and_read_move_bytes_at_an_offset",
    ),
    (
        "WRITE",
        "5.6",
        "write",
        "write_and_read_move_bytes_at_an_offset",
    ),
    (
        "FADVISE",
        "5.6",
        "fadvise",
        "fadvise_takes_known_advice_only",
    ),
    ("MADVISE", "5.6", "madvise", "madvise_can_empty_a_page"),
    ("SEND", "5.6", "send", "send_and_recv_move_bytes"),
    ("RECV", "5.6", "recv", "send_and_recv_move_bytes"),
    (
        "OPENAT2",
        "5.6",
        "openat2",
        "openat2_resolves_as_it_is_told",
    ),
    (
        "EPOLL_CTL",
        "5.6",
        "epoll_ctl",
        "epoll_instances_are_changed_and_waited_for",
    ),
    (
        "SPLICE",
        "5.7",
        "splice",
        "splice_moves_between_a_file_and_a_pipe",
    ),
    (
        "PROVIDE_BUFFERS",
        "5.7",
        "provide_buffers",
        "the_kernel_picks_provided_buffers_until_they_are_taken_back",
    ),
    (
        "REMOVE_BUFFERS",
        "5.7",
        "remove_buffers",
        "the_kernel_picks_provided_buffers_until_they_are_taken_back",
    ),
    ("TEE", "5.8", "tee", "tee_copies_what_stays_in_the_pipe"),
    (
        "SHUTDOWN",
        "5.11",
        "shutdown",
        "shutdown_ends_one_direction",
    ),
    (
        "RENAMEAT",
        "5.11",
        "renameat",
        "names_are_made_moved_and_removed",
    ),
    (
        "UNLINKAT",
        "5.11",
        "unlinkat",
        "names_are_made_moved_and_removed",
    ),
    (
        "MKDIRAT",
        "5.15",
        "mkdirat",
        "names_are_made_moved_and_removed",
    ),
    (
        "SYMLINKAT",
        "5.15",
        "symlinkat",
        "names_are_made_moved_and_removed",
    ),
    (
        "LINKAT",
        "5.15",
        "linkat",
        "names_are_made_moved_and_removed",
    ),
    (
        "MSG_RING",
        "5.18",
        "msg_ring",
        "messages_and_files_reach_another_ring",
    ),
    (
        "FSETXATTR",
        "5.19",
        "fsetxattr",
        "attributes_are_set_and_got_by_path_and_descriptor",
    ),
    (
        "SETXATTR",
        "5.19",
        "setxattr",
        "attributes_are_set_and_got_by_path_and_descriptor",
    ),
    (
        "FGETXATTR",
        "5.19",
        "fgetxattr",
        "attributes_are_set_and_got_by_path_and_descriptor",
    ),
    (
        "GETXATTR",
        "5.19",
        "getxattr",
        "attributes_are_set_and_got_by_path_and_descriptor",
    ),
    (
        "SOCKET",
        "5.19",
        "socket",
        "a_server_is_made_by_socket_bind_listen_and_accept",
    ),
    (
        "URING_CMD",
        "5.19",
        "uring_cmd",
        "a_socket_says_how_much_it_holds_in_small_and_large_entries",
    ),
    (
        "SEND_ZC",
        "6.0",
        "send_zc",
        "zero_copy_sends_say_when_the_buffer_is_free",
    ),
    (
        "SENDMSG_ZC",
        "6.1",
        "sendmsg_zc",
        "zero_copy_sends_say_when_the_buffer_is_free",
    ),
    (
        "READ_MULTISHOT",
        "6.7",
        "read_multishot",
        "read_multishot_completes_for_every_arrival",
    ),
    ("WAITID", "6.7", "waitid", "waitid_waits_for_a_child"),
    (
        "FUTEX_WAIT",
        "6.7",
        "futex_wait",
        "futexes_are_waited_for_and_woken",
    ),
    (
        "FUTEX_WAKE",
        "6.7",
        "futex_wake",
        "futexes_are_waited_for_and_woken",
    ),
    (
        "FUTEX_WAITV",
        "6.7",
        "futex_waitv",
        "futexes_are_waited_for_and_woken",
    ),
    (
        "FIXED_FD_INSTALL",
        "6.8",
        "fixed_fd_install",
        "fixed_fd_install_makes_a_descriptor_of_a_slot",
    ),
    (
        "FTRUNCATE",
        "6.9",
        "ftruncate",
        "fallocate_and_ftruncate_change_the_length",
    ),
    (
        "BIND",
        "6.11",
        "bind",
        "a_server_is_made_by_socket_bind_listen_and_accept",
    ),
    (
        "LISTEN",
        "6.11",
        "listen",
        "a_server_is_made_by_socket_bind_listen_and_accept",
    ),
    ("RECV_ZC", "6.15", "", ""),
    (
        "EPOLL_WAIT",
        "6.15",
        "epoll_wait",
        "epoll_instances_are_changed_and_waited_for",
    ),
    (
        "READV_FIXED",
        "6.15",
        "readv_fixed",
        "writev_fixed_and_readv_fixed_use_pieces_of_a_registered_buffer",
    ),
    (
        "WRITEV_FIXED",
        "6.15",
        "writev_fixed",
        "writev_fixed_and_readv_fixed_use_pieces_of_a_registered_buffer",
    ),
    (
        "PIPE",
        "6.16",
        "pipe",
        "pipe_makes_two_connected_descriptors",
    ),
    ("NOP128", "6.19", "", ""),
    ("URING_CMD128", "6.19", "", ""),
];

/// The tests' own text.
const TESTS: [&str; 5] = [
    include_str!("buffers.rs"),
    include_str!("files.rs"),
    include_str!("net.rs"),
    include_str!("paths.rs"),
    include_str!("wait.rs"),
];

/// The builders' text.
const BUILDERS: [&str; 6] = [
    include_str!("../../../src/io_uring/build/buffers.rs"),
    include_str!("../../../src/io_uring/build/files.rs"),
    include_str!("../../../src/io_uring/build/net.rs"),
    include_str!("../../../src/io_uring/build/paths.rs"),
    include_str!("../../../src/io_uring/build/wait.rs"),
    include_str!("../../../src/io_uring/sqe.rs"),
];

/// The body of the test `name`.
fn body(name: &str) -> &'static str {
    let start = format!("fn {name}() {{");
    let of = TESTS.iter().find_map(|text| text.split_once(&start));
    let (_, rest) = of.unwrap_or_else(|| panic!("no test {name}"));
    rest.split_once("\n}\n").expect("an end").0
}

#[test]
fn every_operation_has_its_number_and_kernel() {
    let headers = include_str!("../../../abi/uapi-7.2.txt");
    for (number, (name, since, ..)) in OPERATIONS.iter().enumerate() {
        let row = format!("const IORING_OP_{name} {number}");
        let row = headers.lines().find_map(|line| line.strip_prefix(&row));
        let mark = row.unwrap_or_else(|| panic!("{name} is not {number}"));
        let minor = |version: &str| {
            version
                .split_once('.')
                .and_then(|(_, minor)| minor.parse::<u32>().ok())
        };
        let since = if since.starts_with('5') {
            0
        } else {
            minor(since).expect("a version")
        };
        // The first headers with the name, and the ones before: the kernel lies between.
        let (after, upto) = match mark {
            "" => (0, 1),
            " +6.12" => (2, 12),
            " +6.13" => (13, 13),
            " +6.19" => (14, 19),
            other => panic!("{name}: {other}"),
        };
        assert!(
            (after..=upto).contains(&since),
            "{name}: 6.{since}, not in {after}..={upto}"
        );
    }
    let last = format!("const IORING_OP_LAST {}", OPERATIONS.len());
    assert!(headers.contains(&last), "an operation is missing here");
}

/// `6.12.117+deb12` as (6, 12).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("{release:?} is no kernel"),
    }
}

/// With older and newer kernels (`cargo xtask lab --kernel 6.1`) this also holds the skips of the tests true.
#[test]
fn the_running_kernel_has_the_operations_that_came_up_to_it() {
    let test = "ops::table::the_running_kernel_has_the_operations_that_came_up_to_it";
    let Some(ring) = Ring::for_test(test, IORING_OP_NOP) else {
        return;
    };
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc is mounted");
    let running = version(&release);
    for (code, (name, since, builder, _)) in (0..).zip(OPERATIONS) {
        // Those without a builder need a kernel that was configured for them.
        if !builder.is_empty() {
            assert_eq!(
                ring.supports(code),
                version(since) <= running,
                "{name} since {since}"
            );
        }
    }
}

#[test]
fn every_operation_with_a_builder_has_a_test_that_submits_it() {
    for (name, _, builder, test) in OPERATIONS.iter().filter(|row| !row.2.is_empty()) {
        let text = body(test);
        // The helpers of a test submit what it hands over.
        let used = [
            format!("::{builder}("),
            format!(".{builder}("),
            "socket_queue(".to_owned(),
        ];
        assert!(
            used.iter().any(|call| text.contains(call)),
            "{test} does not use {builder} of {name}"
        );
    }
}

#[test]
fn every_builder_is_used_by_a_test() {
    let lines = BUILDERS.iter().flat_map(|text| text.lines());
    let names = lines.filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let rest = rest
            .strip_prefix("const ")
            .unwrap_or(rest)
            .strip_prefix("fn ")?;
        Some(&rest[..rest.find('(')?])
    });
    for name in names {
        let calls = [format!("::{name}("), format!(".{name}(")];
        let used = TESTS
            .iter()
            .any(|text| calls.iter().any(|call| text.contains(call)));
        // The other functions are made of these two.
        let by_kind = ["new", "flags"].contains(&name);
        assert!(used || by_kind, "no test submits what {name} makes");
    }
}

#[test]
fn the_table_of_operations_is_this_one() {
    let mut table = String::from(
        "# Operations\n\nFrom `tests/it/ops/table.rs`, whose tests check it. Builders are functions of `IoUringSqe`; without one,\n\
         the code is a number only, since nothing that tests pepita can run it.\n\n\
         | code | operation | first kernel | builder | test |\n|---|---|---|---|---|\n",
    );
    for (number, (name, since, builder, test)) in OPERATIONS.iter().enumerate() {
        let code = |word: &str| {
            if word.is_empty() {
                "–".to_owned()
            } else {
                format!("`{word}`")
            }
        };
        let (builder, test) = (code(builder), code(test));
        let _ = writeln!(
            table,
            "| {number} | `IORING_OP_{name}` | {since} | {builder} | {test} |"
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/abi/operations.md");
    if std::fs::read_to_string(path).is_ok_and(|text| text == table) {
        return;
    }
    let fresh = concat!(env!("CARGO_TARGET_TMPDIR"), "/operations.md");
    std::fs::write(fresh, &table).expect("room on the disk");
    panic!("abi/operations.md is not true any more: cp {fresh} {path}");
}
