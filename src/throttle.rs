//! The limits under `rules`: how large a body may be, and how many requests may come in a time.
//!
//! Counts are estimates in a bounded space (`pingora-limits`): a flood of different clients takes no memory. They are
//! not too low, but for a request that is counted in the instant in which a window begins. The count of a time slides:
//! that of the last whole window is taken in, as far as the present one has not replaced it.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pingora_limits::estimator::Estimator;
use prometheus::IntCounter;

use crate::config::{BodyLimit, Cluster, Config, Listener, RateKey, RateLimit, Rule};
use crate::ids::Role;
use crate::observe::metrics::Metrics;

/// Counters for each of the hashes of a key. With ten thousand clients in a window, an estimate is too high by one or two.
const SLOTS: usize = 8192;
const HASHES: usize = 4;

/// All rules, compiled.
pub struct Throttle {
    rules: Vec<Compiled>,
}

/// The rules that requests of one listener have to be held against.
#[derive(Debug, Clone)]
pub struct ListenerRules(Vec<usize>);

struct Compiled {
    name: String,
    cluster: Option<usize>,
    role: Option<Role>,
    path: Option<Box<[u8]>>,
    body: Option<BodyLimit>,
    rate: Option<Arc<Counter>>,
}

/// Counts in windows of equal length, one after the other.
struct Counter {
    limit: RateLimit,
    refused: IntCounter,
    since: Instant,
    /// Number of the present window.
    window: AtomicU64,
    /// Of windows with even and with odd numbers: the present one, and the one before.
    seen: [Estimator; 2],
}

/// What is known of a request that some rules may hold for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Index into [`Config::clusters`].
    pub cluster: usize,
    /// The role that it is for.
    pub role: Role,
    /// The canonical path.
    pub path: &'a [u8],
    /// The tenant in it.
    pub tenant: Option<&'a str>,
    /// What counts as one client.
    pub client: Option<std::net::IpAddr>,
}

/// A request that comes too early.
#[derive(Debug, Clone)]
pub struct TooMany<'a> {
    /// The rule that it breaks.
    pub rule: &'a str,
    /// Counts what it refused.
    pub refused: &'a IntCounter,
    /// When another one may come; whole seconds, at least one.
    pub retry_after: u64,
}

impl Throttle {
    /// Compiles the rules of a configuration.
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        Throttle::compile(config, metrics, |_| None)
    }

    /// The same for the next configuration: the rules that are in both go on counting.
    pub fn renewed(&self, before: &Config, config: &Config, metrics: &Metrics) -> Self {
        // The rules of `self` are those of `before`, in their order.
        let known = before.rules.iter().zip(&self.rules);
        Throttle::compile(config, metrics, |rule| known.clone().find(|(known, _)| *known == rule)?.1.rate.clone())
    }

    fn compile(config: &Config, metrics: &Metrics, mut known: impl FnMut(&Rule) -> Option<Arc<Counter>>) -> Self {
        let compiled = |rule| Compiled::new(rule, &config.clusters, metrics, known(rule));
        Throttle { rules: config.rules.iter().map(compiled).collect() }
    }

    /// Those that hold for a listener.
    pub fn of_listener(&self, config: &Config, listener: &Listener) -> ListenerRules {
        let holds = |rule: &Rule| {
            rule.listener.as_ref().is_none_or(|name| *name == listener.name)
                && rule.role.is_none_or(|role| listener.serves.includes(role))
        };
        ListenerRules(config.rules.iter().enumerate().filter(|(_, rule)| holds(rule)).map(|(i, _)| i).collect())
    }

    /// Bytes that the body of a request may have: as the rule with the longest path says, or `otherwise`. `None`: as many
    /// as it likes.
    pub fn body_limit(&self, rules: &ListenerRules, target: &Target<'_>, otherwise: Option<u64>) -> Option<u64> {
        let mut closest: Option<(usize, BodyLimit)> = None;
        for rule in self.matching(rules, target) {
            let length = rule.path.as_ref().map_or(0, |path| path.len());
            if let Some(limit) = rule.body
                && closest.is_none_or(|(longest, _)| length > longest)
            {
                closest = Some((length, limit));
            }
        }
        match closest {
            Some((_, BodyLimit::Off)) => None,
            Some((_, BodyLimit::Bytes(bytes))) => Some(bytes),
            None => otherwise,
        }
    }

    /// Counts a request, unless a rule says that it comes too early. `header` gives the value of a header.
    ///
    /// # Errors
    /// The first rule that it breaks. Rules before that one have counted it.
    pub fn admit<'h>(
        &self,
        rules: &ListenerRules,
        target: &Target<'_>,
        now: Instant,
        header: impl Fn(&str) -> Option<&'h [u8]>,
    ) -> Result<(), TooMany<'_>> {
        for rule in self.matching(rules, target) {
            let Some(counter) = &rule.rate else { continue };
            let admitted = match &counter.limit.per {
                RateKey::All => counter.admit(&(), now),
                RateKey::Client => counter.admit(&target.client, now),
                RateKey::Tenant => target.tenant.map_or(Ok(()), |tenant| counter.admit(&tenant, now)),
                RateKey::Header(name) => counter.admit(&header(name), now),
            };
            admitted.map_err(|retry_after| TooMany { rule: &rule.name, refused: &counter.refused, retry_after })?;
        }
        Ok(())
    }

    fn matching<'t, 'r>(
        &'t self,
        rules: &'r ListenerRules,
        target: &'r Target<'r>,
    ) -> impl Iterator<Item = &'t Compiled> + use<'t, 'r> {
        rules.0.iter().filter_map(|&index| self.rules.get(index)).filter(|rule| rule.holds_for(target))
    }
}

