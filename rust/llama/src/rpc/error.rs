//! What can go wrong with a server on another machine.

use std::io;

use super::address::RpcAddress;

/// An RPC server cannot be used, or cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// Its host is not known, or has no IPv4 address.
    #[error("cannot find the host of `{address}`: {reason}")]
    Host {
        /// The address.
        address: RpcAddress,
        /// What the system said.
        reason: String,
    },
    /// It takes no connection.
    #[error(
        "cannot reach `{address}`: {source}; start `tabagent rpc-server` there, and look at address and firewall"
    )]
    Unreachable {
        /// The address.
        address: RpcAddress,
        /// What the system said.
        source: io::Error,
    },
    /// It takes the connection and says nothing.
    #[error(
        "`{address}` takes the connection but does not answer within {seconds} s: a server serves one client at a time, so another program may be using it, or it is stopped"
    )]
    Silent {
        /// The address.
        address: RpcAddress,
        /// How long it had time.
        seconds: u64,
    },
    /// It hangs up.
    #[error(
        "`{address}` closes the connection without an answer: it is no RPC server of ggml, or one of another version, or one that is ending; look at the port"
    )]
    Closed {
        /// The address.
        address: RpcAddress,
    },
    /// Something else answers.
    #[error(
        "what listens at `{address}` is no RPC server of ggml, or one of another version; look at the port"
    )]
    Foreign {
        /// The address.
        address: RpcAddress,
    },
    /// It speaks another version of the protocol.
    #[error(
        "`{address}` speaks version {}.{}.{} of ggml's RPC and this library {}.{}; run the same version of tabagent, or of llama.cpp, on both",
        theirs.0, theirs.1, theirs.2, ours.0, ours.1
    )]
    OtherVersion {
        /// The address.
        address: RpcAddress,
        /// Its version.
        theirs: (u8, u8, u8),
        /// The version of the library's client.
        ours: (u8, u8),
    },
    /// It offers no device.
    #[error("`{address}` offers no device")]
    NoDevice {
        /// The address.
        address: RpcAddress,
    },
    /// The library cannot do it.
    #[error(
        "this build of llama.cpp ({build}) cannot use other machines' devices: it {lacks}; use the library of the package"
    )]
    Unsupported {
        /// What build it is.
        build: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// The server cannot listen.
    #[error("cannot listen at `{host}:{port}`: {source}")]
    Listen {
        /// The address to listen at.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The folder for its cache cannot be made.
    #[error("cannot make the folder `{}` for the cache of the RPC server: {source}", folder.display())]
    Cache {
        /// The folder.
        folder: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server needs a device that is not there.
    #[error("there is no device `{name}`; there are {}", known.join(", "))]
    UnknownDevice {
        /// Its name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The server has ended by itself.
    #[error("the RPC server has ended by itself; its log may say why")]
    Ended,
}
