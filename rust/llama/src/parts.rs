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
    /// Whether what follows a marker is tokenized as if it came first: none takes the white space around it along.
    are_seams: bool,
}

/// Where a text is cut for its tokens.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cuts {
    /// In order: no marker is whole that plain parts have a share in.
    at: Vec<usize>,
    /// Behind control tokens of the format, where a cut changes nothing; in order.
    seams: Vec<usize>,
}

/// A user-defined token that looks like a part of a format, such as `<tool_call>`; others are words and white space.
fn looks_like_marker(text: &str) -> bool {
    let framed =
        (text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']'));
    framed && text.len() > 2 && !text.contains(char::is_whitespace)
}

impl Markers {
    fn of(vocab: &Vocab) -> Option<Self> {
        let (mut texts, mut always, mut are_seams) = (Vec::new(), Vec::new(), true);
        for token in 0..TokenId::try_from(vocab.len()).unwrap_or(TokenId::MAX) {
            let Ok(attributes) = vocab.token_attributes(token) else { continue };
            let names = attributes.names();
            are_seams &= !names.contains(&"lstrip") && !names.contains(&"rstrip");
            if !attributes.is_special() {
                continue;
            }
            let user_defined = names.contains(&"user_defined");
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
        Some(Self { finder: AhoCorasick::new(texts).ok()?, always, are_seams })
    }

    /// Where a text has to be cut so that no marker is whole that `plain` parts have a share in, and where it may be cut.
    ///
    /// A user-defined token is left whole unless the other parts have it, too: then it is one of the format's.
    fn cuts(&self, text: &str, plain: &[Range<usize>]) -> Cuts {
        let is_plain = |range: Range<usize>| {
            let next = plain.partition_point(|part| part.end <= range.start);
            plain.get(next).is_some_and(|part| part.start < range.end)
        };
        let mut of_format = vec![false; self.always.len()];
        let mut touched = Vec::new();
        // The ends of control tokens that no other marker has a share in.
        let (mut seams, mut reach): (Vec<usize>, usize) = (Vec::new(), 0);
        for found in self.finder.find_overlapping_iter(text) {
            let pattern = found.pattern().as_usize();
            if is_plain(found.range()) {
                touched.push((found.start(), pattern));
            } else {
                of_format[pattern] = true;
            }
            // They come by their ends.
            while seams.pop_if(|end| *end > found.start()).is_some() {}
            let is_apart = std::mem::replace(&mut reach, found.end()) <= found.start();
            if self.are_seams && is_apart && !self.always[pattern] && !is_plain(found.range()) {
                seams.push(found.end());
            }
        }
        let mut at: Vec<usize> = touched
            .into_iter()
            .filter(|(_, pattern)| !self.always[*pattern] || of_format[*pattern])
            .map(|(start, _)| start + text[start..].chars().next().map_or(1, char::len_utf8))
            .collect();
        at.sort_unstable();
        at.dedup();
        Cuts { at, seams }
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
        let Cuts { at: cuts, seams } = markers.map(|markers| markers.cuts(&text, &plain)).unwrap_or_default();
        let mut known = self.beginnings.known(&text, &cuts);
        let mut from = known.end();
        let mut ends: Vec<usize> = cuts.iter().chain(&seams).copied().chain([text.len()]).collect();
        ends.sort_unstable();
        ends.dedup();
        for end in ends.into_iter().filter(|end| *end > known.end()).collect::<Vec<_>>() {
            let piece = &text[from..end];
            from = end;
            let more = self.tokenize_after(known.tokens.last().copied(), piece, true)?;
            known.tokens.extend(more);
            if seams.binary_search(&end).is_ok() {
                known.seams.push((end, known.tokens.len()));
            }
        }
        Ok(self.beginnings.keep(&text, cuts, known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    fn markers(texts: &[&str], always: &[bool]) -> Markers {
        Markers {
            finder: AhoCorasick::new(texts).expect("they are few"),
            always: always.to_vec(),
            are_seams: true,
        }
    }

    #[test]
    fn markers_are_cut_where_plain_parts_share_them() {
        let markers = markers(&["<|end|>", "<call>"], &[false, true]);
        assert_eq!(markers.cuts("a<|end|>b<|end|>", &[0..1, 8..16]).at, [10]);
        assert_eq!(markers.cuts("a<|end|>b", &[0..1, 8..9]).at, [0_usize; 0]);
        // Half of the marker is the template's.
        assert_eq!(markers.cuts("<|end|>", from_ref(&(2..5))).at, [1]);
        // A user-defined token counts once the format uses it.
        assert_eq!(markers.cuts("<call>", from_ref(&(0..6))).at, [0_usize; 0]);
        assert_eq!(markers.cuts("<call><call>", from_ref(&(6..12))).at, [7]);
    }

    #[test]
    fn a_text_may_be_cut_behind_control_tokens_of_the_format() {
        let markers = markers(&["<|end|>", "<call>", "|>\n", "<|end|>more"], &[false, true, false, false]);
        let seam = |text: &str, plain: &[Range<usize>]| markers.cuts(text, plain).seams.pop();
        assert_eq!(markers.cuts("a<|end|>b<|end|>c", &[]).seams, [8, 16]);
        assert_eq!(seam("a<|end|>b<|end|>c", from_ref(&(8..17))), Some(8));
        assert_eq!(seam("a<|end|>b", from_ref(&(3..4))), None);
        assert_eq!(seam("a<call>b", &[]), None, "user-defined ones count where markers are plain text, too");
        assert_eq!(
            seam("a<|end|>b<|end|>\nc", &[]),
            Some(8),
            "which of two that overlap is one, the tokenizer says"
        );
        assert_eq!(seam("a<|end|>b<|end|>more", &[]), Some(8));
        assert_eq!(seam("a<|end|>mor", &[]), Some(8));
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
