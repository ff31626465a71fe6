//! Lists as rules.
//!
//! Long repetitions are left-recursive, which the engine parses in constant space; lists with few places are right-recursive, so that the
//! engine looks only at the next place.

use std::collections::HashMap;

use super::parts::{Key, Parts};
use super::rules::Symbol;
use super::values::{Array, Contains};
use super::writer::Writer;
use crate::constraint::GrammarError;

/// The most states in which one list is counted.
const MAX_STATES: u64 = 4_000;
/// How many `contains` of one list are counted.
const MAX_CONTAINS: usize = 3;

/// How many items were written, and how many of them fit each `contains`.
type State = (u64, Vec<u64>);

impl Writer<'_> {
    pub(super) fn array(&mut self, symbol: Symbol, key: &Key, shape: &Array) -> Result<(), GrammarError> {
        let mut shape = shape.clone();
        for one in std::mem::take(&mut shape.contains) {
            if one.node.is_any() {
                let from = one.from as u64;
                shape.min = shape.min.max(if one.min > 0 { from + one.min } else { 0 });
                shape.max = shape.max.into_iter().chain(one.max.map(|max| max + from)).min();
            } else if one.node.is_never() {
                if one.min > 0 {
                    return Ok(());
                }
            } else {
                shape.contains.push(one);
            }
        }
        if shape.max.is_some_and(|max| max < shape.min) {
            return Ok(());
        }
        let [open, close] = self.marks.brackets;
        if let Some(place) = shape.unique.filter(|_| shape.max.is_none_or(|max| max > 1)) {
            let items = if shape.contains.is_empty() { self.unique_items(&shape)? } else { None };
            if let Some(items) = items {
                self.rules.add(symbol, vec![open, items, close]);
                return Ok(());
            }
            self.meaning.limit(place, "uniqueItems", "items may repeat");
        }
        while !shape.contains.is_empty() {
            if shape.contains.len() <= MAX_CONTAINS
                && let Some(items) = self.counted_items(&shape)
            {
                self.note_array(&shape, key, &[items]);
                self.rules.add(symbol, vec![open, items, close]);
                return Ok(());
            }
            if let Some(dropped) = shape.contains.pop() {
                let (place, keyword) =
                    self.meaning.excluder(&dropped.node).unwrap_or((dropped.place, "contains"));
                self.meaning.limit(place, keyword, "not enforced: counting the items takes too many states");
            }
        }
        let mut way = vec![open];
        way.extend(self.items(&shape));
        way.push(close);
        self.note_array(&shape, key, &way);
        self.rules.add(symbol, way);
        Ok(())
    }

    /// Items without a demand on how many of them fit something.
    fn items(&mut self, shape: &Array) -> Vec<Symbol> {
        let comma = self.marks.comma;
        let n = shape.prefix.len() as u64;
        let first = n.min(shape.max.unwrap_or(n));
        let (min, max) = (shape.min.saturating_sub(first), shape.max.map(|max| max - first));
        let mut rest = if max == Some(0) {
            Vec::new()
        } else {
            let item = self.node(&shape.rest.node);
            self.series(item, first > 0, min, max)
        };
        for i in (0..first).rev() {
            let item = self.node(&shape.item(i as usize).node);
            let mut way = if i > 0 { vec![comma, item] } else { vec![item] };
            way.append(&mut rest);
            rest = if i >= shape.min { vec![self.rules.choice(vec![Vec::new(), way])] } else { way };
            if rest.len() > 64 {
                rest = vec![self.rules.choice(vec![rest])];
            }
        }
        rest
    }

    /// `item`s with commas between them, and before them where something was written already.
    pub(super) fn series(&mut self, item: Symbol, started: bool, min: u64, max: Option<u64>) -> Vec<Symbol> {
        let next = self.rules.choice(vec![vec![self.marks.comma, item]]);
        if started {
            return self.rules.repeat(next, min, max);
        }
        if max == Some(0) {
            return Vec::new();
        }
        let mut way = vec![item];
        way.extend(self.rules.repeat(next, min.saturating_sub(1), max.map(|max| max - 1)));
        if min > 0 { way } else { vec![self.rules.choice(vec![Vec::new(), way])] }
    }

    /// Items of which a number fit something; `None` if there is too much to count.
    fn counted_items(&mut self, shape: &Array) -> Option<Symbol> {
        let last_from = shape.contains.iter().map(|one| one.from).max().unwrap_or(0);
        let distinct = shape.prefix.len().max(last_from).max(1) as u64;
        let end = distinct.max(shape.min).max(shape.max.unwrap_or(0));
        let caps: Vec<u64> = shape.contains.iter().map(|one| one.max.unwrap_or(one.min)).collect();
        let n_states = caps.iter().try_fold(end + 1, |n, cap| n.checked_mul(cap + 1))?;
        if n_states > MAX_STATES {
            return None;
        }
        let mut states: HashMap<State, Symbol> = HashMap::new();
        let start = self.rules.rule();
        let mut pending: Vec<(State, Symbol)> = vec![((0, vec![0; caps.len()]), start)];
        states.insert(pending[0].0.clone(), start);
        while let Some(((n, counts), symbol)) = pending.pop() {
            let enough = shape.contains.iter().zip(&counts).all(|(one, count)| *count >= one.min);
            let mut ways = Vec::new();
            if n >= shape.min && enough {
                ways.push(Vec::new());
            }
            let endless = n == end && shape.max.is_none();
            let mut around = None;
            if shape.max.is_none_or(|max| n < max) {
                for (node, next) in choices(shape, n, &counts, &mut self.meaning.parts) {
                    let item = self.node(&node);
                    let next: State = ((n + 1).min(end), next);
                    if endless && next.1 == counts {
                        around = Some(item);
                        continue;
                    }
                    let target = *states.entry(next.clone()).or_insert_with(|| {
                        let target = self.rules.rule();
                        pending.push((next, target));
                        target
                    });
                    ways.push(if n > 0 { vec![self.marks.comma, item, target] } else { vec![item, target] });
                }
            }
            match around {
                None => ways.into_iter().for_each(|way| self.rules.add(symbol, way)),
                Some(item) => {
                    let mut way = self.series(item, true, 0, None);
                    way.push(self.rules.choice(ways));
                    self.rules.add(symbol, way);
                }
            }
        }
        Some(start)
    }
}

/// What the item numbered `n` may be, and how many fit each demand after it.
fn choices(shape: &Array, n: u64, counts: &[u64], parts: &mut Parts<'_>) -> Vec<(Key, Vec<u64>)> {
    let mut choices = vec![(shape.item(n as usize).node.clone(), counts.to_vec())];
    for (i, one) in shape.contains.iter().enumerate().filter(|(_, one)| one.from as u64 <= n) {
        let counted = |one: &Contains, count: u64| match one.max {
            Some(max) => (count < max).then_some(count + 1),
            None => (count < one.min).then_some(count + 1),
        };
        let mut more = Vec::new();
        for (node, counts) in choices {
            if let Some(count) = counted(one, counts[i]) {
                let mut counts = counts.clone();
                counts[i] = count;
                more.push((node.and(&one.node), counts));
            }
            let node = if one.max.is_some() { node.and(&parts.not(&one.node)) } else { node };
            more.push((node, counts));
        }
        choices = more;
    }
    choices
}
