//! The budget of a text's thoughts: where the text is, what was spent, and which tokens end a thought.

use std::sync::Arc;

use crate::{Thought, ThoughtBudget, TokenId, Vocabulary};

/// How many tokens may come beyond the budget to complete a character, or what may be the end of the thought.
const MOST_WAITED: usize = 8;

pub(super) struct Budget {
    settings: ThoughtBudget,
    vocabulary: Arc<dyn Vocabulary>,
    state: BudgetState,
    /// Bytes of the longest marker, less one: so many at the end of the text may begin one.
    n_kept: usize,
    /// The bytes of a token, kept to reuse their memory.
    piece: Vec<u8>,
}

/// What the tokens so far led to.
#[derive(Clone, Debug)]
pub(super) struct BudgetState {
    place: Place,
    n_spent: usize,
    n_waited: usize,
    /// The end of the text since the last marker.
    tail: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where thoughts may begin.
    Outside,
    /// In a thought of a kind.
    Thinking(usize),
    /// At a token of a kind's closing.
    Closing(usize, usize),
    /// In something opaque.
    Opaque(usize),
}

impl Budget {
    pub(super) fn new(settings: ThoughtBudget, vocabulary: Arc<dyn Vocabulary>) -> Self {
        let thoughts = settings.kinds.iter().flat_map(|kind| [&kind.start, &kind.end]);
        let opaque = settings.opaque.iter().flat_map(|part| [&part.start, &part.end]);
        let markers = thoughts.chain(opaque).chain(&settings.interrupts);
        // A character that is not complete has up to three bytes.
        let n_kept = markers.map(|marker| marker.len().saturating_sub(1)).max().unwrap_or(0).max(3);
        let place = settings.inside.map_or(Place::Outside, Place::Thinking);
        let mut made = Self {
            settings,
            vocabulary,
            state: BudgetState { place, n_spent: 0, n_waited: 0, tail: Vec::new() },
            n_kept,
            piece: Vec::new(),
        };
        made.check();
        made
    }

    pub(super) fn state(&self) -> BudgetState {
        self.state.clone()
    }

    pub(super) fn set_state(&mut self, state: BudgetState) {
        self.state = state;
    }

    /// The tokens that must come now to end a thought, and whether they may be put off since none of them has come.
    pub(super) fn closing(&self) -> Option<(&[TokenId], bool)> {
        let Place::Closing(kind, at) = self.state.place else { return None };
        Some((&self.settings.kinds.get(kind)?.closing[at..], at == 0))
    }

    /// Takes the next token.
    pub(super) fn accept(&mut self, token: TokenId) {
        if let Place::Closing(kind, at) = self.state.place {
            let closing = self.settings.kinds.get(kind).map_or(&[][..], |kind| &kind.closing);
            if closing.get(at) == Some(&token) {
                let ended = at + 1 == closing.len();
                self.state.place = if ended { Place::Outside } else { Place::Closing(kind, at + 1) };
                self.state.tail.clear();
                return;
            }
            // Something else had to come first.
            self.state.place = Place::Thinking(kind);
        }
        let was_thinking = matches!(self.state.place, Place::Thinking(_));
        self.piece.clear();
        self.vocabulary.push_token_bytes(token, true, &mut self.piece);
        self.state.tail.extend_from_slice(&self.piece);
        while let Some((end, place)) = self.next_marker() {
            self.state.tail.drain(..end);
            self.state.place = place;
        }
        if was_thinking && matches!(self.state.place, Place::Thinking(_)) {
            self.state.n_spent += 1;
        }
        self.check();
        let n_dropped = self.state.tail.len().saturating_sub(self.n_kept);
        self.state.tail.drain(..n_dropped);
    }

    /// Begins to end a thought for which nothing is left.
    fn check(&mut self) {
        let Place::Thinking(kind) = self.state.place else { return };
        let Some(Thought { end, closing, .. }) = self.settings.kinds.get(kind) else { return };
        if self.state.n_spent < self.settings.max_tokens || closing.is_empty() {
            return;
        }
        let tail = &self.state.tail;
        let may_end = (1..end.len()).any(|n| tail.ends_with(&end.as_bytes()[..n]));
        if (may_end || is_cut(tail)) && self.state.n_waited < MOST_WAITED {
            self.state.n_waited += 1;
        } else {
            self.state.place = Place::Closing(kind, 0);
        }
    }

    /// The end of the first marker that means something here, and what comes after it.
    fn next_marker(&self) -> Option<(usize, Place)> {
        let find = |marker: &str, place: Place| {
            if marker.is_empty() {
                return None;
            }
            let at = self.state.tail.windows(marker.len()).position(|window| window == marker.as_bytes())?;
            Some((at, at + marker.len(), place))
        };
        let Self { settings, .. } = self;
        let is_thinking = matches!(self.state.place, Place::Thinking(_));
        let opaque = settings.opaque.iter().enumerate().filter(|(_, part)| part.interrupts || !is_thinking);
        let opaque = opaque.map(|(index, part)| (&part.start, Place::Opaque(index)));
        let found = match self.state.place {
            Place::Outside => {
                let kinds = settings.kinds.iter().enumerate();
                let starts = kinds.map(|(index, kind)| (&kind.start, Place::Thinking(index)));
                first(starts.chain(opaque).filter_map(|(marker, place)| find(marker, place)))
            }
            Place::Thinking(kind) => {
                let ends = settings.kinds.get(kind).map(|Thought { end, .. }| (end, Place::Outside));
                let ends =
                    ends.into_iter().chain(settings.interrupts.iter().map(|text| (text, Place::Outside)));
                first(ends.chain(opaque).filter_map(|(marker, place)| find(marker, place)))
            }
            Place::Opaque(index) => {
                settings.opaque.get(index).and_then(|part| find(&part.end, Place::Outside))
            }
            Place::Closing(..) => None,
        };
        found.map(|(_, end, place)| (end, place))
    }
}

