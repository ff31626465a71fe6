//! Random GBNF against its definition: an expression matches the texts that a walk over its tree says, empty parts and repetitions included.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::OnceLock;

use proptest::prelude::*;
use tabagent_sampling::constraint::{
    GrammarCompiler, GrammarError, GrammarOptions, GrammarSource, TokenTable,
};

/// A part of a rule.
#[derive(Clone, Debug)]
enum Part {
    Text(&'static str),
    Class(bool, &'static str),
    Any,
    Sequence(Vec<Part>),
    Choice(Vec<Part>),
    Repeat(Box<Part>, usize, Option<usize>),
    /// The rule with this number.
    Rule(usize),
}

/// How many rules a grammar has; the last ones lead only to later ones, the first one to itself too.
const RULES: usize = 3;

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "ab", "ba", ""]).prop_map(Part::Text),
        2 => (any::<bool>(), prop::sample::select(vec!["a", "b", "ab", "x"])).prop_map(|(not, set)| Part::Class(not, set)),
        1 => Just(Part::Any),
        2 => (0..RULES).prop_map(Part::Rule),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Part::Sequence),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Part::Choice),
            (inner, 0..3usize, prop::option::of(0..3usize)).prop_map(|(part, least, more)| Part::Repeat(
                Box::new(part),
                least,
                more.map(|more| least + more)
            )),
        ]
    })
}

impl Part {
    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => write!(out, "\"{text}\"").unwrap(),
            Self::Class(not, set) => write!(out, "[{}{set}]", if *not { "^" } else { "" }).unwrap(),
            Self::Any => out.push('.'),
            Self::Sequence(parts) => {
                out.push('(');
                for part in parts {
                    part.write(out);
                    out.push(' ');
                }
                out.push(')');
            }
            Self::Choice(parts) => {
                out.push('(');
                for (at, part) in parts.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " | " });
                    part.write(out);
                }
                out.push(')');
            }
            Self::Repeat(part, least, most) => {
                out.push('(');
                part.write(out);
                out.push(')');
                match (least, most) {
                    (0, None) => out.push('*'),
                    (0, Some(1)) => out.push('?'),
                    (least, None) => write!(out, "{{{least},}}").unwrap(),
                    (least, Some(most)) if least == most => write!(out, "{{{least}}}").unwrap(),
                    (least, Some(most)) => write!(out, "{{{least},{most}}}").unwrap(),
                }
            }
            Self::Rule(rule) => write!(out, "r{rule}").unwrap(),
        }
    }

    /// Where in `text` the part may end if it begins at one of `starts`; rules nest so deep at the most.
    fn ends(&self, rules: &[Part], text: &[u8], starts: &BTreeSet<usize>, depth: usize) -> BTreeSet<usize> {
        let one = |fits: &dyn Fn(u8) -> bool| {
            starts.iter().filter(|&&at| text.get(at).is_some_and(|&c| fits(c))).map(|at| at + 1).collect()
        };
        match self {
            Self::Text(part) => {
                let fits = |at: &&usize| text[**at..].starts_with(part.as_bytes());
                starts.iter().filter(fits).map(|at| at + part.len()).collect()
            }
            Self::Class(not, set) => one(&|c| set.as_bytes().contains(&c) != *not),
            Self::Any => one(&|_| true),
            Self::Sequence(parts) => {
                parts.iter().fold(starts.clone(), |at, part| part.ends(rules, text, &at, depth))
            }
            Self::Choice(parts) => {
                parts.iter().flat_map(|part| part.ends(rules, text, starts, depth)).collect()
            }
            Self::Repeat(part, least, most) => {
                let mut at = starts.clone();
                for _ in 0..*least {
                    at = part.ends(rules, text, &at, depth);
                }
                let mut all = at.clone();
                for _ in 0..most.map_or(text.len() + 1, |most| most - least) {
                    at = part.ends(rules, text, &at, depth);
                    all.extend(&at);
                }
                all
            }
            Self::Rule(_) if depth == 0 || starts.is_empty() => BTreeSet::new(),
            Self::Rule(rule) => rules[*rule].ends(rules, text, starts, depth - 1),
        }
    }
}

fn compiler() -> &'static GrammarCompiler {
    static COMPILER: OnceLock<GrammarCompiler> = OnceLock::new();
    COMPILER.get_or_init(|| {
        let words = ["ab", "ba", "aab"].map(|word| (word.as_bytes().to_vec(), false));
        let bytes = (0..=255u8).map(|byte| (vec![byte], false));
        GrammarCompiler::new(
            TokenTable::new(bytes.chain(words).chain([(b"</s>".to_vec(), true)]), &[259]).unwrap(),
        )
    })
}

/// All texts of `a`, `b` and `c` with up to five letters, a few of the longer ones.
fn texts() -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|text| ["a", "b", "c"].map(|c| format!("{text}{c}"))).collect();
        all.extend(last.iter().cloned());
    }
    all.extend(["aaaaa", "ababa", "abbab", "bbbbb", "aabbaa"].map(str::to_owned));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn grammars_match_what_their_trees_say(rules in prop::collection::vec(part(), RULES)) {
        let mut source = "root ::= r0\n".to_owned();
        for (rule, part) in rules.iter().enumerate() {
            write!(source, "r{rule} ::= ").unwrap();
            part.write(&mut source);
            source.push('\n');
        }
        let compiled = compiler().compile(&GrammarSource::Gbnf(source.clone()), &GrammarOptions::default());
        let grammar = match compiled {
            Ok(grammar) => grammar,
            Err(GrammarError::Syntax { line, column, message }) => {
                // Rules that begin with themselves, and rules without an end; both are named where they are defined.
                let named = message.contains("begins with itself")
                    || message.contains("never ends")
                    || message.contains("nothing matches");
                prop_assert!(named, "{}", message);
                prop_assert!(column == 1 && (2..=RULES + 1).contains(&line) || line == 1, "{} {}", line, column);
                prop_assert!(message.contains(&format!("`r{}`", line.saturating_sub(2))) || line == 1, "{}", message);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(format!("{error}: {source}"))),
        };
        for text in texts() {
            let ends = rules[0].ends(&rules, text.as_bytes(), &BTreeSet::from([0]), 12);
            let expected = ends.contains(&text.len());
            let mut constraint = grammar.start().unwrap();
            let found = text.bytes().all(|byte| constraint.accept(i32::from(byte)).is_ok()) && constraint.can_end();
            prop_assert_eq!(found, expected, "{:?} of {}", text, source);
        }
    }
}
