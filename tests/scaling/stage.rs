//! A balancer whose workers are scaled, and the executor.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::nodes::Nodes;
use crate::support::client::Request;
use crate::support::elb::{self, Elb};
use crate::support::process::Process;
use crate::support::topology::Topology;
use crate::support::{TempDir, wait_until};

pub(crate) const TOKEN: &str = "the-token-of-the-executor";

/// Nodes of 4 requests at a time, decisions that follow the load within seconds.
pub(crate) const POLICY: &str = "acts: true, min: 1, max: 6, target: 4, interval: 200ms, window: 2s, startup: off, \
    cool_down: off, panic: { window: 1s }, startup_limit: 20s";

/// A balancer, and the folder with the token.
pub(crate) struct Stage {
    pub(crate) elb: Elb,
    pub(crate) nodes: Nodes,
    dir: TempDir,
}

impl Stage {
    /// A balancer without workers of its own.
    #[track_caller]
    pub(crate) fn start(policy: &str) -> Stage {
        let dir = TempDir::new("stage");
        let file = dir.write("token", TOKEN);
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("it is ours");
        let topology = topology(policy, &file);
        Stage { elb: Elb::start(&topology), nodes: Nodes::new(), dir }
    }

    /// Another balancer for the same workers; this one does not act.
    #[track_caller]
    pub(crate) fn replica(&self, policy: &str) -> Elb {
        Elb::start(&topology(&policy.replace("acts: true", "acts: false"), &self.dir.path().join("token")))
    }

    /// The executor's settings file, with more settings of the pool.
    pub(crate) fn settings(&self, more: &str) -> String {
        self.settings_of(&[&self.elb], more)
    }

    /// The same with several balancers.
    pub(crate) fn settings_of(&self, balancers: &[&Elb], more: &str) -> String {
        let urls: Vec<String> = balancers.iter().map(|elb| format!("\"http://{}\"", elb.address("admin"))).collect();
        format!(
            "balancers: [{}]\ntoken: \"${{SCALE_TOKEN}}\"\npoll: 100ms\npools:\n  esb:\n    worker: {{ {}{more} }}\n",
            urls.join(", "),
            self.nodes.settings()
        )
    }

    /// Starts the executor.
    #[track_caller]
    pub(crate) fn scale(&self, settings: &str) -> Process {
        let file = self.dir.write("scale.yaml", settings);
        let mut command = elb::command();
        Process::start("carbon-elb scale", command.args(["scale", "--config"]).arg(file).env("SCALE_TOKEN", TOKEN))
    }

    /// What the balancer says of the workers.
    #[track_caller]
    pub(crate) fn scaling(&self) -> Value {
        let bearer = format!("Bearer {TOKEN}");
        let request = Request::get("localhost", "/api/v1/scaling").header("Authorization", &bearer);
        let response = request.send(self.elb.address("admin"));
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["pools"].get(0).cloned().unwrap_or_default()
    }

    /// The workers, as the balancer says.
    #[track_caller]
    pub(crate) fn members(&self) -> Vec<Value> {
        self.scaling()["members"].as_array().cloned().unwrap_or_default()
    }

    /// Has the balancer take over another policy: its file with `before` replaced by `now`.
    #[track_caller]
    pub(crate) fn change_policy(&self, before: &str, now: &str) {
        let yaml = std::fs::read_to_string(self.elb.config_file()).expect("it is ours");
        assert!(yaml.contains(before), "{before}:\n{yaml}");
        let known = self.elb.metrics().sum("carbon_elb_configuration", &[]);
        self.elb.replace_config(&yaml.replace(before, now));
        self.elb.hang_up();
        wait_until("it has taken the policy over", || self.elb.metrics().sum("carbon_elb_configuration", &[]) > known);
    }

    /// Waits until so many workers serve, and so many run.
    #[track_caller]
    pub(crate) fn wait_for_ready(&self, what: &str, condition: impl Fn(u64) -> bool) {
        wait_until(what, || {
            let up = |member: &&Value| member["up"] == json!(true) && member["state"] == json!("ready");
            let members = self.members().iter().filter(up).count();
            condition(members as u64) && self.nodes.running().len() == members
        });
    }

    /// Registers a node that nobody has started here, at the balancer's own address.
    #[track_caller]
    pub(crate) fn register(&self, node: &str) {
        let address = self.elb.address("admin");
        let body = json!({
            "address": address.ip(), "roles": ["worker"], "ports": { "servlet": address.port() }, "lease": 600
        });
        self.put(&format!("/api/v1/clusters/esb/members/{node}"), &body);
        let (path, bearer) = (format!("/api/v1/clusters/esb/nodes/{node}"), format!("Bearer {TOKEN}"));
        let request = Request::get("localhost", &path).header("Authorization", &bearer);
        wait_until("it is a member", || request.send(self.elb.address("admin")).status == 200);
    }

    /// Sets what is wanted of a node, as an operator does.
    #[track_caller]
    pub(crate) fn set_state(&self, node: &str, state: &str) {
        self.put(&format!("/api/v1/clusters/esb/nodes/{node}/state"), &json!({ "state": state }));
    }

    #[track_caller]
    fn put(&self, path: &str, body: &Value) {
        let (bearer, body) = (format!("Bearer {TOKEN}"), body.to_string());
        let request = Request::new("PUT", "localhost", path).header("Authorization", &bearer);
        let request = request.header("Content-Type", "application/json").body(body.as_bytes());
        let response = request.send(self.elb.address("admin"));
        assert!((200..300).contains(&response.status), "{path} {body}: {} {}", response.status, response.text());
    }
}

fn topology(policy: &str, token_file: &Path) -> Topology {
    // A node that is killed takes a fourth of all requests with it: more than the usual budget would try again.
    let pool = format!(
        "allowed_networks: [127.0.0.0/8], health: {{ interval: 100ms, timeout: 100ms, rise: 1, fall: 2 }}, \
         panic: 0%, queue: {{ wait: 20s }}, retry: {{ budget: 100% }}, scale: {{ {policy} }}"
    );
    Topology::new()
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool(&pool)
        .without_access_log()
        .admin(&format!("token_file: {}", token_file.display()))
}

/// Holds that each node that was stopped by order had answered all that had arrived there, and that the executor had been
/// told so.
#[track_caller]
pub(crate) fn nothing_was_cut_off(stage: &Stage, scale: &Process, killed: &[String]) {
    let records = stage.nodes.records();
    for (id, [arrived, answered]) in records.iter().filter(|(id, _)| !killed.contains(id)) {
        assert_eq!(arrived, answered, "{id} was stopped with requests in flight");
    }
    let log = scale.stderr.all();
    let stops: Vec<_> = log.iter().filter(|line| line.contains(" is stopped: ")).collect();
    for line in &stops {
        assert!(line.contains("idle, 0 requests in flight"), "{line}");
    }
}
