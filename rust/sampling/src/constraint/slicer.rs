//! Masks without a walk over the whole vocabulary.
//!
//! Most tokens are plain text that fits wherever a JSON string goes on. They are found once a vocabulary, as a *slice*; where the lexer's
//! state takes all that the slice's expression describes, the slice is allowed as a whole and only the other tokens are walked.
//!
//! `llguidance` has such slices of its own (`earley/slicer.rs`), nested in each other, which keep some ten copies of the vocabulary for
//! the ways to combine them: most of the time and memory of a [`TokenTable`](super::TokenTable) if they were used. Here a slice is a mask
//! and a trie of the few tokens outside of it.

use std::sync::Arc;

use llguidance::derivre::Regex;
use llguidance::earley::{BiasComputer, ParserRecognizer};
use llguidance::toktrie::{SimpleVob, TokEnv, TokTrie};

use super::engine::Fault;

/// The expressions of the slices, from the largest to the smallest. Short tokens fit a string with a `maxLength` nearly to its end; hardly
/// any token is longer than 30 characters, so that a slice of all lengths would add nothing.
const EXPRESSIONS: [&str; 2] = [r#"[^"\\\x00-\x1F\x7F]{1,30}"#, r#"[^"\\\x00-\x1F\x7F]{1,10}"#];
/// What finding out whether a state takes a slice may cost, in the engine's measure; beyond it the slice is not used.
const SUBSUMPTION_BUDGET: u64 = 1_000;

/// Computes masks for one vocabulary.
pub(crate) struct Slicer {
    env: TokEnv,
    slices: Vec<Slice>,
}

/// The tokens that an expression matches.
struct Slice {
    inside: SimpleVob,
    /// A trie of all other tokens.
    outside: TokTrie,
}

impl Slicer {
    /// The slices of the vocabulary of `env`.
    pub(crate) fn new(env: TokEnv) -> Result<Arc<Self>, Fault> {
        let slices = EXPRESSIONS.iter().map(|expression| Slice::new(expression, env.tok_trie()));
        let slices = slices.collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { env, slices }))
    }

    /// The expressions that the lexer of each grammar must know, in the order of their numbers.
    pub(crate) fn expressions() -> Vec<String> {
        EXPRESSIONS.map(str::to_owned).to_vec()
    }
}

impl Slice {
    fn new(expression: &str, trie: &TokTrie) -> Result<Self, Fault> {
        let mut regex = Regex::new(expression)?;
        let mut inside = trie.alloc_token_set();
        let mut others = trie.alloc_token_set();
        for token in 0..trie.vocab_size() as u32 {
            let bytes = trie.token(token);
            let set =
                if !bytes.is_empty() && regex.is_match_bytes(bytes) { &mut inside } else { &mut others };
            set.allow_token(token);
        }
        Ok(Self { inside, outside: trie.filter(&others) })
    }
}

impl BiasComputer for Slicer {
    fn compute_bias(&self, rec: &mut ParserRecognizer<'_>, start: &[u8]) -> SimpleVob {
        let mut set = self.trie().alloc_token_set();
        let state = rec.lexer_state();
        if start.is_empty() && rec.lexer_mut().subsume_possible(state) {
            for (number, slice) in self.slices.iter().enumerate() {
                let taken = rec.lexer_mut().check_subsume(state, number, SUBSUMPTION_BUDGET, None);
                if taken.is_ok_and(|taken| taken) {
                    set.or(&slice.inside);
                    slice.outside.add_bias(rec, &mut set, start);
                    return set;
                }
            }
        }
        self.trie().add_bias(rec, &mut set, start);
        set
    }

