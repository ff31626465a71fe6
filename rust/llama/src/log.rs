//! llama.cpp's log: never on stderr, kept for whoever asks, and part of the errors it explains.
//!
//! llama.cpp explains failures only in its log. The callback may run on any thread of llama.cpp, so it only copies the line; Python's `logging`
//! gets the lines later, from a thread that Python owns.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use tabagent_sys::{Api, ggml_log_level};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Details for developers of llama.cpp.
    Debug = 1,
    /// What it does.
    Info = 2,
    /// It continues, but somebody should know.
    Warn = 3,
    /// It failed.
    Error = 4,
}

/// One line of llama.cpp's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its level.
    pub level: LogLevel,
    /// Its text, without the line end.
    pub text: String,
}

/// What a line of the log begins with on the stderr of a child; its level follows.
const ECHOED: char = '\u{1}';

impl LogRecord {
    /// The line as [`echo_log`] writes it.
    fn to_echo(&self) -> String {
        format!("{ECHOED}{}{}\n", self.level as i32, self.text)
    }

    /// The line of a log that a child with [`echo_log`] wrote; `None` for what others wrote to its stderr.
    pub fn from_echo(line: &str) -> Option<Self> {
        let line = line.strip_prefix(ECHOED)?;
        let level = match line.chars().next()? {
            '2' => LogLevel::Info,
            '3' => LogLevel::Warn,
            '4' => LogLevel::Error,
            _ => return None,
        };
        Some(Self { level, text: line[1..].trim_end().to_owned() })
    }
}

/// Lines kept until somebody drains them; the oldest go first.
const CAPACITY: usize = 4096;

#[derive(Default)]
struct State {
    records: VecDeque<LogRecord>,
    /// A line whose end has not come yet (`GGML_LOG_LEVEL_CONT` continues it).
    unfinished: Option<LogRecord>,
}

static STATE: Mutex<State> = Mutex::new(State { records: VecDeque::new(), unfinished: None });
static ECHO: AtomicBool = AtomicBool::new(false);
static MINIMUM: AtomicI32 = AtomicI32::new(LogLevel::Info as i32);

thread_local! {
    /// Warnings and errors of this thread since `capture` began.
    static CAPTURED: RefCell<Option<Vec<LogRecord>>> = const { RefCell::new(None) };
    /// Lines of this thread since `follow` began, and whether others see them, too.
    static FOLLOWED: RefCell<Option<(Vec<String>, bool)>> = const { RefCell::new(None) };
    /// Parts of warnings that this thread knows to be none.
    static EXPECTED: Cell<&'static [&'static str]> = const { Cell::new(&[]) };
}

/// Takes all lines kept since the last call, oldest first.
pub fn drain_log() -> Vec<LogRecord> {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.records.drain(..).collect()
}

/// Keeps only lines of `level` and above from now on. The default is [`LogLevel::Info`].
pub fn set_log_level(level: LogLevel) {
    MINIMUM.store(level as i32, Ordering::Relaxed);
}

/// Also writes each line but details for developers to stderr from now on, at once and without a buffer: for a child process, whose parent wants its last words.
/// [`LogRecord::from_echo`] reads them there.
pub fn echo_log() {
    ECHO.store(true, Ordering::Relaxed);
}

/// Adds a line of the caller's own. The line is lost if another one is being added at that moment, so that a panic hook may call this.
pub fn note(level: LogLevel, text: &str) {
    if let Ok(mut state) = STATE.try_lock() {
        finish(&mut state, LogRecord { level, text: text.to_owned() });
    }
}

/// Adds a line of another process.
pub fn relay(record: LogRecord) {
    finish(&mut STATE.lock().unwrap_or_else(PoisonError::into_inner), record);
}

/// Runs `work`; returns its result and the errors that llama.cpp logged on this thread meanwhile.
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let (result, records) = capture_warnings(work);
    (result, errors(records))
}

/// Runs `work`; returns its result and all that llama.cpp logged on this thread meanwhile, without details for its developers. With `quiet`, nobody
/// else sees those lines.
pub(crate) fn follow<T>(quiet: bool, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let outer = FOLLOWED.with(|f| f.borrow_mut().replace((Vec::new(), quiet)));
    let result = work();
    let inner = FOLLOWED.with(|f| std::mem::replace(&mut *f.borrow_mut(), outer));
    (result, inner.map(|(lines, _)| lines).unwrap_or_default())
}

