//! Watches the containers of an Engine: a list, and the events that say when it is old.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, EventMessage, HealthStatusEnum,
};
use bollard::query_parameters::{EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder};
use bollard::{ClientVersion, Docker};
use futures_util::StreamExt as _;
use log::{info, warn};
use tokio::sync::watch;

use super::labels::CLUSTER;
use super::{Container, Found, members};
use crate::discovery::ttl::Retry;
use crate::select::Draws;

/// How long the Engine may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The list is read again after this time even if no event comes: a container that is connected to a network tells
/// nobody who listens to containers.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The same for the first time: by then the Engine tells its events.
const LOOK_AGAIN_FIRST: Duration = Duration::from_secs(1);

/// The longest pause before the Engine is asked again.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The oldest API that is spoken: that of Docker 20.10.
const OLDEST: &ClientVersion = &ClientVersion { major_version: 1, minor_version: 41 };

/// What was last logged of an Engine.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Unknown,
    Answering,
    Failing,
}

/// An Engine.
#[derive(Debug)]
pub(super) struct Engine {
    url: String,
    network: Option<String>,
    /// Containers that were told to stop: they run, but not for long.
    stopping: BTreeSet<String>,
}

impl Engine {
    /// An Engine at `unix:///path/to/socket` or `tcp://host:port`. It need not be there yet.
    ///
    /// # Errors
    /// One sentence: there can be no Engine.
    pub(super) fn new(url: &str, network: Option<String>) -> Result<Self, String> {
        if !url.starts_with("unix:///") && !url.starts_with("tcp://") {
            return Err(format!("{url:?} is no Engine; allowed: unix:///path/to/socket, tcp://host:port"));
        }
        Ok(Engine { url: url.to_owned(), network, stopping: BTreeSet::new() })
    }

    /// Sends nothing yet, but the socket must be there.
    fn connect(&self) -> Result<Docker, Error> {
        match self.url.starts_with("unix:") {
            true => Docker::connect_with_unix(&self.url, PATIENCE.as_secs(), OLDEST),
            false => Docker::connect_with_http(&self.url, PATIENCE.as_secs(), OLDEST),
        }
    }

    /// Tells the members among its containers, first when they are known and then when they change, until nobody wants to
    /// know any more. `seed` is what the random numbers begin with.
    pub(super) async fn follow(mut self, told: watch::Sender<Option<Found>>, seed: u64) {
        let draws = Draws::new(seed);
        let mut retry = Retry::new(LONGEST_RETRY);
        let mut news = News::Unknown;
        loop {
            let begun = Instant::now();
            let Err(error) = self.listen(&told, &mut news).await else { return };
            if begun.elapsed() >= LONGEST_RETRY {
                retry.reset();
            }
            if std::mem::replace(&mut news, News::Failing) != News::Failing {
                warn!("docker: the Engine does not answer, its containers stay members: {error}");
            }
            // The pause between tries, which grows: nobody tells when an Engine answers again.
            tokio::time::sleep(jittered(retry.pause(), draws.draw())).await;
        }
    }

