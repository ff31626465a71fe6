//! `SentencePiece`'s Unigram tokenizer (`llm_tokenizer_ugm_session` in `src/llama-vocab.cpp`).

use std::ops::Range;

use tabagent_gguf::ValueType;

use crate::characters::width;
use crate::charsmap::Charsmap;
use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::output::TokenId;
use crate::spaces;
use crate::token_attributes::Attributes;
use crate::trie::Trie;
use crate::vocabulary::Vocabulary;
use crate::work::Work;

/// What an unknown character costs more than the least likely token.
const UNKNOWN_PENALTY: f32 = 10.0;
/// Characters between two checks of whether to stop.
const BETWEEN_LOOKS: usize = 1 << 14;

/// A tokenizer that finds the most likely sequence of tokens.
#[derive(Debug)]
pub(crate) struct Unigram {
    trie: Trie,
    /// Tokens of the user, which are not normalized.
    user_defined: Trie,
    charsmap: Charsmap,
    unknown: TokenId,
    unknown_score: f64,
    space_in_front: bool,
    merges_spaces: bool,
}

/// The best way to reach a place of a text.
#[derive(Clone, Copy, Debug)]
struct Best {
    token: TokenId,
    from: u32,
    score: f64,
}

/// A normalized text, and where its bytes come from.
#[derive(Debug, Default)]
struct Normalized {
    bytes: Vec<u8>,
    places: Option<Vec<Range<usize>>>,
}

