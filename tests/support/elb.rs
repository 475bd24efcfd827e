//! The balancer as a child process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Response, get};
use super::metrics::Metrics;
use super::process::Process;
use super::topology::Topology;
use super::{TempDir, wait_until};

/// What the configuration file of a balancer is called.
const CONFIG_FILE: &str = "elb.yaml";

/// The program under test, without arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon-elb"));
    // A developer's setting would hide the lines that the tests wait for.
    command.env_remove("RUST_LOG");
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command().args(arguments).output().expect("cannot start carbon-elb")
}

/// `listening: NAME ADDRESS`, wherever in a log line.
pub(crate) fn listening(line: &str) -> Option<(&str, SocketAddr)> {
    let (_, rest) = line.split_once("listening: ")?;
    let mut words = rest.split_whitespace();
    Some((words.next()?, words.next()?.parse().ok()?))
}

/// A running balancer. Dropping it kills it.
pub(crate) struct Elb {
    process: Process,
    ports: HashMap<String, SocketAddr>,
    /// Holds the configuration file.
    dir: TempDir,
}

impl Elb {
    /// Starts it and waits until all its listeners are open.
    #[track_caller]
    pub(crate) fn start(topology: &Topology) -> Elb {
        Elb::start_with(&topology.to_yaml(), &topology.listener_names())
    }

    /// Starts it and waits until every node that is probed has answered, and the balancer says that it is ready. (It
    /// says so before the first probe too, when never-probed nodes are better than none.)
    #[track_caller]
    pub(crate) fn start_ready(topology: &Topology) -> Elb {
        let elb = Elb::start(topology);
        wait_until("all nodes are up", || elb.metrics().all("carbon_elb_node_up", 1.0));
        wait_until("/readyz says 200", || elb.admin("/readyz").status == 200);
        elb
    }

    /// Starts it with variables in its environment.
    #[track_caller]
    pub(crate) fn start_in(topology: &Topology, variables: &[(&str, &str)]) -> Elb {
        Elb::start_with_in(&topology.to_yaml(), &topology.listener_names(), variables)
    }

    /// The same with a configuration file as written.
    #[track_caller]
    pub(crate) fn start_with_in(yaml: &str, listeners: &[&str], variables: &[(&str, &str)]) -> Elb {
        let mut command = command();
        command.envs(variables.iter().copied());
        Elb::spawn(command, yaml, listeners)
    }

    /// Starts it with a configuration file as written.
    #[track_caller]
    pub(crate) fn start_with(yaml: &str, listeners: &[&str]) -> Elb {
        Elb::spawn(command(), yaml, listeners)
    }

    /// Starts it as a process that may have so many files open.
    #[track_caller]
    pub(crate) fn start_with_open_files(topology: &Topology, files: usize) -> Elb {
        let mut limited = Command::new("sh");
        limited.arg("-c").arg(format!("ulimit -n {files} && exec \"$@\"")).arg("sh").arg(command().get_program());
        limited.env_remove("RUST_LOG");
        Elb::spawn(limited, &topology.to_yaml(), &topology.listener_names())
    }

    /// Starts a balancer that does not classify (see `tests/support/unclassified.rs`): it sends everything to the
    /// workers. With it a test shows that it would find a classifier that does nothing.
    #[track_caller]
    pub(crate) fn start_unclassified(topology: &Topology) -> Elb {
        let program = Path::new(env!("CARGO_BIN_EXE_carbon-elb")).with_file_name("examples").join("unclassified");
        let build = "`cargo test` builds it, with --test NAME only `cargo build --example unclassified` does";
        assert!(program.exists(), "{} is not there: {build}", program.display());
        let mut command = Command::new(program);
        command.env_remove("RUST_LOG");
        Elb::spawn(command, &topology.to_yaml(), &topology.listener_names())
    }

    #[track_caller]
    fn spawn(mut command: Command, yaml: &str, listeners: &[&str]) -> Elb {
        let dir = TempDir::new("elb");
        let config = dir.write(CONFIG_FILE, yaml);
        let process = Process::start("carbon-elb", command.arg("run").arg("--config").arg(&config));
        let mut missing = listeners.to_vec();
        missing.push("admin");
        let ports = process.stderr.wait_for_all(&format!("listening: {missing:?}\n{yaml}"), |lines| {
            let ports: HashMap<_, _> =
                lines.iter().filter_map(|line| listening(line)).map(|(name, at)| (name.to_owned(), at)).collect();
            missing.iter().all(|name| ports.contains_key(*name)).then_some(ports)
        });
        Elb { process, ports, dir }
    }

