//! Special tokens in texts (`tokenizer_st_partition` in `src/llama-vocab.cpp`).
//!
//! llama.cpp takes one special token after another, the longest first, and cuts it out of all text that is left. The same result comes from one pass:
//! matches that overlap no other are tokens, and only where several overlap are they taken one after another.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Input};

use crate::output::TokenId;
use crate::token_attributes::Attributes;
use crate::vocabulary::Vocabulary;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The special token that it is; `None` for text.
    pub(crate) token: Option<TokenId>,
    /// Its bytes.
    pub(crate) span: Range<usize>,
}

/// Finds special tokens.
#[derive(Debug)]
pub(crate) struct SpecialTexts {
    /// The longest first.
    tokens: Vec<Special>,
    finder: Option<AhoCorasick>,
    longest: usize,
    /// True if some swallow white space beside them.
    strips: bool,
}

#[derive(Debug)]
struct Special {
    id: TokenId,
    text: Box<[u8]>,
    strips_left: bool,
    strips_right: bool,
}

/// Matches that overlap each other.
#[derive(Debug)]
struct Cluster {
    span: Range<usize>,
    /// Indices into the tokens, some perhaps several times.
    found: Vec<usize>,
}

impl SpecialTexts {
    /// For the special tokens of a vocabulary; those that are markers only if `with_markers`.
    pub(crate) fn new(vocabulary: &Vocabulary, with_markers: bool) -> Self {
        let wanted = |id: &TokenId| {
            let attributes = vocabulary.attributes(*id);
            let is_wanted = attributes.is_special() && (with_markers || !attributes.is_marker());
            // One that is not UTF-8 would cut characters apart.
            is_wanted && std::str::from_utf8(vocabulary.text(*id)).is_ok()
        };
        let mut tokens: Vec<Special> = vocabulary
            .ids()
            .filter(wanted)
            .map(|id| Special {
                id,
                text: vocabulary.text(id).into(),
                strips_left: vocabulary.attributes(id).has(Attributes::STRIPS_LEFT),
                strips_right: vocabulary.attributes(id).has(Attributes::STRIPS_RIGHT),
            })
            .collect();
        tokens.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        Self {
            finder: AhoCorasick::new(tokens.iter().map(|special| &special.text))
                .ok()
                .filter(|_| !tokens.is_empty()),
            longest: tokens.first().map_or(0, |special| special.text.len()),
            strips: tokens.iter().any(|special| special.strips_left || special.strips_right),
            tokens,
        }
    }

    /// The parts of a text, in order. `None` if `is_stopped` said so.
    pub(crate) fn fragments(&self, text: &[u8], is_stopped: &dyn Fn() -> bool) -> Option<Vec<Fragment>> {
        let whole = || Some(vec![Fragment { token: None, span: 0..text.len() }]);
        let Some(finder) = &self.finder else { return whole() };
        let Some(first) = finder.find(text) else { return whole() };
        let clusters = self.clusters(finder, text, first.end().saturating_sub(self.longest), is_stopped)?;
        let mut fragments: Vec<Fragment> = Vec::new();
        let mut from = 0;
        for cluster in clusters {
            add(&mut fragments, Fragment { token: None, span: from..cluster.span.start });
            from = cluster.span.end;
            for fragment in self.resolve(text, cluster, is_stopped)? {
                add(&mut fragments, fragment);
            }
        }
        add(&mut fragments, Fragment { token: None, span: from..text.len() });
        Some(fragments)
    }

    fn clusters(
        &self,
        finder: &AhoCorasick,
        text: &[u8],
        from: usize,
        is_stopped: &dyn Fn() -> bool,
    ) -> Option<Vec<Cluster>> {
        let mut clusters: Vec<Cluster> = Vec::new();
        // The last match of each token, so that a run of equal ones is one entry.
        let mut last_end = vec![0; self.tokens.len()];
        for (n, found) in finder.find_overlapping_iter(Input::new(text).range(from..)).enumerate() {
            if n % 4096 == 4095 && is_stopped() {
                return None;
            }
            let index = found.pattern().as_usize();
            let mut cluster = Cluster { span: found.range(), found: Vec::new() };
            // Matches come in the order of their ends, so a later one may join clusters that seemed apart.
            while let Some(mut before) = clusters.pop_if(|last| last.span.end > cluster.span.start) {
                before.found.append(&mut cluster.found);
                cluster = Cluster {
                    span: before.span.start.min(cluster.span.start)..cluster.span.end.max(before.span.end),
                    found: before.found,
                };
            }
            // It is known to the cluster if its match before lies in it.
            if cluster.found.is_empty() || last_end[index] <= cluster.span.start {
                cluster.found.push(index);
            }
            last_end[index] = found.end();
            clusters.push(cluster);
        }
        if self.strips {
            let found = clusters.into_iter().flat_map(|cluster| cluster.found).collect();
            return Some(vec![Cluster { span: 0..text.len(), found }]);
        }
        Some(clusters)
    }

