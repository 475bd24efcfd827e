//! Rules for a section under `clusters`.

use std::collections::HashMap;

use super::{Context, affinity, endpoint, nodes, pool, rules, sources, tenants};
use crate::config::checked::{Cluster, ExtraPaths, Mode, Product, Services};
use crate::config::decode::{At, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawCluster, RawConfig, RawPaths, RawServices, complete};
use crate::ids::{Endpoint, Name, Role};

/// There must be a cluster.
pub(super) fn some(raw: &RawConfig, problems: &mut Problems) {
    if let Some(At { at, value: Items { items, complete: true } }) = raw.clusters.given()
        && items.is_empty()
    {
        problems.error(at, "no clusters", "at least one cluster");
    }
}

/// `led_to`: the endpoints that some listener leads to.
pub(super) fn check(
    entry: &At<(Name, RawCluster)>,
    context: &Context<'_>,
    led_to: [bool; 2],
    problems: &mut Problems,
) -> Cluster {
    let (name, raw) = &entry.value;
    let product = raw.product.or(Product::Carbon);
    hosts(raw, problems);
    nodes::some(raw, problems);
    nodes::roles(raw, problems);
    affinity::routes(raw, problems);
    affinity::apart(raw, problems);
    let endpoints = endpoint::check(raw, context, problems);
    let (services, admin_services) = services(raw, context, problems);
    let pools = raw.pools.or_empty();
    let ports = Endpoint::ALL.map(|endpoint| endpoints[endpoint.index()].port);
    Cluster {
        name: name.clone(),
        product,
        mode: raw.mode.or(Mode::Separated),
        hosts: Role::ALL.map(|role| match raw.hosts.value().and_then(|hosts| hosts.of(role).value()) {
            Some(hosts) => hosts.values(),
            None => Vec::new(),
        }),
        services,
        admin_services,
        paths: paths(&raw.paths.or_empty(), problems),
        access: rules::cluster_access(raw),
        nodes: nodes::check(&raw.nodes, raw.product.value().copied(), ports, led_to, problems),
        sources: sources::check(raw, ports, context, problems),
        max_dynamic: raw.max_dynamic.or(1000),
        tenants: tenants::check(raw, problems),
        endpoints,
        pools: Role::ALL
            .map(|role| pool::check(&pools.of(role).or_empty(), role, pool_spot(raw, role).as_ref(), problems)),
    }
}

fn pool_spot(raw: &RawCluster, role: Role) -> Option<Spot> {
    raw.pools.value()?.of(role).given().map(|pool| pool.at.clone())
}

/// A cluster without hosts could never be reached.
fn hosts(raw: &RawCluster, problems: &mut Problems) {
    let Some(At { value: hosts, at }) = raw.hosts.given() else { return };
    let none =
        |role: Role| complete(hosts.of(role)) && hosts.of(role).value().is_none_or(|hosts| hosts.items.is_empty());
    if Role::ALL.into_iter().all(none) {
        problems.error(at, "no hosts at all", "at least one host for worker or manager");
    }
}

fn services(raw: &RawCluster, context: &Context<'_>, problems: &mut Problems) -> (Services, Vec<String>) {
    let admin = raw.admin_services.value().map(Items::values).unwrap_or_default();
    let services = match raw.services.value() {
        None => Services::Only(Vec::new()),
        Some(RawServices::AnyButAdmin) => Services::AnyButAdmin,
        Some(RawServices::Only(services)) => {
            for service in &services.items {
                not_admin(service, &admin, context, problems);
            }
            Services::Only(services.values())
        }
    };
    (services, admin)
}

fn not_admin(service: &At<String>, admin: &[String], context: &Context<'_>, problems: &mut Problems) {
    const ALLOWED: &str = "the operator's own services; admin services are served to managers";
    if (context.is_admin_service)(&service.value) {
        problems.error(&service.at, format!("{} is an admin service of Carbon", service.value), ALLOWED);
    } else if admin.contains(&service.value) {
        problems.error(&service.at, format!("{} is also under admin_services", service.value), ALLOWED);
    }
}

fn paths(raw: &RawPaths, problems: &mut Problems) -> ExtraPaths {
    let classes = [&raw.management, &raw.service, &raw.shared];
    let mut seen: HashMap<&str, &Spot> = HashMap::new();
    for path in classes.iter().filter_map(|class| class.value()).flat_map(|paths| &paths.items) {
        if let Some(first) = seen.get(path.value.as_str()) {
            problems.error(&path.at, format!("the same path as on line {}", first.line), "each path in one class");
        } else {
            seen.insert(&path.value, &path.at);
        }
    }
    let [management, service, shared] = classes.map(|class| class.value().map(Items::values).unwrap_or_default());
    ExtraPaths { management, service, shared }
}
