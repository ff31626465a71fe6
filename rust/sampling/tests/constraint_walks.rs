//! Walks through grammars of every kind over vocabularies of every kind: a token is accepted exactly where the mask has it, and what
//! came before it was taken back leaves no trace.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestError};
use tabagent_sampling::constraint::{
    AfterConstruct, Constraint, Grammar, GrammarCompiler, GrammarError, GrammarOptions, GrammarSource,
    TokenTable, Tokenizer, Trigger, TriggerStart,
};

type Words = Vec<(Vec<u8>, bool)>;

/// A vocabulary: its name, its tokens and those that end the generation.
struct Vocabulary {
    name: &'static str,
    words: Words,
    eos: Vec<i32>,
    tokenized: bool,
}

const SPECIAL: [&str; 4] = ["</s>", "<|a|>", "<|b|>", "<unused>"];

fn words(texts: &[&str]) -> Words {
    texts.iter().map(|text| (text.as_bytes().to_vec(), false)).collect()
}

/// Four special tokens, the first of which ends the generation, then others.
fn vocabularies() -> Vec<Vocabulary> {
    let special: Words = SPECIAL.iter().map(|text| (text.as_bytes().to_vec(), true)).collect();
    let bytes: Words = (0..=255u8).map(|byte| (vec![byte], false)).collect();
    let long = words(&["ab", "abc", "hi", "{\"", "\":", "true", "1,", "call", "é", "\"}", " b", ">{", ">x"]);
    let letters: Vec<String> = (' '..='~').map(String::from).collect();
    let letters = words(&letters.iter().map(String::as_str).collect::<Vec<_>>());
    let some =
        words(&["h", "i", "ab", "a", "b", "hi a", "abab", "{", "}", "\"", "k\":", "1", "2", "bx", "x"]);
    let same = words(&["a", "", "ab", "a", "", "b", "hi", "h", "i"]);
    let join = |parts: &[&Words]| parts.iter().flat_map(|part| part.iter().cloned()).collect::<Words>();
    let vocabulary =
        |name, words, eos: &[i32], tokenized| Vocabulary { name, words, eos: eos.to_vec(), tokenized };
    vec![
        vocabulary("bytes", join(&[&special, &bytes, &long]), &[0], false),
        vocabulary("bytes with a tokenizer", join(&[&special, &bytes, &long]), &[0], true),
        vocabulary("letters with a tokenizer", join(&[&special, &letters, &long]), &[0], true),
        vocabulary("letters", join(&[&special, &letters, &long]), &[0], false),
        vocabulary("few words with a tokenizer", join(&[&special, &some]), &[0], true),
        vocabulary("texts that are there twice", join(&[&special, &same]), &[0, 3], true),
        vocabulary("no end", join(&[&special, &letters, &long]), &[], true),
    ]
}

impl Vocabulary {
    fn table(&self) -> Arc<TokenTable> {
        let words = self.words.clone();
        if !self.tokenized {
            return TokenTable::new(words.into_iter(), &self.eos).unwrap();
        }
        let known = self.words.clone();
        // The longest word at each place, as far as there is one.
        let tokenizer: Tokenizer = Arc::new(move |bytes: &[u8]| {
            let mut rest = bytes;
            let mut ids = Vec::new();
            while !rest.is_empty() {
                let fits = |(word, special): &(Vec<u8>, bool)| {
                    !special && !word.is_empty() && rest.starts_with(word)
                };
                let found = known.iter().enumerate().filter(|(_, word)| fits(word));
                let Some((id, (word, _))) = found.max_by_key(|(_, (word, _))| word.len()) else { break };
                ids.push(id as i32);
                rest = &rest[word.len()..];
            }
            ids
        });
        TokenTable::with_tokenizer(words.into_iter(), &self.eos, tokenizer).unwrap()
    }
}

fn sources() -> Vec<GrammarSource> {
    let gbnf = [
        r#"root ::= "hi" <[1]>"#,
        r#"root ::= "a" <[6]> "b""#,
        r#"root ::= "a" <|b|> "b" | "ab" !<[6]> "x""#,
        r#"root ::= (!<[1]> | "hi")+ <|a|>"#,
        r#"root ::= <[1]> ("a" | "ab")* <[2]>?"#,
        r#"root ::= ("a" | <[0]>) "b""#,
        r#"root ::= "a"{0} "b" ("" | "a"){0,2}"#,
        r#"root ::= "(" root ")" | [ab]*"#,
        "root ::= [^x]{1,4} (\"x\" | <[2]>)",
    ];
    let lark = [
        "start: \"hi\" <|a|> (\"a\" | \"b\")",
        "start: \"a\" <[6]> \"b\"",
        "start: (<[^1]> | \"ab\")* <|a|> \"b\"?",
        "start: \"a\" <[*]> \"b\"",
        "start: \"a\" <[4-7]> <[5]> | \"ab\" <[1,2]>",
        "start: text \"x\"\ntext: /[ab ]*/",
        "start: A \"b\"\nA[lazy]: /a+?b/",
        "start: text\ntext[stop=\"\"]: /[ab]+/",
        "start: \"(\" start \")\" | \"a\"",
    ];
    let schemas = [
        r#"{"type": "object", "properties": {"k": {"enum": [1, 12, true]}, "ab": {"type": "boolean"}}, "required": ["k"], "additionalProperties": false}"#,
        r#"{"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2}"#,
        r#"{"type": "integer", "minimum": 1, "maximum": 12}"#,
    ];
    let choices = ["a", "ab", "abab", "hi", "hi a"].map(str::to_owned).to_vec();
    let own = gbnf.map(|text| GrammarSource::Gbnf(text.to_owned())).into_iter();
    own.chain(lark.map(|text| GrammarSource::Lark(text.to_owned())))
        .chain(schemas.map(|text| GrammarSource::JsonSchema(text.to_owned())))
        .chain(["(ab|a)*b?", "hi( a)?", "a?", "[ab]{2}x?"].map(|text| GrammarSource::Regex(text.to_owned())))
        .chain([GrammarSource::Choices(choices), GrammarSource::JsonObject])
        .collect()
}

