//! What differs between two configurations, in lines that an operator reads: what a reload would change.
//!
//! The effective configurations are compared, so that a preset or a default that is written out is no difference, and
//! every key is there. Secrets are never shown: only that they differ.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde_yaml::{Mapping, Value};

use super::checked::{Config, Secret};
use super::print;

/// A difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The keys that lead there, such as `clusters.esb.pools.worker.queue.length`; nodes and partitions by their names.
    pub path: String,
    /// What it is.
    pub what: What,
    /// Whether a running balancer cannot take it over.
    pub needs_restart: bool,
}

/// What a [`Difference`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// It has another value.
    Changed {
        /// In the first.
        from: String,
        /// In the second.
        to: String,
    },
    /// A list has other items.
    Items {
        /// Those that are only in the second.
        added: Vec<String>,
        /// Those that are only in the first.
        removed: Vec<String>,
    },
    /// The same items are in another order.
    Order,
    /// It is not the same, and nobody is shown what it is.
    Hidden,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)?;
        if self.needs_restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Added => f.write_str("added"),
            What::Removed => f.write_str("removed"),
            What::Changed { from, to } => write!(f, "{from} -> {to}"),
            What::Items { added, removed } => {
                let removed = removed.iter().map(|item| format!("-{item}"));
                let all: Vec<String> = removed.chain(added.iter().map(|item| format!("+{item}"))).collect();
                f.write_str(&all.join(", "))
            }
            What::Order => f.write_str("in another order"),
            What::Hidden => f.write_str("changed"),
        }
    }
}

/// All differences, in the order of the first configuration, and what is new behind its neighbours.
pub fn diff(old: &Config, new: &Config) -> Vec<Difference> {
    let mut found = Found::default();
    found.values(&print::document(old), &print::document(new));
    found.secrets("affinity.keys", &old.affinity_keys, &new.affinity_keys);
    let tokens = |config: &'_ Config| config.admin.tokens.iter().map(|token| token.secret.clone()).collect::<Vec<_>>();
    found.secrets("admin.tokens", &tokens(old), &tokens(new));
    found.differences
}

#[derive(Default)]
struct Found {
    path: Vec<String>,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, what: What) {
        let needs_restart = needs_restart(&self.path, &what);
        self.differences.push(Difference { path: self.path.join("."), what, needs_restart });
    }

    fn within(&mut self, key: &str, compare: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        compare(self);
        self.path.pop();
    }

    fn secrets(&mut self, path: &str, old: &[Secret], new: &[Secret]) {
        let is_told = self.differences.iter().any(|difference| difference.path == path);
        if !is_told && !old.iter().map(Secret::expose).eq(new.iter().map(Secret::expose)) {
            self.within(path, |found| found.add(What::Hidden));
        }
    }

    fn values(&mut self, old: &Value, new: &Value) {
        match (old, new) {
            _ if old == new => {}
            (Value::Mapping(old), Value::Mapping(new)) => self.maps(&entries(old), &entries(new)),
            (Value::Sequence(old), Value::Sequence(new)) => match (named(old), named(new)) {
                (Some(old), Some(new)) => self.named(&old, &new),
                _ => self.lists(old, new),
            },
            _ => self.add(What::Changed { from: inline(old), to: inline(new) }),
        }
    }

    fn maps(&mut self, old: &[(String, &Value)], new: &[(String, &Value)]) {
        let (in_old, in_new) = (by_key(old), by_key(new));
        for (key, value) in old {
            let other = in_new.get(key.as_str());
            self.within(key, |found| match other {
                Some(other) => found.values(value, other),
                None => found.one_side(value, What::Removed),
            });
        }
        for (key, value) in new.iter().filter(|(key, _)| !in_old.contains_key(key.as_str())) {
            self.within(key, |found| found.one_side(value, What::Added));
        }
    }

    /// What is only on one side; a plain value is shown.
    fn one_side(&mut self, value: &Value, what: What) {
        let plain = !matches!(value, Value::Mapping(_) | Value::Sequence(_));
        let none = || "(none)".to_owned();
        self.add(match what {
            What::Added if plain => What::Changed { from: none(), to: inline(value) },
            What::Removed if plain => What::Changed { from: inline(value), to: none() },
            what => what,
        });
    }

    /// Lists whose items have names. The order of nodes means nothing, that of partitions does.
    fn named(&mut self, old: &[(String, &Value)], new: &[(String, &Value)]) {
        self.maps(old, new);
        let common = |these: &[(String, &Value)], others: &[(String, &Value)]| -> Vec<String> {
            let others = by_key(others);
            these.iter().map(|(name, _)| name.clone()).filter(|name| others.contains_key(name.as_str())).collect()
        };
        let is_ordered = self.path.last().is_some_and(|key| key == "partitions");
        if is_ordered && common(old, new) != common(new, old) {
            self.add(What::Order);
        }
    }

    fn lists(&mut self, old: &[Value], new: &[Value]) {
        let [old, new] = [old, new].map(|items| items.iter().map(inline).collect::<Vec<_>>());
        let only = |these: &[String], others: &[String]| -> Vec<String> {
            let others: HashSet<&String> = others.iter().collect();
            these.iter().filter(|item| !others.contains(item)).cloned().collect()
        };
        let (added, removed) = (only(&new, &old), only(&old, &new));
        let same = added.is_empty() && removed.is_empty();
        self.add(if same { What::Order } else { What::Items { added, removed } });
    }
}

