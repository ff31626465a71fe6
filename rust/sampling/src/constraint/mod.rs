//! Constraints: which tokens may come next so that the text fits a JSON schema, a regular expression, a list of choices or a grammar.
//!
//! A [`TokenTable`] holds the bytes of a model's tokens, a [`GrammarCompiler`] turns a [`GrammarSource`] into a [`Grammar`], and
//! [`Grammar::start`] gives the [`Constraint`] of one sequence. The grammar engine is the `llguidance` crate; what it does not know
//! (GBNF, parts of JSON schema, a lazy start) is translated for it here.
//!
//! ```
//! use tabagent_sampling::constraint::{GrammarCompiler, GrammarOptions, GrammarSource, TokenTable};
//!
//! // A vocabulary of the 256 bytes and one end-of-generation token.
//! let tokens = (0..=255u8).map(|b| (vec![b], false)).chain([(b"</s>".to_vec(), true)]);
//! let table = TokenTable::new(tokens, &[256])?;
//! let compiler = GrammarCompiler::new(table);
//! let source = GrammarSource::JsonSchema(r#"{"type": "integer"}"#.to_owned());
//! let grammar = compiler.compile(&source, &GrammarOptions::default())?;
//! let mut constraint = grammar.start()?;
//! let words = constraint.mask()?.ok_or("an integer does not start free")?;
//! assert!(words[b'4' as usize / 32] >> (b'4' % 32) & 1 == 1);
//! constraint.accept(i32::from(b'4'))?;
//! assert!(constraint.can_end() && constraint.accept(i32::from(b'x')).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! No source text makes a call panic, overflow the stack or run without bound: see the `MAX_` constants of [`limits`].

mod cache;
mod compiler;
mod construct;
mod engine;
mod error;
mod forced_length;
mod frame;
mod gbnf;
mod grammar;
mod language;
mod lark;
pub mod limits;
mod schema;
mod sequence;
mod slicer;
mod source;
mod spelling;
mod table;
mod trigger;
mod unspellable;

pub use compiler::GrammarCompiler;
pub use error::GrammarError;
pub use frame::Frame;
pub use grammar::{Grammar, Limitation};
pub use sequence::Constraint;
pub use source::{AfterConstruct, GrammarOptions, GrammarSource, Trigger, TriggerStart, Whitespace};
pub use table::{TokenTable, Tokenizer};
