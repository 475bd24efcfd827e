//! Rules for what keeps a session on its member.

use std::collections::{HashMap, HashSet};

use super::Context;
use crate::config::checked::{Affinity, AffinityCookie, SameSite, Secret, Secure};
use crate::config::decode::{At, Field};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawAffinity, RawAffinityCookie, RawCluster, RawConfig, RawNode, RawPools};
use crate::config::secrets::{self, KEY};
use crate::ids::Role;

/// The cookie of Tomcat's sessions.
const TOMCAT: &str = "JSESSIONID";

/// `affinity`: the keys of cookies.
pub(super) fn keys(raw: &RawConfig, context: &Context<'_>, problems: &mut Problems) -> Vec<Secret> {
    let Some(section) = raw.affinity.given() else { return Vec::new() };
    let (keys, file) = (&section.value.keys, &section.value.key_file);
    if matches!((keys, file), (Field::Absent, Field::Absent)) {
        problems.error(&section.at, "no keys", "keys or key_file");
    }
    secrets::either((keys, file), ["keys", "key_file"], |path| context.path(path), &KEY, problems)
}

/// `clusters.*.pools.*.affinity`.
pub(super) fn check(raw: &Field<RawAffinity>, role: Role, default: Affinity, problems: &mut Problems) -> Affinity {
    let Some(At { value, at }) = raw.given() else { return default };
    match value {
        RawAffinity::Off => Affinity::Off,
        RawAffinity::Cookie(raw) => Affinity::Cookie(cookie(raw, role, at, problems)),
        RawAffinity::Route { cookie } => {
            Affinity::Route { cookie: cookie.value().cloned().unwrap_or_else(|| TOMCAT.to_owned()) }
        }
        RawAffinity::Hash(key) => Affinity::Hash(key.clone()),
    }
}

fn cookie(raw: &RawAffinityCookie, role: Role, at: &Spot, problems: &mut Problems) -> AffinityCookie {
    let defaults = AffinityCookie::of(role);
    let cookie = AffinityCookie {
        name: raw.name.value().cloned().unwrap_or(defaults.name),
        path: raw.path.value().cloned().unwrap_or(defaults.path),
        secure: raw.secure.or(defaults.secure),
        same_site: raw.same_site.or(defaults.same_site),
        lifetime: raw.lifetime.or(defaults.lifetime),
    };
    if let Some(name) = raw.name.given() {
        if name.value.eq_ignore_ascii_case(TOMCAT) {
            let allowed = "a name that no node uses; to follow the nodes' own cookie, affinity: route";
            problems.error(&name.at, format!("{TOMCAT} is the nodes' own cookie"), allowed);
        }
        prefixed(name, raw, &cookie, problems);
    }
    if cookie.same_site == Some(SameSite::None) && !raw.secure.is_bad() {
        let at = raw.same_site.given().map_or(at, |same_site| &same_site.at);
        match cookie.secure {
            Secure::Always => {}
            Secure::Auto => problems.warning(
                at,
                "browsers drop such a cookie without Secure: it holds only for clients that come over TLS",
            ),
            Secure::Never => {
                problems.error(at, "browsers drop such a cookie without Secure", "none only with secure: always");
            }
        }
    }
    cookie
}

/// Two beginnings of names are promises that browsers check.
fn prefixed(name: &At<String>, raw: &RawAffinityCookie, cookie: &AffinityCookie, problems: &mut Problems) {
    let begins = |prefix: &str| name.value.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    let host = begins("__Host-");
    if (host || begins("__Secure-")) && !raw.secure.is_bad() && cookie.secure != Secure::Always {
        problems.error(&name.at, "browsers drop a cookie of that name without Secure", "only with secure: always");
    } else if host && !raw.path.is_bad() && cookie.path != "/" {
        problems.error(&name.at, "browsers drop a cookie of that name with another path than /", "only with path: /");
    }
}