/// The marker that begins first, the longest of several.
fn first(found: impl Iterator<Item = (usize, usize, Place)>) -> Option<(usize, usize, Place)> {
    found.min_by_key(|(at, end, _)| (*at, usize::MAX - end))
}

/// Whether a text ends inside of a character.
fn is_cut(tail: &[u8]) -> bool {
    // The beginning of the tail may be cut, too.
    let start = tail.iter().take(3).take_while(|byte| **byte & 0xC0 == 0x80).count();
    let end = tail[start..].utf8_chunks().last();
    end.is_some_and(|chunk| {
        !chunk.invalid().is_empty()
            && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Opaque;

    struct Bytes;

    impl Vocabulary for Bytes {
        fn n_tokens(&self) -> usize {
            256
        }
        fn push_token_bytes(&self, token: TokenId, _special: bool, out: &mut Vec<u8>) {
            out.push(token as u8);
        }
        fn is_eog(&self, _token: TokenId) -> bool {
            false
        }
    }

    fn settings(max_tokens: usize) -> ThoughtBudget {
        ThoughtBudget {
            max_tokens,
            kinds: vec![Thought { start: "<t>".into(), end: "</t>".into(), closing: tokens("!</t>") }],
            interrupts: vec!["[c]".into()],
            opaque: vec![Opaque { start: "{".into(), end: "}".into(), interrupts: false }],
            ..ThoughtBudget::default()
        }
    }

    fn tokens(text: &str) -> Vec<TokenId> {
        text.bytes().map(TokenId::from).collect()
    }

    /// The text that comes of what a model wants to write.
    fn written(settings: ThoughtBudget, wanted: &[u8]) -> String {
        let mut budget = Budget::new(settings, Arc::new(Bytes));
        let mut text = Vec::new();
        let close = |budget: &mut Budget, text: &mut Vec<u8>| {
            while let Some((closing, _)) = budget.closing() {
                let token = closing[0];
                budget.accept(token);
                text.push(token as u8);
            }
        };
        close(&mut budget, &mut text);
        for byte in wanted {
            budget.accept(TokenId::from(*byte));
            text.push(*byte);
            close(&mut budget, &mut text);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_thought_ends_where_the_budget_does() {
        assert_eq!(written(settings(3), b"a<t>bcdef"), "a<t>bcd!</t>ef");
        assert_eq!(written(settings(3), b"abcdef"), "abcdef");
        let inside = ThoughtBudget { inside: Some(0), ..settings(3) };
        assert_eq!(written(inside, b"bcdef"), "bcd!</t>ef");
    }

    #[test]
    fn nothing_may_be_thought_with_a_budget_of_nothing() {
        assert_eq!(written(settings(0), b"<t>b"), "<t>!</t>b");
        let inside = ThoughtBudget { inside: Some(0), ..settings(0) };
        assert_eq!(written(inside, b"b"), "!</t>b");
    }

    #[test]
    fn thoughts_share_the_budget() {
        // Of an end that is spelled in four tokens, the last one is not counted.
        assert_eq!(written(settings(5), b"<t>a</t>x<t>bc</t>y"), "<t>a</t>x<t>b!</t>c</t>y");
        assert_eq!(written(settings(20), b"<t>a</t>x<t>bc</t>y"), "<t>a</t>x<t>bc</t>y");
    }

    #[test]
    fn what_interrupts_a_thought_ends_it() {
        assert_eq!(written(settings(6), b"<t>a[c]bcdefgh"), "<t>a[c]bcdefgh");
    }

    #[test]
    fn a_marker_inside_of_a_call_begins_no_thought() {
        assert_eq!(written(settings(1), b"{<t>abc}<t>de"), "{<t>abc}<t>d!</t>e");
        assert_eq!(written(settings(5), b"<t>{ab}cde"), "<t>{ab}c!</t>de");
        let mut ends = settings(5);
        ends.opaque[0].interrupts = true;
        assert_eq!(written(ends, b"<t>{ab}cde"), "<t>{ab}cde");
    }

    #[test]
    fn an_end_that_has_begun_is_completed_first() {
        assert_eq!(written(settings(2), b"<t>ab</t>cde"), "<t>ab!</t></t>cde");
        for max_tokens in [3, 4, 5] {
            assert_eq!(written(settings(max_tokens), b"<t>ab</t>cde"), "<t>ab</t>cde");
        }
        assert_eq!(written(settings(2), b"<t>a<bc"), "<t>a<b!</t>c");
    }

    #[test]
    fn a_character_is_completed_first() {
        assert_eq!(written(settings(2), "<t>aé…b".as_bytes()), "<t>aé!</t>…b");
        assert_eq!(written(settings(4), "<t>aé…b".as_bytes()), "<t>aé…!</t>b");
        assert!(!is_cut("é".as_bytes()) && !is_cut(b"") && !is_cut(b"\xA9\xFFa"));
        assert!(is_cut(b"\xE2\x80") && is_cut(b"\xA9a\xC3"));
    }
}
