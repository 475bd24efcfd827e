//! Requests that wait because their members have as many in flight as they may.

use std::process::Command;
use std::thread::JoinHandle;

use crate::operator::{self, set_state};
use crate::support::certs::Certificate;
use crate::support::client::{Client, Request, Response, get};
use crate::support::elb::Elb;
use crate::support::process::Process;
use crate::support::topology::{HOST, Topology};
use crate::support::{TempDir, wait_until};
use crate::worker::{Worker, topology};

fn with_queue(workers: &[Worker], queue: &str) -> Topology {
    topology(workers).worker_pool(&format!("max_in_flight: 1, outliers: off, queue: {{ {queue} }}"))
}

fn request<'a>(method: &'a str, id: &'a str) -> Request<'a> {
    let request = Request::new(method, HOST, "/services/echo").header("X-Request-Id", id);
    if method == "POST" { request.header("Content-Type", "application/json").body(b"{\"order\": 1}") } else { request }
}

/// Sends a request and leaves its answer for later.
#[track_caller]
fn send(elb: &Elb, method: &str, id: &str) -> Client {
    let mut client = Client::connect(elb.web());
    client.send(request(method, id).to_bytes());
    client
}

#[track_caller]
fn wait_for_queue(elb: &Elb, requests: usize) {
    wait_until(&format!("{requests} wait"), || elb.metrics().sum("carbon_elb_queued", &[]) == requests as f64);
}

#[track_caller]
fn wait_for_in_flight(elb: &Elb, requests: usize) {
    wait_until(&format!("{requests} are in flight"), || {
        elb.metrics().sum("carbon_elb_in_flight", &[]) == requests as f64
    });
}

/// A balancer whose workers are frozen and have all the requests that they may have.
#[track_caller]
fn full(workers: &[Worker], queue: &str) -> (Elb, Vec<Client>) {
    let elb = Elb::start(&with_queue(workers, queue));
    workers.iter().for_each(Worker::freeze);
    let clients = workers.iter().map(|worker| send(&elb, "GET", &format!("first-{}", worker.id()))).collect();
    wait_for_in_flight(&elb, workers.len());
    (elb, clients)
}

#[track_caller]
fn assert_refused(elb: &Elb, response: &Response, reason: &str) {
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{response:?}");
    elb.access_line(reason, |line| line["reason"] == reason && line["status"] == 503);
}

/// No node was asked for these requests, and they are counted so.
#[track_caller]
fn wait_for_refused(elb: &Elb, reason: &str, requests: usize) {
    elb.wait_for_count("carbon_elb_refused_total", &[], requests as f64);
    elb.wait_for_count("carbon_elb_refused_total", &[("reason", reason)], requests as f64);
    elb.wait_for_count("carbon_elb_requests_total", &[("code", "5xx")], requests as f64);
}

