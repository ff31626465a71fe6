//! The first words with an RPC server, spoken by ourselves: ggml would end the process where they fail.
//!
//! The protocol is that of the pinned version (`ggml/src/ggml-rpc/ggml-rpc.cpp`): a command of one byte, the size of what follows in 8 bytes, and that; an answer is its size in 8 bytes,
//! and itself; numbers are little-endian.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use super::address::RpcAddress;
use super::error::RpcError;

/// `RPC_CMD_HELLO` and `RPC_CMD_DEVICE_COUNT`.
const HELLO: u8 = 14;
const DEVICE_COUNT: u8 = 15;
/// `RPC_CONN_CAPS_SIZE` of `ggml/src/ggml-rpc/transport.h`: what the client could do besides TCP, which is nothing here.
const CAPS: usize = 24;
/// Version of three bytes, one byte of padding, and what the server can do besides TCP.
const HELLO_ANSWER: usize = 4 + CAPS;

/// What an RPC server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcGreeting {
    /// The version of its protocol.
    pub version: (u8, u8, u8),
    /// How many devices it offers.
    pub n_devices: u32,
}

/// Connects to a server, asks for its version and its devices, and hangs up. Blocks for some multiples of `patience` at most, besides looking up the host's name.
///
/// # Errors
/// [`RpcError`] names the address and says what is wrong: nobody there, nobody who answers, or somebody else.
pub fn greet(address: &RpcAddress, patience: Duration) -> Result<RpcGreeting, RpcError> {
    let peer = peer_of(address)?;
    let unreachable = |source| RpcError::Unreachable { address: address.clone(), source };
    let stream = TcpStream::connect_timeout(&peer, patience).map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let mut talk = Talk { stream, address, patience };
    let hello: [u8; HELLO_ANSWER] = talk.ask(HELLO, &[0; CAPS])?;
    let version = (hello[0], hello[1], hello[2]);
    let n_devices = u32::from_le_bytes(talk.ask(DEVICE_COUNT, &[])?);
    if n_devices == 0 {
        return Err(RpcError::NoDevice { address: address.clone() });
    }
    Ok(RpcGreeting { version, n_devices })
}

/// The first IPv4 address of the host, which is the one that ggml takes (`socket_t::connect` in `ggml/src/ggml-rpc/transport.cpp`).
fn peer_of(address: &RpcAddress) -> Result<SocketAddr, RpcError> {
    let failed = |reason: String| RpcError::Host { address: address.clone(), reason };
    let mut found = address.endpoint().to_socket_addrs().map_err(|error| failed(error.to_string()))?;
    found
        .find(SocketAddr::is_ipv4)
        .ok_or_else(|| failed("it has no IPv4 address, and ggml's RPC speaks IPv4 only".to_owned()))
}

/// A conversation of questions and answers.
struct Talk<'a> {
    stream: TcpStream,
    address: &'a RpcAddress,
    patience: Duration,
}

impl Talk<'_> {
    fn ask<const N: usize>(&mut self, command: u8, content: &[u8]) -> Result<[u8; N], RpcError> {
        let mut question = vec![command];
        question.extend((content.len() as u64).to_le_bytes());
        question.extend(content);
        let until = Instant::now() + self.patience;
        self.stream.set_write_timeout(Some(self.patience)).map_err(|error| self.failed(&error))?;
        self.stream.write_all(&question).map_err(|error| self.failed(&error))?;
        let size: [u8; 8] = self.read(until)?;
        if u64::from_le_bytes(size) != N as u64 {
            return Err(RpcError::Foreign { address: self.address.clone() });
        }
        self.read(until)
    }

    fn read<const N: usize>(&mut self, until: Instant) -> Result<[u8; N], RpcError> {
        let mut bytes = [0; N];
        let mut n_read = 0;
        while n_read < N {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(|error| self.failed(&error))?;
            match self.stream.read(&mut bytes[n_read..]) {
                Ok(0) => return Err(self.failed(&io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
            if Instant::now() >= until && n_read < N {
                return Err(self.failed(&io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(bytes)
    }

    fn failed(&self, error: &io::Error) -> RpcError {
        let address = self.address.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                RpcError::Silent { address, seconds: self.patience.as_secs() }
            }
            _ => RpcError::Closed { address },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(300);

    /// Greets somebody who does `work` with each connection.
    fn greet_one(work: impl Fn(&mut TcpStream) + Send + 'static) -> Result<RpcGreeting, RpcError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("rpc://127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let server = std::thread::spawn(move || work(&mut listener.accept().unwrap().0));
        let greeting = greet(&address, PATIENCE);
        server.join().unwrap();
        greeting
    }

    fn take<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
        let mut bytes = [0; N];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn answer(stream: &mut TcpStream, content: &[u8]) {
        stream.write_all(&(content.len() as u64).to_le_bytes()).unwrap();
        stream.write_all(content).unwrap();
    }

    fn serve(stream: &mut TcpStream, n_devices: u32) {
        let question: [u8; 9 + CAPS] = take(stream);
        assert_eq!((question[0], &question[1..9]), (HELLO, &24_u64.to_le_bytes()[..]));
        let mut hello = [0; HELLO_ANSWER];
        hello[..3].copy_from_slice(&[7, 1, 2]);
        answer(stream, &hello);
        assert_eq!(take::<9>(stream)[0], DEVICE_COUNT);
        answer(stream, &n_devices.to_le_bytes());
    }

    #[test]
    fn a_server_tells_its_version_and_its_devices() {
        let greeting = greet_one(|stream| serve(stream, 3)).unwrap();
        assert_eq!(greeting, RpcGreeting { version: (7, 1, 2), n_devices: 3 });
        let none = greet_one(|stream| serve(stream, 0)).unwrap_err();
        assert!(none.to_string().ends_with("` offers no device"), "{none}");
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("rpc://127.0.0.1:{free}").parse().unwrap();
        let nobody = greet(&address, PATIENCE).unwrap_err().to_string();
        assert!(
            nobody.starts_with(&format!("cannot reach `rpc://127.0.0.1:{free}`: Connection refused")),
            "{nobody}"
        );
        let other = greet_one(|stream| {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            let _: [u8; 9 + CAPS] = take(stream);
        });
        assert!(matches!(other, Err(RpcError::Foreign { .. })), "{other:?}");
        let closed = greet_one(|stream| {
            let _: [u8; 9] = take(stream);
        });
        assert!(matches!(closed, Err(RpcError::Closed { .. })), "{closed:?}");
        // Bytes that come one by one do not keep it waiting.
        let slow = greet_one(|stream| {
            for _ in 0..7 {
                std::thread::sleep(PATIENCE / 5);
                drop(stream.write_all(&[0]));
            }
        });
        assert!(matches!(slow, Err(RpcError::Silent { .. })), "{slow:?}");
    }

    #[test]
    fn a_host_that_nobody_knows_is_named() {
        let address: RpcAddress = "rpc://no-such-host.invalid:7".parse().unwrap();
        let text = greet(&address, PATIENCE).unwrap_err().to_string();
        assert!(text.starts_with("cannot find the host of `rpc://no-such-host.invalid:7`: "), "{text}");
    }
}
