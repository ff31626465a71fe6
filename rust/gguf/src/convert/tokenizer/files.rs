//! The tokenizer files of a folder.

use std::path::{Path, PathBuf};

use crate::convert::error::ConvertError;
use crate::convert::json::Object;

/// `tokenizer.json` and `tokenizer_config.json`.
pub(in crate::convert) struct TokenizerFiles {
    pub(super) folder: PathBuf,
    /// `tokenizer.json`, if there is one.
    pub(super) tokenizer: Option<Object>,
    /// `tokenizer_config.json` with the entries of `special_tokens_map.json` that it lacks.
    pub(super) config: Object,
}

impl TokenizerFiles {
    pub(in crate::convert) fn read(folder: &Path) -> Result<Self, ConvertError> {
        let path = folder.join("tokenizer_config.json");
        let mut config = Object::read(&path)?.unwrap_or_else(|| Object::empty(&path));
        // Folders without `tokenizer_config.json` still name their special tokens in `special_tokens_map.json`.
        if let Some(special) = Object::read(&folder.join("special_tokens_map.json"))? {
            for (key, value) in special.map() {
                if config.get(key).is_none() {
                    config.set(key, value.clone());
                }
            }
        }
        let tokenizer = Object::read(&folder.join("tokenizer.json"))?;
        Ok(Self { folder: folder.to_owned(), tokenizer, config })
    }

    /// The algorithm of `tokenizer.json`: `BPE`, `WordPiece`, `Unigram` or `WordLevel`.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.tokenizer.as_ref()?.get("model")?.get("type")?.as_str()
    }

    /// True if `tokenizer.json` is a SentencePiece model rewritten as BPE, recognized by its byte fallback.
    pub(super) fn is_rewritten_sentence_piece(&self) -> bool {
        let fallback = self
            .tokenizer
            .as_ref()
            .and_then(|tokenizer| tokenizer.get("model")?.get("byte_fallback")?.as_bool());
        self.model_type() == Some("BPE") && fallback == Some(true)
    }
}
