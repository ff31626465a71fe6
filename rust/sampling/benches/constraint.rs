//! Compiling the schemas of `tests/schemas`, and the masks of a few of them, at the vocabulary sizes of SmolLM2 and Gemma 3.
//!
//! The vocabularies are made of random words; `cargo bench -p tabagent-sampling --bench constraint` first writes how long the corpus
//! takes to compile: the median, the 95th percentile (to stay at or below 50 ms with 262,144 tokens) and the slowest.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a bench fails and speaks as tests do"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use tabagent_sampling::constraint::{Constraint, GrammarCompiler, GrammarOptions, GrammarSource, TokenTable};

const SIZES: [usize; 2] = [49_152, 262_144];

/// The bytes, pieces of JSON, then random words of 1 to 12 letters, half of them after a space, some after a capital letter.
fn table(n: usize) -> Arc<TokenTable> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut seen = std::collections::HashSet::new();
    let mut tokens: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
    let json = [
        "{\"", "\":", "\": \"", "\", \"", "\"}", "}}", "[{", "},", "],", "\n\n", "  ", "    ", "true",
        "false", "null",
    ];
    tokens.extend(json.iter().map(|piece| piece.as_bytes().to_vec()));
    while tokens.len() < n - 1 {
        let bits = random.next_u64();
        let length = 1 + (bits % 12) as usize;
        let mut word: Vec<u8> = (0..length).map(|i| b'a' + ((bits >> (8 + 4 * i)) % 26) as u8).collect();
        match bits >> 60 {
            0..=7 => word.insert(0, b' '),
            8 => word[0] = word[0].to_ascii_uppercase(),
            9 => word = (bits % 100_000).to_string().into_bytes(),
            10 => word.extend("éß日本".as_bytes().iter().take(2)),
            _ => {}
        }
        if seen.insert(word.clone()) {
            tokens.push(word);
        }
    }
    let eos = tokens.len() as i32;
    let all = tokens.into_iter().map(|word| (word, false)).chain([(b"</s>".to_vec(), true)]);
    TokenTable::new(all, &[eos]).unwrap()
}

fn corpus() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/schemas");
    let mut schemas: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("limitations.json"))
        .map(|path| {
            let entry: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), entry["schema"].to_string())
        })
        .collect();
    schemas.sort();
    schemas
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn compile_corpus(table: &Arc<TokenTable>) {
    let compiler = GrammarCompiler::new(Arc::clone(table));
    let mut times: Vec<(Duration, String)> = corpus()
        .into_iter()
        .map(|(name, schema)| {
            let source = GrammarSource::JsonSchema(schema);
            let begin = Instant::now();
            black_box(compiler.compile(&source, &GrammarOptions::default()).unwrap());
            (begin.elapsed(), name)
        })
        .collect();
    times.sort();
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share).round() as usize].0);
    let (slowest, name) = times.last().unwrap();
    println!(
        "compile {} schemas, {} tokens: median {:.2} ms, p95 {:.2} ms, slowest {:.2} ms ({name})",
        times.len(),
        table.n_vocab(),
        at(0.5),
        at(0.95),
        ms(*slowest)
    );
}

fn at(compiler: &GrammarCompiler, source: &GrammarSource, text: &str) -> Constraint {
    let mut constraint = compiler.compile(source, &GrammarOptions::default()).unwrap().start().unwrap();
    text.bytes().for_each(|byte| constraint.accept(i32::from(byte)).unwrap());
    constraint
}

fn masks(criterion: &mut Criterion) {
    let schema = |name: &str| {
        let (_, text) = corpus().into_iter().find(|(found, _)| found == name).unwrap();
        GrammarSource::JsonSchema(text)
    };
    let json = r#"
root ::= object
object ::= "{" blank (pair ("," blank pair)*)? "}" blank
pair ::= text ":" blank value
value ::= object | list | text | number | "true" | "false" | "null"
list ::= "[" blank (value ("," blank value)*)? "]" blank
text ::= "\"" ([^"\\] | "\\" ["\\/bfnrt])* "\"" blank
number ::= "-"? [0-9]+ ("." [0-9]+)? blank
blank ::= [ \n]*
"#;
    for n in SIZES {
        let begin = Instant::now();
        let table = table(n);
        println!("table of {n} tokens: {:.0} ms with its random words", ms(begin.elapsed()));
        compile_corpus(&table);
        let compiler = GrammarCompiler::new(table);
        let places = [
            ("start of an object", schema("mcp-write-file"), ""),
            ("in a string", schema("mcp-write-file"), "{\"path\": \"so"),
            ("in a string of at most 10000", schema("mcp-long-text-10000"), "{\"body\": \"so"),
            ("in an enum of 1000", schema("enum-1000"), "{\"code\": \"co"),
            ("in a number", schema("openai-number-bounds"), "{\"age\": 1"),
            ("in any JSON", GrammarSource::JsonObject, "{\"a\": [1, "),
            ("in a string of GBNF", GrammarSource::Gbnf(json.to_owned()), "{\"a\": \"so"),
            ("at a value of GBNF", GrammarSource::Gbnf(json.to_owned()), "{\"a\": "),
        ];
        let mut group = criterion.benchmark_group(format!("mask of {n}"));
        group
            .sample_size(20)
            .measurement_time(Duration::from_millis(600))
            .warm_up_time(Duration::from_millis(200));
        for (name, source, text) in places {
            let mut constraint = at(&compiler, &source, text);
            group.bench_function(name, |bencher| {
                bencher.iter(|| constraint.mask().unwrap().map(|words| words[0]));
            });
        }
        let token = i32::from(b'x');
        let constraint = at(&compiler, &schema("mcp-write-file"), "{\"path\": \"so");
        group.bench_function("accept in a string", |bencher| {
            bencher.iter_batched_ref(
                || constraint.clone(),
                |constraint| constraint.accept(token).unwrap(),
                BatchSize::SmallInput,
            );
        });
        let grammar = compiler.compile(&schema("mcp-write-file"), &GrammarOptions::default()).unwrap();
        group.bench_function("start a sequence", |bencher| bencher.iter(|| grammar.start().unwrap()));
        let source = schema("mcp-write-file");
        group.bench_function("compile what is cached", |bencher| {
            bencher.iter(|| compiler.compile(&source, &GrammarOptions::default()).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, masks);
criterion_main!(benches);
