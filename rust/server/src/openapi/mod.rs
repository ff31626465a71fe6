//! The routes, and what `/openapi.json` tells of them: whoever adds a route says what it does and what it reads, and the document is written from that.

mod about;
mod document;
mod endpoints;
mod shared;

pub(crate) use about::About;
pub(crate) use endpoints::{DOCUMENT, Endpoints};
pub(crate) use shared::{Lora, OneOrMany, Prompts, Sampling, Structure};
