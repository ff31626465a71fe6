//! What tests read from outside the source tree: the built libraries, the real models and the pinned tree of llama.cpp.
//!
//! `make test` names all of it in the environment. A test that finds something missing there is skipped, and a line on stderr says which
//! test, and what is missing; where `CI` is set it fails instead.
//!
//! ```
//! let Some(path) = tabagent_material::model("smollm2-135m-instruct-q4_1.gguf") else { return };
//! assert!(path.is_file());
//! ```

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// The folder of the libraries built from the pinned tree: `TABAGENT_LIBRARY_PATH`.
pub fn library() -> Option<PathBuf> {
    named("TABAGENT_LIBRARY_PATH")
}

/// The folder of the real models: `TABAGENT_TEST_MODELS`.
pub fn models() -> Option<PathBuf> {
    named("TABAGENT_TEST_MODELS")
}

/// A real model's file, by its name in the folder of the models.
pub fn model(file: &str) -> Option<PathBuf> {
    models().map(|folder| present(folder.join(file), "TABAGENT_TEST_MODELS"))
}

/// The unpacked pinned tree of llama.cpp: `TABAGENT_LLAMA_CPP_TREE`.
pub fn tree() -> Option<PathBuf> {
    named("TABAGENT_LLAMA_CPP_TREE")
}

/// A command that runs this test program again: by the program that `TABAGENT_TEST_RUNNER` names with its first arguments, where the system
/// itself cannot run it (`make test-aarch64`).
///
/// # Panics
/// If the system does not tell what program this is.
pub fn this_program() -> Command {
    let program = std::env::current_exe().expect("the system tells what program this is");
    let runner = std::env::var("TABAGENT_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(first) = words.next() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(words).arg(program);
    command
}

/// The path in an environment variable, or a note of what the running test misses.
fn named(variable: &str) -> Option<PathBuf> {
    let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        assert!(std::env::var_os("CI").is_none(), "CI must set `{variable}`");
        skip(variable);
        return None;
    };
    Some(present(PathBuf::from(path), variable))
}

fn present(path: PathBuf, variable: &str) -> PathBuf {
    assert!(
        path.exists(),
        "`{variable}` is set, but `{}` does not exist; `make test-material` fetches it",
        path.display()
    );
    path
}

/// Says that the running test is skipped.
fn skip(variable: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Not with `eprintln!`: the test harness hides its text when the test succeeds. The harness writes to stdout meanwhile.
    let line = format!("\nskipped: {test}: `{variable}` is not set; `make test` sets it\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