/// Runs `work`; of the warnings that llama.cpp logs on this thread meanwhile, those that hold one of `parts` are left out.
pub(crate) fn expecting<T>(parts: &'static [&'static str], work: impl FnOnce() -> T) -> T {
    let outer = EXPECTED.replace(parts);
    let result = work();
    EXPECTED.set(outer);
    result
}

/// The texts of the errors among `records`.
pub(crate) fn errors(records: Vec<LogRecord>) -> Vec<String> {
    records.into_iter().filter(|record| record.level >= LogLevel::Error).map(|record| record.text).collect()
}

/// Runs `work`; returns its result and the warnings and errors that llama.cpp logged on this thread meanwhile.
pub(crate) fn capture_warnings<T>(work: impl FnOnce() -> T) -> (T, Vec<LogRecord>) {
    let outer = CAPTURED.with(|c| c.borrow_mut().replace(Vec::new()));
    let result = work();
    let records = CAPTURED.with(|c| std::mem::replace(&mut *c.borrow_mut(), outer)).unwrap_or_default();
    (result, records)
}

/// Removes captured lines from the log that tell of nothing wrong after all, such as those about a decode that was asked to stop.
pub(crate) fn retract(records: &[LogRecord]) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    for record in records {
        let found = state.records.iter().rposition(|r| r == record);
        if let Some(index) = found {
            state.records.remove(index);
        }
    }
}

/// Removes warnings with `sign` in them from the log, which nobody can do anything about.
pub(crate) fn retract_warnings(sign: &str) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    state.records.retain(|record| record.level != LogLevel::Warn || !record.text.contains(sign));
}

/// Directs the logs of llama.cpp and ggml here.
pub(crate) fn install(api: &Api) {
    if let Some(set) = api.ggml_log_set {
        // SAFETY: `on_log` has the type the C side expects, is a static function, and needs no user data.
        unsafe { set(Some(on_log), std::ptr::null_mut()) };
    }
    // SAFETY: as above.
    unsafe { (api.llama_log_set)(Some(on_log), std::ptr::null_mut()) };
}

unsafe extern "C-unwind" fn on_log(level: ggml_log_level, text: *const c_char, _user: *mut c_void) {
    // A panic must not cross into C, and there is nobody to tell.
    let _ = std::panic::catch_unwind(|| {
        // SAFETY: llama.cpp passes the NUL-terminated buffer of its own `vsnprintf` (ggml/src/ggml.c, ggml_log_internal_v).
        if let Some(text) = unsafe { crate::strings::copy(text) } {
            record(level, &text);
        }
    });
}

fn record(level: ggml_log_level, text: &str) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let level = match level {
        ggml_log_level::DEBUG => Some(LogLevel::Debug),
        ggml_log_level::WARN => Some(LogLevel::Warn),
        ggml_log_level::ERROR => Some(LogLevel::Error),
        ggml_log_level::CONT => None,
        _ => Some(LogLevel::Info),
    };
    let mut line = match (level, state.unfinished.take()) {
        (None, Some(begun)) => begun,
        (None, None) => LogRecord { level: LogLevel::Info, text: String::new() },
        (Some(level), begun) => {
            if let Some(begun) = begun {
                finish(&mut state, begun);
            }
            LogRecord { level, text: String::new() }
        }
    };
    line.text.push_str(text);
    if line.text.ends_with('\n') {
        finish(&mut state, line);
    } else {
        state.unfinished = Some(line);
    }
}

