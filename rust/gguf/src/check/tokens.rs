//! The tokens themselves: unique, and of the kind that their tokenizer expects.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::array::Array;
use crate::error::GgufError;
use crate::text::shown;
use crate::value::Value;

use super::rules::Rules;
use super::tokenizer::{TOKEN_TYPES, TOKENS, Tokenizer};

/// `LLAMA_TOKEN_TYPE_BYTE` in `include/llama.h`.
const BYTE_TOKEN: Value<'_> = Value::I32(6);

/// Checks `list` for tokenizer `kind`; `types` are the tokens' types, where the file has them.
pub(crate) fn check(
    rules: &Rules<'_>,
    kind: Tokenizer,
    list: Array<'_>,
    types: Option<Array<'_>>,
) -> Result<(), GgufError> {
    let Some(strings) = list.strings() else {
        return Ok(());
    };
    let tokens: Vec<&[u8]> = strings.map(|token| to_nul(token.as_bytes())).collect();
    check_unique(rules, &tokens)?;
    check_renamed(rules, &tokens)?;
    if let Some(types) = types {
        check_byte_tokens(rules, kind, &tokens, types)?;
    }
    match kind {
        Tokenizer::SentencePiece => check_bytes_present(rules, &tokens, true),
        Tokenizer::Plamo2 => check_bytes_present(rules, &tokens, false),
        Tokenizer::Rwkv => check_rwkv(rules, &tokens),
        Tokenizer::Bpe
        | Tokenizer::GemmaBpe
        | Tokenizer::WordPiece
        | Tokenizer::Unigram
        | Tokenizer::Test => Ok(()),
    }
}

/// The part of a token that llama.cpp sees: it reads tokens as C strings, which end at the first zero byte.
fn to_nul(token: &[u8]) -> &[u8] {
    token.iter().position(|byte| *byte == 0).map_or(token, |end| &token[..end])
}

/// Checks that no other token has the text `[EMPTY_7]`, to which llama.cpp renames an empty token with id 7.
fn check_renamed(rules: &Rules<'_>, tokens: &[&[u8]]) -> Result<(), GgufError> {
    for (id, token) in tokens.iter().enumerate() {
        let number = token.strip_prefix(b"[EMPTY_").and_then(|rest| rest.strip_suffix(b"]"));
        let other = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let Some(other) = other.filter(|other| tokens.get(*other).is_some_and(|token| token.is_empty()))
        else {
            continue;
        };
        if format!("[EMPTY_{other}]").as_bytes() == *token {
            let problem = format!(
                "has `{}` as token `{id}`, but llama.cpp gives this name to the empty token `{other}`",
                shown(token)
            );
            return Err(rules.unusable(TOKENS, problem));
        }
    }
    Ok(())
}

/// Checks that no two tokens are equal, which llama.cpp asserts; it renames empty ones first, so those may repeat.
///
/// Sorts 33 bits of each token's hash, with its id below them, and compares the tokens whose bits agree; a hash table of 262,144 entries would miss
/// the cache at each of them. The hash is keyed at random, so that no file can be crafted to collide.
fn check_unique(rules: &Rules<'_>, tokens: &[&[u8]]) -> Result<(), GgufError> {
    const ID_BITS: u64 = (1 << 31) - 1;
    let state = RandomState::new();
    let named = tokens.iter().enumerate().filter(|(_, token)| !token.is_empty());
    let hash = |token: &[u8]| {
        let mut hasher = state.build_hasher();
        hasher.write(token);
        hasher.finish()
    };
    let mut keys: Vec<u64> = named.map(|(id, token)| (hash(token) & !ID_BITS) | id as u64).collect();
    keys.sort_unstable();
    for same_hash in keys.chunk_by(|a, b| a & !ID_BITS == b & !ID_BITS) {
        for (at, key) in same_hash.iter().enumerate().skip(1) {
            let id = (key & ID_BITS) as usize;
            if same_hash[..at].iter().any(|earlier| tokens[(earlier & ID_BITS) as usize] == tokens[id]) {
                let token = shown(tokens[id]);
                let problem = format!(
                    "has `{token}` twice, the second time as token `{id}`, but tokens must be unique"
                );
                return Err(rules.unusable(TOKENS, problem));
            }
        }
    }
    Ok(())
}

