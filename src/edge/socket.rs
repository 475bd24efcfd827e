//! Listening sockets.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

/// Connections that may wait for being accepted; the kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 4096;

/// A listening socket and the name of its listener.
#[derive(Debug)]
pub struct Socket {
    name: String,
    listener: TcpListener,
}

impl Socket {
    /// The name of the listener.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address that clients connect to, with the real port.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The socket itself, non-blocking.
    pub(super) fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    name: String,
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { name, address, source } = self;
        write!(f, "listener {name}: cannot listen on {address}: {source}")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(f, " (another process has it; `ss -ltnp` tells which)"),
            io::ErrorKind::PermissionDenied => {
                write!(f, " (ports below 1024 need CAP_NET_BIND_SERVICE or net.ipv4.ip_unprivileged_port_start)")
            }
            io::ErrorKind::AddrNotAvailable => write!(f, " (no interface of this machine has that address)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Opens `count` sockets on one address, one for each thread; the kernel spreads connections over them.
///
/// With port 0 the system chooses a port, the same for all.
///
/// # Errors
/// The address cannot be listened on.
pub fn bind(name: &str, address: SocketAddr, count: usize) -> Result<Vec<Socket>, BindError> {
    let failed = |source| BindError { name: name.to_owned(), address, source };
    // Sockets with SO_REUSEPORT share an address with another process of the same user, silently. So the first is opened
    // without it, which tells whether the address is free.
    let probe = open(address, false).map_err(failed)?;
    if count == 1 {
        return Ok(vec![Socket { name: name.to_owned(), listener: probe }]);
    }
    let address = probe.local_addr().map_err(failed)?;
    drop(probe);
    let open_shared = |_| open(address, true).map(|listener| Socket { name: name.to_owned(), listener });
    (0..count).map(open_shared).collect::<io::Result<_>>().map_err(failed)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` means every address, on every system alike; the configuration's check of overlaps counts on it.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_a_port_that_nobody_else_gets() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = bind("web", any, 3).unwrap();
        let address = sockets[0].address().unwrap();
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|socket| socket.address().unwrap() == address));

        let error = bind("api", address, 1).unwrap_err().to_string();
        assert!(error.starts_with(&format!("listener api: cannot listen on {address}: ")), "{error}");
        assert!(error.contains("another process has it"), "{error}");
        assert!(bind("api", address, 2).is_err(), "SO_REUSEPORT must not let a second listener in");
    }
}
