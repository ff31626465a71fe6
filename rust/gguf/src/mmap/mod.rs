//! Memory of the system's: files that are mapped, and large room for results. With `simd` the one place of the crate with unsafe operations,
//! which are a handful: mapping a file is what lets a model of tens of gigabytes be opened in milliseconds, and nothing safe offers it.

mod bytes;
mod room;

pub(crate) use bytes::Bytes;
pub use bytes::SharedBytes;
pub use room::Room;
