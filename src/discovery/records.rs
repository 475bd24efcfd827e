//! From records of DNS to members. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::affinity::hash_of_text;
use crate::config::{Node, NodeHost, Template};
use crate::ids::{Endpoint, Name, NodeId};

/// The largest weight that a member can have.
const MOST_WEIGHT: u16 = 256;
/// The longest id.
const LONGEST_ID: usize = 64;

/// What an answer holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    pub(super) members: Vec<Node>,
    /// What in it can be no member, a few words for each.
    pub(super) refused: Vec<String>,
}

/// An SRV record, with the addresses of its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) target: String,
    pub(super) port: u16,
    pub(super) priority: u16,
    pub(super) weight: u16,
    /// Empty if they could not be found.
    pub(super) addresses: Vec<IpAddr>,
}

/// The members behind addresses: each is one, with an id made of it.
pub(super) fn of_addresses(addresses: &[IpAddr], template: &Template) -> Found {
    let mut found = Found::default();
    for address in addresses.iter().map(IpAddr::to_canonical).collect::<BTreeSet<_>>() {
        match address_id(address).filter(|_| can_be_a_node(address)) {
            Some(id) => found.members.push(member(id, address, template)),
            None => found.refused.push(format!("{address} is the address of no node")),
        }
    }
    found
}

/// The members behind SRV records: each target and port is one, its port that of `endpoint`.
///
/// Those of the lowest priority are asked; the others only if none of these can be (RFC 2782 says so of clients).
/// Weights are shares of the load as they are, if they are small enough; else all are scaled down. One of zero is the
/// smallest. A target without an address stays where `current` says that it was.
pub(super) fn of_services(
    services: &[Service],
    endpoint: Endpoint,
    template: &Template,
    current: impl Fn(&NodeId) -> Option<IpAddr>,
) -> Found {
    let mut found = Found::default();
    let mut by_target: BTreeMap<(&str, u16), &Service> = BTreeMap::new();
    let mut services: Vec<&Service> = services.iter().collect();
    services.sort_by_key(|service| (service.priority, Reverse(service.weight)));
    for service in &services {
        by_target.entry((&service.target, service.port)).or_insert(service);
    }
    let best = services.first().map_or(0, |service| service.priority);
    let heaviest = services.iter().map(|service| service.weight).max().unwrap_or(0);
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for service in by_target.into_values() {
        let Some(id) = service_id(&service.target, service.port, &ids) else {
            found.refused.push(format!("{:?} with port {} is no target", service.target, service.port));
            continue;
        };
        ids.insert(id.clone());
        let Some(address) = choose(&service.addresses, current(&id)) else {
            found.refused.push(format!("target {} has no address", service.target));
            continue;
        };
        if !addresses.insert((address, service.port)) {
            found.refused.push(format!("target {} leads to {address} as another one does", service.target));
            continue;
        }
        let mut node = member(id, address, template);
        node.weight = scaled(service.weight, heaviest);
        node.backup = service.priority > best;
        node.ports[endpoint.index()] = service.port;
        found.members.push(node);
    }
    found
}

fn member(id: NodeId, address: IpAddr, template: &Template) -> Node {
    Node {
        route: id.as_str().to_owned(),
        id,
        host: NodeHost::Address(address),
        roles: template.roles.clone(),
        weight: template.weight,
        backup: template.backup,
        max_in_flight: template.max_in_flight,
        ports: template.ports,
        dynamic: true,
        leaving: false,
    }
}

/// The current address while the target still has it, or while nobody knows; else the least, IPv4 before IPv6: every
/// balancer chooses the same.
fn choose(addresses: &[IpAddr], current: Option<IpAddr>) -> Option<IpAddr> {
    let usable = || addresses.iter().map(IpAddr::to_canonical).filter(|address| can_be_a_node(*address));
    let stays = current.filter(|current| addresses.is_empty() || usable().any(|address| address == *current));
    stays.or_else(|| usable().min())
}

