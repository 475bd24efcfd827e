//! Random changes against a simple model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Something that somebody does. Ids and addresses are few, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Register {
        id: u8,
        address: u8,
        weight: u16,
        lease: u64,
    },
    Renew {
        id: u8,
        lease: Option<u64>,
    },
    Deregister {
        id: u8,
    },
    /// By source: ids with their addresses.
    Update {
        source: bool,
        nodes: Vec<(u8, u8)>,
    },
    Weight {
        id: u8,
        weight: Option<u16>,
    },
    /// Position in [`bases`].
    Base(usize),
    /// Time passes, in tenths of a second, with so many requests in flight on every member.
    Pass {
        tenths: u64,
        busy: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8u8, 0..8u8, 1..3u16, 1..5u64)
            .prop_map(|(id, address, weight, lease)| Step::Register { id, address, weight, lease }),
        3 => (0..8u8, proptest::option::of(1..5u64)).prop_map(|(id, lease)| Step::Renew { id, lease }),
        1 => (0..8u8).prop_map(|id| Step::Deregister { id }),
        2 => (any::<bool>(), proptest::collection::vec((0..8u8, 0..8u8), 0..5))
            .prop_map(|(source, nodes)| Step::Update { source, nodes }),
        1 => (0..8u8, proptest::option::of(1..9u16)).prop_map(|(id, weight)| Step::Weight { id, weight }),
        1 => (0..BASES.len()).prop_map(Step::Base),
        4 => (1..20u64, 0..2usize).prop_map(|(tenths, busy)| Step::Pass { tenths, busy }),
    ]
}

/// [`bases`], read once.
static BASES: LazyLock<Vec<Arc<Config>>> = LazyLock::new(|| bases().iter().map(|yaml| config(yaml)).collect());

/// Configurations that one is reloaded to: other networks, other nodes in the file, room for fewer.
fn bases() -> Vec<String> {
    let narrow = CLUSTERS.replace("[10.0.0.0/8, 'fd00::/8']", "[10.0.0.0/30]");
    vec![
        CLUSTERS.to_owned(),
        narrow.clone(),
        CLUSTERS.replace("id: wk-1, host: 10.0.0.1", "id: n3, host: 10.0.0.5"),
        narrow.replace("max_dynamic: 4", "max_dynamic: 2"),
        CLUSTERS.replace("  esb:\n", "  mi:\n"),
    ]
}

fn id(number: u8) -> NodeId {
    name(&format!("n{number}"))
}

/// What has to hold of members besides what the program says: who was seen when.
#[derive(Debug, Default)]
struct Model {
    /// When each lease ends.
    leases: BTreeMap<NodeId, Instant>,
    /// Since when each member is leaving.
    leaving: BTreeMap<NodeId, Instant>,
    present: BTreeMap<NodeId, Node>,
}

