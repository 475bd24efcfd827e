//! The configuration file of `carbon-elb scale`, read as the balancer's own is.
//!
//! What the pools should have is not here: the balancer's policy says that.

mod provider;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;

pub use self::provider::{Commands, Container, ProviderSettings};
use super::plan::Limits;
use super::world::PoolName;
use crate::config::decode::{At, Field, Fields, Items, list_or_one, named};
use crate::config::problem::{Problems, Spot, quoted};
use crate::config::secrets::{TOKEN, of_file, variable};
use crate::config::tree::Node;
use crate::config::values::{duration, file, number, parsed};
use crate::config::{Problem, Secret, has_key, load_other};
use crate::ids::{NAME_RULE, Name, Role};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const URL_RULE: &str = "the URL of an admin listener, such as http://127.0.0.1:9601";
const PREFIX_RULE: &str = "1 to 40 ASCII letters, digits, '-', '_' or '.', the first a letter or digit: ids begin so, and no other node's does";

/// What `carbon-elb scale` runs on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// The admin listeners of all balancers that have the members: `http://HOST:PORT` or `https://HOST:PORT`.
    pub balancers: Vec<Uri>,
    /// What it shows them: it must be allowed to register and to operate members of the pools.
    pub token: Secret,
    /// Certificates that the balancers' are verified with; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// From one look at the pools to the next.
    pub poll: Duration,
    /// For one request to a balancer.
    pub timeout: Duration,
    /// The pools that are scaled; at least one, each once.
    pub pools: Vec<PoolSettings>,
}

/// How one pool is scaled.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolSettings {
    /// Which pool.
    pub name: PoolName,
    /// What the ids of its instances begin with.
    pub prefix: String,
    /// The weight of its members; `None`: that of the balancer.
    pub weight: Option<u16>,
    /// How long a member stays registered if nothing is heard of it: for so long this program may be away.
    pub lease: Duration,
    /// The most members that it brings the pool to, whatever the balancer wants; `None`: as many as the balancer wants.
    pub max: Option<usize>,
    /// What limits the executor besides the policy; [`Limits::join`] is the policy's, and set later.
    pub limits: Limits,
    /// What starts and stops its instances.
    pub provider: ProviderSettings,
}

impl Settings {
    /// Whether a file is meant to be one of these, and not a balancer's.
    pub fn is_one(path: &Path) -> bool {
        has_key(path, "balancers")
    }

    /// Reads and checks a file. Returns warnings, too.
    ///
    /// # Errors
    /// All problems of the file, warnings included, if one of them is an error.
    pub fn load(path: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        load_other(path, Settings::read)
    }

    fn read(node: &Node, folder: &Path, problems: &mut Problems) -> Option<Self> {
        let at = Spot::root(node.line);
        let mut fields = Fields::open(node, &at, problems)?;
        let balancers =
            fields.required("balancers", "a list of URLs", list_or_one("a list of URLs", parsed(URL_RULE, url)));
        let token = fields.field("token", variable(&TOKEN));
        let token_file = fields.field("token_file", file);
        let ca = fields.field("ca", file);
        let poll = fields.field("poll", duration(10 * MILLISECOND..=HOUR));
        let timeout = fields.field("timeout", duration(10 * MILLISECOND..=HOUR));
        let expected = "a map from the name of a cluster to its roles";
        let folder_of = |text: &str| folder.join(text);
        let pools = fields.required("pools", expected, named(expected, roles));
        fields.close();
        let token = one_token(&token, &token_file, folder_of, &at, problems);
        let urls = balancers.value().map(Items::values).unwrap_or_default();
        if let Some(balancers) = balancers.given().filter(|given| given.value.complete && urls.is_empty()) {
            problems.error(&balancers.at, "there is none", "at least one URL");
        }
        clear_text(&balancers, problems);
        let pools = pools.value().map(pools_of).unwrap_or_default();
        if pools.is_empty() {
            problems.error(&at.missing("pools"), "has no pool", "at least one");
        }
        no_common_prefix(&pools, &at, problems);
        Some(Settings {
            balancers: urls,
            token: token?,
            ca: ca.value().map(|text| folder.join(text)),
            poll: poll.or(Duration::from_secs(2)),
            timeout: timeout.or(Duration::from_secs(5)),
            pools,
        })
    }
}

