//! Byte-pair encoding (`llm_tokenizer_bpe_session` in `src/llama-vocab.cpp`).

use std::ops::Range;

use crate::byte_alphabet;
use crate::characters::{self, Characters};
use crate::error::TokenizerError;
use crate::keys::Keys;
use crate::output::TokenId;
use crate::pair_table::{Merge, PairTable};
use crate::spaces::{self, Seams};
use crate::text_table::TextTable;
use crate::vocabulary::Vocabulary;
use crate::word_merger::{NO_TOKEN, Rule, WordMerger};
use crate::words::{PreTokenizer, split};
use crate::work::Work;

const MERGES: &str = "tokenizer.ggml.merges";
/// The most merges that a file may have; the largest known vocabularies have about 520,000.
const MAX_MERGES: usize = 1 << 25;
/// The most bytes that the symbols of all merges may have.
const MAX_BYTES: usize = 1 << 27;

/// A tokenizer that splits text into words and merges their bytes or characters.
#[derive(Debug)]
pub(crate) struct Bpe {
    pub(crate) pre: PreTokenizer,
    merger: WordMerger,
    /// Of tokenizers whose words are lines.
    seams: Seams,
    form: Form,
}

/// What comes before the words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Nothing.
    Plain,
    /// White space is left out, and upper case becomes lower case if it is true.
    Whitespace(bool),
    /// `<dna>ACGT…</dna>` has tokens for groups of six bases: the tokens of the tags, and that of unknown groups. They are tokenized as other text if
    /// the vocabulary lacks one of them.
    Dna(Option<[TokenId; 3]>),
}

const DNA_BEGIN: &[u8] = b"<dna>";
const DNA_END: &[u8] = b"</dna>";
/// Ends the text of tokens that stand for six bases.
pub(crate) const DNA_MARK: &[u8] = "\u{e000}".as_bytes();
const DNA_GROUP: usize = 6;

impl Form {
    /// The form of a file whose `tokenizer.ggml.model` is `model`.
    pub(crate) fn of(model: &str, keys: Keys<'_>, vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        Ok(match model {
            "whitespace" => {
                Self::Whitespace(keys.flag("tokenizer.ggml.normalizer.lowercase")?.unwrap_or(false))
            }
            "hybriddna" => {
                let ids = [DNA_BEGIN, DNA_END, b"<oov>"].map(|text| vocabulary.find(text));
                Self::Dna(match ids {
                    [Some(begin), Some(end), Some(unknown)] => Some([begin, end, unknown]),
                    _ => None,
                })
            }
            _ => Self::Plain,
        })
    }
}

impl Bpe {
    /// Reads the merges of a file.
    pub(crate) fn read(
        keys: Keys<'_>,
        vocabulary: &Vocabulary,
        pre: PreTokenizer,
        form: Form,
        needs_merges: bool,
    ) -> Result<Self, TokenizerError> {
        let mut symbols = Symbols::new(vocabulary, pre.is_byte_level);
        let mut seams = Seams::default();
        let mut pairs = PairTable::with_room(0);
        if let Some((n, merges)) = keys.texts(MERGES)? {
            if n > MAX_MERGES {
                let problem = format!("has {n} merges, but at most {MAX_MERGES} are taken");
                return Err(TokenizerError::invalid(MERGES, problem));
            }
            pairs = PairTable::with_room(n);
            for (rank, text) in merges.enumerate() {
                if let Some((left, right, symbol)) = symbols.merge(text) {
                    pairs.insert(left, right, Merge { rank: rank as u32, symbol });
                    if pre.escape_spaces {
                        seams.note(symbols.table.get(symbol));
                    }
                }
                if symbols.table.n_bytes() > MAX_BYTES {
                    let problem = format!("hold more than {MAX_BYTES} bytes; the file is damaged");
                    return Err(TokenizerError::invalid(MERGES, problem));
                }
            }
        } else if needs_merges {
            return Err(TokenizerError::Missing { key: MERGES });
        }
        let Symbols { table, tokens, singles, .. } = symbols;
        let merger = WordMerger {
            whole: WordMerger::whole(&tokens, pre.ignore_merges),
            symbols: table,
            tokens,
            rule: Rule::Pairs(pairs),
            bytes: byte_tokens(vocabulary, pre.is_byte_level),
            singles,
        };
        Ok(Self { pre, merger, seams, form })
    }

