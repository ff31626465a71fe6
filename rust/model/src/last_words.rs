//! What a child process said last, and how it ended.

use std::io::{BufRead as _, BufReader, Read};
use std::process::ExitStatus;

use tabagent_llama::LogRecord;

/// Bytes of the child's last words that are kept.
const LAST_BYTES: usize = 16 << 10;
/// Lines of its log that an error shows.
const LAST_LINES: usize = 3;

/// The last bytes of a child's stderr, read to its end. `heard` gets each line of its log meanwhile.
pub(crate) fn last_bytes(stream: impl Read, mut heard: impl FnMut(LogRecord)) -> Vec<u8> {
    let mut stream = BufReader::new(stream);
    let (mut kept, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        // A line without an end is read in parts.
        let read = stream.by_ref().take(LAST_BYTES as u64).read_until(b'\n', &mut line);
        if !read.is_ok_and(|count| count > 0) {
            return kept;
        }
        match LogRecord::from_echo(&String::from_utf8_lossy(&line)) {
            Some(record) => {
                kept.extend_from_slice(record.text.as_bytes());
                kept.push(b'\n');
                heard(record);
            }
            None => kept.extend_from_slice(&line),
        }
        if kept.len() > 2 * LAST_BYTES {
            kept.drain(..kept.len() - LAST_BYTES);
        }
    }
}

/// Whether somebody else ended it, as the system does where memory is short.
pub(crate) fn is_killed(status: Option<ExitStatus>) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        const SIGKILL: i32 = 9;
        status.and_then(|status| status.signal()) == Some(SIGKILL)
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}

/// How it ended: `was killed by signal 6 (SIGABRT)`.
pub(crate) fn ending(status: Option<ExitStatus>) -> String {
    // Without a status, another part of this program waited for it.
    let Some(status) = status else { return "ended without a verdict".to_owned() };
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt as _;
        if let Some(signal) = status.signal() {
            return format!("was killed by {}", named(signal));
        }
    }
    format!(
        "ended with {}",
        status.code().map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"))
    )
}

/// A signal by its name; the numbers are those of Linux and macOS, but for `SIGBUS`.
#[cfg(unix)]
fn named(signal: i32) -> String {
    let bus = if cfg!(any(target_os = "linux", target_os = "android")) { 7 } else { 10 };
    match signal {
        4 => "`SIGILL`".to_owned(),
        6 => "`SIGABRT`".to_owned(),
        8 => "`SIGFPE`".to_owned(),
        9 => "`SIGKILL`".to_owned(),
        11 => "`SIGSEGV`".to_owned(),
        other if other == bus => "`SIGBUS`".to_owned(),
        other => format!("signal {other}"),
    }
}

/// The assertion that it failed, if there is one, and the last lines of its log.
pub(crate) fn said(words: &str) -> String {
    let lines: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let cause = lines
        .iter()
        .copied()
        .find(|line| is_cause(line))
        .map(|line| format!(": `{}`", without_folders(line)));
    let log: Vec<&str> = lines.iter().copied().filter(|line| !is_cause(line)).collect();
    let log = log[log.len().saturating_sub(LAST_LINES)..].join("`, `");
    let log = if log.is_empty() { String::new() } else { format!("; its last lines of log: `{log}`") };
    format!("{}{log}", cause.unwrap_or_default())
}

/// Whether a line says why a program gave up: an assertion with its place (`/x/ggml.c:7: GGML_ASSERT(x) failed`), or what C++ and Rust say.
fn is_cause(line: &str) -> bool {
    let signs = ["what():", "terminate called", "fatal runtime error", "panicked at"];
    let place = line.split(": ").next().and_then(|place| place.rsplit_once(':'));
    let is_place = place.is_some_and(|(file, number)| {
        [".c", ".cpp", ".h", ".hpp", ".cu", ".m"].iter().any(|ending| file.ends_with(ending))
            && number.parse::<u32>().is_ok()
    });
    is_place || signs.iter().any(|sign| line.contains(sign))
}

/// A line without the folders in which the library was built: `/x/ggml/src/ggml.c:3354: …` becomes `ggml.c:3354: …`.
fn without_folders(line: &str) -> &str {
    let place = line.split(": ").next().unwrap_or_default();
    place.rfind(['/', '\\']).map_or(line, |slash| &line[slash + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabagent_llama::LogLevel;

    #[test]
    fn lines_of_the_log_are_heard_and_all_words_are_kept() {
        let words = "\u{1}2loads\n\u{1}4it is broken\nggml.c:7: GGML_ASSERT(x) failed";
        let mut heard = Vec::new();
        let kept = last_bytes(words.as_bytes(), |record| heard.push(record));
        assert_eq!(kept, b"loads\nit is broken\nggml.c:7: GGML_ASSERT(x) failed");
        assert_eq!(
            heard.iter().map(|record| record.level).collect::<Vec<_>>(),
            [LogLevel::Info, LogLevel::Error]
        );
    }

    #[test]
    fn no_more_than_the_last_bytes_are_kept() {
        let words = [vec![b'x'; 100_000], b"\n".repeat(50_000), b"the end".to_vec()].concat();
        let kept = last_bytes(&words[..], |_| ());
        assert!(kept.len() <= 3 * LAST_BYTES && kept.ends_with(b"\n\nthe end"));
    }
}
