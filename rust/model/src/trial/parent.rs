//! The parent's side of a trial: it starts the child, waits for its verdict, and hears its last words.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::child::{REFUSED, SURVIVED};
use super::plan::Plan;
use crate::last_words::{ending, is_killed, last_bytes, said};

/// How a trial ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The child computed its tokens.
    Survived,
    /// The child got an error, which the load will get, too.
    Refused,
    /// The child died, in these words.
    Died(String),
    /// The child died for want of memory, in these words.
    ShortOfMemory(String),
    /// The child was still at work when its time was up.
    Hung(String),
    /// The caller did not want to go on.
    Stopped,
}

/// How often the caller is asked whether to go on.
const SLICE: Duration = Duration::from_millis(20);

/// What was heard of a child.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The line that it was to say.
    Told(String),
    /// It died, in these words.
    Died(String),
    /// It died for want of memory, in these words.
    ShortOfMemory(String),
    /// It was still at work when its time was up, with these words before.
    Late(String),
    /// The caller did not want to go on.
    Stopped,
}

/// Runs the trial in a child.
///
/// # Errors
/// Where the child cannot be started.
pub(super) fn run(program: &Path, plan: &Plan, goes_on: impl Fn() -> bool) -> io::Result<Outcome> {
    let arguments = ["trial".as_ref(), plan.library.as_os_str(), plan.path.as_os_str()];
    let is_answer = |line: &str| line == SURVIVED || line == REFUSED;
    Ok(match hear(program, &arguments, &plan.request, plan.limit, is_answer, goes_on)? {
        Heard::Told(line) if line == SURVIVED => Outcome::Survived,
        Heard::Told(_) => Outcome::Refused,
        Heard::Died(words) => Outcome::Died(words),
        Heard::ShortOfMemory(words) => Outcome::ShortOfMemory(words),
        Heard::Late(words) => Outcome::Hung(words),
        Heard::Stopped => Outcome::Stopped,
    })
}

