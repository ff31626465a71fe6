//! Texts that must come, in vocabularies that cannot write all texts.
//!
//! Where only one text can come, the engine parses all of it ahead and asks for its tokens. If no tokens spell it to its end, the engine
//! would mask what follows it. Such places are found here, and their masks are computed from the beginning of the text.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::toktrie::{SimpleVob, TokTrie};

use super::engine::guard;
use super::{GrammarError, TokenTable};
use crate::TokenId;

/// A text that must come now and that no tokens spell exactly.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    bytes: Arc<[u8]>,
    /// Whether a token that the grammar names by number follows, so that no token may go beyond the text.
    ends: bool,
}

impl Text {
    /// Whether the text can be written to its end if it begins with `token`.
    pub(crate) fn admits(&self, table: &TokenTable, token: TokenId) -> bool {
        match self.bytes.get(table.text(token).len()..) {
            Some(rest) if self.ends => table.spells(rest),
            Some(rest) => table.can_spell(rest),
            None => !self.ends,
        }
    }
}

/// The text that must come now, if no tokens spell exactly that.
pub(crate) fn unspelled(table: &TokenTable, parser: &mut TokenParser) -> Result<Option<Text>, GrammarError> {
    if !table.has_gaps() {
        return Ok(None);
    }
    let mut bytes = guard(|| Ok::<_, String>(parser.force_bytes()))?;
    // The engine writes a token by its number as this byte and the number in brackets.
    let end = bytes.iter().position(|&byte| byte == TokTrie::SPECIAL_TOKEN_MARKER);
    bytes.truncate(end.unwrap_or(bytes.len()));
    Ok((!bytes.is_empty() && !table.spells(&bytes))
        .then(|| Text { bytes: bytes.into(), ends: end.is_some() }))
}

/// The tokens that begin or go beyond `text`.
pub(crate) fn mask(
    table: &TokenTable,
    parser: &mut TokenParser,
    text: &Text,
) -> Result<SimpleVob, GrammarError> {
    let mut set = guard(|| {
        let computer = Arc::clone(&parser.bias_computer);
        let set = parser.parser.compute_bias(&*computer, &text.bytes);
        parser.parser.get_error().map_or(Ok(set), |error| Err(error.message()))
    })?;
    for token in set.to_list() {
        if !text.admits(table, token as TokenId) {
            set.disallow_token(token);
        }
    }
    if set.is_zero() {
        let text = String::from_utf8_lossy(&text.bytes).escape_debug().take(40).collect();
        return Err(GrammarError::Unwritable { text });
    }
    Ok(set)
}
