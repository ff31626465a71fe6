//! Special tokens in texts: where they are, and where a text may be cut because of them.

use aho_corasick::AhoCorasick;

/// Finds the texts of special tokens, which are cut out of a text before all else, the longest first (`tokenizer_st_partition` in
/// `src/llama-vocab.cpp`).
///
/// The text between two of them is tokenized by itself, as if it came first. So a text may be cut behind every special token that the tokenizer
/// is sure to take: the tokens of the pieces, one after another, are those of the whole.
#[derive(Debug)]
pub(crate) struct SpecialText {
    finder: AhoCorasick,
    /// True if no special token swallows white space beside it, in which another one may begin.
    may_cut: bool,
}

/// A stretch of text that special tokens cover, each overlapping another.
struct Cluster {
    start: usize,
    end: usize,
    /// Bytes of the longest of them. If it covers the whole cluster, the tokenizer takes that one.
    longest: usize,
}

impl SpecialText {
    /// For special tokens of these texts; `None` if there are none, or too many to look for.
    pub(crate) fn new(texts: impl Iterator<Item = String>, may_cut: bool) -> Option<Self> {
        let texts: Vec<String> = texts.collect();
        if texts.is_empty() {
            return None;
        }
        Some(Self { finder: AhoCorasick::new(texts).ok()?, may_cut })
    }

    /// Cuts `text` into pieces of slightly more than `most` special tokens; also returns how many the fullest piece has.
    pub(crate) fn cut<'t>(&self, text: &'t str, most: usize) -> (Vec<&'t str>, usize) {
        let (mut pieces, mut from, mut count, mut fullest) = (Vec::new(), 0, 0, 0);
        for cluster in self.clusters(text) {
            // A cluster has at most one token per byte.
            count += if cluster.is_one() { 1 } else { cluster.end - cluster.start };
            if self.may_cut && count >= most && cluster.is_one() && cluster.end < text.len() {
                pieces.push(&text[from..cluster.end]);
                fullest = fullest.max(count);
                (from, count) = (cluster.end, 0);
            }
        }
        pieces.push(&text[from..]);
        (pieces, fullest.max(count))
    }

    fn clusters(&self, text: &str) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = Vec::new();
        // Matches come in the order of their ends, so a later one may join clusters that seemed apart.
        for found in self.finder.find_overlapping_iter(text) {
            let (mut start, end, mut longest) = (found.start(), found.end(), found.len());
            while let Some(last) = clusters.pop_if(|last| last.end > start) {
                start = start.min(last.start);
                longest = longest.max(last.longest);
            }
            clusters.push(Cluster { start, end, longest });
        }
        clusters
    }
}

impl Cluster {
    fn is_one(&self) -> bool {
        self.longest == self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(texts: &[&str]) -> SpecialText {
        SpecialText::new(texts.iter().map(|text| (*text).to_owned()), true).expect("there are some")
    }

    #[test]
    fn texts_are_cut_behind_tokens_that_are_sure() {
        let newlines = special(&["\n\n", "\n\n\n", "<a>"]);
        assert_eq!(newlines.cut("x\n\ny\n\n\nz<a>", 1), (vec!["x\n\n", "y\n\n\n", "z<a>"], 1));
        assert_eq!(newlines.cut("x\n\ny\n\n\nz<a>w", 2), (vec!["x\n\ny\n\n\n", "z<a>w"], 2));
        // Five newlines may be split into three and two or otherwise.
        assert_eq!(newlines.cut("x\n\n\n\n\ny<a>z", 1), (vec!["x\n\n\n\n\ny<a>", "z"], 6));
        assert_eq!(newlines.cut("nothing", 1), (vec!["nothing"], 0));
    }

    #[test]
    fn a_token_that_ends_late_joins_those_before_it() {
        let chain = special(&["ab", "cd", "bxc", "abxcd!"]);
        assert_eq!(chain.cut("abxcd.", 1), (vec!["abxcd."], 5));
        assert_eq!(chain.cut("abxcd!.", 1), (vec!["abxcd!", "."], 1));
        assert_eq!(chain.cut("ab.cd.", 1), (vec!["ab", ".cd", "."], 1));
    }

    #[test]
    fn tokens_that_swallow_white_space_are_not_cut_at() {
        let texts = ["<a>".to_owned()];
        let swallows = SpecialText::new(texts.into_iter(), false).expect("there is one");
        assert_eq!(swallows.cut("x<a>y<a>z", 1), (vec!["x<a>y<a>z"], 2));
        assert!(SpecialText::new(std::iter::empty(), true).is_none());
    }
}
