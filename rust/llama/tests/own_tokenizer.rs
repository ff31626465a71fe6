//! The tokenizer of our own gives llama.cpp's tokens, for every vocabulary of the pinned tree and the real models.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{GEMMA, SMOLLM2, library, vocab_dir};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tabagent_gguf::{GgufFile, GgufWriter};
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

/// The names of pre-tokenizers in the pinned `src/llama-vocab.cpp`.
fn pre_tokenizers() -> Vec<String> {
    let Some(tree) = tabagent_material::tree() else { return Vec::new() };
    let source = std::fs::read_to_string(tree.join("src/llama-vocab.cpp")).unwrap();
    let names = source.split("tokenizer_pre == \"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 80, "{}", names.len());
    names
}

/// A file with a vocabulary alone.
fn writer(model: &str) -> GgufWriter {
    let mut writer = GgufWriter::new()
        .add("general.architecture", "llama")
        .add("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)
        .add("tokenizer.ggml.model", model);
    for (key, value) in [
        ("context_length", 64_u32),
        ("embedding_length", 32),
        ("block_count", 1),
        ("feed_forward_length", 32),
        ("attention.head_count", 1),
        ("rope.dimension_count", 32),
    ] {
        writer = writer.add(&format!("llama.{key}"), value);
    }
    writer
}

fn strings(path: &Path, key: &str) -> Vec<String> {
    let file = GgufFile::open(path).unwrap();
    let array = file.metadata().get(key).unwrap().as_array().unwrap();
    array.strings().unwrap().map(|text| text.to_str().unwrap().to_owned()).collect()
}

fn compare_written(writer: &GgufWriter, name: &str, n: usize, faults: &mut String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    std::fs::write(&path, writer.to_bytes().unwrap()).unwrap();
    let (model, own) = (load(&path), Tokenizer::from_file(&path).unwrap());
    let (n_different, shown) = compare(&model, &own, n, 5);
    if n_different > 0 {
        write!(faults, "\n{name}: {n_different} of {}{shown}", 2 * n).unwrap();
    }
}

#[test]
fn every_pre_tokenizer_splits_as_llama_cpps() {
    let names = pre_tokenizers();
    let Some(models) = vocab_dir().filter(|_| !names.is_empty()) else { return };
    let mut faults = String::new();
    for name in names {
        // Those that read characters in place of bytes have another vocabulary.
        let reads_characters =
            ["gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"].contains(&name.as_str());
        let file =
            models.join(format!("ggml-vocab-{}.gguf", if reads_characters { "gemma-4" } else { "gpt-2" }));
        let model = if name == "whitespace" { "whitespace" } else { "gpt2" };
        let writer = writer(model)
            .add("tokenizer.ggml.pre", name.as_str())
            .add("tokenizer.ggml.tokens", strings(&file, "tokenizer.ggml.tokens"))
            .add("tokenizer.ggml.merges", strings(&file, "tokenizer.ggml.merges"))
            .add("tokenizer.ggml.bos_token_id", 11_u32);
        compare_written(&writer, &name, 150, &mut faults);
    }
    assert!(faults.is_empty(), "{faults}");
}

/// Families of which the pinned tree has no file.
#[test]
fn written_vocabularies_have_llama_cpps_tokens() {
    if library().is_none() {
        return;
    }
    let mut faults = String::new();
    let mut tokens: Vec<String> = ["<s>", "</s>", "<unk>"].map(str::to_owned).into();
    tokens.extend((0..256).map(|byte| format!("\\x{byte:02x}")));
    tokens.extend(["ab", "the", " the", "hello", "日本", "\\n\\n", "e\\'s", "\\x20\\x20"].map(str::to_owned));
    let rwkv = writer("rwkv").add("tokenizer.ggml.tokens", tokens);
    compare_written(&rwkv, "rwkv", 300, &mut faults);

    let mut tokens: Vec<String> =
        ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>"].map(str::to_owned).into();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let mut types = vec![3_i32, 3, 3];
    types.extend([6; 256]);
    let mut scores = vec![-1000.0_f32; 259];
    for (at, text) in [
        " ",
        "a",
        "b",
        "ab",
        "the",
        " the",
        "he",
        "hello",
        "HELL",
        "日本語",
        "日",
        "本語",
        "e\u{301}",
        "\n",
        "1",
        "12",
        "123",
    ]
    .iter()
    .enumerate()
    {
        tokens.push((*text).to_owned());
        types.push(1);
        scores.push(-1.25 - at as f32 * 0.37);
    }
    let plamo2 = writer("plamo2")
        .add("tokenizer.ggml.tokens", tokens)
        .add("tokenizer.ggml.token_type", types)
        .add("tokenizer.ggml.scores", scores);
    compare_written(&plamo2, "plamo2", 300, &mut faults);
    assert!(faults.is_empty(), "{faults}");
}
