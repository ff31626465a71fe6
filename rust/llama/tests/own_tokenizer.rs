//! The tokenizer of our own gives llama.cpp's tokens, for every vocabulary of the pinned tree and the real models.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GEMMA, SMOLLM2, library, vocab_dir};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tabagent_llama::{Model, ModelConfig};
use tabagent_tokenizer::Tokenizer;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) % n
    }

    fn character(&mut self) -> char {
        // Characters of all planes, more of those that expressions tell apart.
        let code = match self.below(12) {
            0 => self.below(0x80),
            1 => self.below(0x250),
            2 => 0x300 + self.below(0x70),
            3 => 0x370 + self.below(0x1000),
            4 => 0x2000 + self.below(0x300),
            5 => 0x3000 + self.below(0x100),
            6 => 0x4e00 + self.below(0x5200),
            7 => 0xac00 + self.below(0x2c00),
            8 => 0xfe00 + self.below(0x200),
            9 => 0x1f300 + self.below(0x800),
            10 => self.below(0x3_2000),
            _ => self.below(0x11_0000),
        };
        char::from_u32(code).unwrap_or('x')
    }

    fn piece(&mut self, special: &[String]) -> String {
        const WORDS: [&str; 58] = [
            " ",
            "  ",
            "   ",
            "\n",
            "\n\n",
            "\r\n",
            "\t",
            " \n",
            "\u{a0}",
            "\u{3000}",
            "\u{b}",
            "\u{1c}",
            "a",
            "the",
            " the",
            "The",
            "HELLO",
            "helloWorld",
            "ÀÉab",
            "aÀA",
            "'s",
            "'S",
            "'re",
            "'LL",
            "'x",
            "don't",
            "we'Ve",
            "12",
            "1234567",
            " 12",
            "3.14",
            "½²",
            "٣٤٥٦",
            "!",
            "...",
            " ?!",
            "()",
            "_/",
            "//\n",
            "$+<=>^~|`",
            "€→",
            "\u{301}",
            "e\u{301}",
            "日本語",
            "中文，。",
            "한국어",
            "ㄱㅎ",
            "ไทย",
            "مرحبا،",
            "Привет",
            "नमस्ते",
            "😀👍🏽",
            "\u{200d}",
            "\0",
            "▁",
            "IMGIMGABZ",
            "<sentinel:12>",
            "http://a.b/c?d=1",
        ];
        match self.below(10) {
            0 => (0..=self.below(4)).map(|_| self.character()).collect(),
            1 if !special.is_empty() => special[self.below(special.len() as u32) as usize].clone(),
            2 => WORDS[self.below(WORDS.len() as u32) as usize].repeat(1 + self.below(4) as usize),
            _ => WORDS[self.below(WORDS.len() as u32) as usize].to_owned(),
        }
    }

    fn text(&mut self, special: &[String]) -> String {
        let n = 1 + self.below(24);
        (0..n).map(|_| self.piece(special)).collect()
    }
}

fn files() -> Vec<PathBuf> {
    let Some(dir) = vocab_dir() else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    files.extend([SMOLLM2, GEMMA].iter().filter_map(|file| tabagent_material::model(file)));
    files
}

fn load(path: &Path) -> Model {
    let config = ModelConfig::new(path).unwrap().with_vocab_only(true);
    Model::load(&library().unwrap(), config).unwrap()
}

fn special(model: &Model) -> Vec<String> {
    let vocab = model.vocab();
    let ids = (0..vocab.len() as i32).filter(|id| vocab.token_attributes(*id).unwrap().is_special());
    let texts: Vec<String> =
        ids.map(|id| vocab.token_text(id).unwrap()).filter(|text| !text.is_empty()).collect();
    let step = texts.len().div_ceil(60).max(1);
    texts.into_iter().step_by(step).collect()
}

/// Compares `n` texts; returns how many differ, and describes the first few.
fn compare(model: &Model, own: &Tokenizer, n: usize, seed: u64) -> (usize, String) {
    let (special, mut random) = (special(model), Random(seed));
    let (mut n_different, mut shown) = (0, String::new());
    for _ in 0..n {
        let text = random.text(&special);
        for (add_special, parse_special) in [(true, true), (false, false)] {
            let expected = model.vocab().tokenize(&text, add_special, parse_special).unwrap();
            let tokens = own.tokenize(&text, add_special, parse_special).unwrap();
            let encoding = own.encode(&text, add_special, parse_special).unwrap();
            assert_eq!(encoding.tokens, tokens);
            assert_eq!(encoding.spans.len(), tokens.len());
            assert!(encoding.spans.iter().all(|span| span.start <= span.end && span.end <= text.len()));
            assert!(encoding.spans.is_sorted_by(|a, b| a.start <= b.start && a.end <= b.end), "{text:?}");
            if tokens != expected {
                n_different += 1;
                if n_different <= 3 {
                    write!(shown, "\n  {text:?} {parse_special}\n    {tokens:?}\n    {expected:?}").unwrap();
                }
            }
        }
    }
    (n_different, shown)
}

#[test]
fn random_texts_have_llama_cpps_tokens() {
    compare_all(400);
}

/// 10 MB for every vocabulary.
#[test]
#[ignore = "takes an hour"]
fn ten_megabytes_have_llama_cpps_tokens() {
    compare_all(130_000);
}

fn compare_all(n: usize) {
    let mut faults = String::new();
    for path in files() {
        let model = load(&path);
        let own = Tokenizer::from_file(&path).unwrap();
        let (n_different, shown) = compare(&model, &own, n, 1);
        if n_different > 0 {
            write!(faults, "\n{}: {n_different} of {}{shown}", path.display(), 2 * n).unwrap();
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn tokens_are_the_same_as_llama_cpps() {
    for path in files() {
        let model = load(&path);
        let own = Tokenizer::from_file(&path).unwrap();
        let vocab = model.vocab();
        assert_eq!(own.len(), vocab.len(), "{}", path.display());
        assert_eq!(own.token_bos(), vocab.token_bos(), "{}", path.display());
        assert_eq!(own.token_eos(), vocab.token_eos(), "{}", path.display());
        assert_eq!(own.token_nl(), vocab.token_nl(), "{}", path.display());
        for id in 0..own.len() as i32 {
            assert_eq!(own.is_eog(id), vocab.is_eog(id), "{} {id}", path.display());
            for special in [true, false] {
                let bytes = own.token_bytes(id, special).unwrap();
                assert_eq!(bytes, vocab.token_bytes(id, special).unwrap(), "{} {id}", path.display());
            }
        }
        let mut random = Random(3);
        for _ in 0..200 {
            let tokens: Vec<i32> =
                (0..random.below(20)).map(|_| random.below(own.len() as u32) as i32).collect();
            let text = random.text(&[]);
            for tokens in [tokens, own.tokenize(&text, true, false).unwrap()] {
                for (remove, unparse) in [(true, false), (false, true)] {
                    let expected = vocab.detokenize_bytes(&tokens, remove, unparse).unwrap();
                    let bytes = own.detokenize_bytes(&tokens, remove, unparse, &|| false).unwrap();
                    assert_eq!(bytes, expected, "{} {tokens:?}", path.display());
                }
            }
        }
    }
}
