//! Every vocabulary of the pinned tree, against its own test vectors and against hostile texts.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{library, vocab_dir};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tabagent_llama::*;

/// The vocabularies of the pinned tree, each loaded once for all tests: that takes longer than most of them. None without the tree.
fn vocabularies() -> &'static [(PathBuf, Model)] {
    static LOADED: OnceLock<Vec<(PathBuf, Model)>> = OnceLock::new();
    LOADED.get_or_init(|| {
        let Some(dir) = vocab_dir() else { return Vec::new() };
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().map(|e| e.path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "gguf"));
        files.sort();
        assert!(files.len() >= 19, "{}", files.len());
        files.into_par_iter().map(|path| (path.clone(), load(&path))).collect()
    })
}

fn load(path: &Path) -> Model {
    let config = ModelConfig::new(path).unwrap().with_vocab_only(true);
    Model::load(&library().unwrap(), config).unwrap()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[test]
fn all_vectors_of_the_pinned_tree_match_exactly() {
    let mut vectors = 0;
    for (path, model) in vocabularies() {
        let Ok(inputs) = std::fs::read_to_string(with_suffix(path, ".inp")) else { continue };
        let outputs = std::fs::read_to_string(with_suffix(path, ".out")).unwrap();
        let texts: Vec<_> = inputs.split("\n__ggml_vocab_test__\n").collect();
        let expected: Vec<Vec<i32>> =
            outputs.lines().map(|l| l.split_whitespace().map(|t| t.parse().unwrap()).collect()).collect();
        assert!(expected.len() <= texts.len(), "{}", path.display());
        let texts = &texts[..expected.len()];
        let batch = model.vocab().tokenize_batch(texts, false, false).unwrap();
        for ((text, tokens), from_batch) in texts.iter().zip(&expected).zip(&batch) {
            assert_eq!(
                &model.vocab().tokenize(text, false, false).unwrap(),
                tokens,
                "{} {text:?}",
                path.display()
            );
            assert_eq!(from_batch, tokens);
            vectors += 1;
        }
    }
    assert!(vectors >= 693 || vocab_dir().is_none(), "{vectors}");
}

/// Long matches overflow the stack of `std::regex` unless they run on a larger one.
#[test]
fn very_long_words_spaces_and_digits_do_not_overflow_the_stack() {
    for (path, model) in vocabularies() {
        for unit in ["a", " ", "7", "\n", "!", "é", "日", "\u{301}", "\u{0}", "A"] {
            let tokens = match model.vocab().tokenize(&unit.repeat(50_000 / unit.len()), true, true) {
                // What would keep llama.cpp busy for minutes is refused; as much as is taken is tokenized.
                Err(VocabError::TooSlow { limit, .. }) => {
                    model.vocab().tokenize(&unit.repeat(limit), true, true)
                }
                result => result,
            };
            let tokens = tokens.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            model.vocab().check_tokens(&tokens).unwrap();
        }
    }
}

/// What long texts are cut by: behind a special token the tokenizer begins anew. Texts as short as these are not cut themselves.
#[test]
fn what_follows_a_special_token_is_tokenized_as_if_it_came_first() {
    const BETWEEN: [&str; 9] = ["", " ", "word", " word ", "\n", "\n\n", " 12", "é ", "Word word"];
    let mut compared = 0;
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        let with = |wanted: &[&str]| -> Vec<String> {
            let has = |id: &i32| {
                let names = vocab.token_attributes(*id).unwrap().names();
                names.iter().any(|name| wanted.contains(name))
            };
            let texts = (0..vocab.len() as i32).filter(has).map(|id| vocab.token_text(id).unwrap());
            texts.filter(|text| !text.is_empty()).collect()
        };
        if !with(&["lstrip", "rstrip"]).is_empty() {
            continue;
        }
        let mut state = 1_usize;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let around = vocab.additions().unwrap();
        for (parse_special, specials) in
            [(true, with(&["control", "user_defined", "unknown"])), (false, with(&["user_defined"]))]
        {
            for _ in 0..if specials.is_empty() { 0 } else { 200 } {
                let mut some = || -> String {
                    let n = next(4);
                    (0..n)
                        .map(|_| BETWEEN[next(BETWEEN.len())].to_owned() + &specials[next(specials.len())])
                        .collect()
                };
                let (before, after) = (some() + "x", "x".to_owned() + &some());
                let cut = before + &specials[next(specials.len())];
                let whole = vocab.tokenize(&format!("{cut}{after}"), true, parse_special).unwrap();
                let mut expected = around.front.clone();
                expected.extend(vocab.tokenize(&cut, false, parse_special).unwrap());
                expected.extend(vocab.tokenize(&after, false, parse_special).unwrap());
                expected.extend(&around.back);
                assert_eq!(whole, expected, "{} {cut:?} {after:?}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 1000 || vocab_dir().is_none(), "{compared}");
}

/// Cutting them keeps the time in proportion to their number; what llama.cpp takes grows with its square.
#[test]
fn long_texts_with_many_special_tokens_are_tokenized_piece_by_piece() {
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        let special = |id: &i32| {
            let names = vocab.token_attributes(*id).unwrap().names();
            names.contains(&"control") && !names.contains(&"lstrip") && !names.contains(&"rstrip")
        };
        let Some(id) = (0..vocab.len() as i32).find(special) else { continue };
        let strips = |id: i32| {
            let names = vocab.token_attributes(id).unwrap().names();
            names.contains(&"lstrip") || names.contains(&"rstrip")
        };
        if (0..vocab.len() as i32).any(strips) {
            continue;
        }
        let part = format!("a word{}", vocab.token_text(id).unwrap());
        let one = vocab.tokenize(&part, false, true).unwrap();
        // It is cut behind every thousandth; five times, and a rest.
        let all = vocab.tokenize(&part.repeat(5_500), true, true).unwrap();
        let around = vocab.additions().unwrap();
        let expected = [around.front.clone(), one.repeat(5_500), around.back.clone()].concat();
        assert!(all == expected, "{}", path.display());
    }
}

fn borrowed(parts: &[(String, bool)]) -> impl Iterator<Item = TextPart<'_>> {
    parts.iter().map(|(text, parse_special)| TextPart { text, parse_special: *parse_special })
}

/// The prompts of a conversation that grows begin with what is known already, and their tokens are those of the whole text.
#[test]
fn a_text_that_grows_has_the_tokens_of_the_whole() {
    const WORDS: [&str; 8] =
        [" word", "\n", "  two  spaces", "é", " 12,345", "Ünïcödé text. ", "\n\n", "end"];
    let mut compared = 0;
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        let is_control = |id: &i32| vocab.token_attributes(*id).unwrap().is_control();
        let controls: Vec<String> = (0..vocab.len() as i32)
            .filter(is_control)
            .map(|id| vocab.token_text(id).unwrap())
            .filter(|text| !text.is_empty())
            .take(40)
            .collect();
        if controls.is_empty() {
            continue;
        }
        let mut state = 7_usize;
        let mut next = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for round in 0..4 {
            let forges = round == 3;
            let mut parts: Vec<(String, bool)> = Vec::new();
            for _ in 0..30 {
                let marker = controls[next(controls.len())].clone();
                let words = |n: usize, next: &mut dyn FnMut(usize) -> usize| -> String {
                    (0..n).map(|_| WORDS[next(WORDS.len())]).collect()
                };
                let n = next(20);
                let forged = if forges { controls[next(controls.len())].clone() } else { String::new() };
                let user = words(n, &mut next) + &forged + &words(2, &mut next);
                parts.push((words(1, &mut next) + &marker + &words(2, &mut next), true));
                parts.push((user, false));
                let grown = vocab.tokenize_parts(borrowed(&parts)).unwrap();
                if !forges {
                    let whole: String = parts.iter().map(|(text, _)| text.as_str()).collect();
                    assert_eq!(grown, vocab.tokenize(&whole, false, true).unwrap(), "{}", path.display());
                    compared += 1;
                }
            }
            if forges {
                let grown = vocab.tokenize_parts(borrowed(&parts)).unwrap();
                let anew = load(path).vocab().tokenize_parts(borrowed(&parts)).unwrap();
                assert_eq!(grown, anew, "{}", path.display());
            }
        }
    }
    assert!(compared > 1000 || vocab_dir().is_none(), "{compared}");
}

#[test]
fn control_characters_and_special_texts_stay_in_range() {
    let text: String =
        (0..0x300_u32).chain([0x1F600, 0x0010_FFFF, 0xE000, 0xFFFD]).filter_map(char::from_u32).collect();
    for (_, model) in vocabularies() {
        let vocab = model.vocab();
        for (add, parse) in [(false, false), (true, true)] {
            let tokens = vocab.tokenize(&format!("<s></s><|im_start|>{text}"), add, parse).unwrap();
            vocab.check_tokens(&tokens).unwrap();
            vocab.detokenize(&tokens, true, false).unwrap();
        }
        assert!(vocab.tokenize("", false, false).unwrap().is_empty());
        assert_eq!(vocab.detokenize(&[], false, true).unwrap(), "");
    }
}

#[test]
fn texts_come_back_exactly() {
    let texts = [
        "x ? y , z",
        " leading",
        "  two  and   three  ",
        "a\n\tb\0c",
        "e\u{301} \u{e9} 👩‍👩‍👧‍👦",
        "do n't ' a ' 's",
        " ",
        "",
    ];
    let mut exact = 0;
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        // The others change texts.
        if !matches!(vocab.kind(), VocabKind::Bpe | VocabKind::SentencePiece) {
            continue;
        }
        for text in texts {
            let bare = vocab.tokenize(text, false, false).unwrap();
            assert_eq!(vocab.detokenize(&bare, false, true).unwrap(), text, "{}", path.display());
            let whole = vocab.tokenize(text, true, false).unwrap();
            assert_eq!(vocab.detokenize(&whole, true, true).unwrap(), text, "{}", path.display());
            exact += 1;
        }
    }
    assert!(vocab_dir().is_none() || exact >= 17 * texts.len(), "{exact}");
}

