//! Instances that are containers on a Docker Engine.
//!
//! The Engine remembers: each container carries labels with its cluster, its role and its id.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};

use super::{Fault, Provider, told};
use crate::executor::excerpt::{SENTENCE, excerpt};
use crate::executor::settings::Container;
use crate::executor::world::{Instance, Place, PoolName};
use crate::ids::{Name, NodeId};

const LABEL_CLUSTER: &str = "carbon-elb.scale.cluster";
const LABEL_ROLE: &str = "carbon-elb.scale.role";
const LABEL_MEMBER: &str = "carbon-elb.scale.member";

/// How long an answer of the Engine may take, besides the time that a container has to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The containers of one pool.
pub(super) struct Docker {
    pool: PoolName,
    template: Container,
    engine: bollard::Docker,
}

impl Docker {
    /// Makes containers as the template says. The Engine need not be there yet.
    ///
    /// # Errors
    /// The Engine's address is none.
    pub(super) fn new(pool: PoolName, template: Container) -> Result<Self, Fault> {
        let patience = (PATIENCE + template.stop_timeout).as_secs();
        let engine = bollard::Docker::connect_with_unix(&template.engine, patience, OLDEST).map_err(fault)?;
        Ok(Docker { pool, template, engine })
    }

    fn name(&self, id: &NodeId) -> String {
        format!("{}-{id}", self.pool.cluster)
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [(LABEL_CLUSTER, self.pool.cluster.to_string()), (LABEL_ROLE, self.pool.role.to_string())]
    }

    /// What the Engine is asked to make.
    fn body(&self, id: &NodeId) -> ContainerCreateBody {
        let template = &self.template;
        let filled = |text: &str| fill(text, &self.pool, id);
        let told = told(&self.pool, id).map(|(name, value)| format!("{name}={value}"));
        let own = template.env.iter().map(|(name, value)| format!("{name}={}", filled(value)));
        let mut labels: HashMap<String, String> = template.labels.clone().into_iter().collect();
        // These decide what is stopped: the template cannot change them.
        labels.extend(self.labels().map(|(name, value)| (name.to_owned(), value)));
        labels.insert(LABEL_MEMBER.to_owned(), id.to_string());
        let command: Vec<String> = template.command.iter().map(|argument| filled(argument)).collect();
        ContainerCreateBody {
            image: Some(template.image.clone()),
            cmd: (!command.is_empty()).then_some(command),
            env: Some(own.chain(told).collect()),
            labels: Some(labels),
            stop_timeout: i64::try_from(template.stop_timeout.as_secs()).ok(),
            host_config: Some(HostConfig {
                network_mode: Some(template.network.clone()),
                memory: template.memory.and_then(|bytes| i64::try_from(bytes).ok()),
                nano_cpus: template.cpus.map(|thousandths| i64::from(thousandths) * 1_000_000),
                readonly_rootfs: Some(template.read_only),
                cap_drop: Some(vec!["ALL".to_owned()]),
                cap_add: Some(template.capabilities.clone()),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    async fn run(&self, id: &NodeId, name: &str) -> Result<Place, Error> {
        self.engine.start_container(name, None).await?;
        let inspected = self.engine.inspect_container(name, None).await?;
        let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.get(&self.template.network).and_then(|network| address(network.ip_address.as_deref()));
        address.map(|address| self.place(address)).ok_or_else(|| {
            Error::from(std::io::Error::other(format!("{id} has no address on {}", self.template.network)))
        })
    }

    fn place(&self, address: IpAddr) -> Place {
        Place { address, ports: self.template.ports }
    }

    fn instance(&self, container: &ContainerSummary) -> Option<(NodeId, Instance)> {
        use ContainerSummaryStateEnum as State;
        let id = Name::parse(container.labels.as_ref()?.get(LABEL_MEMBER)?)?;
        let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        let network = networks.and_then(|networks| networks.get(&self.template.network));
        let address = network.and_then(|network| address(network.ip_address.as_deref()));
        let instance = match (container.state?, address) {
            // One that is on another network by now is as good as gone for the balancer; its health check tells.
            (State::RUNNING | State::PAUSED | State::RESTARTING, Some(address)) => {
                Instance::Running(self.place(address))
            }
            (State::REMOVING | State::STOPPING, _) => Instance::Stopping,
            // Also one that was made and never started.
            _ => Instance::Ended,
        };
        Some((id, instance))
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default().v(true).build();
        gone_is_good(self.engine.remove_container(name, Some(options)).await)
    }
}

/// The oldest Engine that is spoken to: Docker 20.10.
const OLDEST: &bollard::ClientVersion = &bollard::ClientVersion { major_version: 1, minor_version: 41 };

#[async_trait]
impl Provider for Docker {
    async fn list(&self) -> Result<BTreeMap<NodeId, Instance>, Fault> {
        let labels = self.labels().map(|(name, value)| format!("{name}={value}")).to_vec();
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let containers = self.engine.list_containers(Some(options)).await.map_err(fault)?;
        Ok(containers.iter().filter_map(|container| self.instance(container)).collect())
    }

    async fn start(&self, id: &NodeId) -> Result<Place, Fault> {
        let name = self.name(id);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        self.engine.create_container(Some(options), self.body(id)).await.map_err(fault)?;
        match self.run(id, &name).await {
            Ok(place) => Ok(place),
            Err(error) => {
                // If this fails too, the container is listed as ended, or runs and is registered.
                let _ = self.remove(&name).await;
                Err(fault(error))
            }
        }
    }

    async fn stop(&self, id: &NodeId, _: Option<&Place>) -> Result<(), Fault> {
        let name = self.name(id);
        let seconds = i32::try_from(self.template.stop_timeout.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        gone_is_good(self.engine.stop_container(&name, Some(options)).await).map_err(fault)?;
        self.remove(&name).await.map_err(fault)
    }
}

fn address(text: Option<&str>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// Puts what is known of an instance into a text.
fn fill(text: &str, pool: &PoolName, id: &NodeId) -> String {
    text.replace("{member}", id.as_str())
        .replace("{cluster}", pool.cluster.as_str())
        .replace("{role}", pool.role.as_str())
}

/// What is not there, or on its way out, need not be stopped; what is stopped need not be, either.
fn gone_is_good(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::DockerResponseServerError { status_code: 304 | 404, .. }) => Ok(()),
        Err(Error::DockerResponseServerError { status_code: 409, message }) if message.contains("in progress") => {
            Ok(())
        }
        other => other,
    }
}

fn fault(error: Error) -> Fault {
    Fault(match error {
        Error::DockerResponseServerError { status_code, message } => {
            format!("Docker: {status_code}: {}", excerpt(&message, SENTENCE))
        }
        other => format!("Docker: {}", excerpt(&other.to_string(), SENTENCE)),
    })
}
