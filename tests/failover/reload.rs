//! The configuration changes while the balancer runs: what is in flight, waits or has a session does not notice.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use crate::operator::{self, Token};
use crate::support::TempDir;
use crate::support::certs::{Certificate, served_name};
use crate::support::client::{Client, Request, get};
use crate::support::elb::{self, Elb};
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until;
use crate::traffic::Traffic;
use crate::worker::{Worker, topology, wait_until_up};

const CLIENTS: usize = 8;
const RELOADS: usize = 50;

/// Which of five workers are there, one set after the other. Two of the changes leave none of those that were there.
const SETS: [&[usize]; 7] = [&[0, 1, 2], &[0, 1, 2, 3, 4], &[2, 3], &[4, 0], &[1], &[1, 2, 3], &[3, 0, 1]];

const BALANCE: [&str; 6] = ["round_robin", "hash", "least_in_flight", "two_choices", "peak_ewma", "load_aware"];

/// The configuration after so many reloads: other nodes, weights, limits, queues and algorithms each time.
fn version(workers: &[Worker], token: &Token, number: usize) -> String {
    let present = SETS[number % SETS.len()];
    let mut topology = Topology::new().admin(&token.setting());
    for (place, &worker) in present.iter().enumerate() {
        let (id, port) = (workers[worker].id(), workers[worker].address().port());
        let weight = 1 + (number + place) % 4;
        topology = topology.node(&format!(
            "id: {id}, roles: [worker], host: 127.0.0.1, weight: {weight}, ports: {{ servlet: {port}, passthrough: {port} }}"
        ));
    }
    let limit = ["off", "2", "5"][number % 3];
    let affinity = ["off", "cookie"][number / 2 % 2];
    let slow_start = ["off", "200ms"][number / 3 % 2];
    let idle = [64, 8][number / 5 % 2];
    // With `retry: off`: nothing of this may rest on a second try.
    topology
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool(&format!(
            "balance: {}, keepalive: {{ connections: {idle} }}, affinity: {affinity}, slow_start: {slow_start}, \
             max_in_flight: {limit}, retry: off, \
             queue: {{ length: {}, wait: 10s }}, health: {{ interval: 1s, timeout: 1s, rise: 1, fall: 3 }}, outliers: off",
            BALANCE[number % BALANCE.len()],
            100 + number,
        ))
        .to_yaml()
}

#[test]
fn fifty_reloads_with_changing_nodes_cost_no_request() {
    let workers = Worker::several(5);
    let token = Token::new();
    let elb = Elb::start_with(&version(&workers, &token, 0), &["web", "console"]);
    wait_until("those that are there are up", || elb.metrics().sum("carbon_elb_node_up", &[]) >= 3.0);
    let traffic = Traffic::start(elb.web(), CLIENTS, &["GET", "POST", "GET"]);
    traffic.wait_for(100);
    for number in 1..=RELOADS {
        elb.replace_config(&version(&workers, &token, number));
        if number % 2 == 0 {
            elb.hang_up();
        } else {
            let (status, answer) = operator::reload(&elb);
            assert_eq!((status, answer["configuration"].as_u64()), (200, Some(number as u64 + 1)), "{answer}");
        }
        elb.wait_for_configuration(number + 1);
        traffic.wait_for(2 * CLIENTS);
        let ids = SETS[number % SETS.len()].iter().map(|&worker| workers[worker].id());
        let metrics = elb.metrics();
        for worker in &workers {
            let shown = metrics.has("carbon_elb_in_flight", &[("node", worker.id())]);
            assert_eq!(shown, ids.clone().any(|id| id == worker.id()), "{} after reload {number}", worker.id());
        }
    }
    traffic.wait_for(100);
    let sents = traffic.finish();
    sents.reconcile(&format!("{RELOADS} reloads"), &elb, &workers);
    let failed = sents.failed();
    assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
    let metrics = elb.metrics();
    assert_eq!(metrics.sum("carbon_elb_reloads_total", &[("outcome", "good")]), RELOADS as f64);
    assert_eq!(metrics.sum("carbon_elb_retries_total", &[]), 0.0);
    for worker in &workers {
        assert!(worker.arrived().len() > 20, "{} was asked when it was there", worker.id());
    }
}

