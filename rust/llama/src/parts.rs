//! Texts of which only some parts may name special tokens.

use crate::batch::TokenId;
use crate::vocab::Vocab;
use crate::vocab_error::VocabError;
use aho_corasick::AhoCorasick;
use std::ops::Range;

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPart<'t> {
    /// The text.
    pub text: &'t str,
    /// Whether markers in it stand for special tokens.
    pub parse_special: bool,
}

/// Finds the texts of special tokens.
#[derive(Debug)]
pub(crate) struct Markers {
    finder: AhoCorasick,
    /// Whether the tokenizer takes the marker also where markers are plain text (user-defined tokens).
    always: Vec<bool>,
}

/// A user-defined token that looks like a part of a format, such as `<tool_call>`; others are words and white space.
fn looks_like_marker(text: &str) -> bool {
    let framed =
        (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'));
    framed && text.len() > 2 && !text.contains(char::is_whitespace)
}

impl Markers {
    fn of(vocab: &Vocab) -> Option<Self> {
        let (mut texts, mut always) = (Vec::new(), Vec::new());
        for token in 0..TokenId::try_from(vocab.len()).unwrap_or(TokenId::MAX) {
            let Ok(attributes) = vocab.token_attributes(token) else { continue };
            if !attributes.is_special() {
                continue;
            }
            let user_defined = attributes.names().contains(&"user_defined");
            let Ok(text) = vocab.token_text(token) else { continue };
            if text.is_empty() || (user_defined && !looks_like_marker(&text)) {
                continue;
            }
            texts.push(text);
            always.push(user_defined);
        }
        if texts.is_empty() {
            return None;
        }
        Some(Self { finder: AhoCorasick::new(texts).ok()?, always })
    }

    /// Where the text has to be cut so that no marker is whole that `plain` parts have a share in.
    ///
    /// A user-defined token is left whole unless the other parts have it, too: then it is one of the format's.
    fn cuts(&self, text: &str, plain: &[Range<usize>]) -> Vec<usize> {
        let is_plain = |range: Range<usize>| {
            let next = plain.partition_point(|part| part.end <= range.start);
            plain.get(next).is_some_and(|part| part.start < range.end)
        };
        let mut of_format = vec![false; self.always.len()];
        let mut touched = Vec::new();
        for found in self.finder.find_overlapping_iter(text) {
            let pattern = found.pattern().as_usize();
            if is_plain(found.range()) {
                touched.push((found.start(), pattern));
            } else {
                of_format[pattern] = true;
            }
        }
        let mut cuts: Vec<usize> = touched
            .into_iter()
            .filter(|(_, pattern)| !self.always[*pattern] || of_format[*pattern])
            .map(|(start, _)| start + text[start..].chars().next().map_or(1, char::len_utf8))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }
}

impl Vocab {
    /// The tokens of a text in parts. Markers are special tokens where a part says so, and plain text in the other parts, also where both make up
    /// one together. Parts are no borders otherwise: the tokens are those of the whole text.
    ///
    /// # Errors
    /// As for [`Vocab::tokenize`].
    pub fn tokenize_parts<'t>(
        &self,
        parts: impl IntoIterator<Item = TextPart<'t>>,
    ) -> Result<Vec<TokenId>, VocabError> {
        let (mut text, mut plain) = (String::new(), Vec::new());
        for part in parts {
            let start = text.len();
            text.push_str(part.text);
            if !part.parse_special && !part.text.is_empty() {
                plain.push(start..text.len());
            }
        }
        let markers = self.markers.get_or_init(|| Markers::of(self)).as_ref();
        let cuts = markers.map(|markers| markers.cuts(&text, &plain)).unwrap_or_default();
        let mut tokens = Vec::new();
        let mut from = 0;
        for end in cuts.into_iter().chain([text.len()]) {
            let piece = &text[from..end];
            from = end;
            tokens.extend(self.tokenize_after(tokens.last().copied(), piece, true)?);
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn markers(texts: &[&str], always: &[bool]) -> Markers {
        Markers { finder: AhoCorasick::new(texts).expect("they are few"), always: always.to_vec() }
    }

    #[test]
    fn markers_are_cut_where_plain_parts_share_them() {
        let markers = markers(&["<|end|>", "<call>"], &[false, true]);
        assert_eq!(markers.cuts("a<|end|>b<|end|>", &[0..1, 8..16]), [10]);
        assert_eq!(markers.cuts("a<|end|>b", &[0..1, 8..9]), [0_usize; 0]);
        // Half of the marker is the template's.
        assert_eq!(markers.cuts("<|end|>", from_ref(&(2..5))), [1]);
        // A user-defined token counts once the format uses it.
        assert_eq!(markers.cuts("<call>", from_ref(&(0..6))), [0_usize; 0]);
        assert_eq!(markers.cuts("<call><call>", from_ref(&(6..12))), [7]);
    }

    #[test]
    fn only_framed_words_look_like_markers() {
        assert!(looks_like_marker("<tool_call>") && looks_like_marker("[INST]"));
        assert!(
            !looks_like_marker("  ")
                && !looks_like_marker("<>")
                && !looks_like_marker("<a b>")
                && !looks_like_marker("word")
        );
    }
}