fn triggers() -> Vec<Option<Trigger>> {
    let text = |text: &str| TriggerStart::Text(text.to_owned());
    let trigger = |starts: Vec<TriggerStart>, then, required| Some(Trigger { starts, then, required });
    vec![
        None,
        trigger(vec![text("b")], AfterConstruct::Stop, true),
        trigger(vec![text("bx"), TriggerStart::Token(2)], AfterConstruct::FreeText, false),
        trigger(vec![text(">")], AfterConstruct::FreeText, true),
    ]
}

/// Every grammar that a vocabulary can write, with its name.
fn grammars() -> Vec<(String, Arc<Grammar>)> {
    let mut grammars = Vec::new();
    for vocabulary in vocabularies() {
        let compiler = GrammarCompiler::new(vocabulary.table());
        for source in sources() {
            for trigger in triggers() {
                let options = GrammarOptions { trigger, ..GrammarOptions::default() };
                match compiler.compile(&source, &options) {
                    Ok(grammar) => {
                        let name = format!("{}: {source:?} after {:?}", vocabulary.name, options.trigger);
                        grammars.push((name, grammar));
                    }
                    Err(error) => assert!(
                        matches!(
                            error,
                            GrammarError::Unwritable { .. }
                                | GrammarError::Dead
                                | GrammarError::Syntax { .. }
                        ),
                        "{}: {source:?}: {error}",
                        vocabulary.name
                    ),
                }
            }
        }
    }
    grammars
}

/// The mask, token by token; none allowed where it is an error that says so.
fn mask(constraint: &mut Constraint, n: usize) -> Result<Vec<bool>, TestCaseError> {
    match constraint.mask() {
        Ok(None) => Ok(vec![true; n]),
        Ok(Some(words)) => Ok((0..n).map(|id| words[id / 32] >> (id % 32) & 1 == 1).collect()),
        Err(GrammarError::Dead | GrammarError::Unwritable { .. }) => Ok(vec![false; n]),
        Err(error) => Err(TestCaseError::fail(error.to_string())),
    }
}

/// Goes where `steps` say: a token that the mask allows, or some tokens back. What is asked in between differs from step to step.
fn walk(grammar: &Arc<Grammar>, steps: &[(u16, u8)]) -> Result<usize, TestCaseError> {
    let n = grammar.table().n_vocab();
    let mut constraint = grammar.start().unwrap();
    let mut tokens: Vec<i32> = Vec::new();
    for &(choice, how) in steps {
        if how % 4 == 3 {
            let back = usize::from(choice) % (tokens.len() + 1);
            constraint.rollback(back).unwrap();
            tokens.truncate(tokens.len() - back);
        }
        if how & 16 == 0 {
            constraint.forced();
        }
        let mut fresh = grammar.start().unwrap();
        for &token in &tokens {
            prop_assert!(fresh.accept(token).is_ok(), "{:?} cannot be repeated at {}", tokens, token);
        }
        let allowed = mask(&mut constraint, n)?;
        prop_assert_eq!(&allowed, &mask(&mut fresh, n)?, "the masks after {:?} differ", &tokens);
        prop_assert_eq!(constraint.can_end(), fresh.can_end(), "after {:?}", &tokens);
        prop_assert_eq!(constraint.is_finished(), fresh.is_finished(), "after {:?}", &tokens);
        prop_assert_eq!(constraint.forced(), fresh.forced(), "after {:?}", &tokens);
        for (id, &is_allowed) in allowed.iter().enumerate() {
            let outcome = constraint.clone().accept(id as i32);
            prop_assert_eq!(outcome.is_ok(), is_allowed, "token {} after {:?}: {:?}", id, &tokens, outcome);
        }
        let choices: Vec<i32> = (0..n as i32).filter(|&id| allowed[id as usize]).collect();
        let Some(&token) = choices.get(usize::from(choice) % choices.len().max(1)) else { continue };
        constraint.accept(token).unwrap();
        tokens.push(token);
    }
    Ok(tokens.len())
}

#[test]
fn masks_agree_with_what_is_accepted_and_forget_what_was_taken_back() {
    let grammars = grammars();
    assert!(grammars.len() > 400, "{}", grammars.len());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let mut wrong = Vec::new();
    for (name, grammar) in &grammars {
        let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
        let mut runner = proptest::test_runner::TestRunner::new(config);
        let steps = proptest::collection::vec((any::<u16>(), any::<u8>()), 12);
        match runner.run(&steps, |steps| walk(grammar, &steps).map(drop)) {
            Ok(()) => {}
            Err(TestError::Fail(reason, steps)) => wrong.push(format!("{name}: {reason}, by {steps:?}")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
