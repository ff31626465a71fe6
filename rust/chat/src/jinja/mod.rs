//! The language of chat templates: Jinja, as transformers sets it up, over Python's values.
//!
//! Strings remember which bytes the template wrote and which came in with the conversation ([`text`]), and everything that a template makes is
//! counted ([`meter`]): a hostile template is an error.

mod arguments;
mod ast;
mod attributes;
mod compare;
mod evaluate;
mod fault;
mod filters;
mod format_number;
mod format_text;
mod functions;
mod input;
mod interpreter;
mod iterate;
mod key;
mod lazy_filters;
mod letters;
mod lexer;
mod macros;
mod meter;
mod methods;
mod moment;
mod number;
mod number_filters;
mod order_filters;
mod parse_arguments;
mod parse_expression;
mod parse_statement;
mod parser;
mod percent;
mod predicates;
mod repr;
mod scope;
mod string_methods;
mod text;
mod text_filters;
mod text_work;
mod value;

pub(crate) use ast::Ast;
pub(crate) use fault::{Fault, FaultKind};
pub(crate) use input::{Input, Origin};
pub use interpreter::Limits;
pub(crate) use interpreter::Rendered;
pub use moment::Moment;
pub(crate) use parser::parse;