#[test]
fn spaces_are_cleaned_up_on_demand_alone() {
    let cleaned = DetokenizeOptions { clean_up_tokenization_spaces: true, ..DetokenizeOptions::default() };
    let mut found = Vec::new();
    for (path, model) in vocabularies() {
        let tokens = model.vocab().tokenize("x ? y", false, false).unwrap();
        assert_eq!(model.vocab().detokenize(&tokens, false, true).unwrap(), "x ? y", "{}", path.display());
        let text = model.vocab().detokenize_with(&tokens, cleaned).unwrap();
        if text != "x ? y" {
            assert_eq!(text, "x? y");
            found.push(path.file_stem().unwrap().to_string_lossy().replace("ggml-vocab-", ""));
        }
    }
    let known = [
        "aquila",
        "bert-bge",
        "falcon",
        "gemma-4",
        "gpt-2",
        "gpt-neox",
        "llama-bpe",
        "mpt",
        "refact",
        "starcoder",
    ];
    assert!(vocab_dir().is_none() || found == known, "{found:?}");
}

#[test]
fn prompts_begin_and_end_once_with_what_the_model_wants() {
    let mut begun = 0;
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        let added = vocab.additions().unwrap().clone();
        let plain = vocab.tokenize_prompt("hello", true).unwrap();
        assert_eq!(plain.tokens, vocab.tokenize("hello", true, true).unwrap());
        assert_eq!((plain.doubled_front, plain.doubled_back), (None, None));
        let marker =
            |tokens: &[TokenId]| tokens.iter().map(|t| vocab.token_text(*t).unwrap()).collect::<String>();
        let (front, back) = (marker(&added.front), marker(&added.back));
        for times in 1..3 {
            let text = format!("{}hello{}", front.repeat(times), back.repeat(times));
            let prompt = vocab.tokenize_prompt(&text, true).unwrap();
            assert_eq!(prompt.tokens, plain.tokens, "{} {text}", path.display());
            assert_eq!(prompt.doubled_front, added.front.first().copied());
            assert_eq!(prompt.doubled_back, added.back.first().copied());
            let tokens = vocab.tokenize(&text, true, true).unwrap();
            assert_eq!(vocab.with_special_once(tokens).unwrap(), prompt);
            // Without special tokens the markers are text.
            let text_only = vocab.tokenize_prompt(&text, false).unwrap();
            assert_eq!(text_only.tokens, vocab.tokenize(&text, true, false).unwrap());
            assert_eq!(text_only.doubled_front, None);
        }
        begun += usize::from(!added.front.is_empty());
    }
    assert!(vocab_dir().is_none() || begun >= 10, "{begun}");
}

