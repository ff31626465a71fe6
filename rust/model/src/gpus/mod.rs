//! The GPUs that a companion's modules find, asked in a child process: a driver that crashes or hangs takes down no more than that.
//!
//! The child loads the library with the modules, tells what devices there are, and has each compute a tiny model that the CPU computes, too. What it
//! said is kept, by what could change it: the modules, the library and the drivers.

mod child;
mod drivers;
mod parent;
mod proof;

pub(crate) use child::attempt;
pub(crate) use drivers::file_stamp;
pub use parent::GpuProbe;
