//! SentencePiece vocabularies, from `tokenizer.model` or from a `tokenizer.json` that was made of one.

use std::collections::HashMap;
use std::path::Path;

use crate::convert::error::ConvertError;
use crate::convert::json::Object;

use crate::text::pointer_problem;

use super::added_tokens::{self, AddedTokens};
use super::base::{self, MAX_TOKENS};
use super::files::TokenizerFiles;
use super::protobuf::{Field, fields};
use super::vocabulary::{Token, TokenType, Vocabulary, looks_special};

/// Score of tokens that did not come from training.
const ADDED_SCORE: f32 = -1000.0;

/// Score of ids that have no token.
const UNUSED_SCORE: f32 = -10_000.0;

/// The vocabulary in `tokenizer.model`; `None` if there is no such file (`_create_vocab_sentencepiece` in `conversion/base.py`).
/// For Phi-3 also the added tokens of `tokenizer.json`, and control tokens are only those marked as special (`conversion/phi.py`).
pub(super) fn from_model(
    files: &TokenizerFiles,
    config: &Object,
    is_phi3: bool,
) -> Result<Option<Vocabulary>, ConvertError> {
    let path = files.folder.join("tokenizer.model");
    if !path.is_file() {
        return Ok(None);
    }
    let pieces = read_pieces(&path)?;
    let len = config.count(&["vocab_size"])?.map_or(pieces.len(), |len| len as usize);
    check_len(len, config)?;
    let mut tokens = Vocabulary::padding(len, UNUSED_SCORE);
    for (token, piece) in tokens.iter_mut().zip(pieces) {
        *token = piece;
    }
    for (id, token) in added_tokens::of_plain_file(&files.folder)? {
        let new = Token { text: token.text.into_bytes(), score: ADDED_SCORE, kind: TokenType::UserDefined };
        tokens.get_mut(id as usize).into_iter().for_each(|token| *token = new.clone());
    }
    place_added(&mut tokens, &added_tokens::of_config(&files.config)?, is_phi3);
    if let (true, Some(tokenizer)) = (is_phi3, &files.tokenizer) {
        place_added(&mut tokens, &added_tokens::of_tokenizer(tokenizer)?, true);
    }
    Ok(Some(vocabulary(tokens)))
}

/// The vocabulary in a `tokenizer.json` that was made from a SentencePiece model. The scores come from the ranks of its merges: what merges first
/// scores highest.
pub(super) fn from_tokenizer(files: &TokenizerFiles, config: &Object) -> Result<Vocabulary, ConvertError> {
    let base = base::base(files)?;
    let mut added = added_tokens::of_config(&files.config)?;
    if let Some(tokenizer) = &files.tokenizer {
        added.extend(added_tokens::of_tokenizer(tokenizer)?);
    }
    let last = base.keys().next_back().max(added.keys().next_back()).copied();
    let needed = last.map_or(0, |last| last as usize + 1);
    let len = config.count(&["vocab_size"])?.map_or(needed, |len| len as usize).max(needed);
    check_len(len, config)?;
    let mut tokens = Vocabulary::padding(len, UNUSED_SCORE);
    let ranks = ranks(files)?;
    for (id, text) in base {
        let kind = if is_byte(&text) { TokenType::Byte } else { TokenType::Normal };
        let score = match (ranks.get(&text), kind) {
            (_, TokenType::Byte) => 0.0,
            (Some(rank), _) => -(*rank as f32),
            // Single characters score below everything that is merged.
            (None, _) => -(ranks.len() as f32),
        };
        tokens.get_mut(id as usize).into_iter().for_each(|token| {
            *token = Token { text: text.clone().into_bytes(), score, kind };
        });
    }
    place_added(&mut tokens, &added, false);
    let unknown =
        files.tokenizer.as_ref().and_then(|tokenizer| tokenizer.get("model")?.get("unk_token")?.as_str());
    if let Some(token) =
        tokens.iter_mut().find(|token| unknown.is_some_and(|text| token.text == text.as_bytes()))
    {
        token.kind = TokenType::Unknown;
    }
    Ok(vocabulary(tokens))
}

fn vocabulary(tokens: Vec<Token>) -> Vocabulary {
    Vocabulary { model: "llama", pre: "default".to_owned(), tokens, has_scores: true, merges: Vec::new() }
}

fn check_len(len: usize, config: &Object) -> Result<(), ConvertError> {
    if (1..=MAX_TOKENS).contains(&len) {
        return Ok(());
    }
    Err(ConvertError::source(config.path(), format!("key `vocab_size` is `{len}`, which no vocabulary has")))
}

/// Puts added tokens at their ids; those past the end are left out, as models have no embeddings for them.
fn place_added(tokens: &mut [Token], added: &AddedTokens, only_marked: bool) {
    for (id, new) in added {
        if let Some(token) = tokens.get_mut(*id as usize) {
            let is_control = new.is_special || (!only_marked && looks_special(&new.text));
            let keeps_spaces = is_control || only_marked;
            let text = if keeps_spaces { new.text.clone() } else { new.text.replace('\u{2581}', " ") };
            let kind = if is_control { TokenType::Control } else { TokenType::UserDefined };
            *token = Token { text: text.into_bytes(), score: ADDED_SCORE, kind };
        }
    }
}

/// The rank of the first merge that makes each token.
fn ranks(files: &TokenizerFiles) -> Result<HashMap<String, usize>, ConvertError> {
    let mut ranks = HashMap::new();
    for (rank, merge) in base::merges(files)?.into_iter().enumerate() {
        ranks.entry(merge.replace(' ', "")).or_insert(rank);
    }
    Ok(ranks)
}

/// True for `<0x00>` to `<0xFF>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// The pieces of a `ModelProto` (`sentencepiece_model.proto` of the SentencePiece project).
fn read_pieces(path: &Path) -> Result<Vec<Token>, ConvertError> {
    let bytes = std::fs::read(path).map_err(|source| ConvertError::Read { path: path.to_owned(), source })?;
    if let Some(problem) = pointer_problem(&bytes) {
        return Err(ConvertError::source(path, format!("it {problem}")));
    }
    let invalid = || ConvertError::source(path, "it is not a SentencePiece model");
    let mut pieces = Vec::new();
    for field in fields(&bytes) {
        if let (1, Field::Bytes(piece)) = field.ok_or_else(invalid)? {
            pieces.push(read_piece(piece).ok_or_else(invalid)?);
        }
    }
    if pieces.is_empty() {
        return Err(ConvertError::source(path, "it is a SentencePiece model without tokens"));
    }
    Ok(pieces)
}

fn read_piece(bytes: &[u8]) -> Option<Token> {
    let (mut text, mut score, mut kind) = (&[][..], 0.0, 1);
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(bytes)) => text = bytes,
            (2, Field::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Field::Varint(number)) => kind = number,
            _ => {}
        }
    }
    let kind = match kind {
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        5 => TokenType::Unused,
        6 => TokenType::Byte,
        // User-defined pieces are among the added tokens, too.
        _ => TokenType::Normal,
    };
    Some(Token { text: text.to_vec(), score, kind })
}
