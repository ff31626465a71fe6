//! The TCP sockets of this process: connections whose other host is gone, and where it listens.
//!
//! ggml reads and writes its connections without a time limit (`ggml/src/ggml-rpc/transport.cpp`). A host that loses its power or its network closes nothing, so the system is told to
//! look after silent connections, and here after those on which something is being sent.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Once;
use std::time::Duration;

use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl, socket_acceptconn,
    socket_keepalive,
};
use rustix::net::{getpeername, getsockname};

/// A connection that is silent for so long is tried,
const IDLE: Duration = Duration::from_secs(4);
/// so often,
const TRIES: u32 = 3;
/// in such steps.
const STEP: Duration = Duration::from_secs(2);
/// How long the other system may leave unconfirmed what was sent: as long as all that takes together.
#[cfg(target_os = "linux")]
const UNCONFIRMED_MS: u32 = 10_000;
/// How often new connections are looked for.
const TICK: Duration = Duration::from_millis(500);

/// Watches all TCP connections of this process from now on, on a thread of its own.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let watch = || {
            loop {
                each_socket(|socket| {
                    if getpeername(socket)
                        .ok()
                        .flatten()
                        .and_then(|peer| SocketAddr::try_from(peer).ok())
                        .is_some()
                    {
                        look_after(socket);
                    }
                });
                std::thread::sleep(TICK);
            }
        };
        // Without the thread a host that is gone is noticed later, by whoever waits for the answer.
        drop(std::thread::Builder::new().name("tabagent-tcp".to_owned()).spawn(watch));
    });
}

/// Where this process listens, if it does.
pub(super) fn listening() -> Option<SocketAddr> {
    let mut found = None;
    each_socket(|socket| {
        if socket_acceptconn(socket) == Ok(true) {
            found = getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok()).or(found);
        }
    });
    found
}

/// Has the system look after a connection on which nothing comes, and ends one on which what was sent is not confirmed.
fn look_after(socket: BorrowedFd<'_>) {
    if socket_keepalive(socket) == Ok(false) {
        // What fails here is a connection that has ended meanwhile.
        let _ = set_tcp_keepidle(socket, IDLE);
        let _ = set_tcp_keepintvl(socket, STEP);
        let _ = set_tcp_keepcnt(socket, TRIES);
        let _ = set_socket_keepalive(socket, true);
    }
    #[cfg(target_os = "linux")]
    if is_unconfirmed(socket) {
        crate::note(
            crate::LogLevel::Error,
            "a connection is given up: the other system has confirmed nothing for 10 s",
        );
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
    }
}

/// Whether the other system has left something unconfirmed for too long. One that says that its program does not read confirms that.
#[cfg(target_os = "linux")]
fn is_unconfirmed(socket: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd as _;
    // SAFETY: a struct of integers, for which zeros are values.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` has room for `size` bytes, of which the system writes as many as it knows.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    } != 0;
    !failed && (info.tcpi_unacked > 0 || info.tcpi_probes > 0) && info.tcpi_last_ack_recv > UNCONFIRMED_MS
}

/// Calls `each` with every descriptor of this process that may be a socket.
fn each_socket(mut each: impl FnMut(BorrowedFd<'_>)) {
    let entries = fs::read_dir("/dev/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        // SAFETY: only options of sockets are asked for and set, which a descriptor that was closed meanwhile, or is no socket, answers with an error.
        each(unsafe { BorrowedFd::borrow_raw(number) });
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn connections_are_looked_after_and_listeners_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut found = Vec::new();
        each_socket(|socket| {
            if socket_acceptconn(socket) == Ok(true) {
                found.extend(getsockname(socket).ok().and_then(|own| SocketAddr::try_from(own).ok()));
            }
        });
        assert!(found.contains(&address));
        let stream = TcpStream::connect(address).unwrap();
        assert_eq!(socket_keepalive(stream.as_fd()), Ok(false));
        look_after(stream.as_fd());
        assert_eq!(socket_keepalive(stream.as_fd()), Ok(true));
        assert_eq!(rustix::net::sockopt::tcp_keepidle(stream.as_fd()), Ok(IDLE));
        #[cfg(target_os = "linux")]
        assert!(!is_unconfirmed(stream.as_fd()));
    }
}
