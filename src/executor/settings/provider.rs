//! What starts and stops the instances of a pool, as it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HOUR;
use crate::config::decode::{Field, Fields, Items, list, scalar, wrong_type};
use crate::config::problem::{Problems, Spot, quoted};
use crate::config::tree::{Node, Value};
use crate::config::values::{boolean, duration, number, parsed, size, word};
use crate::ids::Endpoint;

const PROVIDERS: &[(&str, Kind)] = &[("docker", Kind::Docker), ("exec", Kind::Exec), ("none", Kind::None)];
const COMMAND: &str = "a program with its arguments, as a list of texts";
const CAPABILITIES: &str = "a list of capabilities such as SETUID";
const TEXTS: &str = "a map from names to texts";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Exec,
    None,
}

/// What starts and stops the instances of a pool.
#[derive(Clone, PartialEq, Eq)]
pub enum ProviderSettings {
    /// Containers on a Docker Engine.
    Docker(Container),
    /// The operator's own programs.
    Exec(Commands),
    /// Nothing: what is wanted is logged.
    None,
}

/// Without what it holds: environments of containers have secrets.
impl std::fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProviderSettings::Docker(_) => "Docker(…)",
            ProviderSettings::Exec(_) => "Exec(…)",
            ProviderSettings::None => "None",
        })
    }
}

/// What a container is made from. `{member}`, `{cluster}` and `{role}` in arguments and values of the environment stand for
/// those of the instance.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// Where the Engine's API is: `unix:///var/run/docker.sock`.
    pub engine: String,
    /// The image, which has to be there.
    pub image: String,
    /// Arguments for the image's entry point; empty: the image's own.
    pub command: Vec<String>,
    /// Variables, besides those that every instance gets.
    pub env: BTreeMap<String, String>,
    /// The network that the balancer reaches it through.
    pub network: String,
    /// Labels, besides those that say whose it is.
    pub labels: BTreeMap<String, String>,
    /// Ports of the node, by [`Endpoint::index`]; `None`: those of the cluster.
    pub ports: [Option<u16>; 2],
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpus: Option<u32>,
    /// Whether its root file system can be read only.
    pub read_only: bool,
    /// Capabilities that it keeps; all others are taken from it.
    pub capabilities: Vec<String>,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

/// The operator's own programs; argument by argument, no shell.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commands {
    /// Starts an instance and prints its address.
    pub start: Vec<String>,
    /// Stops it. To stop what does not run is no error.
    pub stop: Vec<String>,
    /// Prints what runs. Nothing else is taken for an instance.
    pub list: Vec<String>,
    /// For each run of one of them.
    pub timeout: Duration,
}

/// What was written.
pub(super) struct Written {
    kind: Field<Kind>,
    docker: Field<Container>,
    exec: Field<Commands>,
}

pub(super) fn read(fields: &mut Fields<'_, '_>) -> Written {
    Written {
        kind: fields.required("provider", "docker, exec, none", word(PROVIDERS)),
        docker: fields.field("docker", container),
        exec: fields.field("exec", commands),
    }
}

impl Written {
    /// Exactly the section of the chosen provider must be there.
    pub(super) fn check(self, at: &Spot, problems: &mut Problems) -> Option<ProviderSettings> {
        let kind = *self.kind.value()?;
        let sections = [
            (Kind::Docker, "docker", self.docker.given().map(|given| &given.at)),
            (Kind::Exec, "exec", self.exec.given().map(|given| &given.at)),
        ];
        for (_, name, given) in sections.iter().filter(|(of, _, _)| *of != kind) {
            if let Some(at) = given {
                problems.error(at, format!("is not for this provider ({name} is another one)"), "leave it out");
            }
        }
        let mut missing = |name: &str, bad: bool| {
            if !bad {
                problems.error(&at.missing(name), "is missing", format!("a map; provider: {name} needs it"));
            }
        };
        match kind {
            Kind::None => Some(ProviderSettings::None),
            Kind::Docker => match self.docker.value() {
                Some(container) => Some(ProviderSettings::Docker(container.clone())),
                None => {
                    missing("docker", self.docker.is_bad());
                    None
                }
            },
            Kind::Exec => match self.exec.value() {
                Some(commands) => Some(ProviderSettings::Exec(commands.clone())),
                None => {
                    missing("exec", self.exec.is_bad());
                    None
                }
            },
        }
    }
}