/// What needs sockets or threads that a running balancer does not have, or a log that it does not have open.
fn needs_restart(path: &[String], what: &What) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        // The sockets, and whether they speak TLS.
        ["listeners", _] | ["listeners", _, "tls"] => matches!(what, What::Added | What::Removed),
        ["listeners", _, "bind"] | ["admin", "bind"] | ["server", "threads" | "access_log"] => true,
        _ => false,
    }
}

fn entries(map: &Mapping) -> Vec<(String, &Value)> {
    map.iter().map(|(key, value)| (inline(key), value)).collect()
}

/// The items of a list with their names, if it is a list of things that have names.
fn named(items: &[Value]) -> Option<Vec<(String, &Value)>> {
    let name = |item: &Value| item.get("id").or_else(|| item.get("name"))?.as_str().map(str::to_owned);
    items.iter().map(|item| Some((name(item)?, item))).collect()
}

/// There may be ten thousand nodes, hosts or paths: looking for each one among all others would take most of a reload.
fn by_key<'e, 'v>(entries: &'e [(String, &'v Value)]) -> HashMap<&'e str, &'v Value> {
    entries.iter().map(|(key, value)| (key.as_str(), *value)).collect()
}

/// A value in one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Sequence(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Mapping(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, value)| format!("{}: {}", inline(key), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Tagged(tagged) => inline(&tagged.value),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Token;

    const OLD: &str = "
listeners:
  web: { bind: ['127.0.0.1:8280'], role: worker, limits: { requests: 7 } }
  old: { bind: ['127.0.0.1:8281'], role: worker }
clusters:
  esb:
    product: esb
    hosts: { worker: [a.test, b.test] }
    endpoints: { servlet: { scheme: http, health: tcp } }
    services: [one, two]
    nodes: [{ id: wk-1, host: 192.0.2.1 }, { id: wk-2, host: 192.0.2.2, max_in_flight: 5 }, { id: wk-3, host: c.test },
      { id: wk-4, host: d.test }, { id: wk-5, host: e.test }]
    tenants: { partitions: [{ name: p, tenants: [a], nodes: [wk-4] }, { name: q, tenants: [b], nodes: [wk-5] }] }
