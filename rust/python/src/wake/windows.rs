//! Two sockets over the loopback interface: selectors on Windows wait for sockets of its network library alone.

use std::io::Result;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::windows::io::AsRawSocket as _;

pub(super) type Socket = TcpStream;

/// Two sockets, each of which reads what is written to the other.
pub(super) fn pair() -> Result<(Socket, Socket)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let own = ours.local_addr()?;
    loop {
        let (theirs, address) = listener.accept()?;
        // Any program of this machine can connect to the port while it listens.
        if address == own {
            theirs.set_nodelay(true)?;
            ours.set_nodelay(true)?;
            return Ok((ours, theirs));
        }
    }
}

/// The number by which Python's selectors know the socket.
pub(super) fn descriptor(socket: &Socket) -> i32 {
    // Windows' handles have 32 significant bits, in 64-bit programs, too.
    socket.as_raw_socket() as i32
}
