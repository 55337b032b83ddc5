//! What cannot be run says so, and says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pepita_sched::task::{Output, SpawnError, Stdin, Task, TaskBuilder, TaskError};

use crate::support::run_by;

fn spawn_error(builder: TaskBuilder) -> SpawnError {
    match run_by(None, &builder.build().unwrap()) {
        Err(TaskError::Spawn(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn write_program(dir: &Path, name: &str, content: &[u8], mode: u32) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn each_way_in_which_a_program_cannot_start_has_its_own_error() {
    use SpawnError::{BadFormat, NoInterpreter, NotExecutable, NotFound, TooLong};
    let dir = tempfile::tempdir().unwrap();
    let program =
        |name, content: &[u8], mode| Task::binary(write_program(dir.path(), name, content, mode));
    #[track_caller]
    fn check(builder: TaskBuilder, is_it: fn(&SpawnError) -> bool) {
        let error = spawn_error(builder);
        assert!(is_it(&error), "{error:?}");
    }
    check(Task::binary("/no/such/program"), |error| {
        matches!(
            error,
            NotFound {
                path_variable: None,
                ..
            }
        )
    });
    check(program("plain", b"#!/bin/sh\n", 0o644), |error| {
        matches!(error, NotExecutable { .. })
    });
    check(Task::binary(dir.path()), |error| {
        matches!(error, NotExecutable { .. })
    });
    check(
        program("orphan", b"#!/no/such/interpreter\n", 0o755),
        |error| matches!(error, NoInterpreter { .. }),
    );
    check(program("noise", b"\x01\x02\x03", 0o755), |error| {
        matches!(error, BadFormat { .. })
    });
    check(Task::binary("true").arg("x".repeat(200_000)), |error| {
        matches!(
            error,
            TooLong {
                bytes: 200_000..,
                ..
            }
        )
    });
    let missing = spawn_error(Task::binary("no-such-program").env("PATH", "/bin:/usr/bin"));
    let text = "\"no-such-program\" was not found in the directories of its PATH";
    assert_eq!(missing.to_string(), text);
}

#[test]
fn a_directory_or_a_stream_that_cannot_be_opened_has_its_own_error() {
    use SpawnError::{Stream, WorkingDir};
    for dir in ["/no/such/dir", "/etc/passwd"] {
        let error = spawn_error(Task::binary("true").working_dir(dir));
        assert!(matches!(error, WorkingDir { .. }), "{error:?}");
    }
    let error = spawn_error(Task::binary("true").stdin(Stdin::File("/no/such/file".into())));
    assert!(
        matches!(
            error,
            Stream {
                stream: "standard input",
                ..
            }
        ),
        "{error:?}"
    );
    let error = spawn_error(Task::binary("true").stderr(Output::File("/no/such/dir/f".into())));
    assert!(
        matches!(
            error,
            Stream {
                stream: "standard error",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn an_error_leaves_no_descriptor_behind() {
    // In a process of its own: other tests open descriptors meanwhile.
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let task = Task::binary("/no/such/program").stdin("x").build().unwrap();
    let executor = pepita_sched::executor::CpuExecutor::builder()
        .slots(1)
        .build()
        .unwrap();
    let context = pepita_sched::executor::TaskContext::new(Default::default(), None, 1, 0);
    let before = open();
    for _ in 0..200 {
        use pepita_sched::executor::Executor;
        assert!(executor.execute(&task, &context).is_err());
    }
    assert!(open() < before + 200, "{before} before, {} after", open());
}

#[test]
fn a_limit_that_needs_a_cgroup_is_held_or_refused() {
    use pepita_sched::pool::{Pool, SubmitError};
    use pepita_sched::task::Limits;
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        ..Limits::default()
    };
    let task = Task::binary("true").limits(limits).build().unwrap();
    match Pool::builder().cpu_workers(1).build().unwrap().submit(task) {
        Ok(handle) => assert!(handle.wait().unwrap().usage.peak_memory_bytes.is_some()),
        Err(SubmitError::Unsupported(error)) => {
            let text = error.to_string();
            assert!(
                text.contains("a limit on memory or processes cannot be had"),
                "{text}"
            );
            assert!(text.contains("Delegate=yes"), "{text}");
        }
        Err(error) => panic!("{error:?}"),
    }
}
