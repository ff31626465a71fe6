//! Which builds export which of llama.cpp's functions: `layouts/symbols.txt`, a line a function, a column a layout.

use crate::layout::AbiLayout;
use crate::layouts::KNOWN;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const TABLE: &str = include_str!("layouts/symbols.txt");

/// Which of the known builds of a layout export a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(char);

impl Mark {
    fn all(self) -> bool {
        self.0 == '+'
    }

    fn any(self) -> bool {
        self.0 != '.'
    }

    /// Whether the first one may export it, and whether it may not.
    fn first(self) -> (bool, bool) {
        (matches!(self.0, '+' | '>' | '~'), self.0 != '+' && self.0 != '>')
    }

    /// As [`first`](Self::first) of the last one.
    fn last(self) -> (bool, bool) {
        (matches!(self.0, '+' | '<' | '~'), self.0 != '+' && self.0 != '<')
    }
}

/// What a library of a layout exports.
pub(crate) struct Expected {
    /// Functions that it must have.
    pub(crate) must: BTreeSet<&'static str>,
    /// Functions that it may have, those of `must` included.
    pub(crate) may: BTreeSet<&'static str>,
}

type Row = (&'static str, Vec<Mark>);

/// Each function with its marks, in the order of the layouts.
fn rows() -> &'static [Row] {
    static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| read().collect());
    &ROWS
}

fn read() -> impl Iterator<Item = Row> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (marks, name) = line.split_once(' ')?;
        Some((name, marks.chars().map(Mark).collect()))
    })
}

/// What libraries of `layout` export. Between the last known build of a layout and the first of the next one there are builds that are not known: functions that came or went
/// there may be there, and need not.
pub(crate) fn expected(layout: &AbiLayout) -> Expected {
    let mut expected = Expected { must: BTreeSet::new(), may: BTreeSet::new() };
    let Some(column) = KNOWN.iter().position(|known| known.stem == layout.stem) else { return expected };
    for (name, marks) in rows() {
        let Some(own) = marks.get(column) else { continue };
        let before = column.checked_sub(1).and_then(|before| marks.get(before)).map(|mark| mark.last());
        let after = marks.get(column + 1).map(|mark| mark.first());
        let around = || before.into_iter().chain(after);
        if own.any() || around().any(|(has, _)| has) {
            expected.may.insert(name);
        }
        if own.all() && !around().any(|(_, lacks)| lacks) {
            expected.must.insert(name);
        }
    }
    expected
}

/// Whether some known build exports the function.
pub(crate) fn is_known(name: &str) -> bool {
    rows().iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_known_layouts_in_their_order() {
        let stems: Vec<_> = KNOWN.iter().map(|layout| layout.stem).collect();
        assert_eq!(TABLE.lines().next(), Some(format!("# {}", stems.join(" ")).as_str()));
        let mut before = "";
        for (name, marks) in rows() {
            assert_eq!(marks.len(), KNOWN.len(), "{name}");
            assert!(before < *name, "{name}");
            before = name;
        }
    }

    #[test]
    fn functions_of_gaps_between_known_builds_may_be_there() {
        let of = |stem| expected(KNOWN.iter().find(|layout| layout.stem == stem).unwrap());
        // `llama_model_get_vocab` came at build 4463, in the middle of a layout.
        assert!(
            of("b4167").may.contains("llama_model_get_vocab")
                && !of("b4167").must.contains("llama_model_get_vocab")
        );
        assert!(of("b4501").must.contains("llama_model_get_vocab"));
        assert!(!of("b3681").may.contains("llama_model_get_vocab"));
        assert!(of("b11549").must.contains("llama_process") && !of("b10566").may.contains("llama_no_such"));
    }

    #[test]
    fn a_layout_that_is_not_known_expects_nothing() {
        let other = AbiLayout { stem: "b1", ..KNOWN[0] };
        assert!(expected(&other).may.is_empty());
        assert!(is_known("llama_decode") && !is_known("llama_brand_new"));
    }
}