    /// Cuts the tokens that were found out of a cluster, one after another.
    fn resolve(
        &self,
        text: &[u8],
        mut cluster: Cluster,
        is_stopped: &dyn Fn() -> bool,
    ) -> Option<Vec<Fragment>> {
        cluster.found.sort_unstable();
        cluster.found.dedup();
        let (mut texts, mut done) = (vec![cluster.span], Vec::new());
        for index in cluster.found {
            let special = &self.tokens[index];
            if texts.iter().all(|span| span.len() < special.text.len()) {
                continue;
            }
            if is_stopped() {
                return None;
            }
            let finder = memchr::memmem::Finder::new(&special.text);
            let mut left = Vec::with_capacity(texts.len());
            for span in texts {
                special.cut(text, span, &finder, &mut left, &mut done);
            }
            texts = left;
        }
        done.extend(texts.into_iter().map(|span| Fragment { token: None, span }));
        done.sort_unstable_by_key(|fragment| fragment.span.start);
        Some(done)
    }
}

impl Special {
    /// Cuts every occurrence out of `span`; what is left goes to `left`.
    fn cut(
        &self,
        text: &[u8],
        mut span: Range<usize>,
        finder: &memchr::memmem::Finder<'_>,
        left: &mut Vec<Range<usize>>,
        done: &mut Vec<Fragment>,
    ) {
        while let Some(at) = finder.find(&text[span.clone()]) {
            let found = span.start + at..span.start + at + self.text.len();
            let mut before = span.start..found.start;
            while self.strips_left && before.end > before.start && is_space(text[before.end - 1]) {
                before.end -= 1;
            }
            if !before.is_empty() {
                left.push(before);
            }
            span.start = found.end;
            done.push(Fragment { token: Some(self.id), span: found });
            while self.strips_right && span.start < span.end && is_space(text[span.start]) {
                span.start += 1;
            }
        }
        if !span.is_empty() {
            left.push(span);
        }
    }
}

/// `isspace` of C.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Adds a fragment; text that continues text is one fragment with it.
fn add(fragments: &mut Vec<Fragment>, fragment: Fragment) {
    if fragment.span.is_empty() {
        return;
    }
    match fragments.last_mut() {
        Some(last)
            if last.token.is_none() && fragment.token.is_none() && last.span.end == fragment.span.start =>
        {
            last.span.end = fragment.span.end;
        }
        _ => fragments.push(fragment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(texts: &[(&str, bool, bool)]) -> SpecialTexts {
        let mut tokens: Vec<Special> = texts
            .iter()
            .enumerate()
            .map(|(id, (text, strips_left, strips_right))| Special {
                id: id as TokenId,
                text: text.as_bytes().into(),
                strips_left: *strips_left,
                strips_right: *strips_right,
            })
            .collect();
        tokens.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        SpecialTexts {
            finder: AhoCorasick::new(tokens.iter().map(|special| &special.text)).ok(),
            longest: tokens[0].text.len(),
            strips: texts.iter().any(|(_, left, right)| *left || *right),
            tokens,
        }
    }

    /// One token after another, as llama.cpp does it.
    fn one_by_one(special: &SpecialTexts, text: &str) -> Vec<Fragment> {
        let all = Cluster { span: 0..text.len(), found: (0..special.tokens.len()).collect() };
        special.resolve(text.as_bytes(), all, &|| false).unwrap()
    }

    fn shown(special: &SpecialTexts, text: &str) -> Vec<String> {
        let fragments = special.fragments(text.as_bytes(), &|| false).unwrap();
        let mark = |fragment: &Fragment| {
            let part = &text[fragment.span.clone()];
            if fragment.token.is_some() { format!("[{part}]") } else { part.to_owned() }
        };
        fragments.iter().map(mark).collect()
    }

    #[test]
    fn the_longest_token_goes_first_wherever_it_is() {
        let special = special(&[("ab", false, false), ("bcd", false, false), ("<a>", false, false)]);
        assert_eq!(shown(&special, "xabcd<a>ab"), ["xa", "[bcd]", "[<a>]", "[ab]"]);
        assert_eq!(shown(&special, "nothing"), ["nothing"]);
        assert_eq!(special.fragments(b"ab", &|| true), None, "stopped");
    }

    #[test]
    fn white_space_beside_tokens_may_go() {
        let special = special(&[("<m>", true, false), ("<r>", false, true)]);
        assert_eq!(shown(&special, "a \n<m> b <r>\t c"), ["a", "[<m>]", " b ", "[<r>]", "c"]);
        assert_eq!(shown(&special, " <m><r> "), ["[<m>]", "[<r>]"]);
    }

    #[test]
    fn one_pass_gives_what_one_token_after_another_gives() {
        let tokens = ["aa", "aaa", "ab", "ba", "bab", "abba", "aaaaa", "c", "cb", "bc"];
        let special = special(&tokens.map(|text| (text, false, false)));
        let mut state = 7_u64;
        for n in 1..3000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % 5
            };
            let text: String = (0..=n % 40).map(|_| ['a', 'b', 'a', 'c', 'x'][next()]).collect();
            let fragments = special.fragments(text.as_bytes(), &|| false).unwrap();
            let fragments: Vec<Fragment> = fragments.into_iter().filter(|f| !f.span.is_empty()).collect();
            assert_eq!(fragments, one_by_one(&special, &text), "{text}");
        }
    }

    #[test]
    fn long_runs_of_tokens_within_tokens_take_linear_time() {
        let runs: Vec<String> = (1..32).map(|n| "\n".repeat(n)).collect();
        let special = special(&runs.iter().map(|text| (text.as_str(), false, false)).collect::<Vec<_>>());
        let text = "\n".repeat(1_000_000);
        let fragments = special.fragments(text.as_bytes(), &|| false).unwrap();
        assert_eq!(fragments.len(), 1_000_000_usize.div_ceil(31));
    }
}
