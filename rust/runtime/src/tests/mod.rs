//! The engine as a whole, on a fake decoder.

mod cancelling;
mod closing;
mod fake;
mod generating;
mod parking;
mod reusing;
mod schedule;
