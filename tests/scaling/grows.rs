//! Up with the load, and down again after it.

use serde_json::json;

use crate::clients::Clients;
use crate::stage::{POLICY, Stage, TOKEN, nothing_was_cut_off};
use crate::support::client::{Client, get};
use crate::support::topology::HOST;
use crate::support::{PATIENCE, wait_until};

#[test]
fn nodes_come_and_go_with_the_load_and_no_request_fails() {
    let stage = Stage::start(POLICY);
    let mut scale = stage.scale(&stage.settings(""));
    stage.wait_for_ready("the first node is there", |ready| ready == 1);

    let mut clients = Clients::of(stage.elb.web());
    clients.be(2);
    clients.wait_for(50);
    assert_eq!(stage.nodes.running().len(), 1, "one is enough for two clients");
    // Sixteen at a time are four for each of four nodes.
    clients.be(16);
    stage.wait_for_ready("there are four nodes or more", |ready| ready >= 4);
    clients.wait_for(200);
    let answering = stage.nodes.records().values().filter(|[_, answered]| *answered > 0).count();
    assert!(answering >= 4, "{:?}", stage.nodes.records());

    // One that is killed is noticed and replaced, under load.
    let killed = stage.nodes.running().into_keys().next().expect("some run");
    stage.nodes.kill(&killed);
    scale.stderr.wait_for("it is deregistered", |line| {
        (line.contains(&killed) && (line.contains("nothing is left of") || line.contains("has ended"))).then_some(())
    });
    stage.wait_for_ready("there are four nodes again", |ready| ready >= 4);
    assert!(!stage.nodes.running().contains_key(&killed));
    clients.wait_for(200);

    clients.be(1);
    stage.wait_for_ready("one node is left", |ready| ready == 1);
    clients.wait_for(20);
    let pool = stage.scaling();
    assert_eq!((&pool["wanted"], &pool["acts"]), (&json!(1), &json!(true)), "{pool}");
    assert!(!pool["because"].as_str().unwrap_or_default().is_empty(), "{pool}");

    let done = clients.done();
    let failed = clients.finish();
    assert!(failed.is_empty(), "{} of {done} failed: {failed:#?}", failed.len());
    let stopped = stage.nodes.stopped();
    assert!(stopped.len() >= 3 && stopped.iter().all(|line| line.ends_with(" esb worker")), "{stopped:?}");
    nothing_was_cut_off(&stage, &scale, &[killed]);
    for part in ["is started, as", "is drained, there are more than wanted: ", "gets no requests any more"] {
        scale.stderr.wait_for(part, |line| line.contains(part).then_some(()));
    }

    let environments = stage.nodes.environments();
    assert!(environments.iter().any(|text| text.contains("CARBON_ELB_CLUSTER=esb")), "{environments:?}");
    assert!(environments.iter().all(|text| !text.contains(TOKEN)), "the token is not for them: {environments:?}");

    // What runs stays when the executor is stopped.
    scale.signal("TERM");
    assert!(scale.wait(PATIENCE).success());
    assert_eq!(stage.nodes.running().len(), 1);
    assert_eq!(get(stage.elb.web(), HOST, "/services/echo").status, 200);
}

/// After a crash of the executor nothing is lost, and nothing is started twice.
#[test]
fn an_executor_that_starts_again_finds_what_it_left() {
    let stage = Stage::start(&format!("{POLICY}, scale_down_at: 50%").replace("min: 1", "min: 3"));
    let settings = stage.settings("");
    let mut first = stage.scale(&settings);
    stage.wait_for_ready("three nodes are there", |ready| ready == 3);
    let before = stage.nodes.running();
    first.kill();
    let second = stage.scale(&settings);
    second.stderr.wait_for("scaling 1 pools", |line| line.contains("scaling 1 pools").then_some(()));
    // It has seen them when it replaces one that is gone.
    let killed = before.keys().next().cloned().expect("three");
    stage.set_state(&killed, "draining");
    wait_until("the drained one is stopped and replaced", || {
        let now = stage.nodes.running();
        !now.contains_key(&killed) && now.len() == 3
    });
    let now = stage.nodes.running();
    let stayed = before.keys().filter(|id| now.contains_key(*id)).count();
    assert_eq!(stayed, 2, "{before:?} {now:?}");
    assert_eq!(stage.nodes.stopped().len(), 1, "{:?}", stage.nodes.stopped());
    nothing_was_cut_off(&stage, &second, &[]);
}

