//! Bytes as tokens, without the model's tokenizer.

use llguidance::toktrie::{TokTrie, TokenId};

/// Tokens that spell `bytes`: the longest one at each place or, if that leads into a dead end, the fewest that reach the end. If no tokens
/// spell all of them, the tokens of the longest beginning that can be spelled.
pub(crate) fn longest_tokens(trie: &TokTrie, bytes: &[u8]) -> Vec<TokenId> {
    let greedy = trie.greedy_tokenize(bytes);
    if trie.decode_raw(&greedy) == bytes {
        return greedy;
    }
    let steps = steps(trie, bytes);
    let mut at = (0..=bytes.len()).rev().find(|&end| steps[end].is_some()).unwrap_or(0);
    let mut tokens = Vec::new();
    while let Some(Step { token: Some((token, from)), .. }) = steps[at] {
        tokens.push(token);
        at = from;
    }
    tokens.reverse();
    tokens
}

/// Whether tokens spell `bytes`, the last of which may go on after them.
pub(crate) fn can_spell(trie: &TokTrie, bytes: &[u8]) -> bool {
    let steps = steps(trie, bytes);
    (0..=bytes.len())
        .any(|end| steps[end].is_some() && trie.child_at_bytes(trie.root(), &bytes[end..]).is_some())
}

/// How a place in a text is reached by the fewest tokens.
#[derive(Clone, Copy)]
struct Step {
    n_tokens: usize,
    /// The last token and where it begins; `None` at the start.
    token: Option<(TokenId, usize)>,
}

/// For each place in `bytes`, its end included, the last step of the shortest way there; `None` where no tokens lead.
fn steps(trie: &TokTrie, bytes: &[u8]) -> Vec<Option<Step>> {
    let mut steps = vec![None; bytes.len() + 1];
    steps[0] = Some(Step { n_tokens: 0, token: None });
    for from in 0..bytes.len() {
        let Some(Step { n_tokens, .. }) = steps[from] else { continue };
        let mut node = trie.root();
        for (end, byte) in (from + 1..).zip(&bytes[from..]) {
            let Some(child) = trie.child_at_byte(node, *byte) else { break };
            node = child;
            let better = steps[end].is_none_or(|known| known.n_tokens > n_tokens + 1);
            if let (Some(token), true) = (node.token_id(), better) {
                steps[end] = Some(Step { n_tokens: n_tokens + 1, token: Some((token, from)) });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use llguidance::toktrie::TokRxInfo;

    const WORDS: [&str; 6] = ["a", "ab", "bcd", "x", "xyz", "é"];

    fn trie() -> TokTrie {
        let words = WORDS.map(|word| word.as_bytes().to_vec());
        TokTrie::from(&TokRxInfo::new(WORDS.len() as u32, 0), &words)
    }

    fn spelled(text: &str) -> Vec<&'static str> {
        longest_tokens(&trie(), text.as_bytes()).into_iter().map(|token| WORDS[token as usize]).collect()
    }

    #[test]
    fn longest_tokens_are_taken_unless_they_lead_nowhere() {
        assert_eq!(spelled("abxyz"), ["ab", "xyz"]);
        assert_eq!(spelled("abcdé"), ["a", "bcd", "é"]);
        assert_eq!(spelled(""), [""; 0]);
    }

    #[test]
    fn what_cannot_be_spelled_ends_the_tokens() {
        assert_eq!(spelled("abQa"), ["ab"]);
        assert_eq!(spelled("Qa"), [""; 0]);
        assert_eq!(spelled("xyzb"), ["xyz"]);
    }

    #[test]
    fn a_beginning_of_a_token_may_be_left_at_the_end() {
        let trie = trie();
        for (text, can) in [
            ("", true),
            ("abcd", true),
            ("aab", true),
            ("abc", true),
            ("xxy", true),
            ("b", true),
            ("c", false),
            ("abQ", false),
            ("xyb", false),
        ] {
            assert_eq!(can_spell(&trie, text.as_bytes()), can, "{text}");
        }
    }
}