impl Unigram {
    /// Reads how a file's texts are normalized. The attributes of `vocabulary` must be those of the file.
    pub(crate) fn read(
        keys: Keys<'_>,
        vocabulary: &Vocabulary,
        unknown: Option<TokenId>,
        space_in_front: bool,
    ) -> Result<Self, TokenizerError> {
        let array = keys.array(
            "tokenizer.ggml.precompiled_charsmap",
            &[ValueType::I8, ValueType::U8],
            "an array of bytes",
        )?;
        let charsmap = Charsmap::read(array.map_or(&[][..], |array| array.as_bytes()))?;
        let with = |wanted: Attributes| {
            let is_wanted = move |id: &TokenId| vocabulary.attributes(*id).has(wanted);
            Trie::new(vocabulary.ids().filter(is_wanted).map(|id| (vocabulary.text(id), id)))
        };
        let scores = vocabulary.ids().filter(|id| vocabulary.attributes(*id).has(Attributes::NORMAL));
        let lowest = scores.map(|id| vocabulary.scores[id as usize]).fold(f32::MAX, f32::min);
        let Some(unknown) = unknown else {
            return Err(TokenizerError::Missing { key: "tokenizer.ggml.unknown_token_id" });
        };
        Ok(Self {
            trie: with(Attributes::NORMAL.with(Attributes::USER_DEFINED).with(Attributes::UNUSED)),
            user_defined: with(Attributes::USER_DEFINED),
            charsmap,
            unknown,
            unknown_score: f64::from(lowest - UNKNOWN_PENALTY),
            space_in_front,
            merges_spaces: keys.flag("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        })
    }

    /// Whether it puts a space in front of a text.
    pub(crate) fn puts_spaces(&self) -> bool {
        self.space_in_front || self.merges_spaces
    }

    /// Adds the tokens of `span` of `text`.
    pub(crate) fn tokenize(
        &self,
        text: &[u8],
        span: Range<usize>,
        vocabulary: &Vocabulary,
        work: &mut Work<'_>,
    ) -> Result<(), TokenizerError> {
        let normalized = self.normalize(text, span, work)?;
        let bytes = &normalized.bytes;
        if bytes.is_empty() {
            return Ok(());
        }
        let start = Best { token: self.unknown, from: 0, score: f64::MIN };
        let mut best = vec![start; bytes.len() + 1];
        best[0].score = 0.0;
        let (mut at, mut n_characters) = (0, 0_usize);
        while at < bytes.len() {
            n_characters += 1;
            if n_characters.is_multiple_of(BETWEEN_LOOKS) && (work.stop)() {
                return Err(TokenizerError::Stopped);
            }
            let end = (at + width(bytes[at])).min(bytes.len());
            let score = best[at].score;
            let mut is_known = false;
            let mut offer = |end: usize, token: TokenId, score: f64| {
                if score > best[end].score {
                    best[end] = Best { token, from: at as u32, score };
                }
            };
            self.trie.walk(&bytes[at..], |length, id| {
                is_known |= at + length == end;
                // A token of the user is taken wherever it can be.
                let is_user_defined = vocabulary.attributes(id).has(Attributes::USER_DEFINED);
                let own = if is_user_defined { 0.0 } else { f64::from(vocabulary.scores[id as usize]) };
                offer(at + length, id, score + own);
            });
            if !is_known {
                offer(end, self.unknown, score + self.unknown_score);
            }
            at = end;
        }
        self.backtrack(&best, &normalized, work);
        Ok(())
    }

    fn backtrack(&self, best: &[Best], normalized: &Normalized, work: &mut Work<'_>) {
        let (mut path, mut end) = (Vec::new(), best.len() - 1);
        loop {
            let step = best[end];
            let from = step.from as usize;
            match path.last_mut() {
                // Unknown characters beside each other are one token.
                Some((token, start, _)) if *token == self.unknown && step.token == self.unknown => {
                    *start = from;
                }
                _ => path.push((step.token, from, end)),
            }
            if from == 0 {
                break;
            }
            end = from;
        }
        for (token, start, end) in path.into_iter().rev() {
            let span = match &normalized.places {
                Some(places) => places[start].start..places[end - 1].end,
                None => 0..0,
            };
            work.out.push(token, span.start, span.end);
        }
    }

    fn normalize(
        &self,
        text: &[u8],
        span: Range<usize>,
        work: &Work<'_>,
    ) -> Result<Normalized, TokenizerError> {
        let mut normalized =
            Normalized { bytes: Vec::new(), places: work.out.spans.is_some().then(Vec::new) };
        normalized.bytes.reserve(span.len() + span.len() / 2);
        let (mut at, mut in_word, mut has_space, mut n) = (span.start, false, false, 0_usize);
        while at < span.end {
            n += 1;
            if n.is_multiple_of(BETWEEN_LOOKS) && (work.stop)() {
                return Err(TokenizerError::Stopped);
            }
            let (length, bytes) = self.normalized(&text[at..span.end])?;
            let place = at..at + length;
            for byte in bytes {
                if *byte == b' ' {
                    in_word = false;
                    if !self.merges_spaces {
                        normalized.push(spaces::SPACE, &place);
                    }
                    continue;
                }
                if !in_word {
                    in_word = true;
                    if self.space_in_front && !has_space || self.merges_spaces {
                        normalized.push(spaces::SPACE, &(at..at));
                        has_space = true;
                    }
                }
                normalized.push(&[*byte], &place);
            }
            at += length;
        }
        Ok(normalized)
    }

    /// How many bytes of `text` are normalized together, and to what.
    fn normalized<'t>(&'t self, text: &'t [u8]) -> Result<(usize, &'t [u8]), TokenizerError> {
        // Whatever begins like a token of the user stays as it is, even if it is none.
        let n_user = self.user_defined.walk(text, |_, _| {});
        if n_user > 0 {
            return Ok((n_user, &text[..n_user]));
        }
        if let Some(found) = self.charsmap.find(text)? {
            return Ok(found);
        }
        // After a beginning of such a token, a text may go on in the middle of a character.
        let character = width(text[0]);
        let is_whole = text[0] & 0xc0 != 0x80 && text.len() >= character;
        Ok(if is_whole { (character, &text[..character]) } else { (1, "\u{fffd}".as_bytes()) })
    }
}

impl Normalized {
    fn push(&mut self, bytes: &[u8], place: &Range<usize>) {
        self.bytes.extend_from_slice(bytes);
        if let Some(places) = &mut self.places {
            places.resize(self.bytes.len(), place.clone());
        }
    }
}
