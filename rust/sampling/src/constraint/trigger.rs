//! Free text before a construct: finding what starts it.

use std::sync::Arc;

use super::{Grammar, GrammarError, Trigger, TriggerStart};
use crate::TokenId;

/// The mask words of free text in one state, `None` if everything is allowed.
pub(crate) type Blocked = Option<Arc<[u32]>>;

/// What a token did to free text.
pub(crate) enum Step {
    /// The text goes on.
    Free,
    /// A construct starts; these bytes of the token already belong to it.
    Start(Vec<u8>),
}

/// The end of the free text so far: the longest one that a trigger begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeText {
    tail: Vec<u8>,
}

impl FreeText {
    /// Adds a token with the text `text`.
    pub(crate) fn push(&mut self, trigger: &Trigger, token: TokenId, text: &[u8]) -> Step {
        if trigger.starts.iter().any(|start| matches!(start, TriggerStart::Token(id) if *id == token)) {
            self.tail.clear();
            return Step::Start(Vec::new());
        }
        self.tail.extend_from_slice(text);
        if let Some(end) = first_end(trigger, &self.tail) {
            let rest = self.tail.split_off(end);
            self.tail.clear();
            return Step::Start(rest);
        }
        self.tail.drain(..self.tail.len() - partial(trigger, &self.tail));
        Step::Free
    }

    /// The words of the mask, `None` if every token may come.
    pub(crate) fn mask(
        &self,
        grammar: &Arc<Grammar>,
        trigger: &Trigger,
        may_end: bool,
    ) -> Result<Blocked, GrammarError> {
        let mut key = self.tail.clone();
        key.push(u8::from(may_end));
        grammar.blocked(&key, || self.compute_mask(grammar, trigger, may_end))
    }

    fn compute_mask(
        &self,
        grammar: &Grammar,
        trigger: &Trigger,
        may_end: bool,
    ) -> Result<Blocked, GrammarError> {
        let table = grammar.table();
        let mut words = table.free_words(may_end).to_vec();
        let mut everything = may_end || table.eos().is_empty();
        let last_bytes: Vec<u8> = texts(trigger).filter_map(|text| text.last().copied()).collect();
        let mut text = self.tail.clone();
        for (id, bytes) in table.texts().enumerate() {
            if !bytes.iter().any(|byte| last_bytes.contains(byte)) {
                continue;
            }
            text.truncate(self.tail.len());
            text.extend_from_slice(bytes);
            let Some(end) = first_end(trigger, &text) else { continue };
            if end < text.len() && !grammar.construct()?.begin(&text[end..], table)? {
                words[id / 32] &= !(1 << (id % 32));
                everything = false;
            }
        }
        Ok((!everything).then(|| words.into()))
    }
}

fn texts(trigger: &Trigger) -> impl Iterator<Item = &[u8]> {
    trigger.starts.iter().filter_map(|start| match start {
        TriggerStart::Text(text) => Some(text.as_bytes()),
        TriggerStart::Token(_) => None,
    })
}

/// Where the first trigger text in `bytes` ends.
fn first_end(trigger: &Trigger, bytes: &[u8]) -> Option<usize> {
    texts(trigger)
        .filter_map(|text| {
            bytes.windows(text.len()).position(|window| window == text).map(|at| at + text.len())
        })
        .min()
}

/// The length of the longest end of `bytes` that is a proper beginning of a trigger text.
fn partial(trigger: &Trigger, bytes: &[u8]) -> usize {
    texts(trigger)
        .filter_map(|text| (1..text.len().min(bytes.len() + 1)).rev().find(|&n| bytes.ends_with(&text[..n])))
        .max()
        .unwrap_or(0)
}
