//! Panics of this extension: never on stderr.

use std::panic::set_hook;
use tabagent_model::LogLevel;

/// Makes panics write a line to the log instead of one to stderr; whoever catches a panic turns it into an exception.
///
/// The hook belongs to the copy of Rust's standard library inside this extension, so that the panics of other extensions, and of a program
/// that embeds Python, go where they went before.
pub(crate) fn keep_quiet() {
    set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let text = format!("panic{}: {text}", place.unwrap_or_default());
        tabagent_model::note(LogLevel::Error, &text);
    }));
}