#[test]
fn who_waits_is_served_in_turn_and_one_at_a_time() {
    for count in [1, 2] {
        let slow = |number| Worker::start(&format!("w{number}"), &["--delay", "20ms"]);
        let workers: Vec<Worker> = (1..=count).map(slow).collect();
        let (elb, mut clients) = full(&workers, "length: 20, wait: 1m");
        for number in 0..12 {
            clients.push(send(&elb, ["GET", "POST"][number % 2], &format!("{number:02}")));
            wait_for_queue(&elb, number + 1);
        }
        assert!(workers.iter().all(|worker| worker.record().is_empty()), "a frozen worker writes");
        workers.iter().for_each(Worker::thaw);
        for (number, client) in clients.iter_mut().enumerate() {
            let echo = client.answer().echo();
            let body = if number >= count && (number - count) % 2 == 1 { 12 } else { 0 };
            assert_eq!(echo.body_length(), body, "request {number}");
        }
        wait_for_queue(&elb, 0);
        wait_for_in_flight(&elb, 0);
        elb.wait_for_count("carbon_elb_requests_total", &[("code", "2xx")], clients.len() as f64);

        let mut all = Vec::new();
        for worker in &workers {
            let record = worker.record();
            for pair in record.chunks(2) {
                let what: Vec<_> = pair.iter().map(|line| (line.what.as_str(), &line.id)).collect();
                assert_eq!(what, [("arrived", &pair[0].id), ("answered", &pair[0].id)], "two at a time: {record:?}");
            }
            // Of one worker or of each of two, the order in which they came.
            let ids: Vec<_> = worker.arrived().into_iter().filter(|id| !id.starts_with("first")).collect();
            assert!(ids.is_sorted(), "{ids:?}");
            all.extend(ids);
        }
        all.sort();
        assert_eq!(all, (0..12).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    }
}

#[test]
fn a_full_queue_and_a_long_wait_are_a_503_with_a_time_to_come_again() {
    let workers = [Worker::start("w1", &[])];
    let (elb, mut clients) = full(&workers, "length: 2, wait: 1m");
    for (number, method) in ["GET", "POST"].into_iter().enumerate() {
        clients.push(send(&elb, method, method));
        wait_for_queue(&elb, number + 1);
    }
    for method in ["GET", "POST"] {
        assert_refused(&elb, &request(method, "too-many").send(elb.web()), "queue_full");
    }
    wait_for_refused(&elb, "queue_full", 2);
    workers[0].thaw();
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    assert_eq!(workers[0].arrived(), ["first-w1", "GET", "POST"]);

    let workers = [Worker::start("w1", &[])];
    let (elb, mut clients) = full(&workers, "length: 2, wait: 300ms");
    for method in ["GET", "POST"] {
        assert_refused(&elb, &request(method, "too-late").send(elb.web()), "queue_timeout");
    }
    wait_for_refused(&elb, "queue_timeout", 2);
    wait_for_queue(&elb, 0);
    workers[0].thaw();
    assert_eq!(clients[0].answer().status, 200);
    // And without a queue, at once.
    let elb = Elb::start(&topology(&workers).worker_pool("max_in_flight: 1, queue: off"));
    workers[0].freeze();
    let _first = send(&elb, "GET", "first");
    wait_for_in_flight(&elb, 1);
    assert_eq!(get(elb.web(), HOST, "/services/echo").status, 503);
    wait_for_refused(&elb, "queue_full", 1);
}

/// Somebody waits and leaves; who waits behind is served, and the worker never sees the request of the one who left.
#[track_caller]
fn assert_leaves(leaver: &str, workers: &[Worker; 1], elb: &Elb, arrive: impl FnOnce() -> Box<dyn FnOnce()>) {
    let first = send(elb, "GET", &format!("{leaver}-first"));
    wait_for_in_flight(elb, 1);
    let leave = arrive();
    wait_for_queue(elb, 1);
    let next = send(elb, "POST", &format!("{leaver}-next"));
    wait_for_queue(elb, 2);
    leave();
    wait_for_queue(elb, 1);
    workers[0].thaw();
    for mut client in [first, next] {
        assert_eq!(client.answer().status, 200, "{leaver}");
    }
    let arrived = workers[0].arrived();
    let served: Vec<_> = arrived.iter().filter(|id| id.starts_with(leaver)).collect();
    assert_eq!(served, [&format!("{leaver}-first"), &format!("{leaver}-next")]);
    wait_for_in_flight(elb, 0);
    workers[0].freeze();
}

#[test]
fn who_waits_and_leaves_is_not_asked_for() {
    let dir = TempDir::new("edge");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let tls = format!("tls: {{ certificate: {}, key: {} }}", edge.certificate.display(), edge.key.display());
    let workers = [Worker::start("w1", &[])];
    let topology = with_queue(&workers, "length: 20, wait: 1m");
    let elb = Elb::start(&topology.listener("secure", &format!("role: worker, endpoint: servlet, {tls}")));
    workers[0].freeze();

    for method in ["GET", "POST"] {
        assert_leaves(method, &workers, &elb, || {
            let client = send(&elb, method, &format!("{method}-leaver"));
            Box::new(|| drop(client))
        });
    }
    assert_leaves("part", &workers, &elb, || {
        let mut client = Client::connect(elb.web());
        let whole = request("POST", "part-leaver").to_bytes();
        client.send(&whole[..whole.len() - 5]);
        Box::new(|| drop(client))
    });
    let port = elb.address("secure").port();
    for (name, version, body) in [
        ("h2-get", "--http2", &[][..]),
        ("h2-post", "--http2", &["--data", "{\"order\": 1}", "--header", "Content-Type: application/json"]),
        ("tls-get", "--http1.1", &[]),
    ] {
        assert_leaves(name, &workers, &elb, || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--noproxy", "*", version, "--header", &format!("X-Request-Id: {name}-leaver")]);
            curl.arg("--cacert").arg(&edge.certificate).args(body);
            curl.args(["--connect-to", &format!("{HOST}:{port}:127.0.0.1:{port}")]);
            curl.arg(format!("https://{HOST}:{port}/services/echo"));
            let curl = Process::start("curl", &mut curl);
            Box::new(|| drop(curl))
        });
    }
    let gone = |line: &serde_json::Value| line["reason"] == "client_gone" && line["node"].is_null();
    wait_until("all are logged", || elb.access_lines().iter().filter(|line| gone(line)).count() == 6);
    elb.wait_for_count("carbon_elb_requests_total", &[("code", "none")], 6.0);
}

