//! What a library and the modules of companions do, asked in a child process: one that crashes or hangs as it is loaded takes down no more than that.
//!
//! A child loads the library, has it compute a tiny model whose logits are known, and tells what it is and what GPUs there are. What it said is kept, by
//! what could change it: the files, the processor and the drivers.

mod asking;
mod drivers;
mod files;
mod gpus;
mod gpus_child;
mod library;
mod library_child;
mod tiny_model;

pub use asking::Probe;
pub(crate) use files::{file_stamp, library_files};
pub(crate) use gpus_child::attempt as find_gpus;
pub(crate) use library::LibraryReport;
pub(crate) use library_child::attempt as prove_library;
