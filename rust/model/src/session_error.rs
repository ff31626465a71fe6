//! What can go wrong with a session.

use tabagent_llama::StateError;

/// Why a session could not do what was asked of it, or could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A text of it is being generated.
    #[error("a text of this session is being generated; read its stream to the end, or close it first")]
    Running,
    /// It was closed.
    #[error("the session is closed; make or load another one")]
    Closed,
    /// More tokens are to be taken back than there are.
    #[error("cannot take {n} tokens back: the session has {n_tokens}")]
    TooFar {
        /// How many were to be taken back.
        n: usize,
        /// How many there are.
        n_tokens: usize,
    },
    /// It was computed with other adapters or control vectors.
    #[error(
        "the saved session was computed with {found}, and {given} given; give `load_session` the same adapters, scales and control vectors"
    )]
    OtherChanges {
        /// Those of the session.
        found: String,
        /// Those that were given to load it.
        given: String,
    },
    /// The file is something else.
    #[error("this is not a saved session: {reason}")]
    NotASession {
        /// What is wrong.
        reason: &'static str,
    },
    /// Bits have changed since it was saved.
    #[error("the saved session is damaged: its digest does not match its contents")]
    Damaged,
    /// It belongs to another model.
    #[error("the saved session belongs to another model; load it with the model file that it was saved with")]
    OtherModel,
    /// It was saved by another build of llama.cpp.
    #[error(
        "the saved session was written with `{found}` and this process runs `{expected}`; sessions do not carry over"
    )]
    OtherBuild {
        /// The build that runs.
        expected: String,
        /// The build that wrote it.
        found: String,
    },
    /// The model was loaded in another way.
    #[error(
        "the saved session was made with `{what}` `{found}` and this model has `{expected}`; load the model with the same one"
    )]
    OtherSettings {
        /// The option.
        what: &'static str,
        /// This model's.
        expected: String,
        /// The session's.
        found: String,
    },
    /// Its cells are none of this model's memory.
    #[error("the cells of the saved session are none that this model's memory takes")]
    Cells,
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] StateError),
}
