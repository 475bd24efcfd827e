//! A Docker Engine that the test plays: what it says of containers, and the agent that listens. The real one is asked by
//! the container tests.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::elb::{Elb, command};
use crate::support::load::Load;
use crate::support::node::{RawNode, StubNode};
use crate::support::process::{Process, lock};
use crate::support::topology::{HOST, Topology};
use crate::support::{TempDir, wait_until};

const TOKEN: &str = "a-token-of-the-tests-with-enough-letters";

/// A container: its name, and where its worker listens.
type Listed = (&'static str, SocketAddr);

#[derive(Default)]
struct Told {
    containers: Vec<Listed>,
    listening: Vec<Sender<String>>,
}

/// An Engine with containers on the network `carbon`, all of which run.
struct Engine {
    node: RawNode,
    told: Arc<Mutex<Told>>,
}

impl Engine {
    fn start(containers: &[Listed]) -> Engine {
        let told = Arc::new(Mutex::new(Told { containers: containers.to_vec(), listening: Vec::new() }));
        let shared = Arc::clone(&told);
        Engine { node: RawNode::start(move |client| serve(client, &shared)), told }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.node.address())
    }

    /// Says that something has happened to a container.
    fn tell(&self, action: &str, name: &str) {
        let event = format!(
            r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"id-of-{name}","Attributes":{{"signal":"15"}}}}}}"#
        );
        lock(&self.told).listening.retain(|listener| listener.send(event.clone()).is_ok());
    }

    fn set(&self, containers: &[Listed]) {
        lock(&self.told).containers = containers.to_vec();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Ends the connections on which somebody listens.
        lock(&self.told).listening.clear();
    }
}

