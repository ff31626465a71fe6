//! Memory mapped from the system: files, and room for large results. Besides `simd` this is the only module of the crate with unsafe operations, and
//! they are a handful: only mapping opens a model of tens of gigabytes in milliseconds, and nothing safe offers it.

mod bytes;
mod room;

pub(crate) use bytes::Bytes;
pub use bytes::SharedBytes;
pub use room::Room;