impl Model {
    /// Holds the effective configuration against what must always be so. `busy`: requests in flight, if time has passed.
    fn check(&mut self, base: &Config, members: &Members, now: Instant, busy: Option<usize>, reloaded: bool) {
        let config = members.effective();
        assert_eq!(config, members.effective(), "it is the same as long as nothing changes");
        let Some(cluster) = config.clusters.iter().find(|cluster| cluster.name.as_str() == "esb") else {
            self.leaving.clear();
            self.present.clear();
            return;
        };
        let file = &base.clusters[0].nodes;
        let (own, others) = cluster.nodes.split_at(file.len());
        assert!(own.iter().zip(file).all(|(own, file)| own.id == file.id && own.host == file.host && !own.leaving));
        let ids: BTreeSet<&NodeId> = cluster.nodes.iter().map(|node| &node.id).collect();
        assert_eq!(ids.len(), cluster.nodes.len(), "an id is there twice");
        assert!(others.is_sorted_by(|a, b| a.id < b.id));
        let networks = &cluster.pools[Role::Worker.index()].allowed_networks;
        for node in others {
            let NodeHost::Address(address) = node.host else { panic!("{node:?}") };
            assert!(networks.iter().any(|network| network.contains(&address)), "{node:?} is not allowed");
            assert_eq!(node.roles, [Role::Worker], "{node:?}");
        }
        let places = others.iter().filter(|node| !node.leaving).map(|node| node.host.to_text()).collect::<Vec<_>>();
        let distinct: BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), places.len(), "two members are at one place: {others:?}");
        let staying = others.iter().filter(|node| !node.leaving).count();
        assert!(reloaded || staying <= cluster.max_dynamic.max(self.present.len()), "{staying} members");
        self.nobody_vanishes(others, cluster, file, now, busy, reloaded);
        // A lease that has not ended is a member, or somebody else is under its id.
        for (id, ends) in self.leases.iter().filter(|(_, ends)| **ends > now) {
            let known = cluster.nodes.iter().find(|node| node.id == *id);
            assert!(known.is_some_and(|node| !node.leaving), "{id} has a lease until {ends:?}: {others:?}");
        }
    }

    /// Members leave before they go, for as long as they must, unless a new file wants them gone.
    fn nobody_vanishes(
        &mut self,
        others: &[Node],
        cluster: &crate::config::Cluster,
        file: &[Node],
        now: Instant,
        busy: Option<usize>,
        reloaded: bool,
    ) {
        let networks = &cluster.pools[Role::Worker.index()].allowed_networks;
        let present: BTreeMap<NodeId, Node> = others.iter().map(|node| (node.id.clone(), node.clone())).collect();
        for (id, node) in self.present.iter().filter(|(id, _)| !present.contains_key(*id)) {
            let NodeHost::Address(address) = node.host else { panic!("{node:?}") };
            let allowed = networks.iter().any(|network| network.contains(&address));
            let unwanted = !allowed || file.iter().any(|own| own.id == *id || own.host == node.host);
            let drained = self.leaving.get(id).map(|since| now.saturating_duration_since(*since));
            let is_drained =
                drained.is_some_and(|time| time >= LONGEST_DRAIN || (busy == Some(0) && time >= SHORTEST_DRAIN));
            assert!(is_drained || (reloaded && unwanted), "{id} went after {drained:?} with {busy:?} in flight");
        }
        let leaving = others.iter().filter(|node| node.leaving).map(|node| node.id.clone());
        self.leaving = leaving.map(|id| (id.clone(), self.leaving.get(&id).copied().unwrap_or(now))).collect();
        self.present = present;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_members_are_as_they_must_be(steps in proptest::collection::vec(step(), 1..60)) {
        let bases = &*BASES;
        let (mut base, mut now) = (bases[0].clone(), Instant::now());
        let (mut members, mut model) = (Members::new(base.clone()), Model::default());
        let esb = name("esb");
        for step in steps {
            let (before, mut busy, mut reloaded) = (members.effective(), None, false);
            members.take_news();
            match step {
                Step::Register { id: number, address, weight, lease } => {
                    let lease = Duration::from_secs(lease);
                    let registration = Registration { weight, lease, ..at(&format!("10.0.0.{address}")) };
                    if members.register(&esb, &id(number), &registration, now).is_ok() {
                        // Who had its place lost its lease.
                        let shown = |other: &NodeId| members.shown(&esb, other, now).is_some_and(|shown| shown.lease.is_some());
                        model.leases.retain(|other, _| shown(other));
                        model.leases.insert(id(number), now + lease);
                    }
                }
                Step::Renew { id: number, lease } => {
                    let known = model.leases.contains_key(&id(number));
                    let renewed = members.renew(&esb, &id(number), lease.map(Duration::from_secs), now);
                    prop_assert_eq!(renewed.is_ok(), known, "{:?}", renewed);
                    if let Ok(Shown { lease: Some((term, left)), .. }) = renewed {
                        prop_assert_eq!(term, left);
                        model.leases.insert(id(number), now + term);
                    }
                    prop_assert!(!members.is_news(), "a renewal is nothing to publish");
                }
                Step::Deregister { id: number } => {
                    let known = model.leases.remove(&id(number)).is_some();
                    let done = members.deregister(&esb, &id(number), now).is_ok();
                    prop_assert!(done || !known);
                }
                Step::Update { source, nodes } => {
                    let source = Source::Configured(name(if source { "a" } else { "b" }));
                    let nodes = nodes.into_iter().map(|(number, address)| node(&format!("n{number}"), &format!("10.0.0.{address}")));
                    let _ = members.update(&esb, &source, nodes.collect(), now);
                }
                Step::Weight { id: number, weight } => _ = members.set_weight(&esb, &id(number), weight),
                Step::Base(position) => {
                    base = bases[position].clone();
                    members.set_base(base.clone(), now);
                    let shown = |id: &NodeId| members.shown(&esb, id, now).is_some_and(|shown| shown.lease.is_some());
                    model.leases.retain(|id, _| shown(id));
                    reloaded = true;
                }
                Step::Pass { tenths, busy: requests } => {
                    now += Duration::from_millis(100 * tenths);
                    members.expire(now, &|_, _| requests);
                    model.leases.retain(|_, ends| *ends > now);
                    busy = Some(requests);
                }
            }
            prop_assert!(members.is_news() || members.effective() == before, "a change that is not told");
            model.check(&base, &members, now, busy, reloaded);
        }
        // When everybody is silent, nobody stays but those that sources name.
        for _ in 0..3 {
            now += LONGEST_DRAIN;
            members.expire(now, &idle);
        }
        prop_assert!(members.leaving().is_empty() && !members.is_waiting());
    }
}
