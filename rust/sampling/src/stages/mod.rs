//! The stages of a step: what each is called, what it may be given ([`parameters`]), what it remembers ([`step`]), and how it changes the
//! candidates.

pub(crate) mod adaptive_p;
pub(crate) mod dry;
pub(crate) mod dry_breakers;
pub(crate) mod history;
pub(crate) mod infill;
pub(crate) mod mirostat;
pub(crate) mod parameters;
pub(crate) mod stage;
pub(crate) mod step;
pub(crate) mod temperature;
pub(crate) mod top_n_sigma;
pub(crate) mod truncation;
pub(crate) mod xtc;
