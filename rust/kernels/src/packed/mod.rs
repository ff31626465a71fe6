//! Weights in tiles: the forms, and how to get there.

mod block;
mod floats;
mod form;
mod quants;

pub(crate) use floats::*;
pub(crate) use form::*;
pub(crate) use quants::{Quants, lanes, row_scales};