    /// How many merges there are.
    pub(crate) fn n_merges(&self) -> usize {
        match &self.merger.rule {
            Rule::Pairs(pairs) => pairs.len(),
            Rule::Texts(_) => 0,
        }
    }

    /// Adds the tokens of `span` of `text`.
    pub(crate) fn tokenize(
        &self,
        text: &[u8],
        span: Range<usize>,
        vocabulary: &Vocabulary,
        work: &mut Work<'_>,
    ) {
        match self.form {
            Form::Whitespace(lowercase) => self.without_spaces(text, span, lowercase, work),
            Form::Dna(Some(ids)) => self.with_dna(text, span, ids, vocabulary, work),
            Form::Plain | Form::Dna(None) => self.plain(text, span, work),
        }
    }

    fn plain(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) {
        if self.pre.escape_spaces {
            let mut escaped = Vec::new();
            spaces::escape(&text[span.clone()], &mut escaped);
            work.cache.begin(escaped.len());
            let first = work.out.tokens.len();
            split(self.pre.stages, &escaped, 0, escaped.len(), &mut |start, end| {
                self.line(&escaped, start..end, work)
            });
            spaces::place(&mut work.out, first, text, &span, 0);
        } else {
            split(self.pre.stages, text, span.start, span.end, &mut |start, end| {
                self.merger.tokenize(text, start..end, work);
                work.goes_on()
            });
        }
    }

    /// Adds the tokens of a line with escaped spaces.
    fn line(&self, text: &[u8], span: Range<usize>, work: &mut Work<'_>) -> bool {
        if self.pre.is_gemma
            && text[span.clone()].iter().all(|byte| *byte == b'\n')
            && let Some(symbol) = self.merger.symbols.find(&text[span.clone()])
            && self.merger.tokens[symbol as usize] != NO_TOKEN
        {
            work.out.push(self.merger.tokens[symbol as usize], span.start, span.end);
            return work.goes_on();
        }
        let mut goes_on = true;
        self.seams.split(text, span, &mut |start, end| {
            self.merger.tokenize(text, start..end, work);
            goes_on = work.goes_on();
            goes_on
        });
        goes_on
    }

