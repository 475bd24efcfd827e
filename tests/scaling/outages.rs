//! What is not there, and what fails: then nothing is given up that serves.

use crate::clients::Clients;
use crate::stage::{POLICY, Stage, nothing_was_cut_off};
use crate::support::elb;
use crate::support::{PATIENCE, TempDir};

#[test]
fn while_the_provider_is_blind_nothing_is_given_up() {
    let stage = Stage::start(&POLICY.replace("min: 1", "min: 2"));
    // Leases that end soon: they have to be renewed all the same.
    let scale = stage.scale(&stage.settings(", lease: 2s"));
    stage.wait_for_ready("two nodes are there", |ready| ready == 2);
    let before = stage.nodes.running();
    let mut clients = Clients::of(stage.elb.web());
    clients.be(2);
    stage.nodes.switch("blind", true);
    scale.stderr.wait_for("provider: list", |line| line.contains("esb/worker: provider: list").then_some(()));
    // At 40 ms each, longer than any lease.
    clients.wait_for(200);
    assert_eq!(stage.nodes.running(), before);
    stage.nodes.switch("blind", false);
    scale.stderr.wait_for("good again", |line| line.contains("provider: good again").then_some(()));
    assert_eq!(clients.finish(), Vec::<String>::new());
    let told = scale.stderr.all().iter().filter(|line| line.contains("provider: list")).count();
    assert_eq!(told, 1, "it is said once");
    stage.wait_for_ready("both are there still", |ready| ready == 2);
    assert_eq!(stage.nodes.running(), before);
}

#[test]
fn starts_that_fail_are_tried_again_later() {
    let stage = Stage::start(POLICY);
    stage.nodes.switch("refuse", true);
    let scale = stage.scale(&stage.settings(""));
    scale.stderr.wait_for("the second failure", |line| line.contains("no other one is for 2s").then_some(()));
    stage.nodes.switch("refuse", false);
    stage.wait_for_ready("the node is there", |ready| ready == 1);
}

#[test]
fn without_a_balancer_nothing_is_done() {
    let stage = Stage::start(POLICY);
    let mut scale = stage.scale(&stage.settings(""));
    stage.wait_for_ready("the first node is there", |ready| ready == 1);
    let before = stage.nodes.running();
    let Stage { mut elb, nodes, .. } = stage;
    elb.terminate();
    elb.wait(PATIENCE);
    scale.stderr.wait_for("acting", |line| line.contains("nothing is started or stopped").then_some(()));
    assert_eq!(nodes.running(), before);
    scale.signal("TERM");
    assert!(scale.wait(PATIENCE).success());
    assert_eq!(nodes.running(), before);
    assert!(nodes.stopped().is_empty());
}

#[test]
fn an_operator_who_says_that_nobody_acts_is_obeyed() {
    let stage = Stage::start(&POLICY.replace("acts: true", "acts: false"));
    let scale = stage.scale(&stage.settings(""));
    scale.stderr.wait_for("nobody acts", |line| line.contains("no balancer that answers").then_some(()));
    assert!(stage.nodes.running().is_empty());
    // With no provider, what is wanted is said.
    let settings = stage.settings("");
    let (before, _) = settings.split_once("provider:").expect("it names one");
    let none = stage.scale(&format!("{before}provider: none }}\n"));
    none.stderr.wait_for("1 wanted, 0 there", |line| line.contains(": 1 wanted, 0 there: ").then_some(()));
}

#[test]
fn a_bad_file_is_refused_with_its_lines() {
    let dir = TempDir::new("scale");
    let file =
        dir.write("scale.yaml", "balancers: [http://127.0.0.1:9601]\npolls: 2s\npools:\n  esb: { worker: {} }\n");
    for command in [&["check"][..], &["scale", "--config"]] {
        let arguments: Vec<&str> = command.iter().copied().chain([file.to_str().expect("it is ASCII")]).collect();
        let output = elb::run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in
            ["scale.yaml:2: polls: unknown key", "token_file: is missing", ":4: pools.esb.worker.provider: is missing"]
        {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}

/// What one balancer stops, another one may be asking.
#[test]
fn a_node_is_drained_at_all_balancers_before_it_is_stopped() {
    let stage = Stage::start(POLICY);
    let other = stage.replica(POLICY);
    let scale = stage.scale(&stage.settings_of(&[&stage.elb, &other], ""));
    stage.wait_for_ready("the first node is there", |ready| ready == 1);
    let mut asks_other = Clients::of(other.web());
    asks_other.be(3);
    let mut asks_acting = Clients::of(stage.elb.web());
    asks_acting.be(12);
    stage.wait_for_ready("there are three nodes or more", |ready| ready >= 3);
    asks_other.wait_for(100);
    // The acting one sees no load any more, and the other one has its own on every node.
    asks_acting.be(0);
    stage.wait_for_ready("one node is left", |ready| ready == 1);
    asks_other.wait_for(20);
    assert_eq!(asks_acting.finish(), Vec::<String>::new());
    assert_eq!(asks_other.finish(), Vec::<String>::new());
    for elb in [&stage.elb, &other] {
        assert_eq!(elb.metrics().sum("carbon_elb_retries_total", &[]), 0.0, "nothing was tried twice");
    }
    assert!(stage.nodes.stopped().len() >= 2);
    nothing_was_cut_off(&stage, &scale, &[]);
}
