//! Rules for `rules`, and for lists of networks.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::checked::{Access, Listener, RateKey, RateLimit, Rule};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::Problems;
use crate::config::raw::{RawCluster, RawConfig, RawRule, complete, entries};
use crate::ids::{Name, Role};

/// More rules than this would be looked at for too long by each request.
const MOST: usize = 64;

/// `allow` and `deny`, wherever they stand.
pub(super) fn access(allow: &Field<Items<IpNet>>, deny: &Field<Items<IpNet>>) -> Access {
    let networks = |field: &Field<Items<IpNet>>| field.value().map(Items::values).unwrap_or_default();
    Access { allow: networks(allow), deny: networks(deny) }
}

/// `clusters.*.access`, by [`Role::index`].
pub(super) fn cluster_access(raw: &RawCluster) -> [Access; 2] {
    let section = raw.access.or_empty();
    Role::ALL.map(|role| {
        let lists = section.of(role).or_empty();
        access(&lists.allow, &lists.deny)
    })
}

pub(super) fn check(raw: &RawConfig, listeners: &[Listener], problems: &mut Problems) -> Vec<Rule> {
    if let Some(At { at, value }) = raw.rules.given()
        && value.items.len() > MOST
    {
        problems.error(at, format!("{} rules", value.items.len()), format!("at most {MOST} rules"));
    }
    entries(&raw.rules).iter().map(|entry| rule(entry, raw, listeners, problems)).collect()
}

fn rule(entry: &At<(Name, RawRule)>, raw: &RawConfig, listeners: &[Listener], problems: &mut Problems) -> Rule {
    let (name, rule) = &entry.value;
    let nothing = matches!((&rule.body, &rule.rate), (Field::Absent, Field::Absent));
    if nothing {
        problems.error(&entry.at, "limits nothing", "body or rate, or both");
    }
    if let (Some(per), Field::Absent, false) = (rule.per.given(), &rule.rate, nothing) {
        problems.error(&per.at, "has no effect without rate", "only with rate");
    }
    known("listener", &rule.listener, complete(&raw.listeners), entries(&raw.listeners), problems);
    known("cluster", &rule.cluster, complete(&raw.clusters), entries(&raw.clusters), problems);
    if let (Some(role), Some(listener)) = (rule.role.given(), rule.listener.value())
        && listeners.iter().any(|known| known.name == *listener && !known.serves.includes(role.value))
    {
        problems.error(&role.at, format!("listener {listener} does not serve {}", role.value), "a role that it serves");
    }
    let limit = |&(requests, window): &(u32, Duration)| RateLimit {
        requests,
        window,
        per: rule.per.value().cloned().unwrap_or(RateKey::Client),
    };
    Rule {
        name: name.clone(),
        listener: rule.listener.value().cloned(),
        cluster: rule.cluster.value().cloned(),
        role: rule.role.value().copied(),
        path: rule.path.value().cloned(),
        body: rule.body.value().copied(),
        rate: rule.rate.value().map(limit),
    }
}

/// What a rule names must be there.
fn known<T>(what: &str, named: &Field<Name>, complete: bool, entries: &[At<(Name, T)>], problems: &mut Problems) {
    if let Some(named) = named.given()
        && complete
        && !entries.iter().any(|entry| entry.value.0 == named.value)
    {
        let names: Vec<&str> = entries.iter().map(|entry| entry.value.0.as_str()).collect();
        problems.error(&named.at, format!("there is no {what} {}", named.value), names.join(", "));
    }
}