    /// Reads the list and listens to what changes it. Returns when nobody wants to know any more.
    async fn listen(&mut self, told: &watch::Sender<Option<Found>>, news: &mut News) -> Result<(), Error> {
        let filters = HashMap::from([("type", vec!["container"]), ("label", vec![CLUSTER])]);
        let docker = self.connect()?;
        // Fused: it is looked at below, too, where its end is not told from silence.
        let mut events = pin!(docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build())).fuse());
        // What happens between the first list and the first event is in the second list.
        let mut look_again = LOOK_AGAIN_FIRST;
        loop {
            let found = members(&self.containers(&docker).await?, self.network.as_deref());
            // The events are asked for with the second round.
            if look_again == LOOK_AGAIN && std::mem::replace(news, News::Answering) != News::Answering {
                info!("docker: the Engine answers; {} of its containers are members", found.members.len());
            }
            tell(told, found);
            tokio::select! {
                () = told.closed() => return Ok(()),
                event = tokio::time::timeout(look_again, events.next()) => match event {
                    Ok(Some(event)) => self.take(&event?),
                    Ok(None) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                    Err(_) => {}
                },
            }
            look_again = LOOK_AGAIN;
            // What has happened meanwhile is in the next list.
            while let Some(event) = std::future::poll_fn(|context| match events.poll_next_unpin(context) {
                std::task::Poll::Ready(event) => std::task::Poll::Ready(event),
                std::task::Poll::Pending => std::task::Poll::Ready(None),
            })
            .await
            {
                self.take(&event?);
            }
        }
    }

    fn take(&mut self, event: &EventMessage) {
        let Some(id) = event.actor.as_ref().and_then(|actor| actor.id.clone()) else { return };
        match what(event) {
            What::Stops => _ = self.stopping.insert(id),
            What::Begins | What::Ends => _ = self.stopping.remove(&id),
            What::Else => {}
        }
    }

    /// The containers with the label that run and were not told to stop.
    async fn containers(&self, docker: &Docker) -> Result<Vec<Container>, Error> {
        let filters = HashMap::from([("label", vec![CLUSTER])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let mut containers = Vec::new();
        for listed in docker.list_containers(Some(options)).await? {
            let Some(id) = listed.id.filter(|id| !self.stopping.contains(id)) else { continue };
            match docker.inspect_container(&id, None::<InspectContainerOptions>).await {
                Ok(inspected) => containers.push(container(id, inspected)),
                // It has gone in between.
                Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(containers)
    }
}

/// Tells what is new, and logs what cannot be a member when that is new.
fn tell(told: &watch::Sender<Option<Found>>, found: Found) {
    told.send_if_modified(|last| {
        let refused = last.as_ref().map(|last| last.refused.as_slice()).unwrap_or_default();
        for why in found.refused.iter().filter(|why| !refused.contains(why)) {
            warn!("docker: no member: {why}");
        }
        let new = last.as_ref() != Some(&found);
        *last = Some(found);
        new
    });
}

/// What an event says of its container.
#[derive(Debug, PartialEq, Eq)]
enum What {
    /// It was told to stop: the best moment to drain it.
    Stops,
    Begins,
    Ends,
    /// Anything else: the list tells.
    Else,
}

fn what(event: &EventMessage) -> What {
    /// SIGINT, SIGQUIT, SIGKILL and SIGTERM: what makes processes end.
    const ENDING: [&str; 4] = ["2", "3", "9", "15"];
    let attributes = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
    let signal = attributes.and_then(|attributes| attributes.get("signal"));
    match event.action.as_deref() {
        Some("kill") if signal.is_some_and(|signal| ENDING.contains(&signal.as_str())) => What::Stops,
        Some("start") => What::Begins,
        Some("die" | "destroy") => What::Ends,
        _ => What::Else,
    }
}

/// What the Engine tells, without what nobody needs.
fn container(id: String, inspected: ContainerInspectResponse) -> Container {
    let state = inspected.state.unwrap_or_default();
    let health = state.health.and_then(|health| health.status);
    let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let networks: BTreeMap<_, _> = networks.into_iter().map(|(name, endpoint)| (name, addresses(&endpoint))).collect();
    Container {
        id,
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: inspected.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect(),
        running: state.status == Some(ContainerStateStatusEnum::RUNNING),
        healthy: matches!(
            health,
            None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE | HealthStatusEnum::HEALTHY)
        ),
        networks,
    }
}

fn addresses(endpoint: &EndpointSettings) -> Vec<IpAddr> {
    let both = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    both.into_iter().flatten().filter_map(|text| text.parse().ok()).collect()
}

/// Between a half and the whole of a pause, so that agents do not act in step.
fn jittered(pause: Duration, draw: u64) -> Duration {
    let half = pause / 2;
    let parts = u32::try_from(draw >> 48).unwrap_or(0); // of 65536
    half + half * parts / 65_536
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(state: &str) -> Container {
        let text = format!(
            r#"{{ "Name": "/wk-1", "State": {state}, "Config": {{ "Labels": {{ "carbon-elb.cluster": "esb" }} }},
            "NetworkSettings": {{ "Networks": {{ "a": {{ "IPAddress": "172.18.0.5", "GlobalIPv6Address": "fd00::5" }},
            "host": {{ "IPAddress": "", "GlobalIPv6Address": "" }} }} }} }}"#
        );
        container("0123".to_owned(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn what_the_engine_tells_is_understood() {
        let rows = [
            (r#"{ "Status": "running" }"#, true, true),
            (r#"{ "Status": "running", "Health": { "Status": "healthy" } }"#, true, true),
            (r#"{ "Status": "running", "Health": { "Status": "none" } }"#, true, true),
            (r#"{ "Status": "running", "Health": { "Status": "starting" } }"#, true, false),
            (r#"{ "Status": "running", "Health": { "Status": "unhealthy" } }"#, true, false),
            (r#"{ "Status": "paused", "Running": true, "Paused": true }"#, false, true),
            (r#"{ "Status": "restarting", "Running": true }"#, false, true),
            (r#"{ "Status": "exited" }"#, false, true),
            ("{}", false, true),
        ];
        for (state, running, healthy) in rows {
            let container = inspected(state);
            assert_eq!((container.running, container.healthy), (running, healthy), "{state}");
            assert_eq!((container.name.as_str(), container.labels.len()), ("wk-1", 1));
            let both: Vec<IpAddr> = vec!["172.18.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
            assert_eq!(container.networks, BTreeMap::from([("a".to_owned(), both), ("host".to_owned(), vec![])]));
        }
    }

    #[test]
    fn a_container_that_is_told_to_stop_is_known_at_once() {
        let rows = [
            (r#"{ "Action": "kill", "Actor": { "ID": "x", "Attributes": { "signal": "15" } } }"#, What::Stops),
            (r#"{ "Action": "kill", "Actor": { "ID": "x", "Attributes": { "signal": "9" } } }"#, What::Stops),
            (r#"{ "Action": "kill", "Actor": { "ID": "x", "Attributes": { "signal": "1" } } }"#, What::Else),
            (r#"{ "Action": "kill", "Actor": { "ID": "x" } }"#, What::Else),
            (r#"{ "Action": "die", "Actor": { "ID": "x" } }"#, What::Ends),
            (r#"{ "Action": "start" }"#, What::Begins),
            (r#"{ "Action": "health_status: healthy" }"#, What::Else),
            ("{}", What::Else),
        ];
        let mut engine = Engine::new("unix:///nowhere", None).unwrap();
        for (text, expected) in rows {
            let event: EventMessage = serde_json::from_str(text).unwrap();
            assert_eq!(what(&event), expected, "{text}");
            engine.take(&event);
            match expected {
                What::Stops => assert!(engine.stopping.contains("x")),
                What::Ends => assert!(engine.stopping.is_empty()),
                What::Begins | What::Else => {}
            }
        }
    }

    #[test]
    fn an_engine_is_a_socket_or_an_address() {
        for good in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375"] {
            assert!(Engine::new(good, None).is_ok(), "{good}");
        }
        for bad in ["", "/var/run/docker.sock", "https://127.0.0.1:2376", "unix://docker.sock"] {
            assert!(Engine::new(bad, None).unwrap_err().contains("allowed: unix:///"), "{bad}");
        }
    }

    #[test]
    fn agents_do_not_act_in_step() {
        let pause = Duration::from_secs(10);
        assert_eq!(jittered(pause, 0), Duration::from_secs(5));
        let most = jittered(pause, u64::MAX);
        assert!(most > Duration::from_millis(9_999) && most <= pause, "{most:?}");
    }
}
