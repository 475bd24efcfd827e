//! How many connections and requests of a listener there may be at a time.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::config::ClientLimits;

/// Counts what is open, and says no to more than is allowed.
#[derive(Debug, Default)]
pub struct Gate {
    most_connections: Limit,
    most_per_client: Limit,
    most_requests: Limit,
    connections: AtomicUsize,
    requests: AtomicUsize,
    clients: Mutex<AHashMap<IpAddr, usize>>,
}

/// A limit that may change.
#[derive(Debug)]
struct Limit(AtomicUsize);

impl Limit {
    fn set(&self, most: Option<usize>) {
        self.0.store(most.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// `None`: there is none. So much of anything as could be counted is none either.
    fn get(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&most| most != usize::MAX)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Limit(AtomicUsize::new(usize::MAX))
    }
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
    /// A gate with these limits.
    pub fn new(limits: &ClientLimits) -> Self {
        let gate = Gate::default();
        gate.set_limits(limits);
        gate
    }

    /// Goes by these limits from here on. What is open stays open, and counts as far as it was counted before.
    pub fn set_limits(&self, limits: &ClientLimits) {
        self.most_connections.set(limits.connections);
        self.most_per_client.set(limits.connections_per_client);
        self.most_requests.set(limits.requests);
    }

    /// Lets a connection of `client` in, or says why not.
    pub(super) fn enter_connection(self: &Arc<Self>, client: IpAddr) -> Result<ConnectionPass, &'static str> {
        let client = one_client(client);
        if !enter(&self.connections, self.most_connections.get()) {
            return Err("too_many_connections");
        }
        let most_per_client = self.most_per_client.get();
        if let Some(most) = most_per_client {
            let mut clients = self.clients.lock();
            let open = clients.entry(client).or_default();
            if *open >= most {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err("too_many_connections_of_client");
            }
            *open += 1;
        }
        Ok(ConnectionPass { gate: self.clone(), client: most_per_client.map(|_| client) })
    }

    /// Lets a request in; `None` if there are too many.
    pub fn enter_request(self: &Arc<Self>) -> Option<RequestPass> {
        let most = self.most_requests.get();
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

    fn gate(connections: Option<usize>, per_client: Option<usize>, requests: Option<usize>) -> Arc<Gate> {
        let gate = Gate::default();
        gate.most_connections.set(connections);
        gate.most_per_client.set(per_client);
        gate.most_requests.set(requests);
        Arc::new(gate)
    }

    #[test]
    fn limits_change_while_connections_and_requests_are_open() {
        let gate = gate(None, None, None);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let (before, request) = (gate.enter_connection(ip), gate.enter_request());
        gate.most_connections.set(Some(2));
        gate.most_per_client.set(Some(1));
        gate.most_requests.set(Some(1));
        let second = gate.enter_connection(ip);
        assert!(second.is_ok(), "the first was not counted for its client");
        assert_eq!(gate.enter_connection(ip).err(), Some("too_many_connections"));
        let counted = gate.enter_request();
        assert!(counted.is_some() && gate.enter_request().is_none());
        gate.most_per_client.set(None);
        drop((before, request, second, counted));
        assert_eq!(gate.connections.load(Ordering::Relaxed), 0);
        assert_eq!(gate.requests.load(Ordering::Relaxed), 0);
        assert!(gate.clients.lock().is_empty(), "whatever the limits are when they end");
    }

    #[test]
    fn connections_are_bounded_in_all_and_for_each_client() {
        let gate = gate(Some(3), Some(2), None);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = gate.enter_connection(ip("192.0.2.1")).unwrap();
        let _second = gate.enter_connection(ip("192.0.2.1")).unwrap();
        assert_eq!(gate.enter_connection(ip("192.0.2.1")).err(), Some("too_many_connections_of_client"));
        let third = gate.enter_connection(ip("192.0.2.2")).unwrap();
        assert_eq!(gate.enter_connection(ip("192.0.2.3")).err(), Some("too_many_connections"));
        drop(first);
        assert!(gate.enter_connection(ip("192.0.2.1")).is_ok(), "given back, also after a refusal");
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
        let limited = gate(None, None, Some(1));
        let pass = limited.enter_request();
        assert!(pass.is_some() && limited.enter_request().is_none());
        drop(pass);
        assert!(limited.enter_request().is_some());
        let free = gate(None, None, None);
        assert!((0..100).map(|_| free.enter_request()).collect::<Vec<_>>().iter().all(Option::is_some));
    }
}
