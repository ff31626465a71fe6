//! Texts that must come, in vocabularies that cannot write all texts.
//!
//! Where only one text can come, the engine goes on by all of it and asks for its tokens. Without tokens that spell it to its end, the engine
//! would mask what comes after it. Such places are found here, and their masks are made from the beginning of that text.

use std::sync::Arc;

use llguidance::TokenParser;
use llguidance::toktrie::SimpleVob;

use super::engine::guard;
use super::{GrammarError, TokenTable};

/// The text that must come now, if no tokens spell exactly that.
pub(crate) fn unspelled(
    table: &TokenTable,
    parser: &mut TokenParser,
) -> Result<Option<Vec<u8>>, GrammarError> {
    if !table.has_gaps() || !table.is_canonical() || parser.parser.grammar().lexer_spec().no_forcing {
        return Ok(None);
    }
    let text = guard(|| Ok::<_, String>(parser.force_bytes()))?;
    Ok((!text.is_empty() && !table.spells(&text)).then_some(text))
}

/// The tokens that begin or go beyond `text`, which is what [`unspelled`] found.
pub(crate) fn mask(
    table: &TokenTable,
    parser: &mut TokenParser,
    text: &[u8],
) -> Result<SimpleVob, GrammarError> {
    let mut set = guard(|| {
        let computer = Arc::clone(&parser.bias_computer);
        let set = parser.parser.compute_bias(&*computer, text);
        parser.parser.get_error().map_or(Ok(set), |error| Err(error.message()))
    })?;
    for token in set.to_list() {
        let rest = text.get(table.text(token as i32).len()..).unwrap_or_default();
        if !table.can_spell(rest) {
            set.disallow_token(token);
        }
    }
    if set.is_zero() {
        let text = String::from_utf8_lossy(text).escape_debug().take(40).collect();
        return Err(GrammarError::Unwritable { text });
    }
    Ok(set)
}
