//! Tokenizers of Hugging Face folders in llama.cpp's terms.

mod added_tokens;
mod base;
mod chat_template;
mod files;
mod pre_tokenizer;
mod protobuf;
mod sentence_piece;
mod special_tokens;
mod standalone;
mod unigram;
mod vocabulary;

use crate::owned::{OwnedArray, OwnedValue};
use crate::writer::GgufWriter;

use super::architecture::Family;
use super::error::ConvertError;
use super::json::Object;

pub(super) use files::TokenizerFiles;
use special_tokens::SpecialTokens;
pub use standalone::tokenizer_metadata;
use vocabulary::Vocabulary;

/// The tokenizer of a model, ready to be written.
pub(super) struct Tokenizer {
    vocabulary: Vocabulary,
    special: SpecialTokens,
    files: TokenizerFiles,
    family: Family,
}

impl Tokenizer {
    /// Reads the vocabulary that `family` uses; `pre` overrides the name of the pre-tokenizer.
    pub(super) fn read(
        files: TokenizerFiles,
        config: &Object,
        family: Family,
        pre: Option<&str>,
    ) -> Result<Self, ConvertError> {
        let vocabulary = vocabulary(&files, config, family, pre)?;
        let special = SpecialTokens::read(&files);
        Ok(Self { vocabulary, special, files, family })
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Adds the `tokenizer.*` keys to `writer`.
    pub(super) fn add(&self, mut writer: GgufWriter, config: &Object) -> Result<GgufWriter, ConvertError> {
        let Vocabulary { model, pre, tokens, has_scores, merges } = &self.vocabulary;
        if self.family == Family::Bert {
            let n_types = config.count(&["type_vocab_size"])?.unwrap_or(1);
            writer = writer.set("tokenizer.ggml.token_type_count", n_types);
        }
        if let (Family::Llama, Some(flag)) = (self.family, self.files.config.flag("add_prefix_space")) {
            writer = writer.set("tokenizer.ggml.add_space_prefix", flag);
        }
        writer = writer.set("tokenizer.ggml.model", *model).set("tokenizer.ggml.pre", pre.as_str());
        let texts = OwnedArray::String(tokens.iter().map(|token| token.text.clone()).collect());
        writer = writer.set("tokenizer.ggml.tokens", OwnedValue::Array(texts));
        if *has_scores {
            let scores: Vec<f32> = tokens.iter().map(|token| token.score).collect();
            writer = writer.set("tokenizer.ggml.scores", scores);
        }
        let kinds: Vec<i32> = tokens.iter().map(|token| token.kind as i32).collect();
        writer = writer.set("tokenizer.ggml.token_type", kinds);
        if !merges.is_empty() {
            writer = writer.set("tokenizer.ggml.merges", merges.clone());
        }
        writer = self.special.add(writer, &self.files, config, tokens.len())?;
        writer = chat_template::add(writer, &self.files)?;
        if matches!(self.family, Family::Gemma2 | Family::Gemma3) && *model == "llama" {
            writer = writer.set("tokenizer.ggml.add_space_prefix", false);
        }
        // SmolLM's vocabulary has this size; its models take no token at the start, whatever their files say.
        if self.family == Family::Llama && config.count(&["vocab_size"])? == Some(49_152) {
            writer = writer.set("tokenizer.ggml.add_bos_token", false);
        }
        Ok(writer)
    }
}

fn vocabulary(
    files: &TokenizerFiles,
    config: &Object,
    family: Family,
    pre: Option<&str>,
) -> Result<Vocabulary, ConvertError> {
    if family == Family::Bert {
        return base::word_piece(files, config, pre);
    }
    // Phi-4 is of the same class as Phi-3, but has another tokenizer.
    let is_byte_level =
        family == Family::Phi3 && files.config.text("tokenizer_class") == Some("GPT2Tokenizer");
    if !is_byte_level {
        if let Some(vocabulary) = sentence_piece::from_model(files, config, family == Family::Phi3)? {
            return Ok(vocabulary);
        }
        if files.is_rewritten_sentence_piece() {
            return sentence_piece::from_tokenizer(files, config);
        }
    }
    if let Some(kind) = files.model_type()
        && kind != "BPE"
    {
        let path = files.folder.join("tokenizer.json");
        let problem =
            format!("key `model.type` is `{kind}`; only `BPE` can be converted without a `tokenizer.model`");
        return Err(ConvertError::source(&path, problem));
    }
    base::bpe(files, config, pre)
}
