//! A pair of Unix sockets.

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

pub(super) type Socket = UnixStream;

/// Two sockets, each of which reads what is written to the other.
pub(super) fn pair() -> std::io::Result<(Socket, Socket)> {
    UnixStream::pair()
}

/// The number by which Python's selectors know the socket.
pub(super) fn descriptor(socket: &Socket) -> i32 {
    socket.as_raw_fd()
}
