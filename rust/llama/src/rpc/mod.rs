//! Devices of other machines, over ggml's RPC backend: the client's side and the server's.
//!
//! ggml ends its process when a connection fails (`RPC_STATUS_ASSERT` and `rpc_dispatcher::start` in `ggml/src/ggml-rpc/ggml-rpc.cpp`), so only a process that may
//! end uses this module's functions on a [`Library`](crate::Library). What can be known before, [`greet`] finds out.

mod address;
mod client;
mod error;
mod greeting;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod sockets;

pub use address::{RPC_PORT, RpcAddress, RpcAddressError};
pub use error::RpcError;
pub use greeting::{RpcGreeting, greet};
#[cfg(unix)]
pub use server::RpcServerConfig;

/// The name of the backend in ggml's registry.
const BACKEND: &std::ffi::CStr = c"RPC";
