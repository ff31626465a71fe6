//! Damages what parsers read: files, and bytes from a network or another process.
//!
//! A [`Target`] is a function of bytes that must return, whatever they are: no panic, no hang, and no memory that has nothing to do with how many bytes
//! there are. [`attack`] gives it all its seeds, then damaged copies of them for as long as it is told. A test of this crate does that for each
//! target for some seconds; `make fuzz` takes minutes.
//!
//! What is damaged is chosen by chance and not by what the target does with it: that would need a compiler that counts which branches are taken. So
//! seeds matter: they lie in `seeds`, a folder for each target, and what once failed is kept there, too.

mod attack;
mod mutation;
mod targets;

pub use attack::{Failure, attack};
pub use targets::{TARGETS, Target};