/// Whether somebody can listen there. What is allowed besides is the business of the cluster's networks.
fn can_be_a_node(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

/// `10-0-0-5`, or all eight groups of an IPv6 address: so it begins with a digit or letter, and no two are the same.
/// Without dots, so that it can be a route.
fn address_id(address: IpAddr) -> Option<NodeId> {
    let text = match address {
        IpAddr::V4(address) => address.octets().map(|octet| octet.to_string()).join("-"),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join("-"),
    };
    Name::parse(&text)
}

/// Target and port, as in `wk-1-internal-8280`. What is too long for a name, or would be the same as another one, ends
/// with a hash of the target. `None` for port 0, and for the target that means that there is no such service.
fn service_id(target: &str, port: u16, taken: &BTreeSet<NodeId>) -> Option<NodeId> {
    let target = target.trim_end_matches('.');
    if target.is_empty() || port == 0 {
        return None;
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let words: String = target.chars().map(plain).collect();
    let words = words.trim_start_matches(['-', '_']);
    let id = Name::parse(&format!("{words}-{port}"));
    if let Some(id) = id.filter(|id| words.len() == target.len() && !taken.contains(id)) {
        return Some(id);
    }
    let end = format!("-{port}-{:08x}", hash_of_text(target) >> 32);
    let begin: String = words.chars().take(LONGEST_ID - end.len()).collect();
    Name::parse(&format!("{begin}{end}")).or_else(|| Name::parse(&format!("srv{end}")))
}

/// A weight of SRV as a share of the load.
fn scaled(weight: u16, heaviest: u16) -> u16 {
    let (weight, heaviest, most) = (u32::from(weight), u32::from(heaviest), u32::from(MOST_WEIGHT));
    let share = if heaviest > most { (weight * most + heaviest / 2) / heaviest } else { weight };
    u16::try_from(share).unwrap_or(MOST_WEIGHT).clamp(1, MOST_WEIGHT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::discovery::tests::template;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn shown(found: &Found) -> Vec<String> {
        let node = |node: &Node| {
            let backup = if node.backup { " backup" } else { "" };
            format!("{} {} {:?} x{}{backup}", node.id, node.host.to_text(), node.ports, node.weight)
        };
        found.members.iter().map(node).collect()
    }

    #[test]
    fn each_address_is_a_member() {
        let addresses = ["10.0.0.12", "10.0.0.5", "10.0.0.12", "::ffff:10.0.0.5", "2001:db8::1", "::1"].map(ip);
        let found = of_addresses(&addresses, &template());
        assert_eq!(
            shown(&found),
            [
                "10-0-0-5 10.0.0.5 [9443, 8280] x3",
                "10-0-0-12 10.0.0.12 [9443, 8280] x3",
                "0-0-0-0-0-0-0-1 ::1 [9443, 8280] x3",
                "2001-db8-0-0-0-0-0-1 2001:db8::1 [9443, 8280] x3",
            ]
        );
        assert_eq!(found.members[0].roles, template().roles);
        assert_eq!(found.members[0].max_in_flight, Some(7));
        assert_eq!(found.members[0].route, "10-0-0-5");
        let found = of_addresses(&["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"].map(ip), &template());
        assert_eq!((found.members.len(), found.refused.len()), (0, 5));
    }

    fn service(target: &str, port: u16, priority: u16, weight: u16, addresses: &[&str]) -> Service {
        let addresses = addresses.iter().map(|text| ip(text)).collect();
        Service { target: target.into(), port, priority, weight, addresses }
    }

    fn found(services: &[Service]) -> Found {
        of_services(services, Endpoint::Passthrough, &template(), |_| None)
    }

    #[test]
    fn priorities_are_backups_and_weights_are_shares() {
        let cases: [(&str, Vec<Service>, Vec<&str>, usize); 8] = [
            (
                "target and port are the member",
                vec![
                    service("wk-1.internal.", 8281, 10, 2, &["10.0.0.1"]),
                    service("wk-1.internal.", 8282, 10, 0, &["10.0.0.1"]),
                ],
                vec!["wk-1-internal-8281 10.0.0.1 [9443, 8281] x2", "wk-1-internal-8282 10.0.0.1 [9443, 8282] x1"],
                0,
            ),
            (
                "higher priorities are backups",
                vec![
                    service("b.", 1, 20, 1, &["10.0.0.2"]),
                    service("a.", 1, 5, 1, &["10.0.0.1"]),
                    service("c.", 1, 5, 1, &["10.0.0.3"]),
                ],
                vec!["a-1 10.0.0.1 [9443, 1] x1", "b-1 10.0.0.2 [9443, 1] x1 backup", "c-1 10.0.0.3 [9443, 1] x1"],
                0,
            ),
            (
                "large weights keep their proportions",
                vec![
                    service("a.", 1, 0, 60_000, &["10.0.0.1"]),
                    service("b.", 1, 0, 30_000, &["10.0.0.2"]),
                    service("c.", 1, 0, 1, &["10.0.0.3"]),
                ],
                vec!["a-1 10.0.0.1 [9443, 1] x256", "b-1 10.0.0.2 [9443, 1] x128", "c-1 10.0.0.3 [9443, 1] x1"],
                0,
            ),
            (
                "a record twice counts once",
                vec![service("a.", 1, 5, 9, &["10.0.0.1"]), service("a.", 1, 0, 4, &["10.0.0.1"])],
                vec!["a-1 10.0.0.1 [9443, 1] x4"],
                0,
            ),
            (
                "IPv4 first",
                vec![service("a.", 1, 0, 1, &["::1", "10.0.0.9", "10.0.0.8"])],
                vec!["a-1 10.0.0.8 [9443, 1] x1"],
                0,
            ),
            ("no service at all", vec![service(".", 0, 0, 0, &[])], vec![], 1),
            (
                "no address",
                vec![service("a.", 1, 0, 1, &[]), service("b.", 1, 0, 1, &["10.0.0.2"])],
                vec!["b-1 10.0.0.2 [9443, 1] x1"],
                1,
            ),
            (
                "two names of one",
                vec![service("a.", 1, 0, 1, &["10.0.0.1"]), service("b.", 1, 0, 1, &["10.0.0.1"])],
                vec!["a-1 10.0.0.1 [9443, 1] x1"],
                1,
            ),
        ];
        for (what, services, members, refused) in cases {
            let found = found(&services);
            assert_eq!(shown(&found), members, "{what}");
            assert_eq!(found.refused.len(), refused, "{what}: {:?}", found.refused);
        }
    }

    #[test]
    fn a_target_stays_where_it_was() {
        let at = |addresses: &[&str], was: &str| {
            let services = [service("a.", 1, 0, 1, addresses)];
            let found =
                of_services(&services, Endpoint::Servlet, &template(), |id| (id.as_str() == "a-1").then(|| ip(was)));
            found.members.first().map(|node| node.host.to_text())
        };
        assert_eq!(at(&["10.0.0.1", "10.0.0.2"], "10.0.0.2").as_deref(), Some("10.0.0.2"), "it still has that one");
        assert_eq!(at(&["10.0.0.1"], "10.0.0.2").as_deref(), Some("10.0.0.1"), "it has moved");
        assert_eq!(at(&[], "10.0.0.2").as_deref(), Some("10.0.0.2"), "nobody knows");
    }

    #[test]
    fn ids_are_names_and_differ() {
        let id = |target: &str| service_id(target, 8280, &BTreeSet::new()).map(|id| id.to_string());
        assert_eq!(id("WK-1.internal.").as_deref(), Some("wk-1-internal-8280"));
        assert_eq!(id(""), None);
        assert_eq!(service_id("a.", 0, &BTreeSet::new()), None);
        let odd = id("_wk.internal.").unwrap();
        assert!(odd.starts_with("wk-internal-8280-"), "{odd}");
        let long = "x".repeat(60) + ".internal.";
        let long = id(&long).unwrap();
        assert_eq!(long.len(), 64);
        // `a.b` and `a-b` are two.
        let services = [service("a.b.", 1, 0, 1, &["10.0.0.1"]), service("a-b.", 1, 0, 1, &["10.0.0.2"])];
        let both = found(&services);
        assert_eq!(both.members.len(), 2);
        assert_ne!(both.members[0].id, both.members[1].id);
    }

    proptest! {
        #[test]
        fn members_are_such_as_a_configuration_could_have(
            services in proptest::collection::vec(
                ("[-a-z0-9_.ä]{0,70}", any::<u16>(), 0..3u16, any::<u16>(), proptest::collection::vec(any::<IpAddr>(), 0..3)),
                0..20,
            ),
        ) {
            let services: Vec<Service> = services
                .into_iter()
                .map(|(target, port, priority, weight, addresses)| Service { target, port, priority, weight, addresses })
                .collect();
            let found = found(&services);
            let ids: BTreeSet<_> = found.members.iter().map(|node| &node.id).collect();
            prop_assert_eq!(ids.len(), found.members.len());
            let targets: BTreeSet<_> = services.iter().map(|service| (&service.target, service.port)).collect();
            prop_assert_eq!(found.members.len() + found.refused.len(), targets.len());
            for node in &found.members {
                prop_assert!((1..=256).contains(&node.weight));
                prop_assert!(node.ports.iter().all(|port| *port > 0));
                prop_assert!(!node.id.as_str().contains('.'));
            }
            // Somebody is asked first, if all are there.
            if found.refused.is_empty() && !found.members.is_empty() {
                prop_assert!(found.members.iter().any(|node| !node.backup));
            }
        }
    }
}