    /// The address of a listener.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        *self.ports.get(listener).unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.ports))
    }

    /// The workers' listener.
    #[track_caller]
    pub(crate) fn web(&self) -> SocketAddr {
        self.address("web")
    }

    /// The manager's listener.
    #[track_caller]
    pub(crate) fn console(&self) -> SocketAddr {
        self.address("console")
    }

    /// Asks the admin listener.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> Response {
        get(self.address("admin"), "localhost", path)
    }

    /// What it has counted so far.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics"))
    }

    /// Waits until it has counted `expected`, and asserts that it has not counted more: a request is counted after its answer.
    #[track_caller]
    pub(crate) fn wait_for_count(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let mut counted = 0.0;
        wait_until(&format!("{name} {labels:?} counts {expected}"), || {
            counted = self.metrics().sum(name, labels);
            counted >= expected
        });
        assert_eq!(counted, expected, "{name} {labels:?}");
    }

    /// Waits until it holds the node's endpoint for up, or not for up: down or never probed.
    #[track_caller]
    pub(crate) fn wait_for_node(&self, node: &str, endpoint: &str, up: bool) {
        let labels = [("node", node), ("endpoint", endpoint)];
        wait_until(&format!("node {node} ({endpoint}) is {}", if up { "up" } else { "down" }), || {
            let metrics = self.metrics();
            metrics.has("carbon_elb_node_up", &labels)
                && metrics.sum("carbon_elb_node_up", &labels) == f64::from(u8::from(up))
        });
    }

    /// Waits until it has said that the node's endpoint is down.
    #[track_caller]
    pub(crate) fn wait_for_fall(&self, node: &str, endpoint: &str) {
        let fall = format!("{node} {endpoint}: down");
        self.process.stderr.wait_for(&fall, |line| line.contains(&fall).then_some(()));
    }

    /// Waits until a line of its log has this text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.process.stderr.wait_for(text, |line| line.contains(text).then_some(()));
    }

    /// Waits for the access line that `pick` recognises.
    #[track_caller]
    pub(crate) fn access_line(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        self.process.stdout.wait_for(what, |line| serde_json::from_str::<Value>(line).ok().filter(|value| pick(value)))
    }

    /// All access lines so far.
    pub(crate) fn access_lines(&self) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("an access line is no JSON ({e}): {line}"))
        };
        self.process.stdout.all().iter().map(parse).collect()
    }

    /// Its configuration file.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join(CONFIG_FILE)
    }

    /// Replaces its configuration file, at once and as a whole. It is not told of that.
    pub(crate) fn replace_config(&self, yaml: &str) {
        let next = self.dir.write("next.yaml", yaml);
        std::fs::rename(&next, self.config_file()).expect("both are in the same directory");
    }

    /// Asks it to read its configuration file again.
    pub(crate) fn hang_up(&self) {
        self.process.signal("HUP");
    }

    /// Waits until so many configurations were taken over, that of the start included.
    #[track_caller]
    pub(crate) fn wait_for_configuration(&self, number: usize) {
        wait_until(&format!("configuration {number} is in force"), || {
            self.metrics().sum("carbon_elb_configuration", &[]) == number as f64
        });
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Asks it to stop, and waits until its listeners refuse connections: until it has begun to.
    #[track_caller]
    pub(crate) fn begin_to_stop(&self) {
        self.terminate();
        wait_until("new connections are refused", || std::net::TcpStream::connect(self.web()).is_err());
    }

    /// Waits for its end; returns how it ended, and how long that took from now on.
    #[track_caller]
    pub(crate) fn wait(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let status = self.process.wait(limit);
        (status, start.elapsed())
    }

    /// Whether it has ended by now.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.poll().is_some()
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that it has ever held, in KiB.
    #[track_caller]
    pub(crate) fn peak_memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("no VmHWM in {path}"))
    }
}
