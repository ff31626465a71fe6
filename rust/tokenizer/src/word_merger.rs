//! Words to tokens by merging symbols: what byte-pair encoding and `SentencePiece` have in common.

use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::characters::width;
use crate::merging::BETWEEN_LOOKS;
use crate::output::TokenId;
use crate::pair_table::{Merge, PairTable};
use crate::text_table::TextTable;
use crate::work::Work;

/// A symbol that is not in the table.
const NO_SYMBOL: u32 = u32::MAX;
/// A symbol that is no token.
pub(crate) const NO_TOKEN: TokenId = -1;

/// Whether a word that is a token is merged to that token is not known yet.
const UNKNOWN: TokenId = -1;
/// It is merged to others.
const PARTS: TokenId = -2;

/// Symbols and how they merge.
#[derive(Debug)]
pub(crate) struct WordMerger {
    /// The texts of symbols. Those of byte-level tokenizers are the bytes for which tokens stand.
    pub(crate) symbols: TextTable,
    /// The token of each symbol, or [`NO_TOKEN`].
    pub(crate) tokens: Vec<TokenId>,
    pub(crate) rule: Rule,
    /// The tokens of each byte of a symbol that is no token.
    pub(crate) bytes: Vec<Vec<TokenId>>,
    /// The symbol of each byte, where bytes are the smallest symbols; else these are characters.
    pub(crate) singles: Option<Vec<u32>>,
    /// For a word that is a symbol, the token that it becomes as a whole, or one of the constants above. All threads find the same, so it does not
    /// matter who writes it first.
    pub(crate) whole: Vec<AtomicI32>,
}

/// Which symbols merge.
#[derive(Debug)]
pub(crate) enum Rule {
    /// Those of these pairs.
    Pairs(PairTable),
    /// Those whose text together is a symbol, by these ranks of symbols.
    Texts(Vec<u32>),
}

impl WordMerger {
    /// What is known of the symbols of these tokens at the start: nothing, unless words that are tokens are taken as they are.
    pub(crate) fn whole(tokens: &[TokenId], ignore_merges: bool) -> Vec<AtomicI32> {
        let known = |token: &TokenId| match *token {
            NO_TOKEN => PARTS,
            token if ignore_merges => token,
            _ => UNKNOWN,
        };
        tokens.iter().map(known).map(AtomicI32::new).collect()
    }

    /// Adds the tokens of the word `span` of `text`.
    #[inline]
    pub(crate) fn tokenize(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) {
        let word = &text[span.clone()];
        let hash = self.symbols.hash(word);
        let mut known = None;
        if word.len() <= self.symbols.longest()
            && let Some(symbol) = self.symbols.find_hashed(word, hash)
        {
            let token = self.whole[symbol as usize].load(Ordering::Relaxed);
            if token >= 0 {
                work.out.push(token, span.start, span.end);
                return;
            }
            known = (token == UNKNOWN).then_some(symbol as usize);
        }
        if let Some((tokens, start)) = work.cache.find(text, word, hash) {
            work.out.repeat(tokens, span.start - start);
            return;
        }
        let before = work.out.tokens.len();
        self.merge(text, span.clone(), work);
        if let Some(symbol) = known {
            let is_whole = work.merging.symbols.len() == 1;
            let token = if is_whole { self.tokens[symbol] } else { PARTS };
            self.whole[symbol].store(token, Ordering::Relaxed);
        }
        work.cache.keep(span, hash, before..work.out.tokens.len());
    }

    /// The smallest symbol at `at`, and where it ends.
    #[inline]
    fn smallest(&self, text: &[u8], at: usize, end: usize) -> (usize, u32) {
        if let Some(singles) = &self.singles {
            return (at + 1, singles[usize::from(text[at])]);
        }
        let end = (at + width(text[at])).min(end);
        // Where texts merge, it does not matter which symbols they are.
        let symbol = match self.rule {
            Rule::Pairs(_) => self.symbols.find(&text[at..end]).unwrap_or(NO_SYMBOL),
            Rule::Texts(_) => NO_SYMBOL,
        };
        (end, symbol)
    }

    fn merge(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) {
        let stop = work.stop;
        work.merging.clear();
        let mut at = span.start;
        while at < span.end {
            if work.merging.symbols.len() % BETWEEN_LOOKS == BETWEEN_LOOKS - 1 && stop() {
                work.end();
                return;
            }
            let (end, symbol) = self.smallest(text, at, span.end);
            work.merging.push(at, end, symbol);
            at = end;
        }
        let is_done = match &self.rule {
            Rule::Pairs(pairs) => work.merging.run(|left, right| pairs.get(left.id, right.id), stop),
            Rule::Texts(ranks) => work.merging.run(
                |left, right| {
                    let symbol = self.symbols.find(&text[left.start as usize..right.end as usize])?;
                    Some(Merge { rank: ranks[symbol as usize], symbol })
                },
                stop,
            ),
        };
        if !is_done {
            work.end();
            return;
        }
        for symbol in &work.merging.symbols {
            let span = symbol.start as usize..symbol.end as usize;
            let id = match symbol.id {
                NO_SYMBOL => self.symbols.find(&text[span.clone()]),
                id => Some(id),
            };
            let token = id.map_or(NO_TOKEN, |id| self.tokens[id as usize]);
            if token != NO_TOKEN {
                work.out.push(token, span.start, span.end);
                continue;
            }
            for at in span {
                for token in &self.bytes[usize::from(text[at])] {
                    work.out.push(*token, at, at + 1);
                }
            }
        }
    }
}
