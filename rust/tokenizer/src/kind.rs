//! The families of tokenizers, and what a file of each has unless it says otherwise (`llama_vocab::impl::load` in `src/llama-vocab.cpp`).

use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::roles::Roles;
use crate::words::PreTokenizer;

pub(crate) const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// The family of a tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenizerKind {
    /// `SentencePiece` BPE with byte fallback.
    SentencePiece,
    /// BPE of bytes or characters.
    Bpe,
    /// `WordPiece`: lossy.
    WordPiece,
    /// `SentencePiece` Unigram.
    Unigram,
    /// RWKV's greedy one.
    Rwkv,
    /// `PLaMo-2`'s.
    Plamo2,
}

impl TokenizerKind {
    /// Its name, as Python has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SentencePiece => "sentencepiece",
            Self::Bpe => "bpe",
            Self::WordPiece => "wordpiece",
            Self::Unigram => "unigram",
            Self::Rwkv => "rwkv",
            Self::Plamo2 => "plamo2",
        }
    }
}

/// What a file says about its tokenizer, besides the tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) kind: TokenizerKind,
    pub(crate) model: &'a str,
    /// Of BPE.
    pub(crate) pre: Option<PreTokenizer>,
    /// Only Kimi K2's files may lack merges.
    pub(crate) needs_merges: bool,
    pub(crate) roles: Roles,
    pub(crate) add_bos: bool,
    pub(crate) add_eos: bool,
    pub(crate) add_sep: bool,
    pub(crate) space_in_front: bool,
}

impl<'a> Settings<'a> {
    pub(crate) fn read(keys: Keys<'a>) -> Result<Self, TokenizerError> {
        let model = keys.text(MODEL)?.ok_or(TokenizerError::Missing { key: MODEL })?;
        let none = Self {
            kind: TokenizerKind::Bpe,
            model,
            pre: None,
            needs_merges: true,
            roles: Roles::default(),
            add_bos: false,
            add_eos: false,
            add_sep: false,
            space_in_front: false,
        };
        let mut settings = match model {
            "llama" => Self {
                kind: TokenizerKind::SentencePiece,
                roles: Roles { bos: Some(1), eos: Some(2), unknown: Some(0), ..Roles::default() },
                add_bos: true,
                space_in_front: true,
                ..none
            },
            "bert" => Self {
                kind: TokenizerKind::WordPiece,
                roles: Roles {
                    bos: Some(101),
                    unknown: Some(100),
                    separator: Some(102),
                    padding: Some(0),
                    ..Roles::default()
                },
                add_bos: true,
                add_sep: true,
                ..none
            },
            "gpt2" | "hybriddna" | "whitespace" => Self {
                roles: Roles { bos: Some(11), eos: Some(11), ..Roles::default() },
                ..none.with_pre(keys.text(PRE)?.unwrap_or_default())?
            },
            "gemma4" => none.with_pre("gemma4")?,
            "t5" => Self {
                kind: TokenizerKind::Unigram,
                roles: Roles { eos: Some(1), unknown: Some(2), padding: Some(0), ..Roles::default() },
                add_eos: true,
                ..none
            },
            "rwkv" => Self { kind: TokenizerKind::Rwkv, ..none },
            "plamo2" => Self {
                kind: TokenizerKind::Plamo2,
                roles: Roles {
                    bos: Some(1),
                    eos: Some(2),
                    unknown: Some(0),
                    padding: Some(3),
                    ..Roles::default()
                },
                ..none
            },
            "none" | "no_vocab" => return Err(TokenizerError::NoTokenizer),
            other => {
                let known =
                    "`llama`, `gpt2`, `bert`, `t5`, `rwkv`, `plamo2`, `gemma4`, `hybriddna` and `whitespace`";
                return Err(TokenizerError::Unknown { key: MODEL, name: other.to_owned(), known });
            }
        };
        let read = |setting: &mut bool, key| -> Result<(), TokenizerError> {
            *setting = keys.flag(key)?.unwrap_or(*setting);
            Ok(())
        };
        read(&mut settings.space_in_front, "tokenizer.ggml.add_space_prefix")?;
        read(&mut settings.add_bos, "tokenizer.ggml.add_bos_token")?;
        read(&mut settings.add_eos, "tokenizer.ggml.add_eos_token")?;
        read(&mut settings.add_sep, "tokenizer.ggml.add_sep_token")?;
        settings.add_bos |= settings.pre.is_some_and(|pre| pre.is_gemma);
        Ok(settings)
    }

    fn with_pre(self, name: &str) -> Result<Self, TokenizerError> {
        let Some(pre) = PreTokenizer::named(name) else {
            let known = "those of the pinned llama.cpp";
            return Err(TokenizerError::Unknown { key: PRE, name: name.to_owned(), known });
        };
        Ok(Self {
            pre: Some(pre),
            needs_merges: name != "kimi-k2",
            add_bos: pre.add_bos,
            add_sep: pre.add_sep,
            ..self
        })
    }

    /// The defaults of the roles, before the file's own.
    pub(crate) fn default_roles(&self) -> Roles {
        let no_bos = self.pre.is_some_and(|pre| pre.no_bos);
        Roles { bos: self.roles.bos.filter(|_| !no_bos), ..self.roles }
    }
}