fn serve(mut client: Client, told: &Mutex<Told>) -> std::io::Result<()> {
    while let Some(request) = client.read_request()? {
        let path = request.line.split([' ', '?']).nth(1).unwrap_or_default();
        // Some clients say which version of the API they speak.
        let path = path.trim_start_matches("/v1.41").trim_start_matches('/');
        if path == "events" {
            let (sender, events) = channel();
            lock(told).listening.push(sender);
            client.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
            // Until the test ends, or drops the Engine.
            while let Ok(event) = events.recv() {
                client.send(format!("{:x}\r\n{event}\n\r\n", event.len() + 1));
            }
            return Ok(());
        }
        let containers = lock(told).containers.clone();
        let body = match path.strip_prefix("containers/").and_then(|rest| rest.strip_suffix("/json")) {
            Some(id) => containers.iter().find(|(name, _)| id == format!("id-of-{name}")).map(inspected),
            None => Some(format!("[{}]", containers.iter().map(listed).collect::<Vec<_>>().join(","))),
        };
        let mut answer = String::new();
        let (status, body) =
            body.map_or(("404 Not Found", r#"{"message":"no such container"}"#.to_owned()), |body| ("200 OK", body));
        write!(
            answer,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a String takes all");
        client.send(answer);
    }
    Ok(())
}

fn listed((name, _): &Listed) -> String {
    format!(r#"{{"Id":"id-of-{name}","Names":["/{name}"],"State":"running"}}"#)
}

fn inspected((name, address): &Listed) -> String {
    format!(
        r#"{{"Id":"id-of-{name}","Name":"/{name}","State":{{"Status":"running","Running":true}},
        "Config":{{"Labels":{{"carbon-elb.cluster":"esb","carbon-elb.role":"worker","carbon-elb.port.servlet":"{port}",
        "carbon-elb.port.passthrough":"{port}"}}}},"NetworkSettings":{{"Networks":{{"carbon":{{"IPAddress":"{ip}"}}}}}}}}"#,
        port = address.port(),
        ip = address.ip()
    )
}

/// Waits until so many things of a kind have happened to members.
#[track_caller]
fn wait_for_events(elb: &Elb, event: &str, expected: f64) {
    wait_until(&format!("{expected} members have {event}"), || {
        elb.metrics().sum("carbon_elb_member_events_total", &[("event", event)]) >= expected
    });
}

#[test]
fn containers_are_members_by_way_of_an_agent() {
    let folder = TempDir::new("agent");
    let tokens = folder.write("tokens", &format!("# of the agent\n{TOKEN}\n"));
    restrict(&tokens);
    let topology = Topology::new()
        .worker_pool("allowed_networks: [127.0.0.0/8]")
        .admin(&format!("token_file: {}", tokens.display()))
        .without_access_log();
    let elb = Elb::start(&topology);
    let (one, two) = (StubNode::worker("w1"), StubNode::worker("w2"));
    let engine = Engine::start(&[("c1", one.address())]);
    let mut agent = Process::start(
        "docker-source",
        command()
            .args(["docker-source", "--lease", "3s", "--network", "carbon", "--engine", &engine.url()])
            .args(["--admin", &format!("http://{}", elb.address("admin"))])
            .arg("--token-file")
            .arg(&tokens),
    );
    wait_for_events(&elb, "joined", 1.0);
    let first = || elb.metrics().sum("carbon_elb_member_state", &[("node", "c1"), ("state", "ready")]) > 0.0;
    wait_until("the first container is asked", first);
    let load = Load::start(elb.web(), HOST, "/services/echo", 3, Duration::from_millis(2));
    load.wait_for(20);

    engine.set(&[("c1", one.address()), ("c2", two.address())]);
    engine.tell("start", "c2");
    wait_for_events(&elb, "joined", 2.0);
    load.wait_for(20);
    // It still runs when it is told to stop: it is drained, and taken out before it ends.
    engine.tell("kill", "c1");
    wait_for_events(&elb, "removed", 1.0);
    drop(one);
    engine.set(&[("c2", two.address())]);
    engine.tell("die", "c1");
    load.wait_for(20);

    // Without an Engine everybody stays, and is renewed.
    let renewed = elb.metrics().sum("carbon_elb_member_events_total", &[("event", "renewed")]);
    drop(engine);
    agent
        .stderr
        .wait_for("the Engine does not answer", |line| line.contains("the Engine does not answer").then_some(()));
    wait_for_events(&elb, "renewed", renewed + 2.0);
    load.wait_for(20);
    let samples = load.finish();
    let failed: Vec<_> = samples.iter().filter_map(|sample| sample.outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {} failed: {:?}", failed.len(), samples.len(), failed.first());
    for node in ["w1", "w2"] {
        assert!(samples.iter().any(|sample| sample.outcome.as_deref() == Ok(node)), "{node} was never asked");
    }

    // Without an agent they stay for as long as their lease lasts.
    assert_eq!(elb.metrics().sum("carbon_elb_member_events_total", &[("event", "expired")]), 0.0);
    agent.kill();
    wait_for_events(&elb, "expired", 1.0);
    let said = agent.output();
    assert!(!said.contains(TOKEN), "{said}");
}

#[test]
fn an_agent_says_what_it_cannot_do() {
    let folder = TempDir::new("agent");
    let tokens = folder.write("tokens", &format!("{TOKEN}\n"));
    let empty = folder.write("empty", "# nobody\n");
    let (tokens, empty) = (tokens.display().to_string(), empty.display().to_string());
    let rows: [(&[&str], &str); 6] = [
        (&["--admin", "https://127.0.0.1:1", "--token-file", &tokens], "allowed: http://host:port"),
        (&["--admin", "http://127.0.0.1:1", "--token-file", &empty], "holds no token"),
        (&["--admin", "http://127.0.0.1:1", "--token-file", "/nowhere/at/all"], "/nowhere/at/all"),
        (
            &["--admin", "http://127.0.0.1:1", "--token-file", &tokens, "--lease", "1s"],
            "out of range; allowed: 3s to 1h",
        ),
        (&["--admin", "http://127.0.0.1:1", "--token-file", &tokens, "--engine", "/run/docker.sock"], "is no Engine"),
        (&["--token-file", &tokens], "--admin"),
    ];
    for (arguments, fragment) in rows {
        let mut run: Command = command();
        let output = run.arg("docker-source").args(arguments).output().expect("cannot start carbon-elb");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(fragment), "{arguments:?}: {said}");
        assert!(!said.contains(TOKEN), "{said}");
    }
}

/// Takes the rights to a file from everybody else.
fn restrict(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("the test's own file");
}