    fn without_spaces(&self, text: &[u8], span: Range<usize>, lowercase: bool, work: &mut Work<'_>) {
        let table = Characters::get();
        // The text without white space, where each of its bytes comes from, and where its words end.
        let (mut solid, mut places, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = span.start;
        while at < span.end {
            let (character, next) = characters::decode(text, at);
            if table.class(character) == characters::SPACE {
                ends.push(solid.len());
            } else {
                let character = if lowercase { table.lowercase(character) } else { character };
                characters::encode(character, &mut solid);
                places.resize(solid.len(), at..next);
            }
            at = next;
        }
        ends.push(solid.len());
        work.cache.begin(solid.len());
        let (first, mut start) = (work.out.tokens.len(), 0);
        for end in ends {
            split(self.pre.stages, &solid, start, end, &mut |start, end| {
                self.merger.tokenize(&solid, start..end, work);
                work.goes_on()
            });
            start = end;
        }
        if let Some(spans) = &mut work.out.spans {
            for span in &mut spans[first..] {
                *span = places[span.start].start..places[span.end - 1].end;
            }
        }
    }

    /// Adds the tokens of a text with bases (`llm_tokenizer_hybriddna_session`).
    fn with_dna(
        &self,
        text: &[u8],
        span: Range<usize>,
        [begin, end, unknown]: [TokenId; 3],
        vocabulary: &Vocabulary,
        work: &mut Work<'_>,
    ) {
        let mut at = span.start;
        while at < span.end {
            let Some(start) = memchr::memmem::find(&text[at..span.end], DNA_BEGIN) else {
                self.plain(text, at..span.end, work);
                return;
            };
            let start = at + start;
            self.plain(text, at..start, work);
            let bases = start + DNA_BEGIN.len();
            work.out.push(begin, start, bases);
            let length = memchr::memmem::find(&text[bases..span.end], DNA_END);
            let bases_end = length.map_or(span.end, |length| bases + length);
            for (index, group) in text[bases..bases_end].chunks(DNA_GROUP).enumerate() {
                let mut name = [b'A'; DNA_GROUP];
                name[..group.len()].copy_from_slice(&group.to_ascii_uppercase());
                let token = vocabulary.find(&[&name, DNA_MARK].concat()).unwrap_or(unknown);
                let place = bases + index * DNA_GROUP;
                work.out.push(token, place, place + group.len());
                if !work.goes_on() {
                    return;
                }
            }
            if length.is_none() {
                return;
            }
            at = bases_end + DNA_END.len();
            work.out.push(end, bases_end, at);
        }
    }
}

/// The symbols while they are collected.
struct Symbols {
    table: TextTable,
    tokens: Vec<TokenId>,
    singles: Option<Vec<u32>>,
    is_byte_level: bool,
    /// The two parts of a merge.
    parts: [Vec<u8>; 2],
}

impl Symbols {
    fn new(vocabulary: &Vocabulary, is_byte_level: bool) -> Self {
        let mut symbols = Self {
            table: TextTable::with_room(vocabulary.len() + 256),
            tokens: Vec::with_capacity(vocabulary.len() + 256),
            singles: None,
            is_byte_level,
            parts: Default::default(),
        };
        let mut bytes = Vec::new();
        for id in vocabulary.ids() {
            let text = vocabulary.text(id);
            bytes.clear();
            let is_found = if is_byte_level {
                byte_alphabet::decode(text, &mut bytes)
            } else {
                bytes.extend_from_slice(text);
                true
            };
            // A text that is not in the alphabet is that of no word.
            if is_found && symbols.table.insert(&bytes).is_ok() {
                symbols.tokens.push(id);
            }
        }
        if is_byte_level {
            symbols.singles = Some((0..=u8::MAX).map(|byte| symbols.number(&[byte])).collect());
        }
        symbols
    }

    fn number(&mut self, text: &[u8]) -> u32 {
        let number = self.table.insert(text);
        if number.is_ok() {
            self.tokens.push(NO_TOKEN);
        }
        number.unwrap_or_else(|known| known)
    }

    /// The two symbols of a merge and the one that they become; `None` for one that applies to no text.
    fn merge(&mut self, text: &[u8]) -> Option<(u32, u32, u32)> {
        let space = 1 + memchr::memchr(b' ', text.get(1..)?)?;
        let [mut left, mut right] = std::mem::take(&mut self.parts);
        left.clear();
        right.clear();
        let mut is_good = true;
        for (part, text) in [(&mut left, &text[..space]), (&mut right, &text[space + 1..])] {
            if self.is_byte_level {
                is_good &= byte_alphabet::decode(text, part);
            } else {
                part.extend_from_slice(text);
            }
        }
        is_good &= !left.is_empty() && !right.is_empty();
        let found = is_good.then(|| {
            let ids = (self.number(&left), self.number(&right));
            left.extend_from_slice(&right);
            (ids.0, ids.1, self.number(&left))
        });
        self.parts = [left, right];
        found
    }
}

/// The tokens of each byte of a symbol that is no token. A byte-level tokenizer looks for the bytes of the characters that stand for the byte, of
/// which only ASCII ones are tokens.
fn byte_tokens(vocabulary: &Vocabulary, is_byte_level: bool) -> Vec<Vec<TokenId>> {
    let tokens = |byte: u8| -> Vec<TokenId> {
        if is_byte_level {
            let mut buffer = [0; 4];
            let text = byte_alphabet::character(byte).encode_utf8(&mut buffer);
            text.bytes().filter_map(|part| vocabulary.find(&[part])).collect()
        } else {
            vocabulary.byte_token(byte).into_iter().collect()
        }
    };
    (0..=u8::MAX).map(tokens).collect()
}
