//! Text to tokens and back, from a file's metadata, without an engine.
//!
//! [`Tokenizer`] reads the vocabulary of a GGUF file or of a `tokenizer.json` and gives the tokens that the pinned llama.cpp gives. Every text takes
//! time in proportion to its length, whatever it holds.

mod bpe;
mod byte_alphabet;
mod characters;
mod charsmap;
mod detokenize;
mod error;
mod hash;
mod keys;
mod kind;
mod merging;
mod output;
mod pair_table;
mod plamo2;
mod roles;
mod rwkv;
mod sentence_piece;
mod spaces;
mod special_texts;
mod stripping;
mod text_table;
mod token_attributes;
mod tokenizer;
mod trie;
mod unigram;
mod vocabulary;
mod word_cache;
mod word_merger;
mod word_piece;
mod words;
mod work;

pub use error::TokenizerError;
pub use kind::TokenizerKind;
pub use output::TokenId;
pub use tokenizer::{Encoding, Tokenizer};
pub use work::Stop;