/// A node that gets nothing any more and is busy still serves again when it is wanted, and no other one is started.
#[test]
fn a_node_that_is_not_stopped_yet_is_had_back() {
    let stage = Stage::start(&POLICY.replace("min: 1", "min: 2"));
    let scale = stage.scale(&stage.settings(""));
    stage.wait_for_ready("two nodes are there", |ready| ready == 2);
    let before = stage.nodes.running();
    // Each has a request whose body does not come.
    let head = format!("POST /services/echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n\r\n");
    let mut held = Vec::new();
    wait_until("each node is busy", || {
        let mut client = Client::connect(stage.elb.web());
        client.send(&head);
        held.push(client);
        stage.members().iter().all(|member| member["in_flight"] != json!(0))
    });
    stage.change_policy("min: 2", "min: 1");
    scale.stderr.wait_for("one rests", |line| line.contains("gets no requests any more").then_some(()));
    stage.change_policy("min: 1", "min: 2");
    scale.stderr.wait_for("it is had back", |line| line.contains("is wanted again").then_some(()));
    stage.wait_for_ready("two nodes are there again", |ready| ready == 2);
    assert_eq!((stage.nodes.running(), stage.nodes.stopped()), (before, Vec::new()));
    for client in &mut held {
        client.send("hello");
        assert_eq!(client.answer().status, 200);
    }

    // What an operator lets rest is not had back. It is idle, and so it is stopped and another one started.
    let resting = stage.nodes.running().into_keys().next().expect("two run");
    stage.set_state(&resting, "maintenance");
    wait_until("it is stopped", || stage.nodes.stopped().iter().any(|line| line.starts_with(&resting)));
    stage.wait_for_ready("there are two again", |ready| ready == 2);
    assert!(!stage.nodes.running().contains_key(&resting));
    nothing_was_cut_off(&stage, &scale, &[]);
}

/// What the commands do not list is not an instance, whatever it calls itself: the command that stops is not run for it.
#[test]
fn a_stranger_with_the_prefix_is_never_stopped() {
    let stage = Stage::start(POLICY);
    stage.register("auto-worker-stranger");
    // An instance would be stopped for this.
    stage.set_state("auto-worker-stranger", "draining");
    let scale = stage.scale(&stage.settings(""));
    let deregistered = "nothing is left of auto-worker-stranger: it is deregistered";
    scale.stderr.wait_for(deregistered, |line| line.contains(deregistered).then_some(()));
    stage.wait_for_ready("the first node is there", |ready| ready == 1);
    stage.set_state(stage.nodes.running().keys().next().expect("one"), "draining");
    wait_until("the first node is replaced", || stage.nodes.stopped().len() == 1);
    assert!(!stage.nodes.stopped()[0].contains("stranger"), "{:?}", stage.nodes.stopped());
    nothing_was_cut_off(&stage, &scale, &[]);
}

/// The last node goes after a time without a request, and the next request waits until there is one.
#[test]
fn the_last_node_goes_and_a_request_brings_the_first() {
    let stage = Stage::start(&format!("{POLICY}, scale_to_zero: 1s"));
    let scale = stage.scale(&stage.settings(""));
    scale.stderr.wait_for("scaling 1 pools", |line| line.contains("scaling 1 pools").then_some(()));
    wait_until("no node is wanted", || stage.scaling()["wanted"] == json!(0));
    for round in 1..=2 {
        assert_eq!((stage.nodes.running().len(), stage.nodes.records().len()), (0, round - 1));
        let answer = get(stage.elb.web(), HOST, "/services/echo");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(stage.nodes.records().len(), round, "it was started for the request");
        stage.wait_for_ready("the last node is stopped", |ready| ready == 0);
        assert_eq!(stage.nodes.stopped().len(), round);
    }
    nothing_was_cut_off(&stage, &scale, &[]);
}
