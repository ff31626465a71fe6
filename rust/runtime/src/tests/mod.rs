//! The engine as a whole, on a fake decoder.

mod banning;
mod batching;
mod cancelling;
mod closing;
mod constraining;
mod crashing;
mod drafting;
mod fake;
mod forking;
mod generating;
mod grouping;
mod hanging;
mod hooking;
mod keeping;
mod parking;
mod reporting;
mod reusing;
mod schedule;
mod scoring;
mod shelving;
mod shifting;
mod speculating;
mod splitting;
mod thinking;
mod tracing;
