//! Where repetitions end for DRY.

use std::collections::HashMap;

use crate::TokenId;

/// The longest text and the longest rest of a text, in bytes and tokens (`llama_sampler_init_dry` in `src/llama-sampler.cpp`).
const TEXT_MAX: usize = 40;
const TAIL_MAX: usize = 20;

/// Sequences of tokens that DRY does not look for repetitions across.
///
/// ```
/// use tabagent_sampling::Breakers;
///
/// let breakers = Breakers::from_sequences([[13].as_slice(), [7, 8].as_slice()]);
/// assert_eq!(breakers.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakers {
    /// For each first token the rests of the sequences that begin with it.
    tails: HashMap<TokenId, Vec<Box<[TokenId]>>>,
}

impl Breakers {
    /// Breakers that are these sequences of tokens; empty ones are left out.
    pub fn from_sequences<'a>(sequences: impl IntoIterator<Item = &'a [TokenId]>) -> Self {
        let mut breakers = Self::default();
        for sequence in sequences {
            if let Some((&head, tail)) = sequence.split_first() {
                breakers.add(head, tail);
            }
        }
        breakers
    }

    /// Adds what breaks at `text`: every token that contains it, and every token that ends with its beginning, followed by the tokens
    /// of the rest (`get_overlapping_token_sequences` in `src/llama-sampler.cpp`). Only the first 40 bytes of the text count.
    ///
    /// `pieces` are the bytes of all tokens by id, `tokenize` makes tokens of a piece of text.
    pub fn add_text<P: AsRef<[u8]>>(
        &mut self,
        text: &str,
        pieces: impl IntoIterator<Item = P>,
        mut tokenize: impl FnMut(&str) -> Vec<TokenId>,
    ) {
        let text = &text[..text.floor_char_boundary(TEXT_MAX)];
        let Some(&first) = text.as_bytes().first() else { return };
        let mut rests: HashMap<usize, Vec<TokenId>> = HashMap::new();
        for (token, piece) in pieces.into_iter().enumerate() {
            let (token, piece) = (token as TokenId, piece.as_ref());
            if contains(piece, text.as_bytes()) {
                self.add(token, &[]);
                continue;
            }
            for at in (0..piece.len()).filter(|&at| piece[at] == first) {
                let overlap = piece.len() - at;
                if text.as_bytes().starts_with(&piece[at..]) && text.is_char_boundary(overlap) {
                    let tail = rests.entry(overlap).or_insert_with(|| {
                        let mut tail = tokenize(&text[overlap..]);
                        tail.truncate(TAIL_MAX);
                        tail
                    });
                    self.add(token, tail);
                }
            }
        }
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.tails.values().map(Vec::len).sum()
    }

    /// Whether nothing breaks.
    pub fn is_empty(&self) -> bool {
        self.tails.is_empty()
    }

    /// Whether `token` is a breaker by itself.
    pub fn is_single(&self, token: TokenId) -> bool {
        self.tails.get(&token).is_some_and(|tails| tails.iter().any(|tail| tail.is_empty()))
    }

    /// How many of the newest tokens may take part in a repetition; `newest_first` lists them backwards.
    pub(crate) fn limit(&self, newest_first: &[TokenId]) -> usize {
        for (at, head) in newest_first.iter().enumerate() {
            let Some(tails) = self.tails.get(head) else { continue };
            let follows = |tail: &[TokenId]| {
                tail.len() <= at && tail.iter().zip(newest_first[..at].iter().rev()).all(|(a, b)| a == b)
            };
            let complete = tails.iter().filter(|tail| follows(tail)).map(|tail| tail.len());
            if let Some(longest) = complete.max() {
                return at - longest;
            }
        }
        newest_first.len()
    }

    fn add(&mut self, head: TokenId, tail: &[TokenId]) {
        let tails = self.tails.entry(head).or_default();
        if !tails.iter().any(|known| **known == *tail) {
            tails.push(tail.into());
        }
    }
}

fn contains(piece: &[u8], text: &[u8]) -> bool {
    piece.len() >= text.len() && piece.windows(text.len()).any(|part| part == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_whole_tokens_and_heads_with_tails() {
        let pieces = ["a", "xab", "ab", "b", "yab!", "ba"];
        let mut breakers = Breakers::default();
        breakers.add_text("ab!", pieces, |rest| rest.bytes().map(TokenId::from).collect());
        assert!(breakers.is_single(4));
        assert_eq!(breakers.tails[&1], [Box::from([TokenId::from(b'!')])]);
        assert_eq!(breakers.tails[&2], breakers.tails[&1]);
        let both = Box::from([TokenId::from(b'b'), TokenId::from(b'!')]);
        assert_eq!(breakers.tails[&0], [both]);
        assert!(!breakers.tails.contains_key(&3));
        // "ba" ends with the text's first letter.
        assert_eq!(breakers.tails[&5], breakers.tails[&0]);
        assert_eq!(breakers.len(), 5);
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_empty_ones_add_nothing() {
        let mut breakers = Breakers::default();
        let long = "é".repeat(30);
        breakers.add_text(&long, ["é".repeat(20)], |_| Vec::new());
        assert!(breakers.is_single(0));
        breakers.add_text("", ["a"], |_| Vec::new());
        assert_eq!(breakers.len(), 1);
        assert!(Breakers::from_sequences([[].as_slice()]).is_empty());
    }

    #[test]
    fn the_nearest_complete_sequence_limits_repetitions() {
        let breakers = Breakers::from_sequences([[3].as_slice(), &[5, 6], &[5, 6, 7]]);
        assert_eq!(breakers.limit(&[1, 2, 4]), 3);
        assert_eq!(breakers.limit(&[1, 2, 3, 4]), 2);
        // 5 6 9, newest first: after the sequence there is one token.
        assert_eq!(breakers.limit(&[9, 6, 5]), 1);
        assert_eq!(breakers.limit(&[9, 7, 6, 5]), 1);
        // 5 8: no sequence begins so.
        assert_eq!(breakers.limit(&[8, 5]), 2);
        assert_eq!(breakers.limit(&[]), 0);
    }
}
