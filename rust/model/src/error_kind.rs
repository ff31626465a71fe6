//! The kinds of failure.

macro_rules! kinds {
    ($($(#[$doc:meta])+ $kind:ident = $name:literal,)+) => {
        /// What kind of failure an error is. A face maps it: Python to a class of exception, HTTP to a status.
        ///
        /// ```
        /// use tabagent_model::{Error, ErrorKind, Failure};
        /// let error = Error::PromptTooLong { fewest: 9_120, n_ctx: 8_192 };
        /// assert_eq!(error.kind(), ErrorKind::ContextFull);
        /// assert_eq!(error.kind().name(), "context_full");
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])+ $kind,)+
        }

        impl ErrorKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.name() == name)
            }

            /// Its name, such as `context_full`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// An argument has a value that it does not take.
    Value = "value",
    /// An argument has the wrong type, is missing, or does not exist.
    Type = "type",
    /// The operating system refused to read or write a file; [`Failure::io`](crate::Failure::io) has its reason.
    Io = "io",
    /// The library of llama.cpp could not be loaded.
    LibraryLoad = "library_load",
    /// The library is a build of llama.cpp whose ABI is not known, or one that does not support a setting.
    IncompatibleLibrary = "incompatible_library",
    /// The process already uses another library or CPU module.
    LibraryAlreadyLoaded = "library_already_loaded",
    /// The variant that was asked for does not exist, or does not run on this machine.
    Variant = "variant",
    /// A file is not an intact GGUF file, or cannot be made into one.
    Gguf = "gguf",
    /// An adapter or control vector is damaged, is none, or does not fit the model.
    Adapter = "adapter",
    /// A progress function stopped the work on a file.
    GgufCancelled = "gguf_cancelled",
    /// A model could not be loaded.
    ModelLoad = "model_load",
    /// There is no such model file.
    ModelNotFound = "model_not_found",
    /// The model file is damaged, or one that llama.cpp cannot run.
    InvalidModel = "invalid_model",
    /// The progress function stopped the load.
    ModelLoadCancelled = "model_load_cancelled",
    /// The model cannot do what was asked of it.
    UnsupportedModel = "unsupported_model",
    /// More tokens than the context holds.
    ContextFull = "context_full",
    /// As many requests wait as may.
    QueueFull = "queue_full",
    /// llama.cpp failed to decode.
    Decode = "decode",
    /// The process that a model runs in has ended.
    EngineCrashed = "engine_crashed",
    /// Embedding or ranking was stopped before it was done.
    EmbeddingCancelled = "embedding_cancelled",
    /// No token could be chosen.
    Sampling = "sampling",
    /// A schema or grammar cannot be compiled, does not allow a token, or cannot go on.
    Grammar = "grammar",
    /// A chat template is none, failed, or refused the conversation.
    ChatTemplate = "chat_template",
    /// A saved state is damaged, or belongs to another model, build or setting.
    State = "state",
    /// What was asked for does not fit in memory.
    OutOfMemory = "out_of_memory",
    /// The model or context was closed.
    Closed = "closed",
    /// The model is used in a forked child.
    Forked = "forked",
}
