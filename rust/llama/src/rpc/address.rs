//! Where an RPC server listens.

use std::fmt;
use std::str::FromStr;

/// The port where nothing else is said, as for llama.cpp's `rpc-server`.
pub const RPC_PORT: u16 = 50_052;
/// What the addresses begin with.
const SCHEME: &str = "rpc://";

/// Where an RPC server listens: a host's name or IPv4 address, and a port.
///
/// ```
/// use tabagent_llama::RpcAddress;
/// let address: RpcAddress = "rpc://Study.local".parse()?;
/// assert_eq!(address.to_string(), "rpc://study.local:50052");
/// assert_eq!(address.endpoint(), "study.local:50052");
/// # Ok::<(), tabagent_llama::RpcAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RpcAddress {
    host: String,
    port: u16,
}

/// A text that is no address of an RPC server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of an RPC server: {reason}; write `rpc://HOST:PORT`")]
pub struct RpcAddressError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RpcAddress {
    /// Whether a name of a device is meant as such an address.
    pub fn is_meant_by(name: &str) -> bool {
        name.trim().get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME))
    }

    /// The host, in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port, as ggml writes them.
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for RpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}:{}", self.host, self.port)
    }
}

impl FromStr for RpcAddress {
    type Err = RpcAddressError;

    fn from_str(text: &str) -> Result<Self, RpcAddressError> {
        let bad = |reason| RpcAddressError { text: text.to_owned(), reason };
        let lower = text.trim().to_lowercase();
        let rest = lower.strip_prefix(SCHEME).unwrap_or(&lower);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.starts_with('[') || rest.matches(':').count() > 1 {
            return Err(bad("ggml's RPC speaks IPv4 only, so it must be an IPv4 address or a host's name"));
        }
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad("the port must be 1 to 65535"))?),
            None => (rest, RPC_PORT),
        };
        if port == 0 {
            return Err(bad("the port must be 1 to 65535"));
        }
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if host.is_empty() || !host.chars().all(is_of_name) {
            return Err(bad(
                "the host must be an IPv4 address or a name of letters, digits, dots and hyphens",
            ));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        text.parse::<RpcAddress>().map(|address| address.to_string()).map_err(|error| error.reason)
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(read("rpc://10.0.0.7:5000").as_deref(), Ok("rpc://10.0.0.7:5000"));
        assert_eq!(read(" RPC://Box-2.lan ").as_deref(), Ok("rpc://box-2.lan:50052"));
        assert_eq!(read("box:1/").as_deref(), Ok("rpc://box:1"));
        assert!(RpcAddress::is_meant_by(" Rpc://") && !RpcAddress::is_meant_by("rpc:0"));
    }

    #[test]
    fn what_is_none_says_why() {
        for text in ["rpc://[::1]:50052", "rpc://fe80::1", "rpc://a:1:2"] {
            assert!(read(text).unwrap_err().contains("IPv4"), "{text}");
        }
        for text in ["rpc://a:0", "rpc://a:65536", "rpc://a:", "rpc://a:x"] {
            assert_eq!(read(text), Err("the port must be 1 to 65535"), "{text}");
        }
        for text in ["rpc://", "rpc://:5", "rpc://a b", "rpc://user@host", "rpc://host/path", "rpc://a,b"] {
            assert!(read(text).unwrap_err().starts_with("the host must be"), "{text}");
        }
    }
}