/// `http://HOST:PORT` or `https://HOST:PORT`, and nothing behind it.
fn url(text: &str) -> Result<Uri, String> {
    let wrong = |why: &str| format!("{} {why}", quoted(text));
    let url: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(wrong("does not begin with http:// or https:// and a host"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || text.contains('@') {
        return Err(wrong("has more than a host and a port"));
    }
    Ok(url)
}

/// The token crosses the network.
fn clear_text(balancers: &Field<Items<Uri>>, problems: &mut Problems) {
    for item in balancers.value().into_iter().flat_map(|items| &items.items) {
        let host = item.value.host().unwrap_or_default().trim_matches(['[', ']']);
        let near = host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        if item.value.scheme_str() == Some("http") && !near {
            problems.warning(&item.at, format!("the token crosses the network in clear text to {host}"));
        }
    }
}

fn one_token(
    token: &Field<Secret>,
    token_file: &Field<String>,
    path: impl Fn(&str) -> PathBuf,
    at: &Spot,
    problems: &mut Problems,
) -> Option<Secret> {
    const ALLOWED: &str = "token or token_file";
    match (token.given(), token_file.given()) {
        (Some(_), Some(file)) => {
            problems.error(&file.at, "token is given, too", ALLOWED);
            None
        }
        (Some(token), None) => Some(token.value.clone()),
        (None, Some(At { value, at })) => {
            let mut tokens = of_file(path(value), at, &TOKEN, problems).into_iter();
            let first = tokens.next();
            if tokens.next().is_some() {
                problems.error(at, "has more than one token", "a file with one token");
            }
            first
        }
        (None, None) => {
            if !token.is_bad() && !token_file.is_bad() {
                problems.error(&at.missing("token_file"), "is missing", ALLOWED);
            }
            None
        }
    }
}

/// By [`Role::index`].
type Roles = [Field<RawPool>; 2];

fn roles(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Roles> {
    let mut fields = Fields::open(node, at, problems)?;
    let [manager, worker] = [fields.field("manager", RawPool::read), fields.field("worker", RawPool::read)];
    fields.close();
    Some([manager, worker])
}

/// A pool as it was written. What could not be read is reported, and the rest is as if it had not been written.
#[derive(Debug, Clone)]
struct RawPool {
    prefix: Field<String>,
    weight: Field<u16>,
    lease: Field<Duration>,
    max: Field<usize>,
    starts: Field<usize>,
    drain: Field<Duration>,
    provider: ProviderSettings,
}

impl RawPool {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let prefix = fields.field("prefix", parsed(PREFIX_RULE, prefix));
        let weight = fields.field("weight", number(1..=256));
        let lease = fields.field("lease", duration(Duration::from_secs(1)..=HOUR));
        let max = fields.field("max", number(1..=1000));
        let starts = fields.field("starts", number(1..=1000));
        let drain = fields.field("drain", duration(Duration::ZERO..=DAY));
        let provider = provider::read(&mut fields);
        fields.close();
        let provider = provider.check(at, problems)?;
        Some(RawPool { prefix, weight, lease, max, starts, drain, provider })
    }

    fn check(&self, name: PoolName) -> PoolSettings {
        let lease = self.lease.or(Duration::from_secs(10 * 60));
        PoolSettings {
            prefix: self.prefix.value().cloned().unwrap_or_else(|| format!("auto-{}-", name.role)),
            weight: self.weight.value().copied(),
            lease,
            max: self.max.value().copied(),
            limits: Limits {
                starts: self.starts.or(4),
                join: Duration::MAX,
                drain: self.drain.or(Duration::from_secs(30 * 60)),
                // Two may be lost.
                renew: lease / 3,
            },
            provider: self.provider.clone(),
            name,
        }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    match text.len() <= 40 && Name::parse(text).is_some() {
        true => Ok(text.to_owned()),
        false => Err(format!("{} cannot begin a name, which has {NAME_RULE}", quoted(text))),
    }
}

fn pools_of(clusters: &Items<(Name, Roles)>) -> Vec<PoolSettings> {
    let roles = clusters.items.iter().flat_map(|At { value: (cluster, roles), .. }| {
        Role::ALL.into_iter().zip(roles).map(move |(role, pool)| (PoolName { cluster: cluster.clone(), role }, pool))
    });
    roles.filter_map(|(name, pool)| Some(pool.value()?.check(name))).collect()
}

/// By its id one sees whose an instance is.
fn no_common_prefix(pools: &[PoolSettings], at: &Spot, problems: &mut Problems) {
    for (index, pool) in pools.iter().enumerate() {
        let other = pools.iter().take(index).find(|other| {
            other.name.cluster == pool.name.cluster
                && (other.prefix.starts_with(&pool.prefix) || pool.prefix.starts_with(&other.prefix))
        });
        if let Some(other) = other {
            let what = format!("the ids of {} and of {} begin alike", other.name, pool.name);
            problems.error(at, what, "prefixes of which none begins another one of the cluster");
        }
    }
}