/// Starts the program of child processes, writes a line to it, and waits at most `limit` for the line that is its answer. Then it is ended.
///
/// # Errors
/// Where it cannot be started.
pub(crate) fn hear(
    program: &Path,
    arguments: &[&OsStr],
    request: &str,
    limit: Duration,
    is_answer: impl Fn(&str) -> bool,
    goes_on: impl Fn() -> bool,
) -> io::Result<Heard> {
    let mut command = Command::new(program);
    command.args(arguments);
    // ggml would start a debugger to print a backtrace.
    command.env("GGML_NO_BACKTRACE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(windows)]
    {
        use std::os::windows::process::CommandExt as _;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        command.creation_flags(CREATE_NO_WINDOW);
    }
    let deadline = Instant::now() + limit;
    let mut child = Ended(command.spawn()?);
    let mut input = child.0.stdin.take();
    if let Some(input) = &mut input {
        // A child that reads nothing has died, which it tells below.
        let _ = input.write_all(format!("{request}\n").as_bytes());
    }
    let (send, answers) = channel();
    let output = child.0.stdout.take();
    let errors = child.0.stderr.take();
    std::thread::scope(|threads| {
        // What it logs, the load itself will log, too.
        let words =
            threads.spawn(move || errors.map(|errors| last_bytes(errors, |_| ())).unwrap_or_default());
        threads.spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).flatten() {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let ending = loop {
            match answers.recv_timeout(SLICE) {
                Ok(line) if is_answer(&line) => break Ending::Told(Heard::Told(line)),
                Err(RecvTimeoutError::Disconnected) => break Ending::Died,
                Err(RecvTimeoutError::Timeout) if !goes_on() => break Ending::Told(Heard::Stopped),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => break Ending::Late,
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        };
        // It has closed its output, so it ends by itself; one that has answered or is late is ended.
        if ending != Ending::Died {
            let _ = child.0.kill();
        }
        let status = child.0.wait().ok();
        drop(input);
        let words = String::from_utf8_lossy(&words.join().unwrap_or_default()).into_owned();
        Ok(match ending {
            Ending::Told(heard) => heard,
            Ending::Late => Heard::Late(said(&words)),
            Ending::Died => died(status, &words),
        })
    })
}

#[derive(PartialEq, Eq)]
enum Ending {
    Told(Heard),
    Died,
    Late,
}

/// A child that does not outlive its handle.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail where it was ended and waited for before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn died(status: Option<ExitStatus>, words: &str) -> Heard {
    let text = format!("{}{}", ending(status), said(words));
    // `ggml_init` and `ggml_malloc` assert that they got memory; `std::bad_alloc` is C++'s word for it, and the last Rust's.
    let signs = ["ctx->mem_buffer", "bad_alloc", "failed to allocate", "memory allocation of"];
    if signs.iter().any(|sign| words.contains(sign)) || is_killed(status) {
        return Heard::ShortOfMemory(text);
    }
    Heard::Died(text)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn tried(script: &str, limit: Duration, goes_on: impl Fn() -> bool) -> Outcome {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("child");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
        let plan = Plan {
            path: "/x/model.gguf".into(),
            library: "/x/lib".into(),
            request: "{}".to_owned(),
            key: "0".to_owned(),
            limit,
        };
        run(&program, &plan, goes_on).expect("a child")
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_child_that_answers_is_believed_at_once() {
        let began = Instant::now();
        assert_eq!(
            tried(&format!("echo noise; echo {SURVIVED}; exec sleep 60"), LONG, || true),
            Outcome::Survived
        );
        assert_eq!(tried(&format!("echo {REFUSED}"), LONG, || true), Outcome::Refused);
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_child_that_dies_leaves_its_assertion_and_its_log() {
        let script = "for i in 1 2 3 4; do echo line $i >&2; done; echo '/a/b/ggml.c:7: GGML_ASSERT(x) failed' >&2; kill -ABRT $$";
        let Outcome::Died(words) = tried(script, LONG, || true) else { panic!("it died") };
        assert_eq!(
            words,
            "was killed by `SIGABRT`: `ggml.c:7: GGML_ASSERT(x) failed`; its last lines of log: `line 2`, `line 3`, `line 4`"
        );
        assert_eq!(tried("exit 3", LONG, || true), Outcome::Died("ended with exit code 3".to_owned()));
        assert_eq!(
            tried("kill -SEGV $$", LONG, || true),
            Outcome::Died("was killed by `SIGSEGV`".to_owned())
        );
    }

    #[test]
    fn a_want_of_memory_is_not_the_models_fault() {
        for script in
            ["echo 'x.c:1: GGML_ASSERT(ctx->mem_buffer != NULL) failed' >&2; kill -ABRT $$", "kill -KILL $$"]
        {
            assert!(matches!(tried(script, LONG, || true), Outcome::ShortOfMemory(_)), "{script}");
        }
    }

    #[test]
    fn a_child_that_makes_no_end_is_ended() {
        let outcome = tried("echo begun >&2; exec sleep 60", Duration::from_millis(300), || true);
        assert_eq!(outcome, Outcome::Hung("; its last lines of log: `begun`".to_owned()));
    }

    #[test]
    fn a_caller_who_does_not_want_to_go_on_gets_away() {
        let asked = AtomicBool::new(false);
        let outcome = tried("exec sleep 60", LONG, || !asked.swap(true, Ordering::Relaxed));
        assert_eq!(outcome, Outcome::Stopped);
    }

    #[test]
    fn much_that_is_said_is_cut_to_its_end() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1";
        let Outcome::Died(words) = tried(script, LONG, || true) else { panic!("it died") };
        assert_eq!(
            words,
            "ended with exit code 1; its last lines of log: `line 19997`, `line 19998`, `line 19999`"
        );
    }
}
