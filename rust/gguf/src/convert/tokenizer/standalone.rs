//! A `tokenizer.json` by itself, in llama.cpp's terms.

use std::path::Path;

use serde_json::Value;

use crate::convert::architecture::Family;
use crate::convert::error::ConvertError;
use crate::convert::json::Object;
use crate::writer::GgufWriter;

use super::special_tokens::SpecialTokens;
use super::{Tokenizer, TokenizerFiles, base, sentence_piece, unigram};

/// The metadata that the tokenizer of a `tokenizer.json` has in a model's file, as the bytes of a GGUF file without tensors. What the other files of
/// its folder say of the tokenizer counts, too (`tokenizer_config.json`, `special_tokens_map.json`, `config.json`).
///
/// # Errors
/// [`ConvertError::Read`] where a file cannot be read, [`ConvertError::Source`] for files that break a rule, or whose tokenizer llama.cpp does not have.
pub fn tokenizer_metadata(path: &Path) -> Result<Vec<u8>, ConvertError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = TokenizerFiles::read(folder)?;
    std::fs::metadata(path).map_err(|source| ConvertError::Read { path: path.to_owned(), source })?;
    let Some(tokenizer) = Object::read(path)? else {
        return Err(ConvertError::source(path, "it is gone"));
    };
    files.tokenizer = Some(tokenizer.clone());
    let config_path = folder.join("config.json");
    let mut config = Object::read(&config_path)?.unwrap_or_else(|| Object::empty(&config_path));
    config.raise("text_config");
    let kind = files.model_type().unwrap_or("BPE").to_owned();
    let (family, vocabulary) = match kind.as_str() {
        "WordPiece" => (Family::Bert, base::word_piece(&files, &config, None)?),
        "BPE" if files.is_rewritten_sentence_piece() => {
            (Family::Llama, sentence_piece::from_tokenizer(&files, &config)?)
        }
        "BPE" => (Family::Llama, base::bpe(&files, &config, None)?),
        "Unigram" => (Family::Llama, unigram::vocabulary(&tokenizer, &config)?),
        _ => {
            let problem =
                format!("key `model.type` is `{kind}`; only `BPE`, `Unigram` and `WordPiece` can be read");
            return Err(ConvertError::source(path, problem));
        }
    };
    let model = vocabulary.model;
    let special = SpecialTokens::read(&files);
    let read = Tokenizer { vocabulary, special, files, family };
    let mut writer = read.add(GgufWriter::new(), &config)?;
    if matches!(model, "llama" | "t5") {
        writer = writer.set("tokenizer.ggml.add_space_prefix", puts_space(&tokenizer));
    }
    if model == "t5" {
        writer = unigram::add(writer, &tokenizer)?;
    }
    Ok(writer.to_bytes()?)
}

/// Whether the tokenizer puts a space in front of a text.
fn puts_space(tokenizer: &Object) -> bool {
    fn find(step: &Value) -> bool {
        let kind = step.get("type").and_then(Value::as_str);
        let scheme = step.get("prepend_scheme").and_then(Value::as_str);
        let inner = ["normalizers", "pretokenizers"].iter().filter_map(|key| step.get(key)?.as_array());
        match (kind, scheme) {
            (Some("Prepend"), _) => true,
            (Some("Metaspace"), Some(scheme)) => scheme != "never",
            (Some("Metaspace"), None) => {
                step.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(true)
            }
            _ => inner.flatten().any(find),
        }
    }
    ["normalizer", "pre_tokenizer"].iter().any(|key| tokenizer.get(key).is_some_and(find))
}
