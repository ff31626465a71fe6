//! Stop strings found in text that comes in pieces.

use std::sync::Arc;

use crate::RequestError;
use crate::patterns::{Patterns, ROOT};

/// Finds the first stop string in a text that comes in pieces, and holds back only what may still become one.
///
/// The match that starts first wins; of several that start at the same place the shortest. A match is reported as soon as none that starts
/// earlier can come any more. Nothing from the start of the match on is ever let through. The time for a piece is proportional
/// to its length, whatever the number of stop strings (Aho and Corasick, "Efficient string matching", CACM 18(6), 1975).
///
/// ```
/// let mut stops = tabagent_runtime::StopMatcher::new(&["</s>".to_owned()])?;
/// let mut text = String::new();
/// assert_eq!(stops.push("1 < 2 <", &mut text), None);
/// assert_eq!(text, "1 < 2 ");
/// assert_eq!(stops.push("/s> 3", &mut text), Some(0));
/// assert_eq!(text, "1 < 2 ");
/// # Ok::<(), tabagent_runtime::RequestError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopMatcher {
    patterns: Arc<Patterns>,
    state: u32,
    /// Text that was not let through yet.
    held: String,
    /// Bytes let through so far.
    released: usize,
    /// Bytes seen so far.
    seen: usize,
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    start: usize,
    stop: usize,
}

impl StopMatcher {
    /// A matcher for `stops`; without any it lets everything through.
    ///
    /// # Errors
    ///
    /// [`RequestError::EmptyStop`] when one of them is empty.
    pub fn new(stops: &[String]) -> Result<Self, RequestError> {
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(RequestError::EmptyStop { index });
        }
        Ok(Self {
            patterns: Arc::new(Patterns::new(stops)),
            state: ROOT,
            held: String::new(),
            released: 0,
            seen: 0,
            candidate: None,
        })
    }

    /// Takes a piece of text, appends to `out` what is certainly free of stop strings, and says which stop string was found.
    ///
    /// Do not call it again after a match.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<usize> {
        if self.patterns.is_empty() {
            out.push_str(text);
            return None;
        }
        self.held.push_str(text);
        for &byte in text.as_bytes() {
            self.advance(byte);
            if let Some(found) = self.candidate
                && found.start <= self.earliest_open()
            {
                return Some(self.settle(found, out));
            }
        }
        let open = self.earliest_open();
        self.release_to(self.candidate.map_or(open, |found| found.start.min(open)), out);
        None
    }

    /// Call it when no more text comes: appends what was held back, up to a stop string if there is one in it, and returns which.
    pub fn finish(&mut self, out: &mut String) -> Option<usize> {
        if let Some(found) = self.candidate {
            return Some(self.settle(found, out));
        }
        self.release_to(self.released + self.held.len(), out);
        None
    }

    /// The beginning of the earliest stop string that is not complete yet but still possible.
    fn earliest_open(&self) -> usize {
        self.seen - self.patterns.depth(self.state)
    }

    fn advance(&mut self, byte: u8) {
        self.seen += 1;
        self.state = self.patterns.next(self.state, byte);
        if let Some((stop, len)) = self.patterns.ends(self.state) {
            let start = self.seen - len;
            if self.candidate.is_none_or(|found| start < found.start) {
                self.candidate = Some(Candidate { start, stop });
            }
        }
    }

    fn settle(&mut self, found: Candidate, out: &mut String) -> usize {
        self.release_to(found.start, out);
        self.held.clear();
        found.stop
    }

    /// Lets the held text through up to byte `to` of the whole text. A stop string begins with a whole character, so `to` never cuts one.
    fn release_to(&mut self, to: usize, out: &mut String) {
        let n_bytes = to - self.released;
        out.extend(self.held.drain(..n_bytes));
        self.released = to;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::StopMatcher;

    /// What the whole text gives: the text before the first stop string, and its index.
    fn naive<'a>(text: &'a str, stops: &[String]) -> (&'a str, Option<usize>) {
        let found = (0..stops.len())
            .filter_map(|i| text.find(&stops[i]).map(|start| (start, stops[i].len(), i)))
            .min();
        found.map_or((text, None), |(start, _, i)| (&text[..start], Some(i)))
    }

    fn words(alphabet: &'static [char], len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(alphabet), len).prop_map(String::from_iter)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_give_what_a_search_of_the_whole_text_gives(
            stops in prop::collection::vec(words(&['a', 'b', 'é', '🦀'], 1..6), 0..6),
            pieces in prop::collection::vec(words(&['a', 'b', 'é', '🦀'], 0..5), 0..10),
        ) {
            let all = pieces.concat();
            let (expected, expected_stop) = naive(&all, &stops);
            let mut matcher = StopMatcher::new(&stops).unwrap();
            let (mut text, mut seen) = (String::new(), String::new());
            let mut found = None;
            for piece in &pieces {
                seen.push_str(piece);
                found = matcher.push(piece, &mut text);
                if found.is_some() {
                    break;
                }
                prop_assert!(expected.starts_with(text.as_str()));
                if expected_stop.is_none() {
                    let held = &seen[text.len()..];
                    prop_assert!(held.is_empty() || stops.iter().any(|stop| stop.starts_with(held)));
                }
            }
            if found.is_none() {
                found = matcher.finish(&mut text);
            }
            prop_assert_eq!(found, expected_stop);
            prop_assert_eq!(text.as_str(), expected);
        }
    }

    #[test]
    fn later_match_waits_for_an_earlier_start_that_is_still_open() {
        let stops = ["bc".to_owned(), "abcde".to_owned()];
        for (last, expected, text) in [("e", Some(1), ""), ("x", Some(0), "a")] {
            let (mut matcher, mut out) = (StopMatcher::new(&stops).unwrap(), String::new());
            assert_eq!(matcher.push("abcd", &mut out), None);
            assert_eq!(matcher.push(last, &mut out), expected);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn empty_stop_string_is_refused_with_its_index() {
        let error = StopMatcher::new(&["a".to_owned(), String::new()]).unwrap_err();
        assert_eq!(error.to_string(), "`stop[1]` is empty; remove it or give it text");
    }
}