/// The cookies of both roles must not meet in a browser: there one would replace the other.
pub(super) fn apart(raw: &RawCluster, problems: &mut Problems) {
    let has_hosts = |role: &Role| {
        let hosts = raw.hosts.value().and_then(|hosts| hosts.of(*role).value());
        hosts.is_some_and(|hosts| !hosts.items.is_empty())
    };
    if raw.pools.is_bad() || !Role::ALL.iter().all(has_hosts) {
        return;
    }
    let pools = raw.pools.or_empty();
    let [Some(manager), Some(worker)] = Role::ALL.map(|role| Named::of(&pools, role)) else { return };
    let tenants = raw.tenants.or_empty();
    let partitions = tenants.partitions.value().map_or(&[][..], |partitions| &partitions.items);
    let partitions = partitions.iter().filter_map(|partition| partition.value.name.value()).map(Some);
    let partitions: Vec<_> = std::iter::once(None).chain(partitions).collect();
    let names = |named: &Named<'_>| partitions.iter().map(|p| named.cookie.in_partition(*p).name).collect::<Vec<_>>();
    let of_managers: HashSet<String> = names(&manager).into_iter().collect();
    let both = names(&worker).into_iter().find(|name| of_managers.contains(name));
    let Some(name) = both.filter(|_| overlap(&manager.cookie.path, &worker.cookie.path)) else { return };
    let line = |named: &Named<'_>| named.at.map(|at| at.line);
    let (second, first) = if line(&worker) >= line(&manager) { (worker, manager) } else { (manager, worker) };
    let Some(at) = second.at else { return }; // the defaults differ
    let place = line(&first).map_or_else(|| "which is its default".to_owned(), |line| format!("see line {line}"));
    problems.error(
        at,
        format!("{name} is a cookie of the {} pool, too ({place}): browsers keep one of them only", first.role),
        "another name (the cookie of a tenant partition is NAME.PARTITION), or a path that does not overlap the other's",
    );
}

/// A pool's cookie, as far as it has to differ from others.
struct Named<'a> {
    role: Role,
    cookie: AffinityCookie,
    /// Where it is named; `None`: nowhere.
    at: Option<&'a Spot>,
}

impl<'a> Named<'a> {
    /// `None` if the pool has no cookie, or one that could not be read.
    fn of(pools: &'a RawPools, role: Role) -> Option<Self> {
        let pool = pools.of(role);
        let affinity = pool.value().map(|pool| &pool.affinity);
        if pool.is_bad() || affinity.is_some_and(Field::is_bad) {
            return None;
        }
        let mut cookie = AffinityCookie::of(role);
        let Some(At { value: affinity, at }) = affinity.and_then(Field::given) else {
            return (role == Role::Manager).then_some(Named { role, cookie, at: None });
        };
        let RawAffinity::Cookie(raw) = affinity else { return None };
        if raw.name.is_bad() || raw.path.is_bad() {
            return None;
        }
        cookie.name = raw.name.value().cloned().unwrap_or(cookie.name);
        cookie.path = raw.path.value().cloned().unwrap_or(cookie.path);
        Some(Named { role, cookie, at: Some(raw.name.given().map_or(at, |name| &name.at)) })
    }
}

/// Whether browsers send cookies of both paths with some request (RFC 6265, 5.1.4).
fn overlap(first: &str, second: &str) -> bool {
    let [first, second] = [first, second].map(|path| path.strip_suffix('/').unwrap_or(path));
    let is_below =
        |path: &str, other: &str| path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below(first, second) || is_below(second, first)
}

/// A route must lead to one node.
pub(super) fn routes(raw: &RawCluster, problems: &mut Problems) {
    let pools = raw.pools.or_empty();
    let by_route = |role: &Role| {
        let pool = pools.of(*role).value();
        pool.is_some_and(|pool| matches!(pool.affinity.value(), Some(RawAffinity::Route { .. })))
    };
    if let Some(nodes) = raw.nodes.value().filter(|_| Role::ALL.iter().any(by_route)) {
        unique_routes(&nodes.items, problems);
    }
}

/// A route must lead to one of these nodes.
pub(super) fn unique_routes(nodes: &[At<RawNode>], problems: &mut Problems) {
    let mut seen: HashMap<&str, &Spot> = HashMap::new();
    for node in nodes {
        let Some((route, at)) = route_of(&node.value, problems) else { continue };
        if let Some(first) = seen.get(route) {
            let what = format!("the same route as that of the node on line {}", first.line);
            problems.error(at, what, "routes that are unique in the cluster");
        } else {
            seen.insert(route, at);
        }
    }
}

/// The route of a node and where it stands; `None` if it has none that can be used.
fn route_of<'a>(node: &'a RawNode, problems: &mut Problems) -> Option<(&'a str, &'a Spot)> {
    if node.route.is_bad() {
        return None;
    }
    if let Some(route) = node.route.given() {
        return Some((&route.value, &route.at));
    }
    let id = node.id.given()?;
    if id.value.as_str().contains('.') {
        // Tomcat's session ids have the route behind their dot.
        problems.error(&id.at, "an id with a dot can't be the node's route", "a node with a route of its own");
        return None;
    }
    Some((id.value.as_str(), &id.at))
}