impl ListenerRules {
    /// Whether there are none, so that nothing has to be known of a request.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Compiled {
    fn new(rule: &Rule, clusters: &[Cluster], metrics: &Metrics, known: Option<Arc<Counter>>) -> Self {
        let cluster = rule.cluster.as_ref().and_then(|name| clusters.iter().position(|known| known.name == *name));
        let new = || Some(Arc::new(Counter::new(rule.rate.clone()?, metrics.rate_limited(&rule.name))));
        let rate = known.or_else(new);
        Compiled {
            name: rule.name.as_str().to_owned(),
            cluster,
            role: rule.role,
            path: rule.path.as_ref().map(|path| path.as_bytes().into()),
            body: rule.body,
            rate,
        }
    }

    fn holds_for(&self, target: &Target<'_>) -> bool {
        self.cluster.is_none_or(|cluster| cluster == target.cluster)
            && self.role.is_none_or(|role| role == target.role)
            && self.path.as_ref().is_none_or(|path| {
                covers(path, target.path)
                    || behind_tenant(target).is_some_and(|behind| covers(path, behind))
                    || is_service(path, target.path)
            })
    }
}

/// Whether `path` is `prefix` or below it.
fn covers(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Whether `rule` is `/services/NAME` and `path` asks for that service in another of Axis2's spellings: behind a tenant
/// (`/services/t/{tenant}/NAME`), or one of its endpoints (`NAME.NAMEHttpsSoap11Endpoint`).
fn is_service(rule: &[u8], path: &[u8]) -> bool {
    let (Some(name), Some(path)) = (rule.strip_prefix(b"/services/"), path.strip_prefix(b"/services/")) else {
        return false;
    };
    if name.is_empty() || name.contains(&b'/') {
        return false;
    }
    let behind = path.strip_prefix(b"t/").and_then(|behind| behind.splitn(2, |&byte| byte == b'/').nth(1));
    [Some(path), behind].into_iter().flatten().any(|path| {
        let endpoint = path.strip_prefix(name).and_then(|rest| rest.strip_prefix(b".")?.strip_prefix(name));
        covers(name, path) || endpoint.is_some()
    })
}

/// What stands behind `/t/{tenant}`.
fn behind_tenant<'a>(target: &Target<'a>) -> Option<&'a [u8]> {
    target.path.strip_prefix(b"/t/")?.strip_prefix(target.tenant?.as_bytes())
}

impl Counter {
    fn new(limit: RateLimit, refused: IntCounter) -> Self {
        let seen = [(); 2].map(|()| Estimator::new(HASHES, SLOTS));
        Counter { limit, refused, since: Instant::now(), window: AtomicU64::new(0), seen }
    }

    /// Counts one request of `key`, or tells in how many seconds one may come.
    fn admit<K: Hash>(&self, key: &K, now: Instant) -> Result<(), u64> {
        let (window, elapsed) = self.window_at(now);
        let [even, odd] = &self.seen;
        let (present, last) = if window % 2 == 0 { (even, odd) } else { (odd, even) };
        let (came, before) = (present.get(key).max(0) as f64, last.get(key).max(0) as f64); // exact up to 2^53
        let limit = f64::from(self.limit.requests);
        if before * (1.0 - elapsed) + came + 1.0 <= limit {
            present.incr(key, 1);
            return Ok(());
        }
        // Of this window, or of the next one, which sees the present one as the last: how much of it must have passed
        // for `last * (1 - passed) + came + 1` to be within the limit.
        let until = match came + 1.0 <= limit {
            true => 1.0 - (limit - 1.0 - came) / before,
            false => 2.0 - (limit - 1.0) / came,
        };
        let wait = self.limit.window.as_secs_f64() * (until - elapsed);
        Err(wait.max(1.0).ceil() as u64) // at most two windows, and a window is at most an hour
    }

