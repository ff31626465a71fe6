//! Special tokens that swallow white space beside them. GGUF files do not name them, so llama.cpp knows them by the names of models (the end of
//! `llama_vocab::impl::load` in `src/llama-vocab.cpp`).

use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::token_attributes::Attributes;
use crate::vocabulary::Vocabulary;

/// Marks them.
pub(crate) fn mark(keys: Keys<'_>, vocabulary: &mut Vocabulary) -> Result<(), TokenizerError> {
    let has_any = |text: &str, parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let name = keys.text("general.name")?.unwrap_or_default().to_ascii_lowercase();
    let pre = keys.text("tokenizer.ggml.pre")?.unwrap_or_default();
    let architecture = keys.text("general.architecture")?.unwrap_or_default();
    if has_any(pre, &["jina-v2-de", "jina-v2-es", "jina-v2-code"])
        || has_any(architecture, &["nomic-bert-moe", "jina-bert-v3"])
    {
        set(vocabulary, "<mask>", Attributes::STRIPS_LEFT);
    } else if has_any(&name, &["phi-3", "phi3"]) {
        for attributes in &mut vocabulary.attributes {
            if attributes.is_special() {
                *attributes = attributes.with(Attributes::STRIPS_RIGHT);
            }
        }
        set(vocabulary, "</s>", Attributes::STRIPS_RIGHT);
        for text in ["<unk>", "<s>", "<|endoftext|>"] {
            if let Some(id) = vocabulary.find(text.as_bytes()) {
                let attributes = vocabulary.attributes(id);
                vocabulary.attributes[id as usize] = attributes.without(Attributes::STRIPS_RIGHT);
            }
        }
    } else if name.contains("modern-bert") {
        set(vocabulary, "[MASK]", Attributes::STRIPS_LEFT);
    }
    Ok(())
}

fn set(vocabulary: &mut Vocabulary, text: &str, attribute: Attributes) {
    if let Some(id) = vocabulary.find(text.as_bytes()) {
        let attributes = vocabulary.attributes(id);
        vocabulary.attributes[id as usize] = attributes.with(attribute);
    }
}