fn finish(state: &mut State, mut line: LogRecord) {
    line.text.truncate(line.text.trim_end().len());
    if line.text.is_empty() {
        return;
    }
    if line.level >= LogLevel::Info && ECHO.load(Ordering::Relaxed) {
        // A parent that does not listen any more has no use for the rest either.
        let _ = std::io::stderr().write_all(line.to_echo().as_bytes());
    }
    if line.level >= LogLevel::Warn {
        CAPTURED.with(|captured| {
            if let Some(records) = captured.borrow_mut().as_mut() {
                records.push(line.clone());
            }
        });
    }
    let is_expected = || EXPECTED.get().iter().any(|part| line.text.contains(part));
    if line.level == LogLevel::Warn && is_expected() {
        return;
    }
    let hidden = FOLLOWED.with(|followed| {
        let mut followed = followed.borrow_mut();
        let Some((lines, quiet)) = followed.as_mut() else { return false };
        if line.level >= LogLevel::Info {
            lines.push(line.text.clone());
        }
        *quiet
    });
    if hidden || (line.level as i32) < MINIMUM.load(Ordering::Relaxed) {
        return;
    }
    if state.records.len() == CAPACITY {
        state.records.pop_front();
    }
    state.records.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_are_joined_and_errors_are_captured() {
        let ((), lines) = capture(|| {
            record(ggml_log_level::ERROR, "cannot read ");
            record(ggml_log_level::CONT, "tensor `a`\n");
            record(ggml_log_level::INFO, "done\n");
        });
        assert_eq!(lines, ["cannot read tensor `a`"]);
        let drained = drain_log();
        assert!(
            drained
                .contains(&LogRecord { level: LogLevel::Error, text: "cannot read tensor `a`".to_owned() })
        );
        assert!(drained.contains(&LogRecord { level: LogLevel::Info, text: "done".to_owned() }));
    }

    #[test]
    fn echoed_lines_are_read_again_and_others_are_not() {
        for level in [LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            let record = LogRecord { level, text: "é: 3 tensors".to_owned() };
            assert_eq!(LogRecord::from_echo(&record.to_echo()), Some(record));
        }
        for line in ["", "ggml.c:7: GGML_ASSERT(x) failed", "\u{1}", "\u{1}9x", "\u{1}é"] {
            assert_eq!(LogRecord::from_echo(line), None, "{line:?}");
        }
    }

    #[test]
    fn retracted_lines_are_gone() {
        let ((), records) = capture_warnings(|| {
            record(ggml_log_level::WARN, "no reason to worry: stopped on request\n");
            record(ggml_log_level::ERROR, "not an error: stopped on request\n");
        });
        assert_eq!(records.len(), 2);
        retract(&records);
        assert!(drain_log().iter().all(|r| !r.text.contains("stopped on request")));
    }

    #[test]
    fn followed_lines_are_those_of_all_levels_and_quiet_ones_are_seen_by_nobody_else() {
        let work = || {
            record(ggml_log_level::INFO, "followed: size\n");
            record(ggml_log_level::DEBUG, "followed: detail\n");
            capture(|| record(ggml_log_level::ERROR, "followed: failure\n")).1
        };
        let (errors, lines) = follow(true, work);
        assert_eq!(errors, ["followed: failure"]);
        assert_eq!(lines, ["followed: size", "followed: failure"]);
        assert!(drain_log().iter().all(|r| !r.text.starts_with("followed: ")));
        assert_eq!(follow(false, work).1, lines);
        let seen = drain_log();
        assert_eq!(seen.iter().filter(|r| r.text.starts_with("followed: ")).count(), 2);
    }

    #[test]
    fn expected_warnings_are_left_out_and_errors_are_not() {
        expecting(&["was specified"], || {
            record(ggml_log_level::WARN, "pooling 0 was specified\n");
            record(ggml_log_level::ERROR, "error: 1 was specified\n");
        });
        record(ggml_log_level::WARN, "pooling 2 was specified\n");
        let drained = drain_log();
        let holds = |text: &str| drained.iter().any(|r| r.text.contains(text));
        assert!(!holds("pooling 0") && holds("error: 1") && holds("pooling 2"));
    }

    #[test]
    fn retracted_warnings_are_gone_and_others_stay() {
        record(ggml_log_level::WARN, "x cannot use buft 'A'\n");
        record(ggml_log_level::WARN, "x is odd\n");
        record(ggml_log_level::INFO, "y cannot use buft 'A'\n");
        retract_warnings("cannot use buft");
        let texts: Vec<_> = drain_log().into_iter().map(|r| r.text).collect();
        assert!(!texts.iter().any(|text| text == "x cannot use buft 'A'"), "{texts:?}");
        assert!(texts.iter().any(|text| text == "x is odd"), "{texts:?}");
    }

    #[test]
    fn captures_nest() {
        let (inner, outer) = capture(|| {
            record(ggml_log_level::ERROR, "outer\n");
            capture(|| record(ggml_log_level::ERROR, "inner\n")).1
        });
        assert_eq!((inner, outer), (vec!["inner".to_owned()], vec!["outer".to_owned()]));
    }
}