    /// The number of the window at `now`, and how much of it is over, from 0 to 1.
    fn window_at(&self, now: Instant) -> (u64, f64) {
        let past = now.saturating_duration_since(self.since).as_secs_f64() / self.limit.window.as_secs_f64();
        let number = past as u64; // whole windows
        let known = self.window.fetch_max(number, Ordering::AcqRel);
        if known < number {
            // Only one caller sees the number rise. What others count meanwhile may be forgotten.
            let [even, odd] = &self.seen;
            let next = number - known == 1;
            if !next || number.is_multiple_of(2) {
                even.reset();
            }
            if !next || !number.is_multiple_of(2) {
                odd.reset();
            }
        }
        match known > number {
            true => (known, 0.0), // another caller was called later, and was faster
            false => (number, past.fract()),
        }
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    const CONFIG: &str = "
listeners:
  web: { bind: '127.0.0.1:0', role: worker }
  console: { bind: '127.0.0.1:0', role: manager }
clusters:
  esb: { product: esb, hosts: { worker: [a], manager: [b] }, nodes: [{ id: m, host: m, roles: [manager] }, { id: w, host: w }],
    endpoints: { servlet: { scheme: http } } }
rules:
  small: { body: 1KiB }
  uploads: { role: manager, path: /fileupload, body: off }
  big: { cluster: esb, path: /orders/big, body: 1MiB }
  orders: { path: /orders, body: 10KiB }
  clients: { listener: web, rate: 3/h }
  tenants: { listener: web, rate: 5/h, per: tenant }
  keys: { path: /keyed, rate: 2/h, per: { header: X-Key } }
  all: { path: /all, rate: 4/h, per: all }
";

    fn counter(requests: u32, window: Duration) -> Counter {
        let refused = IntCounter::new("refused", "Refused.").unwrap();
        Counter::new(RateLimit { requests, window, per: RateKey::All }, refused)
    }

    fn throttle() -> (Config, Throttle) {
        let config = crate::config::parse(CONFIG, Path::new(".")).unwrap_or_else(|p| panic!("{p}")).config;
        let throttle = Throttle::new(&config, &Metrics::new().unwrap());
        (config, throttle)
    }

    fn target<'a>(role: Role, path: &'a str, tenant: Option<&'a str>, client: &str) -> Target<'a> {
        Target { cluster: 0, role, path: path.as_bytes(), tenant, client: client.parse().ok() }
    }

    #[test]
    fn the_longest_path_says_how_large_a_body_may_be() {
        let (config, throttle) = throttle();
        let rules = [0, 1].map(|index| throttle.of_listener(&config, &config.listeners[index]));
        for (listener, role, path, tenant, expected) in [
            (0, Role::Worker, "/x", None, Some(1024)),
            (0, Role::Worker, "/orders", None, Some(10 << 10)),
            (0, Role::Worker, "/orders/1", None, Some(10 << 10)),
            (0, Role::Worker, "/orders/big/1", None, Some(1 << 20)),
            (0, Role::Worker, "/t/x/orders/big", Some("x"), Some(1 << 20)),
            (0, Role::Worker, "/t/x/orders/big", None, Some(1024)), // no tenant was found there
            (0, Role::Worker, "/ordersx", None, Some(1024)),
            (0, Role::Worker, "/fileupload", None, Some(1024)), // for managers only
            (1, Role::Manager, "/fileupload/x", None, None),
        ] {
            let limit = throttle.body_limit(&rules[listener], &target(role, path, tenant, "192.0.2.1"), Some(7));
            assert_eq!(limit, expected, "{path}");
        }
        let none = ListenerRules(Vec::new());
        assert!(none.is_empty());
        assert_eq!(throttle.body_limit(&none, &target(Role::Worker, "/x", None, "192.0.2.1"), Some(7)), Some(7));
    }

    #[test]
    fn a_rule_for_a_service_sees_its_other_spellings() {
        for (path, expected) in [
            ("/services/echo", true),
            ("/services/echo/op", true),
            ("/services/echo.echoHttpsSoap11Endpoint", true),
            ("/services/echo.echoHttpsSoap11Endpoint/op", true),
            ("/services/t/x/echo", true),
            ("/services/t/x/echo.echoHttpEndpoint/", true),
            ("/services/t/x", false),
            ("/services/t/echo", false),
            ("/services/echo2", false),
            ("/services/echo.v2", false),
            ("/services/other/echo", false),
            ("/echo", false),
        ] {
            assert_eq!(is_service(b"/services/echo", path.as_bytes()), expected, "{path}");
        }
        assert!(!is_service(b"/services/", b"/services/echo"));
        assert!(!is_service(b"/services/echo/op", b"/services/t/x/echo/op"), "paths below are compared as they are");
    }

    #[test]
    fn requests_beyond_a_rate_come_too_early() {
        let (config, throttle) = throttle();
        let [web, console] = [0, 1].map(|index| throttle.of_listener(&config, &config.listeners[index]));
        let admit = |rules: &ListenerRules, path: &str, tenant: Option<&str>, client: &str, key: Option<&str>| {
            let target = target(Role::Worker, path, tenant, client);
            throttle
                .admit(rules, &target, Instant::now(), |name| key.filter(|_| name == "x-key").map(str::as_bytes))
                .map_err(|e| e.rule.to_owned())
        };
        let too_many = |rule: &str| Err(rule.to_owned());
        for _ in 0..3 {
            assert_eq!(admit(&web, "/x", None, "192.0.2.1", None), Ok(()));
        }
        assert_eq!(admit(&web, "/x", None, "192.0.2.1", None), too_many("clients"));
        assert_eq!(admit(&web, "/x", None, "192.0.2.2", None), Ok(()), "another client");
        assert_eq!(admit(&console, "/x", None, "192.0.2.1", None), Ok(()), "another listener");
        for client in 10..15 {
            assert_eq!(admit(&web, "/t/a/x", Some("a"), &format!("192.0.2.{client}"), None), Ok(()));
        }
        assert_eq!(admit(&web, "/t/a/x", Some("a"), "192.0.2.20", None), too_many("tenants"));
        assert_eq!(admit(&web, "/t/b/x", Some("b"), "192.0.2.20", None), Ok(()), "another tenant");
        for key in [Some("k"), None] {
            for _ in 0..2 {
                assert_eq!(admit(&console, "/keyed", None, "192.0.2.1", key), Ok(()));
            }
            assert_eq!(admit(&console, "/keyed/x", None, "192.0.2.9", key), too_many("keys"), "{key:?}");
        }
        for client in 1..5 {
            assert_eq!(admit(&console, "/all", None, &format!("192.0.2.{client}"), None), Ok(()));
        }
        let refused =
            throttle.admit(&console, &target(Role::Worker, "/all", None, "192.0.2.9"), Instant::now(), |_| None);
        let retry_after = refused.unwrap_err().retry_after;
        assert!((1..=7200).contains(&retry_after), "{retry_after}");
    }

    #[test]
    fn the_time_slides_and_whoever_waits_as_long_as_told_is_admitted() {
        let hour = Duration::from_secs(3600);
        for limit in [1, 2, 20, 1000] {
            let counter = counter(limit, hour);
            let mut now = counter.since + Duration::from_secs(600);
            for round in 0..20 {
                let admitted = (0..=limit).take_while(|_| counter.admit(&(), now).is_ok()).count();
                assert!(admitted > 0 && admitted <= limit as usize, "{limit}/h, round {round}: {admitted}");
                let wait = counter.admit(&(), now).unwrap_err();
                assert!((1..=7200).contains(&wait), "{limit}/h, round {round}: {wait}");
                now += Duration::from_secs(wait);
            }
            // Nothing is left of what came long ago, and a clock that is behind does no harm.
            now += 3 * hour;
            assert_eq!((0..=limit).take_while(|_| counter.admit(&(), now).is_ok()).count(), limit as usize);
            assert!(counter.admit(&(), now - 2 * hour).is_err());
        }
    }

    #[test]
    fn no_more_than_the_rate_comes_in_any_time_when_requests_come_evenly() {
        let minute = Duration::from_secs(60);
        let counter = counter(60, minute);
        let arrivals = (0..6_000).map(|i| counter.since + Duration::from_millis(100) * i);
        let admitted: Vec<_> = arrivals.filter(|&now| counter.admit(&(), now).is_ok()).collect();
        assert!(admitted.len() > 300, "{}", admitted.len()); // of 600 in ten minutes
        for from in &admitted {
            let within = admitted.iter().filter(|&at| at >= from && *at < *from + minute).count();
            assert!(within <= 120, "{within} in a minute");
        }
    }
}
