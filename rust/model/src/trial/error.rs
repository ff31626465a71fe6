//! What a trial says against a model.

use std::io;
use std::path::PathBuf;

/// Why a model is not loaded after its trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It took the child down.
    #[error("llama.cpp does not survive `{}`: a child process that tried it {words}", path.display())]
    Died {
        /// The file.
        path: PathBuf,
        /// How the child ended, and its last words.
        words: String,
    },
    /// The child ran out of memory.
    #[error(
        "llama.cpp has too little memory for `{}`: a child process that tried it {words}; lower `context_size` or free memory", path.display()
    )]
    ShortOfMemory {
        /// The file.
        path: PathBuf,
        /// How the child ended, and its last words.
        words: String,
    },
    /// The child made no end.
    #[error(
        "llama.cpp hangs with `{}`: a child process that tried it was still at work after {seconds} s{words}; if the machine was only busy, load it \
         again, or with `trial=False`",
        path.display()
    )]
    Hung {
        /// The file.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
        /// Its last words.
        words: String,
    },
    /// No child could be started.
    #[error("cannot try `{}` in a child process: `{}` does not start: {source}", path.display(), program.display())]
    NoChild {
        /// The file.
        path: PathBuf,
        /// The program of the child.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
