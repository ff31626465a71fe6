//! A model in another process: what ends that process is an error in this one.
//!
//! The parent keeps the scheduler, the samplers, the constraints and a copy of the vocabulary's tables; the child (`tabagent-child serve`) has the library, the
//! model and its contexts. The cut is the runtime's [`Decoder`](tabagent_runtime::Decoder): a batch goes over a socket, its logits come back in
//! memory that both share. Vectors, tokenizing and adapters are calls of their own. A child that has ended is started again by the next call.

#[cfg(unix)]
mod decoder;
#[cfg(unix)]
mod host;
#[cfg(unix)]
mod lane;
#[cfg(unix)]
mod load;
#[cfg(unix)]
mod message;
#[cfg(unix)]
mod process;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod served_decoder;
#[cfg(not(unix))]
mod unsupported;

use std::path::PathBuf;

use tabagent_runtime::OnCrash;

use crate::value::{Fields, OptionError, Value, text};

#[cfg(unix)]
pub(crate) use self::{host::Host, load::load, serve::serve};
#[cfg(not(unix))]
pub(crate) use unsupported::{Host, load, serve};

/// Reads bytes as the messages of either side, which may be anything: for tests that damage them.
#[doc(hidden)]
pub fn read_messages(bytes: &[u8]) {
    #[cfg(unix)]
    message::read_all(bytes);
    #[cfg(not(unix))]
    let _ = bytes;
}

/// How often a parent that waits looks whether it shall go on.
#[cfg(unix)]
const SLICE: std::time::Duration = std::time::Duration::from_millis(4);

/// Has a model loaded in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The program `tabagent-child`.
    pub program: PathBuf,
    /// What becomes of running requests when the process ends.
    pub on_crash: OnCrash,
    /// Start the next process on the CPU when one ends, or reports that a decode failed, while layers are on another device; running requests go on there.
    pub cpu_after_failure: bool,
    /// Where the process notes, in a line, an assertion that ends it; `None` for nowhere.
    pub crash_file: Option<PathBuf>,
}

impl Isolation {
    /// Reads `program`, `on_crash` (`error` or `replay`), `on_gpu_failure` (`cpu`, which brings `replay` along) and `crash_file` by their names.
    ///
    /// # Errors
    /// [`OptionError`] names the one that is missing, unknown or wrong.
    pub(crate) fn read(given: Value) -> Result<Self, OptionError> {
        const ON_CRASH: [(&str, OnCrash); 2] = [("error", OnCrash::End), ("replay", OnCrash::Replay)];
        let mut given = Fields::new(given, "isolation")?;
        let cpu_after_failure = given.named("on_gpu_failure", &[("cpu", true)])?.unwrap_or_default();
        let on_crash = given.named("on_crash", &ON_CRASH)?.unwrap_or_default();
        let program = given.take("program").ok_or(OptionError::Missing { name: "isolation.program" })?;
        let read = Self {
            program: text("isolation.program", program)?.into(),
            on_crash: if cpu_after_failure { OnCrash::Replay } else { on_crash },
            cpu_after_failure,
            crash_file: given
                .take("crash_file")
                .map(|path| text("isolation.crash_file", path))
                .transpose()?
                .map(PathBuf::from),
        };
        given.finish()?;
        Ok(read)
    }
}

/// What somebody hears who asks the child for what it does not do.
#[cfg(unix)]
fn wrong_call() -> crate::error::Error {
    let message = "the process of the model was asked for what it does not do".to_owned();
    tabagent_runtime::EngineError::Decode { message }.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn going_on_on_the_cpu_brings_replay_along() {
        let read = |options: serde_json::Value| Isolation::read(options.into());
        let plain = read(json!({"program": "/x/child"})).unwrap();
        assert_eq!((plain.on_crash, plain.cpu_after_failure), (OnCrash::End, false));
        let moves = json!({"program": "/x/child", "on_crash": "error", "on_gpu_failure": "cpu"});
        let moves = read(moves).unwrap();
        assert_eq!((moves.on_crash, moves.cpu_after_failure), (OnCrash::Replay, true));
        assert!(read(json!({"program": "/x/child", "on_gpu_failure": "gpu"})).is_err());
    }
}