    fn trie(&self) -> &TokTrie {
        self.env.tok_trie()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use llguidance::TokenParser;

    use super::super::engine::build_parser;
    use super::super::{TokenTable, gbnf};
    use super::*;
    use llguidance::api::TopLevelGrammar;

    /// The bytes, words up to 40 letters with and without what ends a string, broken UTF-8, and the end.
    fn table() -> Arc<TokenTable> {
        let words = (1..=40).flat_map(|n| {
            let word = "é".repeat(n % 3) + &"word and more of it; "[..n % 20] + &"x".repeat(n - n % 20);
            [
                word.clone(),
                format!(" {word}"),
                format!("{word}\","),
                format!("{word}\n"),
                format!("\\\"{word}"),
            ]
        });
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let broken = [b"ab\xc3".to_vec(), b"\xa9cd".to_vec(), b"a\x7fb".to_vec()];
        let all = bytes.chain(words.map(String::into_bytes)).chain(broken);
        let all: Vec<(Vec<u8>, bool)> =
            all.map(|word| (word, false)).chain([(b"</s>".to_vec(), true)]).collect();
        let eos = all.len() as i32 - 1;
        TokenTable::new(all.into_iter(), &[eos]).unwrap()
    }

    fn schema(text: &str) -> TopLevelGrammar {
        TopLevelGrammar::from_json_schema(serde_json::from_str(text).unwrap())
    }

    /// The masks before each byte of `text`, and after it.
    fn masks(mut parser: TokenParser, text: &str) -> Vec<Vec<u32>> {
        let mut masks = vec![parser.compute_mask().unwrap().as_slice().to_vec()];
        for byte in text.bytes() {
            parser.consume_token(u32::from(byte)).unwrap();
            if parser.check_stop().unwrap() {
                break;
            }
            masks.push(parser.compute_mask().unwrap().as_slice().to_vec());
        }
        masks
    }

    #[test]
    fn masks_with_slices_are_those_of_a_walk_over_all_tokens() {
        let table = table();
        let gbnf = "root ::= \"<\" ([^<>\\n] | \"<\" [a-z]+ \">\")* \">\"";
        let cases = [
            (schema(r#"{"type": "string"}"#), "\"some é text\\n and more\""),
            (schema(r#"{"type": "string", "maxLength": 35}"#), "\"0123456789012345678901234567890123\""),
            (schema(r#"{"type": "string", "minLength": 12}"#), "\"0123456789012\""),
            (schema(r#"{"type": "string", "pattern": "^[a-z ]*x"}"#), "\"ab x\""),
            (
                schema(r#"{"type": "object", "additionalProperties": {"type": "string"}}"#),
                "{\"k\": \"v\", \"\": \"\"}",
            ),
            (TopLevelGrammar::from_regex("(?s:.{45})"), "abcdefghijklmnopqrstuvwxyz\n\"'01234567890123456"),
            (TopLevelGrammar::from_regex("[a-zé]+\"?"), "é\""),
            (TopLevelGrammar::from_lark(gbnf::to_lark(gbnf, &table).unwrap()), "<some <b> text>"),
        ];
        for (grammar, text) in cases {
            let sliced = build_parser(&table, grammar).unwrap();
            let mut walked = sliced.deep_clone();
            let env = walked.token_env.clone();
            walked.bias_computer = Arc::new(Slicer { env, slices: Vec::new() });
            for (at, (with, without)) in masks(sliced, text).iter().zip(&masks(walked, text)).enumerate() {
                assert_eq!(with, without, "before byte {at} of {text}");
            }
        }
    }

    #[test]
    fn slices_hold_plain_text_up_to_their_length() {
        let texts = ["plain é", "0123456789", "01234567890", &"x".repeat(31), "a\"b", "a\n", "\\"];
        let words: Vec<Vec<u8>> =
            texts.iter().map(|text| text.as_bytes().to_vec()).chain([vec![0xc3]]).collect();
        let all = words.into_iter().map(|word| (word, false)).chain([(b"special".to_vec(), true)]);
        let table = TokenTable::new(all, &[]).unwrap();
        let slicer = Slicer::new(table.factory().tok_env().clone()).unwrap();
        let inside = |number: usize| -> Vec<u32> {
            (0..9).filter(|&token| slicer.slices[number].inside.is_allowed(token)).collect()
        };
        assert_eq!((inside(0), inside(1)), (vec![0, 1, 2], vec![0, 1]));
        for slice in &slicer.slices {
            let outside = slice.outside.sorted_tokens().len();
            assert_eq!(outside + slice.inside.num_set(), 9, "each token is on one side");
        }
    }
}