#[test]
fn a_body_that_does_not_come_while_its_request_waits_is_a_408() {
    let workers = [Worker::start("w1", &[])];
    let topology = with_queue(&workers, "length: 20, wait: 1m");
    let elb = Elb::start(&topology.listener("brisk", "role: worker, endpoint: servlet, timeouts: { read: 300ms }"));
    workers[0].freeze();
    let mut first = send(&elb, "GET", "first");
    wait_for_in_flight(&elb, 1);
    let mut client = Client::connect(elb.address("brisk"));
    let whole = request("POST", "part").to_bytes();
    client.send(&whole[..whole.len() - 5]);
    assert_eq!(client.answer().status, 408);
    elb.access_line("too slow", |line| line["reason"] == "client_too_slow" && line["node"].is_null());
    workers[0].thaw();
    assert_eq!(first.answer().status, 200);
    assert_eq!(workers[0].arrived(), ["first"]);
}

#[test]
fn places_on_a_member_are_given_to_who_waits_longest_for_it() {
    let workers = [Worker::start("w1", &["--delay", "20ms"]), Worker::start("w2", &[])];
    let pool = "max_in_flight: 1, outliers: off, affinity: route, queue: { length: 50, wait: 1m }";
    let elb = Elb::start(&topology(&workers).worker_pool(pool));
    workers.iter().for_each(Worker::freeze);
    let send = |id: &str, route: Option<&str>| {
        let mut client = Client::connect(elb.web());
        let request = request("GET", id);
        let cookie = route.map(|route| format!("JSESSIONID=a.{route}")).unwrap_or_default();
        client.send(if cookie.is_empty() { request } else { request.header("Cookie", &cookie) }.to_bytes());
        client
    };
    let mut clients = [send("busy-1", Some("w1")), send("busy-2", Some("w2"))];
    wait_for_in_flight(&elb, 2);
    let mut line = Vec::new();
    for number in 0..4 {
        for (kind, route) in [("session", Some("w1")), ("any", None)] {
            let id = format!("{number}-{kind}");
            line.push((id.clone(), send(&id, route)));
            wait_for_queue(&elb, line.len());
        }
    }
    // The other worker stays as busy as it is.
    workers[0].thaw();
    line.iter_mut().for_each(|(id, client)| assert_eq!(client.answer().echo().node(), "w1", "{id}"));
    let arrived = workers[0].arrived();
    let sessions: Vec<_> = arrived.iter().filter(|id| id.ends_with("session")).collect();
    let any: Vec<_> = arrived.iter().filter(|id| id.ends_with("any")).collect();
    assert!(sessions.is_sorted() && any.is_sorted() && sessions.len() == 4 && any.len() == 4, "{arrived:?}");
    // Who would take any member never goes before a session that waits for longer.
    for (number, id) in any.iter().enumerate() {
        let before = arrived.iter().take_while(|arrived| arrived != id).filter(|id| id.ends_with("session")).count();
        assert!(before > number, "{arrived:?}");
    }
    workers[1].thaw();
    clients.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    wait_for_queue(&elb, 0);
}

