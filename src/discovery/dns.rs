//! Resolves the host names of nodes off the request path, and again when an answer's time to live ends, or earlier if
//! the node is down: it may have moved, and some name servers (Docker's) hand out a time to live of ten minutes.
//!
//! A failed or empty answer changes nothing: the last good address stays, as a name server that fails must not take the
//! cluster with it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use log::{error, info, warn};

use crate::registry::{NodeKey, Registry};
use crate::tasks::Tasks;

/// Bounds for the time between two look-ups of a name, whatever its time to live.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// The pause between two look-ups of a node that is down.
const WHILE_DOWN: Duration = Duration::from_secs(2);

/// The pause after a failed look-up; doubled with each further failure, up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The names of all nodes.
pub struct Names {
    registry: Arc<Registry>,
    tasks: Tasks<NodeKey, String>,
    /// `None` until the first name has to be resolved.
    resolver: Option<Arc<TokioResolver>>,
}

impl Names {
    /// Without any names.
    pub fn new(registry: Arc<Registry>) -> Self {
        Names { registry, tasks: Tasks::new(), resolver: None }
    }

    /// Starts and stops to resolve as the newest configuration says: a task for each node whose host is a name. It must
    /// be called where tasks can be started.
    pub fn follow(&mut self) {
        let named = self.registry.named();
        if self.resolver.is_none() && !named.is_empty() {
            self.resolver = resolver();
        }
        let Some(resolver) = &self.resolver else { return };
        let registry = &self.registry;
        self.tasks.follow(named, |key, name| follow(registry.clone(), resolver.clone(), *key, name.clone()));
    }
}

fn resolver() -> Option<Arc<TokioResolver>> {
    let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
        // When to ask again is decided here.
        builder.options_mut().cache_size = 0;
        builder.build()
    });
    match resolver {
        Ok(resolver) => Some(Arc::new(resolver)),
        Err(e) => {
            error!("host names of nodes cannot be resolved: {e}");
            None
        }
    }
}

/// Keeps the address of a node up to date until it is stopped.
async fn follow(registry: Arc<Registry>, resolver: Arc<TokioResolver>, key: NodeKey, name: String) {
    let mut retry = FIRST_RETRY;
    loop {
        let good_for = match resolver.lookup_ip(name.as_str()).await {
            Ok(answer) => {
                let addresses: Vec<IpAddr> = answer.iter().collect();
                if let Some(address) = choose(registry.address(key), &addresses)
                    && registry.record_address(key, &name, address, std::time::Instant::now())
                {
                    info!("{name} is {address}");
                }
                retry = FIRST_RETRY;
                until(answer.valid_until(), Instant::now())
            }
            Err(e) => {
                warn!("{name} cannot be resolved, its last address stays in use: {e}");
                let pause = retry;
                retry = (retry * 2).min(LONGEST_RETRY);
                pause
            }
        };
        wait(&registry, key, good_for).await;
    }
}

/// Waits until an answer is to be asked for again.
async fn wait(registry: &Registry, key: NodeKey, good_for: Duration) {
    let asked = Instant::now();
    while let Some(left) = good_for.checked_sub(asked.elapsed()).filter(|left| !left.is_zero()) {
        // For as long as the answer is good, in pieces so that a node that goes down is looked for at once.
        tokio::time::sleep(left.min(WHILE_DOWN)).await;
        if registry.is_down(key) {
            return;
        }
    }
}

/// The address to use: the one in use while the answer still holds it, else the first, IPv4 before IPv6.
fn choose(current: Option<IpAddr>, answer: &[IpAddr]) -> Option<IpAddr> {
    if let Some(current) = current.filter(|current| answer.contains(current)) {
        return Some(current);
    }
    answer.iter().min_by_key(|address| address.is_ipv6()).copied()
}

fn until(deadline: Instant, now: Instant) -> Duration {
    deadline.saturating_duration_since(now).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_while_the_name_has_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (current, answer, expected) in [
            (None, vec!["10.0.0.1", "10.0.0.2"], Some("10.0.0.1")),
            (Some("10.0.0.2"), vec!["10.0.0.1", "10.0.0.2"], Some("10.0.0.2")), // no needless change
            (Some("10.0.0.3"), vec!["10.0.0.1"], Some("10.0.0.1")),             // the node moved
            (None, vec!["2001:db8::1", "10.0.0.1"], Some("10.0.0.1")),          // IPv4 first
            (Some("10.0.0.3"), vec![], None),                                   // an empty answer changes nothing
        ] {
            let answer: Vec<IpAddr> = answer.into_iter().map(ip).collect();
            assert_eq!(choose(current.map(ip), &answer), expected.map(ip));
        }
    }

    #[test]
    fn look_ups_are_neither_frantic_nor_rare() {
        let now = Instant::now();
        assert_eq!(until(now, now), SHORTEST);
        assert_eq!(until(now + Duration::from_secs(30), now), Duration::from_secs(30));
        assert_eq!(until(now + Duration::from_secs(86_400), now), LONGEST);
    }
}