/// Byte tokens are written `<0x41>` (`token_to_byte`); a `WordPiece` vocabulary has none, or llama.cpp aborts.
fn check_byte_tokens(
    rules: &Rules<'_>,
    kind: Tokenizer,
    tokens: &[&[u8]],
    types: Array<'_>,
) -> Result<(), GgufError> {
    if !matches!(
        kind,
        Tokenizer::SentencePiece
            | Tokenizer::Bpe
            | Tokenizer::GemmaBpe
            | Tokenizer::WordPiece
            | Tokenizer::Unigram
    ) {
        return Ok(());
    }
    for (id, (token, token_type)) in tokens.iter().zip(types).enumerate() {
        if token_type != BYTE_TOKEN {
            continue;
        }
        if kind == Tokenizer::WordPiece {
            return Err(rules.unusable(
                TOKEN_TYPES,
                format!("marks token `{id}` as a byte, which a `bert` tokenizer has not"),
            ));
        }
        // An empty token is renamed `[EMPTY_…]`, which is long enough.
        if (1..3).contains(&token.len()) {
            let problem =
                format!("marks token `{id}`, `{}`, as a byte, but those are written `<0x41>`", shown(token));
            return Err(rules.unusable(TOKEN_TYPES, problem));
        }
    }
    Ok(())
}

/// Text outside the vocabulary becomes byte tokens; if one is missing, llama.cpp throws a C++ exception in the middle of tokenizing. With
/// `raw_allowed` a token that is the byte itself will do, too (`llama_vocab::byte_to_token`).
fn check_bytes_present(rules: &Rules<'_>, tokens: &[&[u8]], raw_allowed: bool) -> Result<(), GgufError> {
    let mut present = [false; 256];
    for token in tokens {
        match *token {
            // llama.cpp looks the raw byte up as a C string, so byte 0 is the empty string, which no token is.
            [byte] if raw_allowed && *byte != 0 => present[usize::from(*byte)] = true,
            [b'<', b'0', b'x', high, low, b'>'] => {
                if let (Some(high), Some(low)) = (upper_hex(*high), upper_hex(*low)) {
                    present[usize::from(high << 4 | low)] = true;
                }
            }
            _ => {}
        }
    }
    let Some(byte) = present.iter().position(|present| !present) else {
        return Ok(());
    };
    let problem = format!(
        "lacks the byte token `<0x{byte:02X}>`, but this kind of tokenizer needs all 256; is it of another kind?"
    );
    Err(rules.unusable(TOKENS, problem))
}

/// The value of a hexadecimal digit as llama.cpp writes it, in upper case.
fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RWKV's tokenizer walks a trie and never comes back from a branch without a token (`llm_tokenizer_rwkv_session`):
/// it loops and fills memory. A token for every first byte rules that out.
fn check_rwkv(rules: &Rules<'_>, tokens: &[&[u8]]) -> Result<(), GgufError> {
    let mut single = [false; 256];
    let mut first = [None; 256];
    for (id, token) in tokens.iter().enumerate() {
        let text = unescape_rwkv(token);
        match text.as_slice() {
            [] => {}
            [byte] => single[usize::from(*byte)] = true,
            [byte, ..] => {
                first[usize::from(*byte)].get_or_insert(id);
            }
        }
    }
    for (byte, (id, single)) in first.iter().zip(single).enumerate() {
        if let (Some(id), false) = (id, single) {
            let problem = format!(
                "has no token for the single byte `0x{byte:02X}`, with which token `{id}` starts; an `rwkv` tokenizer needs one, \
                 so the tokens are of another kind"
            );
            return Err(rules.unusable(TOKENS, problem));
        }
    }
    Ok(())
}

/// Undoes the escapes of RWKV's vocabularies: `\t`, `\n`, `\r`, `\x41`, and a backslash before anything else.
fn unescape_rwkv(token: &[u8]) -> Vec<u8> {
    let mut bytes = token.iter().copied();
    let mut text = Vec::with_capacity(token.len());
    // Anything but lower-case digits is unexpected; llama.cpp applies the same arithmetic to it.
    let digit = |byte: u8| {
        if byte >= b'a' { byte.wrapping_sub(b'a').wrapping_add(10) } else { byte.wrapping_sub(b'0') }
    };
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b't') => text.push(b'\t'),
            Some(b'n') => text.push(b'\n'),
            Some(b'r') => text.push(b'\r'),
            Some(b'x') => {
                if let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
                    text.push((digit(high) << 4).wrapping_add(digit(low)));
                }
            }
            Some(other) => text.push(other),
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rwkv_escapes_are_undone() {
        assert_eq!(unescape_rwkv(br"a\n\x41\\\x"), b"a\nA\\");
        assert_eq!(unescape_rwkv(b"\\xe2\\x96"), b"\xe2\x96");
    }
}
