//! The pre-tokenizers by name (`tokenizer.ggml.pre`; `llm_tokenizer_bpe` and `llama_vocab::impl::load` in `src/llama-vocab.cpp`).

use super::Stage;
use super::pattern::{LLAMA3, Letters, Pattern, Spaces, Tail};
use super::runs::{Lead, Runs};
use super::set::{self, Set};
use crate::characters::{LETTER, MARK, NUMBER, PUNCTUATION, SPACE, SYMBOL};

/// What goes with a pre-tokenizer's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreTokenizer {
    pub(crate) stages: &'static [Stage],
    /// Words that are tokens are taken whole.
    pub(crate) ignore_merges: bool,
    /// Adds BOS unless the file says otherwise.
    pub(crate) add_bos: bool,
    /// Adds a separator unless the file says otherwise.
    pub(crate) add_sep: bool,
    /// There is no BOS unless the file names one.
    pub(crate) no_bos: bool,
    /// Spaces become `▁`.
    pub(crate) escape_spaces: bool,
    /// Tokens are written in GPT-2's alphabet of bytes.
    pub(crate) is_byte_level: bool,
    /// Lines without text are tokens, and BOS is added always.
    pub(crate) is_gemma: bool,
}

const PLAIN: PreTokenizer = PreTokenizer {
    stages: &[],
    ignore_merges: false,
    add_bos: false,
    add_sep: false,
    no_bos: false,
    escape_spaces: false,
    is_byte_level: true,
    is_gemma: false,
};

static QWEN2: Pattern = Pattern { numbers: 1, ..LLAMA3 };
static QWEN35: Pattern = Pattern {
    letters: Letters::Of(LETTER | MARK),
    numbers: 1,
    symbols: !(SPACE | LETTER | MARK | NUMBER),
    ..LLAMA3
};
static JAIS2: Pattern = Pattern { spaces: Spaces::Halving, ..LLAMA3 };
static DEEPSEEK3: Pattern = Pattern {
    contractions: false,
    ascii_words: true,
    letters: Letters::Of(LETTER | MARK),
    not_before: LETTER | PUNCTUATION | SYMBOL,
    numbers: 0,
    symbols: PUNCTUATION | SYMBOL,
    ..LLAMA3
};
static SPARK: Pattern = Pattern { tail: Tail::None, spaces: Spaces::EachNewline, ..DEEPSEEK3 };
static TEKKEN: Pattern = Pattern {
    contractions: false,
    letters: Letters::Cased(LETTER),
    numbers: 1,
    tail: Tail::NewlinesAndSlashes,
    ..LLAMA3
};
static GPT4O: Pattern = Pattern { ends_in_contraction: true, numbers: 3, ..TEKKEN };
static GRANITE: Pattern = Pattern { letters: Letters::Cased(LETTER | MARK), ..GPT4O };
static AYA: Pattern = Pattern { letters: Letters::Of(LETTER | MARK), ..GPT4O };
static YOUTU: Pattern = Pattern { numbers: 1, ..AYA };
static SEED: Pattern = Pattern { numbers: 1, tail: Tail::None, ..LLAMA3 };
static UFAKZEKA: Pattern = Pattern { contractions: false, numbers: 1, ..LLAMA3 };
static EXAONE_MOE: Pattern =
    Pattern { letters: Letters::Phrases, numbers: 1, tail: Tail::OneOfThem, ..LLAMA3 };
static MINICPM5: Pattern = Pattern { numbers: usize::MAX, ..LLAMA3 };

const fn runs(lead: Lead, set: Set) -> Stage {
    Stage::Runs(Runs { lead, set, most: usize::MAX })
}

const fn up_to(most: usize, set: Set) -> Stage {
    Stage::Runs(Runs { lead: Lead::None, set, most })
}

const EACH_NUMBER: Stage = up_to(1, set::NUMBERS);
const EACH_NEWLINE: Stage = up_to(1, Set::Newlines);
const BLOOM: Stage = runs(Lead::Space, set::BLOOM);
const DEEPSEEK_CJK: Stage = runs(Lead::None, set::DEEPSEEK_CJK);
const CJK: Stage = runs(Lead::None, set::CJK);

