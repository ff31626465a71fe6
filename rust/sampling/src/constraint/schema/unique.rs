//! Lists whose items must differ (`uniqueItems`): where the items are from a few values, the rules remember which of them were written.

use std::collections::HashMap;

use super::array::Array;
use super::decimal::Decimal;
use super::number::Numbers;
use super::parts::Key;
use super::rules::Symbol;
use super::text::Text;
use super::values::Values;
use super::writer::{Writer, internal};
use crate::constraint::GrammarError;
use crate::constraint::limits::MAX_SCHEMA_RULES;

/// The most values that the rules tell apart; each one doubles the number of rules.
const MAX_REMEMBERED: usize = 8;

/// One value, as schemas compare them.
#[derive(Clone, Debug, PartialEq)]
enum Single {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
}

impl Values {
    /// All values of the set by themselves, each with the set of it alone; `None` if they are too many to be listed.
    fn singles(&self) -> Option<Vec<(Single, Self)>> {
        let mut singles = Vec::new();
        if !self.arrays.is_empty() || !self.objects.is_empty() {
            return None;
        }
        let flags = [
            (self.null, Single::Null, Self { null: true, ..Self::none() }),
            (self.yes, Single::Bool(true), Self { yes: true, ..Self::none() }),
            (self.no, Single::Bool(false), Self { no: true, ..Self::none() }),
        ];
        singles.extend(flags.into_iter().filter(|(is_in, ..)| *is_in).map(|(_, single, set)| (single, set)));
        for (value, spelling) in self.numbers.listed()? {
            let numbers = Numbers::only([(value.clone(), spelling.clone())]);
            singles.push((Single::Number(value.clone()), Self { numbers, ..Self::none() }));
        }
        match &self.strings {
            Text::Never => {}
            Text::Only(texts) => {
                for text in texts.iter().take(MAX_REMEMBERED + 1) {
                    let strings = Text::only([text.clone()]);
                    singles.push((Single::Text(text.clone()), Self { strings, ..Self::none() }));
                }
            }
            _ => return None,
        }
        (singles.len() <= MAX_REMEMBERED).then_some(singles)
    }
}

/// What may be in one place of a list: the numbers of the values, and how each is written there.
type Choices = Vec<(usize, Symbol)>;

impl Writer<'_> {
    /// The items of a list in which none comes twice; `None` if there are too many values for that.
    pub(super) fn unique_items(&mut self, shape: &Array) -> Result<Option<Symbol>, GrammarError> {
        let mut known: Vec<Single> = Vec::new();
        let mut places: Vec<Choices> = Vec::new();
        for slot in shape.prefix.iter().chain([&shape.rest]) {
            let Some(choices) = self.single_items(&slot.node, &mut known)? else { return Ok(None) };
            places.push(choices);
        }
        if self.rules.len() + (1 << known.len()) > MAX_SCHEMA_RULES / 2 {
            return Ok(None);
        }
        let mut states: HashMap<u32, Symbol> = HashMap::new();
        let start = self.rules.rule();
        let mut pending = vec![(0u32, start)];
        states.insert(0, start);
        while let Some((written, symbol)) = pending.pop() {
            let n = u64::from(written.count_ones());
            if n >= shape.min {
                self.rules.add(symbol, Vec::new());
            }
            if shape.max.is_some_and(|max| n >= max) {
                continue;
            }
            let choices = &places[(n as usize).min(places.len() - 1)];
            for &(number, item) in choices.iter().filter(|(number, _)| written >> number & 1 == 0) {
                let next = written | 1 << number;
                let target = *states.entry(next).or_insert_with(|| {
                    let target = self.rules.rule();
                    pending.push((next, target));
                    target
                });
                let way = [self.marks.comma, item, target];
                self.rules.add(symbol, way[usize::from(n == 0)..].to_vec());
            }
        }
        Ok(Some(start))
    }

    /// The values that fit `key`, each by its number in `known`; `None` if there are too many.
    fn single_items(&mut self, key: &Key, known: &mut Vec<Single>) -> Result<Option<Choices>, GrammarError> {
        // A schema whose set cannot be found is refused where it is written.
        let singles = self.meaning.values(key).ok().and_then(|values| values.singles());
        let Some(singles) = singles else { return Ok(None) };
        let mut choices = Vec::new();
        for (single, set) in singles {
            let number = known.iter().position(|other| *other == single).unwrap_or_else(|| {
                known.push(single);
                known.len() - 1
            });
            if let Some(symbol) = self.scalars(&set, key).map_err(internal)? {
                choices.push((number, symbol));
            }
        }
        Ok((known.len() <= MAX_REMEMBERED).then_some(choices))
    }
}