#[test]
fn texts_within_a_text_are_spelled_exactly_or_not_at_all() {
    let texts =
        ["", "a", " a", "a b  c", "explanation_if_violating", "{\"name\": \"x\",\n\t\"n\": 12}", "naïve 🦀"];
    let (mut alone, mut within) = (0, 0);
    for (path, model) in vocabularies() {
        let vocab = model.vocab();
        for text in texts {
            let keeps_texts = matches!(vocab.kind(), VocabKind::Bpe | VocabKind::SentencePiece);
            let Some(tokens) = vocab.tokenize_within(text).unwrap() else {
                assert!(!keeps_texts, "{} {text:?}", path.display());
                continue;
            };
            let pieces = tokens.iter().map(|token| vocab.token_bytes(*token, false).unwrap());
            assert_eq!(String::from_utf8(pieces.flatten().collect()).unwrap(), text, "{}", path.display());
            if tokens == vocab.tokenize(text, false, false).unwrap() {
                alone += 1;
            } else {
                within += 1;
            }
        }
    }
    // Three vocabularies of the tree put a space in front of texts and take every text, two more take some.
    assert!(vocab_dir().is_none() || alone >= 95 && within >= 18, "{alone} {within}");
}

#[test]
fn every_token_of_every_vocabulary_has_bytes_and_text() {
    for (_, model) in vocabularies() {
        let vocab = model.vocab();
        for token in 0..vocab.len() as i32 {
            vocab.token_bytes(token, true).unwrap();
            vocab.token_text(token).unwrap();
        }
    }
}