#[test]
fn who_waits_for_the_member_of_a_session_holds_up_nobody_else() {
    let workers = Worker::several(2);
    let pool = "max_in_flight: 1, outliers: off, affinity: route, queue: { length: 20, wait: 1m }";
    let elb = Elb::start(&topology(&workers).worker_pool(pool));
    workers.iter().for_each(Worker::freeze);
    let ask = |id: &'static str, session: Option<&'static str>| -> JoinHandle<Response> {
        let address = elb.web();
        std::thread::spawn(move || {
            let request = request("GET", id);
            session.map_or(request.clone(), |session| request.header("Cookie", session)).send(address)
        })
    };
    let first = [ask("busy-1", Some("JSESSIONID=a.w1")), ask("busy-2", Some("JSESSIONID=a.w2"))];
    wait_for_in_flight(&elb, 2);
    let before = ask("before", None);
    wait_for_queue(&elb, 1);
    let session = ask("session", Some("JSESSIONID=b.w1"));
    wait_for_queue(&elb, 2);
    let behind = ask("behind", None);
    wait_for_queue(&elb, 3);
    // The session's member stays as it is, and the other one does the rest.
    workers[1].thaw();
    for waiting in [before, behind] {
        assert_eq!(waiting.join().expect("a client has panicked").echo().node(), "w2");
    }
    wait_for_queue(&elb, 1);
    workers[0].thaw();
    assert_eq!(session.join().expect("a client has panicked").echo().node(), "w1");
    first.into_iter().for_each(|client| assert_eq!(client.join().expect("a client has panicked").status, 200));
}

#[test]
fn who_waits_for_a_member_that_may_not_be_asked_any_more_waits_for_the_others() {
    let workers = Worker::several(2);
    let pool = "max_in_flight: 1, outliers: off, affinity: route, queue: { length: 20, wait: 1m }";
    let elb = operator::start(topology(&workers).worker_pool(pool));
    workers.iter().for_each(Worker::freeze);
    let send = |session: &str| {
        let mut client = Client::connect(elb.web());
        client.send(request("GET", session).header("Cookie", &format!("JSESSIONID={session}")).to_bytes());
        client
    };
    let mut first = [send("a.w1"), send("a.w2")];
    wait_for_in_flight(&elb, 2);
    let mut waiting = send("b.w1");
    wait_for_queue(&elb, 1);
    set_state(&elb, "w1", "maintenance");
    // Its member stays as busy as it is.
    workers[1].thaw();
    assert_eq!(waiting.answer().echo().node(), "w2");
    assert_eq!(first[1].answer().echo().node(), "w2");
    workers[0].thaw();
    assert_eq!(first[0].answer().echo().node(), "w1");
}

#[test]
fn a_request_with_trailers_that_waits_stops_nobody() {
    let dir = TempDir::new("trailers");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let tls = format!("tls: {{ certificate: {}, key: {} }}", edge.certificate.display(), edge.key.display());
    let workers = [Worker::start("w1", &[])];
    let topology = with_queue(&workers, "length: 20, wait: 1m").server("threads: 1");
    let elb = Elb::start(&topology.listener("secure", &format!("role: worker, endpoint: servlet, {tls}")));
    workers[0].freeze();
    let _first = send(&elb, "GET", "first");
    wait_for_in_flight(&elb, 1);

    let body = dir.path().join("body");
    std::fs::write(&body, "{\"order\": 1}").unwrap();
    let mut nghttp = Command::new("nghttp");
    nghttp.args(["-nvy", "-H", &format!(":authority: {HOST}"), "-H", "Content-Type: application/json"]);
    nghttp.arg("-d").arg(&body).args(["--trailer", "x-checksum: 1"]);
    nghttp.arg(format!("https://{}/services/echo", elb.address("secure")));
    let _waits = Process::start("nghttp", &mut nghttp);
    wait_for_queue(&elb, 1);
    // The one thread that serves clients has time for this one, too.
    let mut second = send(&elb, "GET", "second");
    wait_for_queue(&elb, 2);
    workers[0].thaw();
    assert_eq!(second.answer().echo().node(), "w1");
}