#[test]
fn a_bad_file_and_one_that_needs_a_restart_change_nothing() {
    let workers = Worker::several(2);
    let token = Token::new();
    let good = topology(&workers).admin(&token.setting());
    let elb = Elb::start(&good);
    let traffic = Traffic::start(elb.web(), 2, &["GET"]);
    let yaml = good.to_yaml();

    elb.replace_config(&yaml.replace("w2", "w9").replace("role: worker", "role: wroker"));
    elb.hang_up();
    elb.wait_for_log("nothing was changed");
    elb.wait_for_log("listeners.web.role");
    let (status, answer) = operator::reload(&elb);
    assert_eq!(status, 422, "{answer}");
    assert!(answer["problems"][0].as_str().unwrap().contains("listeners.web.role"), "{answer}");

    elb.replace_config(&yaml.replace("w2", "w9").replace("  console:", "  other:"));
    let (status, answer) = operator::reload(&elb);
    assert_eq!(status, 422, "{answer}");
    let problems = answer["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 2, "{answer}");
    assert_eq!(problems[0], "listeners.console: removed (needs a restart)");

    let missing = format!("role: worker, tls: {{ certificate: {0}, key: {0} }}", elb.config_file().display());
    let with_tls = good.clone().listener("web", &missing).to_yaml();
    elb.replace_config(&with_tls);
    assert_eq!(operator::reload(&elb).0, 422, "clear text stays clear text");

    traffic.wait_for(50);
    assert!(traffic.finish().failed().is_empty());
    let metrics = elb.metrics();
    assert_eq!(metrics.sum("carbon_elb_configuration", &[]), 1.0);
    assert!(
        metrics.has("carbon_elb_in_flight", &[("node", "w2")])
            && !metrics.has("carbon_elb_in_flight", &[("node", "w9")])
    );
    let count = |outcome| metrics.sum("carbon_elb_reloads_total", &[("outcome", outcome)]);
    assert_eq!((count("good"), count("bad"), count("needs_restart")), (0.0, 2.0, 2.0));

    elb.replace_config(&yaml.replace("id: w2", "id: w9"));
    let (status, answer) = operator::reload(&elb);
    assert_eq!(status, 200, "{answer}");
    let expected = ["clusters.esb.nodes.w2: removed", "clusters.esb.nodes.w9: added"];
    assert_eq!(answer["differences"].as_array().unwrap(), &expected);
    assert_eq!(operator::reload(&elb).1["differences"].as_array().unwrap().len(), 0, "the same again");
}

/// A cluster in front of the other one, for another host.
fn with_second_cluster(yaml: &str, node: &StubNode) -> String {
    let port = node.address().port();
    yaml.replace(
        "clusters:\n",
        &format!(
            "clusters:
  first:
    product: esb
    hosts: {{ worker: [first.test] }}
    services: any-but-admin
    endpoints: {{ servlet: {{ scheme: http, health: off }} }}
    nodes: [{{ id: f1, host: 127.0.0.1, ports: {{ servlet: {port}, passthrough: {port} }} }}]
"
        ),
    )
}

#[test]
fn routing_access_and_answers_follow_the_file() {
    let (node, other) = (StubNode::worker("w1"), StubNode::worker("f1"));
    let topology = || Topology::workers(&[node.address()]);
    let elb = Elb::start(&topology());
    let mut configuration = 1;
    let mut apply = |yaml: &str| {
        elb.replace_config(yaml);
        elb.hang_up();
        configuration += 1;
        elb.wait_for_configuration(configuration);
    };
    // Connections stay open over all of it.
    let mut client = Client::connect(elb.web());
    let mut status = |host: &str, path: &str| client.get(host, path).status;
    assert_eq!(status(HOST, "/services/echo"), 200);
    assert_eq!(status("first.test", "/services/echo"), 421);

    apply(&with_second_cluster(&topology().to_yaml(), &other));
    assert_eq!((status(HOST, "/services/echo"), status("first.test", "/services/echo")), (200, 200));
    assert_eq!(get(elb.web(), "first.test", "/services/echo").echo().node(), "f1");
    assert_eq!(get(elb.web(), HOST, "/services/echo").echo().node(), "w1", "the second cluster of the file now");

    assert_eq!(status(HOST, "/orders/1"), 404);
    apply(&topology().paths("service: [/orders]").to_yaml());
    assert_eq!((status(HOST, "/orders/1"), status("first.test", "/services/echo")), (200, 421));

    apply(&topology().listener("web", "role: worker, endpoint: servlet, deny: [127.0.0.0/8]").to_yaml());
    assert_eq!(status(HOST, "/services/echo"), 403);
    apply(&topology().access("worker: { deny: [127.0.0.0/8] }").to_yaml());
    assert_eq!(status(HOST, "/services/echo"), 403);
    apply(&topology().rules("few: { rate: 2/h, per: all }").to_yaml());
    assert_eq!([(); 3].map(|()| status(HOST, "/services/echo")), [200, 200, 429]);
    let counted = topology().rules("few: { rate: 2/h, per: all }, big: { body: 1KiB }");
    apply(&counted.to_yaml());
    assert_eq!(status(HOST, "/services/echo"), 429, "the rule is the same and goes on counting");
    apply(&topology().listener("web", "role: worker, endpoint: servlet, response: { hide: [x-node] }").to_yaml());
    let answer = get(elb.web(), HOST, "/services/echo");
    assert_eq!((answer.status, answer.header("x-node")), (200, None));
}

#[test]
fn sessions_stay_and_who_waits_is_served_when_members_come() {
    let ((held, connections), free, other) = (RawNode::by_hand(), StubNode::worker("w2"), StubNode::worker("f1"));
    let pool = "max_in_flight: 1, affinity: cookie, queue: { length: 5, wait: 20s }";
    let topology = |nodes: &[(&str, SocketAddr)]| {
        let nodes = nodes.iter().fold(Topology::new(), |topology, (id, address)| topology.worker(id, *address));
        nodes.worker_pool(pool).to_yaml()
    };
    let elb = Elb::start_with(&topology(&[("w1", held.address())]), &["web", "console"]);
    let ask = |cookie: Option<&str>| {
        let mut client = Client::connect(elb.web());
        let request = Request::get(HOST, "/services/echo");
        client.send(cookie.into_iter().fold(request, |request, cookie| request.header("Cookie", cookie)).to_bytes());
        client
    };
    let receive = || {
        let mut node = connections.next();
        assert!(node.read_request().expect("a request comes").is_some());
        node
    };
    let answer = |mut node: Client| {
        node.send("HTTP/1.1 200 OK\r\nX-Node: w1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    };
    let mut first = ask(None);
    answer(receive());
    let cookie = first.answer().cookie().expect("a session begins").to_owned();

    let mut busy = ask(None);
    let busy_node = receive();
    let mut waiting = ask(None);
    wait_until("one waits", || elb.metrics().sum("carbon_elb_queued", &[]) == 1.0);

    // Another cluster is the first one now, the other member stands before the one that was there.
    let members = topology(&[("w2", free.address()), ("w1", held.address())]);
    elb.replace_config(&with_second_cluster(&members, &other));
    elb.hang_up();
    assert_eq!(waiting.answer().echo().node(), "w2", "it did not wait for w1");
    answer(busy_node);
    assert_eq!(busy.answer().header("x-node"), Some("w1"), "what was in flight has finished");
    for _ in 0..4 {
        let mut client = ask(Some(&cookie));
        answer(receive());
        assert_eq!(client.answer().header("x-node"), Some("w1"), "the session stays");
    }
    assert_eq!(elb.metrics().sum("carbon_elb_sessions_moved_total", &[]), 0.0);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_a_bad_one_is_refused() {
    let dir = TempDir::new("tls");
    let node = StubNode::worker("w1");
    let make = |name: &str| Certificate::self_signed(dir.path(), name, &format!("DNS:{HOST}"));
    let (old, new) = (make("old.test"), make("new.test"));
    let (certificate, key) = (dir.path().join("served.crt"), dir.path().join("served.key"));
    let serve = |from: &Certificate| {
        std::fs::copy(&from.certificate, &certificate).expect("it is ours");
        std::fs::copy(&from.key, &key).expect("it is ours");
    };
    serve(&old);
    let tls = format!("tls: {{ certificate: {}, key: {} }}", certificate.display(), key.display());
    let elb = Elb::start(
        &Topology::workers(&[node.address()]).listener("web", &format!("role: worker, endpoint: servlet, {tls}")),
    );
    assert_eq!(served_name(elb.web()), "old.test");
    serve(&new);
    assert_eq!(served_name(elb.web()), "old.test", "nobody has said so yet");
    elb.hang_up();
    elb.wait_for_log("listeners.web.tls: changed");
    elb.wait_for_configuration(2);
    assert_eq!(served_name(elb.web()), "new.test");
    std::fs::copy(&old.key, &key).expect("it is ours");
    elb.hang_up();
    elb.wait_for_log("nothing was changed");
    assert_eq!(served_name(elb.web()), "new.test", "the key is not that of the certificate");
}

/// The node is a balancer itself, as the stub node speaks no TLS.
#[test]
fn nodes_are_verified_with_the_newest_certificates_and_over_new_connections() {
    let (dir, behind) = (TempDir::new("tls"), StubNode::worker("w1"));
    let make = |name: &str| Certificate::self_signed(dir.path(), name, "DNS:node.test");
    let (old, new) = (make("old"), make("new"));
    let [certificate, key, ca] = ["served.crt", "served.key", "ca.pem"].map(|name| dir.path().join(name));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::copy(from, to).expect("it is ours");
    };
    copy(&old.certificate, &certificate);
    copy(&old.key, &key);
    copy(&old.certificate, &ca);
    let tls = format!("tls: {{ certificate: {}, key: {} }}", certificate.display(), key.display());
    let node = Elb::start(
        &Topology::workers(&[behind.address()]).listener("web", &format!("role: worker, endpoint: servlet, {tls}")),
    );
    let verified = format!("scheme: https, health: tcp, tls: {{ ca: {}, server_name: node.test }}", ca.display());
    let pool = "health: { interval: 1s, timeout: 1s, rise: 1, fall: 1 }, retry: off, outliers: off";
    let elb = Elb::start(&Topology::workers(&[node.web()]).servlet(&verified).worker_pool(pool));
    elb.wait_for_node("w1", "servlet", true);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);

    // The node goes first: who trusts it no more must not be asked over a connection of before.
    copy(&new.certificate, &certificate);
    copy(&new.key, &key);
    node.hang_up();
    node.wait_for_configuration(2);
    elb.wait_for_node("w1", "servlet", false);
    copy(&new.certificate, &ca);
    elb.hang_up();
    elb.wait_for_configuration(2);
    elb.wait_for_node("w1", "servlet", true);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 200);
    let new_connections = [("kind", "new")];
    assert_eq!(elb.metrics().sum("carbon_elb_upstream_connections_total", &new_connections), 2.0, "one for each trust");
    copy(&old.certificate, &ca);
    elb.hang_up();
    elb.wait_for_configuration(3);
    elb.wait_for_node("w1", "servlet", false);
}

#[test]
fn the_file_is_watched_if_it_says_so() {
    let node = StubNode::worker("w1");
    let yaml =
        |paths: &str| Topology::workers(&[node.address()]).paths(paths).server("grace: 1s, watch: 100ms").to_yaml();
    let elb = Elb::start_with(&yaml(""), &["web", "console"]);
    let status = |path: &str| get(elb.web(), HOST, path).status;
    assert_eq!(status("/one"), 404);
    elb.replace_config(&yaml("service: [/one]"));
    elb.wait_for_configuration(2);
    assert_eq!(status("/one"), 200);

    // As orchestrators do it: the file is a symbolic link to another place, which is replaced by another link.
    let file = elb.config_file();
    let place = TempDir::new("place");
    let there = place.write("second.yaml", &yaml("service: [/two]"));
    // In the file's own directory, so that it can take its place at once.
    let link = file.with_extension("link");
    symlink(&there, &link).expect("the directory is ours");
    std::fs::rename(&link, &file).expect("both are in the same directory");
    elb.wait_for_configuration(3);
    assert_eq!((status("/one"), status("/two")), (404, 200));
    elb.replace_config("listeners: [");
    elb.wait_for_log("nothing was changed");
    assert_eq!(status("/two"), 200);
    elb.replace_config(&yaml("service: [/three]"));
    elb.wait_for_configuration(4);
    assert_eq!(status("/three"), 200);
    assert_eq!(
        elb.metrics().sum("carbon_elb_reloads_total", &[("outcome", "bad")]),
        1.0,
        "it is not tried all the time"
    );
}

#[test]
fn diff_says_what_a_reload_would_do() {
    let dir = TempDir::new("diff");
    let topology = Topology::workers(&["127.0.0.1:9763".parse().unwrap()]);
    let old = dir.write("old.yaml", &topology.to_yaml()).display().to_string();
    let changed = topology.clone().worker_pool("queue: { length: 5 }").server("threads: 3, grace: 10s");
    let new = dir.write("new.yaml", &changed.to_yaml()).display().to_string();
    let bad = dir.write("bad.yaml", "listeners: [").display().to_string();
    for (files, code, expected) in [
        ([&old, &old], 0, ""),
        (
            [&old, &new],
            1,
            "clusters.esb.pools.worker.queue.length: 1000 -> 5\nserver.threads: auto -> 3 (needs a restart)\n",
        ),
        ([&old, &bad], 2, ""),
        ([&bad, &old], 2, ""),
    ] {
        let output = elb::run(&["diff", files[0], files[1]]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        assert_eq!(output.stderr.is_empty(), code != 2, "{output:?}");
    }
}

/// The members of the process are known; those that come must be up before they are asked, and those that go are gone.
#[test]
fn a_node_that_comes_is_asked_only_when_it_is_up() {
    let mut workers = Worker::several(2);
    let pool = "health: { interval: 1s, timeout: 1s, rise: 1, fall: 1 }, retry: off, outliers: off";
    let servlet = "scheme: http, health: { path: /services/Version }";
    let elb = Elb::start(&topology(&workers[..1]).servlet(servlet).worker_pool(pool));
    wait_until_up(&elb, &workers[..1]);
    workers[1].kill();
    let traffic = Traffic::start(elb.web(), 4, &["GET", "POST"]);
    elb.replace_config(&topology(&workers).servlet(servlet).worker_pool(pool).to_yaml());
    elb.hang_up();
    elb.wait_for_configuration(2);
    elb.wait_for_fall("w2", "servlet");
    traffic.wait_for(100);
    workers[1].start_again();
    workers[1].wait_for_more();
    traffic.wait_for(50);
    let sents = traffic.finish();
    assert!(sents.failed().is_empty(), "{:#?}", sents.failed());
    sents.reconcile("a node that comes", &elb, &workers);
}