";

    fn config(yaml: &str) -> Config {
        crate::config::parse(yaml, Path::new("/")).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    fn lines(old: &str, new: &str) -> Vec<String> {
        diff(&config(old), &config(new)).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn each_difference_is_a_line() {
        for (from, to, expected) in [
            ("limits: { requests: 7 }", "limits: { requests: 9 }", &["listeners.web.limits.requests: 7 -> 9"][..]),
            ("limits: { requests: 7 }", "limits: { requests: off }", &["listeners.web.limits.requests: 7 -> off"]),
            ("a.test, b.test", "a.test, x.test", &["clusters.esb.hosts.worker: -b.test, +x.test"]),
            ("[one, two]", "[two, one]", &["clusters.esb.services: in another order"]),
            ("[one, two]", "any-but-admin", &["clusters.esb.services: [one, two] -> any-but-admin"]),
            (
                "{ id: wk-3, host: c.test }",
                "{ id: wk-0, host: c.test }",
                &["clusters.esb.nodes.wk-3: removed", "clusters.esb.nodes.wk-0: added"],
            ),
            ("192.0.2.1 }", "192.0.2.1, weight: 3 }", &["clusters.esb.nodes.wk-1.weight: 1 -> 3"]),
            (", max_in_flight: 5", "", &["clusters.esb.nodes.wk-2.max_in_flight: 5 -> (none)"]),
            ("192.0.2.1 }", "192.0.2.1, max_in_flight: 5 }", &["clusters.esb.nodes.wk-1.max_in_flight: (none) -> 5"]),
            (
                "services: [one, two]",
                "services: [one, two]\n    pools: { worker: { queue: { length: 5 } } }",
                &["clusters.esb.pools.worker.queue.length: 1000 -> 5"],
            ),
            (
                "services: [one, two]",
                "services: [one, two]\n    pools: { worker: { queue: off } }",
                &["clusters.esb.pools.worker.queue: { length: 1000, wait: 5s } -> off"],
            ),
            ("health: tcp", "health: tcp, port: 9763", &[]), // the default
            ("\n  esb:", "\n  ei:", &["clusters.esb: removed", "clusters.ei: added"]),
            (
                "nodes: [{ id: wk-1, host: 192.0.2.1 }, { id: wk-2, host: 192.0.2.2, max_in_flight: 5 }",
                "nodes: [{ id: wk-2, host: 192.0.2.2, max_in_flight: 5 }, { id: wk-1, host: 192.0.2.1 }",
                &[],
            ),
            (
                "{ name: p, tenants: [a], nodes: [wk-4] }, { name: q, tenants: [b], nodes: [wk-5] }",
                "{ name: q, tenants: [b], nodes: [wk-5] }, { name: p, tenants: [a], nodes: [wk-4] }",
                &["clusters.esb.tenants.partitions: in another order"],
            ),
        ] {
            let new = OLD.replace(from, to);
            assert!(new != OLD, "{from}");
            assert_eq!(lines(OLD, &new), expected, "{from} {to}");
        }
        assert!(lines(OLD, OLD).is_empty());
    }

    #[test]
    fn what_a_running_balancer_cannot_take_over_says_so() {
        for (from, to, expected) in [
            (
                "'127.0.0.1:8280'",
                "'127.0.0.1:8299'",
                &["listeners.web.bind: -127.0.0.1:8280, +127.0.0.1:8299 (needs a restart)"][..],
            ),
            (
                "\n  old:",
                "\n  new:",
                &["listeners.old: removed (needs a restart)", "listeners.new: added (needs a restart)"],
            ),
            (
                "\nclusters:",
                "\nserver: { threads: 3, access_log: off, grace: 9s, watch: 2s }\nclusters:",
                &[
                    "server.threads: auto -> 3 (needs a restart)",
                    "server.grace: 30s -> 9s",
                    "server.access_log: stdout -> off (needs a restart)",
                    "server.watch: off -> 2s",
                ],
            ),
            ("\nclusters:", "\nadmin: { bind: [] }\nclusters:", &["admin.bind: -127.0.0.1:9601 (needs a restart)"]),
        ] {
            let new = OLD.replace(from, to);
            assert!(new != OLD, "{from}");
            assert_eq!(lines(OLD, &new), expected, "{from} {to}");
        }
    }

    #[test]
    fn secrets_differ_and_are_not_shown() {
        let with = |key: &str, token: &str| {
            let mut config = config(OLD);
            config.affinity_keys = vec![Secret::new(key.as_bytes())];
            config.admin.tokens = vec![Token::unlimited(Secret::new(token.as_bytes()))];
            config
        };
        let found = diff(&with("hunter2", "hunter3"), &with("hunter4", "hunter3"));
        assert_eq!(found.iter().map(Difference::to_string).collect::<Vec<_>>(), ["affinity.keys: changed"]);
        let found = diff(&with("hunter2", "hunter3"), &config(OLD));
        let text: String = found.iter().map(|difference| format!("{difference}\n")).collect();
        assert!(text.contains("admin.tokens: removed") && !text.contains("hunter"), "{text}");
    }
}
