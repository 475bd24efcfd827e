//! From containers and their labels to members. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use crate::ids::{ClusterName, Endpoint, NAME_RULE, Name, NodeId, Role};

/// What all labels begin with.
const PREFIX: &str = "carbon-elb.";
/// What the autoscaler's labels begin with: they are none of ours.
const AUTOSCALER: &str = "carbon-elb.scale.";
/// The label that makes a container a member.
pub(super) const CLUSTER: &str = "carbon-elb.cluster";

const KNOWN: [&str; 10] = [
    CLUSTER,
    "carbon-elb.role",
    "carbon-elb.id",
    "carbon-elb.weight",
    "carbon-elb.backup",
    "carbon-elb.max-in-flight",
    "carbon-elb.route",
    "carbon-elb.network",
    "carbon-elb.port.servlet",
    "carbon-elb.port.passthrough",
];

/// What the Engine tells of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// The Engine's id.
    pub id: String,
    /// Without the slash in front.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs, and is neither paused nor being restarted.
    pub running: bool,
    /// Whether its health check says that it is well, or it has none.
    pub healthy: bool,
    /// Its addresses by the names of its networks, IPv4 first.
    pub networks: BTreeMap<String, Vec<IpAddr>>,
}

/// Whose member, and which.
pub type Key = (ClusterName, NodeId);

/// What a container is as a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub address: IpAddr,
    /// What it does.
    pub role: Role,
    /// Share of the load, 1 to 256.
    pub weight: u16,
    /// By [`Endpoint::index`]; `None`: the port of the cluster's endpoint.
    pub ports: [Option<u16>; 2],
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Requests in flight on each endpoint.
    pub max_in_flight: Option<usize>,
    /// What Tomcat on it adds to session ids; `None`: its id.
    pub route: Option<String>,
}

/// The members among containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Each with where and what it is.
    pub members: BTreeMap<Key, Member>,
    /// Containers that want to be members and cannot, and why.
    pub refused: Vec<String>,
}

/// The members among containers: those with the label `carbon-elb.cluster` that run and are well. Their addresses are
/// those on the network that they name, else on `network`, else on the only one that they are on.
pub fn members(containers: &[Container], network: Option<&str>) -> Found {
    let mut found = Found::default();
    let mut containers: Vec<&Container> = containers.iter().filter(|container| container.is_up()).collect();
    // The same one wins wherever two want to be one.
    containers.sort_by(|a, b| a.id.cmp(&b.id));
    for container in containers {
        match container.member(network) {
            Ok((key, _)) if found.members.contains_key(&key) => {
                found.refused.push(format!("{}: another container is {}/{}", container.name, key.0, key.1));
            }
            Ok((key, member)) => _ = found.members.insert(key, member),
            Err(why) => found.refused.push(format!("{}: {why}", container.name)),
        }
    }
    found
}

impl Container {
    fn is_up(&self) -> bool {
        self.running && self.healthy && self.labels.contains_key(CLUSTER)
    }

    fn member(&self, network: Option<&str>) -> Result<(Key, Member), String> {
        let own = |label: &&String| label.starts_with(PREFIX) && !label.starts_with(AUTOSCALER);
        if let Some(unknown) = self.labels.keys().filter(own).find(|label| !KNOWN.contains(&label.as_str())) {
            return Err(format!("label {unknown:?} is not known; allowed: {}", KNOWN.join(", ")));
        }
        let cluster = self.read(CLUSTER, NAME_RULE, Name::parse)?.ok_or("no cluster")?;
        let id = match self.read("carbon-elb.id", NAME_RULE, Name::parse)? {
            Some(id) => id,
            None => Name::parse(&self.name).ok_or("its name can be no id: it needs the label carbon-elb.id")?,
        };
        let role = |text: &str| Role::ALL.into_iter().find(|role| role.as_str() == text);
        let port = |endpoint: Endpoint| {
            let label = format!("carbon-elb.port.{endpoint}");
            self.read(&label, "1 to 65535", |text| number(text, 1, u16::MAX))
        };
        let member = Member {
            address: self.address(network)?,
            role: self.read("carbon-elb.role", "worker, manager", role)?.unwrap_or(Role::Worker),
            weight: self.read("carbon-elb.weight", "1 to 256", |text| number(text, 1, 256))?.unwrap_or(1),
            ports: [port(Endpoint::ALL[0])?, port(Endpoint::ALL[1])?],
            backup: self.read("carbon-elb.backup", "true, false", |text| text.parse().ok())?.unwrap_or(false),
            max_in_flight: self.read("carbon-elb.max-in-flight", "1 to 1000000", |text| number(text, 1, 1_000_000))?,
            route: self.labels.get("carbon-elb.route").cloned(),
        };
        Ok(((cluster, id), member))
    }

    /// The value of a label; `None` without it.
    fn read<T>(&self, label: &str, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, String> {
        let Some(text) = self.labels.get(label) else { return Ok(None) };
        match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("label {label}: {text:?} is not allowed; allowed: {allowed}")),
        }
    }

    fn address(&self, network: Option<&str>) -> Result<IpAddr, String> {
        let wanted = self.labels.get("carbon-elb.network").map(String::as_str).or(network);
        let addresses = match wanted {
            Some(name) => self.networks.get(name).ok_or_else(|| format!("it is not on network {name:?}"))?,
            None => {
                let mut all = self.networks.values();
                match (all.next(), all.next()) {
                    (Some(only), None) => only,
                    (None, _) => return Err("it is on no network".to_owned()),
                    (Some(_), Some(_)) => {
                        return Err("it is on several networks: say which (carbon-elb.network or --network)".to_owned());
                    }
                }
            }
        };
        // A container that uses the host's network has none of its own.
        addresses.first().copied().ok_or_else(|| "it has no address there".to_owned())
    }
}

