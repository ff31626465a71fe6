//! Which tokens have a role, and which end a text (`llama_vocab::impl::load` in `src/llama-vocab.cpp`).

use std::collections::BTreeSet;

use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::output::TokenId;
use crate::token_attributes::Attributes;
use crate::vocabulary::Vocabulary;

/// Tokens with a role.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) bos: Option<TokenId>,
    pub(crate) eos: Option<TokenId>,
    pub(crate) unknown: Option<TokenId>,
    pub(crate) separator: Option<TokenId>,
    pub(crate) padding: Option<TokenId>,
    pub(crate) end_of_turn: Option<TokenId>,
    pub(crate) end_of_message: Option<TokenId>,
    /// Of infilling, in the order of `INFILL`.
    pub(crate) infill: [Option<TokenId>; 6],
}

/// Keys of the tokens of infilling, their older keys, and the texts by which they are known without either: what comes before, after and in the
/// middle, padding, repository and file.
const INFILL: [(&str, Option<&str>, &[&str]); 6] = [
    (
        "tokenizer.ggml.fim_pre_token_id",
        Some("tokenizer.ggml.prefix_token_id"),
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        "tokenizer.ggml.fim_suf_token_id",
        Some("tokenizer.ggml.suffix_token_id"),
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        "tokenizer.ggml.fim_mid_token_id",
        Some("tokenizer.ggml.middle_token_id"),
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    ("tokenizer.ggml.fim_pad_token_id", None, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (
        "tokenizer.ggml.fim_rep_token_id",
        None,
        &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"],
    ),
    ("tokenizer.ggml.fim_sep_token_id", None, &["<|file_sep|>"]),
];

const ENDS_OF_TURN: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// Further texts of tokens that end a text.
const ENDS: [&str; 11] = [
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "</s>",
    "<|eom_id|>",
    "[EOS]",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "[e~[",
];

impl Roles {
    /// Reads the roles from a file; `self` are the defaults of its kind of tokenizer. Ids out of range are left out.
    pub(crate) fn read(mut self, keys: Keys<'_>, n_tokens: usize) -> Result<Self, TokenizerError> {
        let is_there = |id: TokenId| usize::try_from(id).is_ok_and(|id| id < n_tokens);
        let read = |role: &mut Option<TokenId>, key| -> Result<(), TokenizerError> {
            *role = role.filter(|id| is_there(*id));
            if let Some(id) = keys.number(key)?
                && (id as usize) < n_tokens
            {
                *role = Some(id as TokenId);
            }
            Ok(())
        };
        read(&mut self.bos, "tokenizer.ggml.bos_token_id")?;
        read(&mut self.eos, "tokenizer.ggml.eos_token_id")?;
        read(&mut self.end_of_turn, "tokenizer.ggml.eot_token_id")?;
        read(&mut self.end_of_message, "tokenizer.ggml.eom_token_id")?;
        read(&mut self.unknown, "tokenizer.ggml.unknown_token_id")?;
        read(&mut self.separator, "tokenizer.ggml.seperator_token_id")?;
        read(&mut self.padding, "tokenizer.ggml.padding_token_id")?;
        for (role, (key, older, _)) in self.infill.iter_mut().zip(INFILL) {
            read(role, key)?;
            older.map_or(Ok(()), |older| read(role, older))?;
        }
        Ok(self)
    }

    /// Finds tokens whose roles the file does not name by their texts, corrects the attributes of tokens that must be special, and returns the
    /// tokens that end a text.
    pub(crate) fn find(&mut self, vocabulary: &mut Vocabulary) -> BTreeSet<TokenId> {
        for (role, texts) in
            [(&mut self.end_of_turn, &ENDS_OF_TURN[..]), (&mut self.end_of_message, &["<|eom_id|>"])]
        {
            find_one(role, texts, vocabulary);
        }
        for (role, (_, _, texts)) in self.infill.iter_mut().zip(INFILL) {
            find_one(role, texts, vocabulary);
        }
        for id in vocabulary.ids() {
            let attributes = vocabulary.attributes(id);
            if attributes.has(Attributes::CONTROL)
                && memchr::memmem::find(vocabulary.text(id), b"unused").is_some()
            {
                vocabulary.attributes[id as usize] = attributes.with(Attributes::UNUSED);
            }
        }
        let mut ends: BTreeSet<TokenId> = self.infill[3..].iter().flatten().copied().collect();
        for text in ENDS_OF_TURN.iter().chain(&ENDS) {
            if let Some(id) = vocabulary.find(text.as_bytes()) {
                ends.insert(id);
                make_control(vocabulary, id);
            }
        }
        // gpt-oss's markers always have their text.
        for text in ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"] {
            if let Some(id) = vocabulary.find(text.as_bytes()) {
                vocabulary.attributes[id as usize] = Attributes::USER_DEFINED;
            }
        }
        ends.extend([self.eos, self.end_of_turn, self.end_of_message].into_iter().flatten());
        let ending = |text: &str| vocabulary.find(text.as_bytes()).filter(|id| ends.contains(id));
        let has_call = ending("<|call|>").or_else(|| ending("<|calls|>")).is_some();
        // There, `<|end|>` ends only a message.
        let end = ending("<|end|>")
            .filter(|_| has_call && (ending("<|return|>").is_some() || ending("<|flush|>").is_some()));
        // There, `</s>` is a token like any other.
        let plain = ending("</s>")
            .filter(|_| ending("<|tool_response>").or_else(|| ending("<|plamo:eos|>")).is_some());
        for (id, attributes) in [(end, Attributes::USER_DEFINED), (plain, Attributes::NORMAL)] {
            if let Some(id) = id {
                ends.remove(&id);
                vocabulary.attributes[id as usize] = attributes;
            }
        }
        ends
    }
}

fn find_one(role: &mut Option<TokenId>, texts: &[&str], vocabulary: &mut Vocabulary) {
    if role.is_none() {
        *role = texts.iter().find_map(|text| vocabulary.find(text.as_bytes()));
        if let Some(id) = *role {
            make_control(vocabulary, id);
        }
    }
}

fn make_control(vocabulary: &mut Vocabulary, id: TokenId) {
    let attributes = &mut vocabulary.attributes[id as usize];
    *attributes = attributes.with(Attributes::CONTROL);
}
