//! How many connections and requests of a listener there may be at a time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;

/// Counts what is open of a listener, and says no to more than is allowed. What is allowed may change: whoever enters says
/// by what it goes.
#[derive(Debug, Default)]
pub struct Gate {
    connections: AtomicUsize,
    requests: AtomicUsize,
    clients: Mutex<AHashMap<IpAddr, usize>>,
}

/// How many connections there may be; `None`: any number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Of all clients together.
    pub in_all: Option<usize>,
    /// Of one client.
    pub of_client: Option<usize>,
}

/// An open connection, for as long as it lives.
#[derive(Debug)]
pub(super) struct ConnectionPass {
    gate: Arc<Gate>,
    /// Whose it is, if it is counted for its client.
    client: Option<IpAddr>,
}

/// A request that is not yet answered, for as long as it lives.
#[derive(Debug)]
pub struct RequestPass(Option<Arc<Gate>>);

impl Gate {
    /// Lets a connection of `client` in, or says why not.
    pub(super) fn enter_connection(
        self: &Arc<Self>,
        client: IpAddr,
        most: Connections,
    ) -> Result<ConnectionPass, &'static str> {
        let client = one_client(client);
        if !enter(&self.connections, most.in_all) {
            return Err("too_many_connections");
        }
        if let Some(most) = most.of_client {
            let mut clients = self.clients.lock();
            let open = clients.entry(client).or_default();
            if *open >= most {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err("too_many_connections_of_client");
            }
            *open += 1;
        }
        Ok(ConnectionPass { gate: self.clone(), client: most.of_client.map(|_| client) })
    }

    /// Lets a request in; `None` if there are `most` already.
    pub fn enter_request(self: &Arc<Self>, most: Option<usize>) -> Option<RequestPass> {
        if most.is_none() {
            return Some(RequestPass(None));
        }
        enter(&self.requests, most).then(|| RequestPass(Some(self.clone())))
    }
}

/// Counts one more, unless there are `most` already.
fn enter(count: &AtomicUsize, most: Option<usize>) -> bool {
    let before = count.fetch_add(1, Ordering::Relaxed);
    let fits = most.is_none_or(|most| before < most);
    if !fits {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    fits
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 site gets at least.
pub fn one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        IpAddr::V4(_) => address,
    }
}

impl Drop for ConnectionPass {
    fn drop(&mut self) {
        self.gate.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut clients = self.gate.clients.lock();
            if let Some(open) = clients.get_mut(&client) {
                *open -= 1; // counted when the pass was made
                if *open == 0 {
                    clients.remove(&client);
                }
            }
        }
    }
}

impl Drop for RequestPass {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: Connections = Connections { in_all: None, of_client: None };

    #[test]
    fn limits_change_while_connections_and_requests_are_open() {
        let gate = Arc::new(Gate::default());
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let (before, request) = (gate.enter_connection(ip, NO_LIMIT), gate.enter_request(None));
        let most = Connections { in_all: Some(2), of_client: Some(1) };
        let second = gate.enter_connection(ip, most);
        assert!(second.is_ok(), "the first was not counted for its client");
        assert_eq!(gate.enter_connection(ip, most).err(), Some("too_many_connections"));
        let counted = gate.enter_request(Some(1));
        assert!(counted.is_some() && gate.enter_request(Some(1)).is_none());
        assert!(gate.enter_connection(ip, NO_LIMIT).is_ok() && gate.enter_request(None).is_some());
        drop((before, request, second, counted));
        assert_eq!(gate.connections.load(Ordering::Relaxed), 0);
        assert_eq!(gate.requests.load(Ordering::Relaxed), 0);
        assert!(gate.clients.lock().is_empty(), "whatever the limits are when they end");
    }

    #[test]
    fn connections_are_bounded_in_all_and_for_each_client() {
        let (gate, most) = (Arc::new(Gate::default()), Connections { in_all: Some(3), of_client: Some(2) });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.enter_connection(ip("192.0.2.1"), most).unwrap();
        let _second = gate.enter_connection(ip("192.0.2.1"), most).unwrap();
        assert_eq!(gate.enter_connection(ip("192.0.2.1"), most).err(), Some("too_many_connections_of_client"));
        let third = gate.enter_connection(ip("192.0.2.2"), most).unwrap();
        assert_eq!(gate.enter_connection(ip("192.0.2.3"), most).err(), Some("too_many_connections"));
        drop(first);
        assert!(gate.enter_connection(ip("192.0.2.1"), most).is_ok(), "given back, also after a refusal");
        drop(third);
        assert_eq!(gate.clients.lock().len(), 1, "who has no connection takes no memory");
    }

    #[test]
    fn an_ipv6_site_is_one_client() {
        let site: IpAddr = "2001:db8:1:2::".parse().unwrap();
        assert_eq!(one_client("2001:db8:1:2:3:4:5:6".parse().unwrap()), site);
        assert_ne!(one_client("2001:db8:1:3::1".parse().unwrap()), site);
        assert_eq!(one_client("192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn requests_are_bounded() {
        let gate = Arc::new(Gate::default());
        let pass = gate.enter_request(Some(1));
        assert!(pass.is_some() && gate.enter_request(Some(1)).is_none());
        drop(pass);
        assert!(gate.enter_request(Some(1)).is_some());
        assert!((0..100).map(|_| gate.enter_request(None)).collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