/// A whole number within bounds; digits only.
fn number<T: FromStr + PartialOrd>(text: &str, least: T, most: T) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && (least..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `wk-1` on one network, with these labels besides its cluster.
    fn container(labels: &[(&str, &str)]) -> Container {
        let cluster = [(CLUSTER, "esb")];
        let labels = cluster.iter().chain(labels).map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        Container {
            id: "0123".to_owned(),
            name: "wk-1".to_owned(),
            labels: labels.collect(),
            running: true,
            healthy: true,
            networks: BTreeMap::from([(
                "carbon".to_owned(),
                vec!["172.18.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            )]),
        }
    }

    fn only(container: Container, network: Option<&str>) -> Result<(String, Member), String> {
        let Found { members, mut refused } = members(&[container], network);
        assert_eq!(members.len() + refused.len(), 1, "{members:?} {refused:?}");
        match members.into_iter().next() {
            Some(((cluster, id), member)) => Ok((format!("{cluster}/{id}"), member)),
            None => Err(refused.remove(0)),
        }
    }

    #[test]
    fn labels_say_what_a_container_is() {
        let (key, member) =
            only(container(&[("org.example.other", "x"), ("carbon-elb.scale.member", "y")]), None).unwrap();
        let plain = Member {
            address: "172.18.0.5".parse().unwrap(),
            role: Role::Worker,
            weight: 1,
            ports: [None, None],
            backup: false,
            max_in_flight: None,
            route: None,
        };
        assert_eq!((key.as_str(), &member), ("esb/wk-1", &plain));
        let all = container(&[
            ("carbon-elb.role", "manager"),
            ("carbon-elb.id", "m"),
            ("carbon-elb.weight", "7"),
            ("carbon-elb.backup", "true"),
            ("carbon-elb.max-in-flight", "50"),
            ("carbon-elb.route", "m1"),
            ("carbon-elb.network", "carbon"),
            ("carbon-elb.port.servlet", "9444"),
            ("carbon-elb.port.passthrough", "8281"),
        ]);
        let full = Member {
            role: Role::Manager,
            weight: 7,
            ports: [Some(9444), Some(8281)],
            backup: true,
            max_in_flight: Some(50),
            route: Some("m1".to_owned()),
            ..plain
        };
        assert_eq!(only(all, Some("other")), Ok(("esb/m".to_owned(), full)));
    }

    #[test]
    fn mistakes_are_told() {
        let rows = [
            ("carbon-elb.cluster", "e s b", "wk-1: label carbon-elb.cluster: \"e s b\" is not allowed"),
            ("carbon-elb.role", "both", "label carbon-elb.role: \"both\" is not allowed; allowed: worker, manager"),
            ("carbon-elb.id", "", "label carbon-elb.id: \"\" is not allowed"),
            ("carbon-elb.weight", "0", "\"0\" is not allowed; allowed: 1 to 256"),
            ("carbon-elb.weight", "+5", "\"+5\" is not allowed"),
            ("carbon-elb.weight", "257", "\"257\" is not allowed"),
            ("carbon-elb.backup", "yes", "\"yes\" is not allowed; allowed: true, false"),
            ("carbon-elb.port.servlet", "70000", "\"70000\" is not allowed; allowed: 1 to 65535"),
            ("carbon-elb.network", "other", "it is not on network \"other\""),
            ("carbon-elb.wieght", "5", "label \"carbon-elb.wieght\" is not known; allowed: carbon-elb.cluster,"),
        ];
        for (label, value, fragment) in rows {
            let why = only(container(&[(label, value)]), None).unwrap_err();
            assert!(why.contains(fragment), "{label}={value}: {why}");
        }
        let odd = Container { name: "_odd".to_owned(), ..container(&[]) };
        assert!(only(odd, None).unwrap_err().contains("its name can be no id"));
    }

    #[test]
    fn an_address_is_on_one_network() {
        let mut two = container(&[]);
        two.networks.insert("front".to_owned(), vec!["172.19.0.5".parse().unwrap()]);
        two.networks.insert("host".to_owned(), vec![]);
        let address = |network| only(two.clone(), network).map(|(_, member)| member.address.to_string());
        assert_eq!(address(Some("front")).as_deref(), Ok("172.19.0.5"));
        assert_eq!(address(Some("carbon")).as_deref(), Ok("172.18.0.5"));
        assert!(address(None).unwrap_err().contains("on several networks"));
        assert!(address(Some("host")).unwrap_err().contains("no address there"));
        assert!(address(Some("none")).unwrap_err().contains("not on network \"none\""));
        let none = Container { networks: BTreeMap::new(), ..container(&[]) };
        assert!(only(none, None).unwrap_err().contains("on no network"));
    }

    #[test]
    fn only_who_runs_and_is_well_is_a_member() {
        let stopped = Container { running: false, ..container(&[]) };
        let ill = Container { healthy: false, ..container(&[]) };
        let stranger = Container { labels: BTreeMap::new(), ..container(&[]) };
        assert_eq!(members(&[stopped, ill, stranger], None), Found::default());
        // Of two of one id it is always the same one.
        let first = container(&[("carbon-elb.weight", "1")]);
        let second = Container {
            id: "4567".to_owned(),
            name: "b".to_owned(),
            ..container(&[("carbon-elb.id", "wk-1"), ("carbon-elb.weight", "2")])
        };
        for pair in [[first.clone(), second.clone()], [second, first]] {
            let found = members(&pair, None);
            assert_eq!(found.members.values().map(|member| member.weight).collect::<Vec<_>>(), [1]);
            assert_eq!(found.refused, ["b: another container is esb/wk-1"]);
        }
    }
}