impl PreTokenizer {
    /// The one of this name; `None` if there is none.
    #[expect(clippy::too_many_lines, reason = "a list of names")]
    pub(crate) fn named(name: &str) -> Option<Self> {
        let of = |stages: &'static [Stage]| PreTokenizer { stages, ..PLAIN };
        Some(match name {
            "" | "default" => of(const {
                &[
                    runs(Lead::None, Set::Punctuation(false)),
                    Stage::Gpt2,
                    runs(Lead::None, set::NUMBERS),
                    Stage::Threes,
                ]
            }),
            "minicpm5" => PreTokenizer {
                ignore_merges: true,
                ..of(const { &[up_to(3, set::NUMBERS), Stage::Pattern(&MINICPM5)] })
            },
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
            | "lfm2" | "jina-v5-nano" => PreTokenizer {
                ignore_merges: true,
                add_bos: true,
                ..of(const { &[Stage::Pattern(&LLAMA3)] })
            },
            "dbrx" | "smaug-bpe" => of(const { &[Stage::Pattern(&LLAMA3)] }),
            "chatglm-bpe" => PreTokenizer { no_bos: true, ..of(const { &[Stage::Pattern(&LLAMA3)] }) },
            "glm4" | "glm5" => {
                PreTokenizer { no_bos: true, ignore_merges: true, ..of(const { &[Stage::Pattern(&LLAMA3)] }) }
            }
            "jais-2" => of(const { &[Stage::Pattern(&JAIS2)] }),
            "deepseek-llm" => of(const {
                &[
                    EACH_NEWLINE,
                    runs(Lead::AnySpace, set::DEEPSEEK_LETTERS),
                    runs(Lead::AnySpace, set::DEEPSEEK_PUNCTUATION),
                    Stage::SpacesAtEnd,
                    DEEPSEEK_CJK,
                    runs(Lead::None, set::NUMBERS),
                ]
            }),
            "deepseek-coder" => of(const {
                &[
                    EACH_NEWLINE,
                    runs(Lead::AnySpace, Set::Classes(LETTER)),
                    runs(Lead::AnySpace, Set::Classes(PUNCTUATION)),
                    DEEPSEEK_CJK,
                    EACH_NUMBER,
                ]
            }),
            "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => {
                of(const { &[up_to(3, set::NUMBERS), CJK, Stage::Pattern(&DEEPSEEK3)] })
            }
            "spark2_5" => of(const { &[up_to(3, set::NUMBERS), CJK, Stage::Pattern(&SPARK), EACH_NUMBER] }),
            "youtu" => PreTokenizer {
                ignore_merges: true,
                ..of(const { &[Stage::RunsOf(set::YOUTU), Stage::Pattern(&YOUTU)] })
            },
            "falcon" => of(const { &[runs(Lead::None, Set::Punctuation(true)), Stage::Gpt2, Stage::Threes] }),
            "starcoder" | "refact" | "command-r" | "smollm" | "codeshell" | "exaone" | "minerva-7b"
            | "mellum2" => of(const { &[EACH_NUMBER, Stage::Gpt2] }),
            "mpt" | "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "jina-v2-es" | "jina-v2-de"
            | "a.x-4.0" | "mellum" | "modern-bert" | "olmo" | "jais" | "exaone4" | "trillion"
            | "granite-docling" => of(const { &[Stage::Gpt2] }),
            "jina-v1-en" | "jina-v2-code" | "roberta-bpe" => {
                PreTokenizer { add_sep: true, ..of(const { &[Stage::Gpt2] }) }
            }
            "gemma4" | "granite-embed-multi-311m" => PreTokenizer {
                escape_spaces: true,
                is_byte_level: false,
                is_gemma: true,
                ..of(const { &[Stage::Lines] })
            },
            "sarvam-moe" => {
                PreTokenizer { escape_spaces: true, is_byte_level: false, ..of(const { &[Stage::Lines] }) }
            }
            "whitespace" => PreTokenizer { is_byte_level: false, ..of(const { &[] }) },
            "qwen2" | "deepseek-r1-qwen" | "kormo" | "f2llmv2" | "stablelm2" | "megrez" | "hunyuan"
            | "grok-2" | "solar-open" | "bailingmoe" | "bailingmoe2" | "llada-moe" => {
                of(const { &[Stage::Pattern(&QWEN2)] })
            }
            "laguna" => of(const { &[Stage::Lines, Stage::Pattern(&QWEN2)] }),
            "qwen35" => of(const { &[Stage::Pattern(&QWEN35)] }),
            "poro-chat" | "bloom" | "gpt3-finnish" => of(const { &[BLOOM] }),
            "viking" => of(const { &[BLOOM, EACH_NUMBER] }),
            "tekken" => PreTokenizer {
                ignore_merges: true,
                add_bos: true,
                ..of(const { &[Stage::Pattern(&TEKKEN)] })
            },
            "exaone-moe" => of(const { &[Stage::Pattern(&EXAONE_MOE)] }),
            "chameleon" => PreTokenizer {
                add_bos: true,
                ..of(const {
                    &[
                        Stage::Sentinels,
                        Stage::Images,
                        Stage::Indents,
                        EACH_NUMBER,
                        up_to(1, Set::PunctuationAndAscii),
                        Stage::Gpt2,
                    ]
                })
            },
            "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => {
                of(const { &[Stage::Pattern(&GPT4O)] })
            }
            "granite-embed-multi-97m" => {
                PreTokenizer { ignore_merges: true, ..of(const { &[Stage::Pattern(&GRANITE)] }) }
            }
            "tiny_aya" | "cohere2moe" => of(const { &[Stage::DigitsFromEnd, Stage::Pattern(&AYA)] }),
            "superbpe" => of(const { &[runs(Lead::None, set::NUMBERS), Stage::BeforeThrees] }),
            "seed-coder" => of(const { &[Stage::Pattern(&SEED)] }),
            "kimi-k2" => of(const { &[Stage::Kimi] }),
            "ufakzeka" => of(const { &[Stage::Pattern(&UFAKZEKA)] }),
            "afmoe" => {
                of(
                    const { &[Stage::DigitsFromEnd, runs(Lead::None, set::AFMOE), Stage::Pattern(&DEEPSEEK3)] },
                )
            }
            _ => return None,
        })
    }
}