fn container(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Container> {
    const ENGINE: &str = "the address of a Docker Engine: unix:// and the path of its socket";
    let mut fields = Fields::open(node, at, problems)?;
    let engine = fields.field("engine", parsed(ENGINE, engine));
    let image = fields.required("image", "the name of an image", text("the name of an image"));
    let command = fields.field("command", list(COMMAND, text(COMMAND)));
    let env = fields.field("env", map);
    let network = fields.required("network", "the name of a network", text("the name of a network"));
    let labels = fields.field("labels", map);
    let ports = fields.field("ports", ports);
    let memory = fields.field("memory", size(6 << 20..=1 << 40));
    let cpus = fields.field("cpus", parsed("a number of processors such as 1.5, from 0.01 to 1024", cpus));
    let read_only = fields.field("read_only", boolean);
    let capabilities = fields.field("capabilities", list(CAPABILITIES, parsed(CAPABILITIES, capability)));
    let stop_timeout = fields.field("stop_timeout", duration(Duration::from_secs(1)..=HOUR));
    fields.close();
    Some(Container {
        engine: engine.value().cloned().unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned()),
        image: image.value()?.clone(),
        command: texts(&command),
        env: env.or_empty(),
        network: network.value()?.clone(),
        labels: labels.or_empty(),
        ports: ports.or_empty(),
        memory: memory.value().copied(),
        cpus: cpus.value().copied(),
        read_only: read_only.or(false),
        capabilities: texts(&capabilities),
        stop_timeout: stop_timeout.or(Duration::from_secs(30)),
    })
}

fn engine(text: &str) -> Result<String, String> {
    match text.strip_prefix("unix://").is_some_and(|path| path.starts_with('/')) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is not a socket", quoted(text))),
    }
}

fn capability(text: &str) -> Result<String, String> {
    let good = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    match good && text != "ALL" {
        true => Ok(text.to_owned()),
        false => Err(format!("{} is not one capability", quoted(text))),
    }
}

/// Thousandths of a processor.
fn cpus(text: &str) -> Result<u32, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number = text.parse::<f64>().ok().filter(|number| digits && (0.01..=1024.0).contains(number));
    let number = number.ok_or_else(|| format!("{} is not such a number", quoted(text)))?;
    Ok((number * 1000.0).round() as u32) // at most 1,024,000
}

fn commands(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Commands> {
    let command = || list(COMMAND, text(COMMAND));
    let mut fields = Fields::open(node, at, problems)?;
    let start = fields.required("start", COMMAND, command());
    let stop = fields.required("stop", COMMAND, command());
    let listed = fields.required("list", COMMAND, command());
    let timeout = fields.field("timeout", duration(Duration::from_millis(100)..=HOUR));
    fields.close();
    for command in [&start, &stop, &listed].into_iter().filter_map(Field::given) {
        if command.value.complete && command.value.items.is_empty() {
            problems.error(&command.at, "names no program", COMMAND);
        }
    }
    Some(Commands {
        start: texts(&start),
        stop: texts(&stop),
        list: texts(&listed),
        timeout: timeout.or(Duration::from_secs(60)),
    })
}

fn ports(node: &Node, at: &Spot, problems: &mut Problems) -> Option<[Option<u16>; 2]> {
    let mut fields = Fields::open(node, at, problems)?;
    let port = |fields: &mut Fields<'_, '_>, name| fields.field(name, number(1..=u16::MAX)).value().copied();
    let ports = Endpoint::ALL.map(|endpoint| port(&mut fields, endpoint.as_str()));
    fields.close();
    Some(ports)
}

fn texts(items: &Field<Items<String>>) -> Vec<String> {
    items.value().map(Items::values).unwrap_or_default()
}

/// A reader of any text that is not empty and fits into an argument.
fn text(rule: &'static str) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<String> + Clone {
    parsed(rule, |text| match text {
        "" => Err("is empty".to_owned()),
        text if text.contains('\0') => Err("has a zero byte".to_owned()),
        text => Ok(text.to_owned()),
    })
}

/// A map whose keys are not names of ours; values may be empty.
fn map(node: &Node, at: &Spot, problems: &mut Problems) -> Option<BTreeMap<String, String>> {
    let Value::Map(entries) = &node.value else {
        wrong_type(node, at, TEXTS, problems);
        return None;
    };
    let mut map = BTreeMap::new();
    for entry in entries {
        let at = at.key(&entry.key, entry.line);
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            problems.error(&at, "cannot be a name here", "a name without '='");
            continue;
        }
        let value = scalar(&entry.value, &at, "a text", problems)?;
        map.insert(entry.key.clone(), value.text.clone());
    }
    Some(map)
}
