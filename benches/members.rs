//! What registrations and renewals cost the requests of clients: rounds without any, with renewals only, and with members
//! that come and go, each 10,000 a minute, in turns. It prints a Markdown table.
//!
//! `cargo bench --bench members`. The cost of a request is the processor time of the thread that serves it, from the
//! system's own count; latencies are those of a client in a closed loop. Machines are noisy, so it is the median over the
//! rounds that counts, and of the differences to the quiet round before. Nothing but loopback is listened on or asked.

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::client::{Client, Request};
use support::elb::Elb;
use support::node::StubNode;
use support::topology::{HOST, Topology};
use support::wait_until;

const ROUNDS: usize = 12;
const ROUND: Duration = Duration::from_secs(3);
/// Clients in a closed loop, and the pause between an answer and the next request.
const CLIENTS: usize = 2;
const PAUSE: Duration = Duration::from_micros(500);
/// Members that are there all the time, besides the one that serves.
const MEMBERS: usize = 1_000;
/// Ten thousand a minute.
const EVERY: Duration = Duration::from_millis(6);
const TOKEN: &str = "a-token-for-everything";

/// What is asked of the API in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changes {
    None,
    Renewals,
    /// Of four requests one registers a new member, one deregisters it, and two renew.
    Churn,
}

/// What a round has shown.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// Seconds.
    took: f64,
    requests: usize,
    failed: usize,
    changes: usize,
    /// Processor time of the serving thread for a request, in microseconds.
    cost: f64,
    /// Latencies in microseconds.
    p50: f64,
    p99: f64,
    /// Snapshots that were published.
    snapshots: f64,
}

fn main() {
    let node = StubNode::worker("w1");
    let topology = Topology::workers(&[node.address()])
        .worker_pool("allowed_networks: [127.0.0.0/8]")
        .without_access_log()
        .server("threads: 1")
        .admin("tokens: ['${TOKEN}']");
    let yaml = topology.to_yaml().replace("    nodes:\n", "    max_dynamic: 5000\n    nodes:\n");
    let elb = Elb::start_with_in(&yaml, &topology.listener_names(), &[("TOKEN", TOKEN)]);
    let mut operator = Client::connect(elb.address("admin"));
    for member in 0..MEMBERS {
        register(&mut operator, member);
    }
    let members = format!("{}", MEMBERS + 2);
    wait_until(&format!("{members} members are known"), || known(&mut operator) >= MEMBERS + 2);

    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([Changes::None, Changes::Renewals, Changes::Churn].map(|changes| round(&elb, changes)));
    }
    print(&rounds);
}

fn print(rounds: &[[Round; 3]]) {
    println!("{ROUNDS} rounds of {ROUND:?} each, {CLIENTS} clients, {MEMBERS} members; medians\n");
    println!(
        "| changes | a minute | requests/s | failed | snapshots/s | CPU µs/request | difference | p50 µs | p99 µs |"
    );
    println!("| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (index, name) in ["none", "renewals", "renewals, joins and leaves"].into_iter().enumerate() {
        let all =
            |value: &dyn Fn(&Round) -> f64| median(rounds.iter().filter_map(|round| Some(value(round.get(index)?))));
        let difference = median(rounds.iter().map(|round| round[index].cost / round[0].cost - 1.0)) * 100.0;
        println!(
            "| {name} | {:.0} | {:.0} | {} | {:.1} | {:.1} | {difference:+.1} % | {:.0} | {:.0} |",
            all(&|round| round.changes as f64 * 60.0 / round.took),
            all(&|round| round.requests as f64 / round.took),
            rounds.iter().map(|round| round[index].failed).sum::<usize>(),
            all(&|round| round.snapshots / round.took),
            all(&|round| round.cost),
            all(&|round| round.p50),
            all(&|round| round.p99),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(elb: &Elb, changes: Changes) -> Round {
    let (stop, snapshots) = (Arc::new(AtomicBool::new(false)), snapshots(elb));
    let (begin, time) = (Instant::now(), serving_time(elb));
    let operator = changing(elb.address("admin"), changes, stop.clone());
    let clients: Vec<_> = (0..CLIENTS).map(|_| asking(elb.web(), stop.clone())).collect();
    // The length of the round.
    std::thread::sleep(ROUND);
    stop.store(true, Ordering::Release);
    let samples: Vec<Option<f64>> =
        clients.into_iter().flat_map(|client| client.join().expect("a client has panicked")).collect();
    let changes = operator.join().expect("the operator has panicked");
    let (spent, took) = (serving_time(elb) - time, begin.elapsed().as_secs_f64());
    let mut latencies: Vec<f64> = samples.iter().copied().flatten().collect();
    latencies.sort_by(f64::total_cmp);
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(f64::NAN);
    Round {
        took,
        requests: samples.len(),
        failed: samples.len() - latencies.len(),
        changes,
        cost: spent.as_secs_f64() * 1e6 / samples.len() as f64,
        p50: at(50),
        p99: at(99),
        snapshots: crate::snapshots(elb) - snapshots,
    }
}

/// A client; its latencies in microseconds, `None` for a request that failed.
fn asking(address: SocketAddr, stop: Arc<AtomicBool>) -> JoinHandle<Vec<Option<f64>>> {
    std::thread::spawn(move || {
        let (mut client, mut latencies) = (Client::connect(address), Vec::new());
        while !stop.load(Ordering::Acquire) {
            let begin = Instant::now();
            let answer = client.try_request(&Request::get(HOST, "/services/echo"));
            let good = answer.is_ok_and(|answer| answer.status == 200);
            latencies.push(good.then(|| begin.elapsed().as_secs_f64() * 1e6));
            if client.closed || !good {
                client = Client::connect(address);
            }
            // The load's rhythm.
            std::thread::sleep(PAUSE);
        }
        latencies
    })
}

/// Changes members until the round ends; returns how many requests that took.
fn changing(address: SocketAddr, changes: Changes, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        if changes == Changes::None {
            return 0;
        }
        let (mut client, begin, mut done) = (Client::connect(address), Instant::now(), 0);
        while !stop.load(Ordering::Acquire) {
            let new = MEMBERS + done / 4 % MEMBERS;
            match (changes, done % 4) {
                (Changes::Churn, 0) => register(&mut client, new),
                (Changes::Churn, 1) => _ = ask(&mut client, "DELETE", &path(new), ""),
                _ => {
                    let status = ask(&mut client, "POST", &format!("{}/renew", path(done % MEMBERS)), "{}");
                    assert_eq!(status, 200, "a renewal");
                }
            }
            done += 1;
            let next = EVERY * u32::try_from(done).expect("a few thousand");
            // The operator's rhythm.
            std::thread::sleep(next.saturating_sub(begin.elapsed()));
        }
        done
    })
}

fn path(member: usize) -> String {
    format!("/api/v1/clusters/esb/members/m{member}")
}

/// Registers a member that is not asked, as another one serves.
fn register(client: &mut Client, member: usize) {
    let address = format!("127.1.{}.{}", member / 200, member % 200 + 1);
    let body = format!("{{\"address\": \"{address}\", \"backup\": true, \"lease\": 3600}}");
    let status = ask(client, "PUT", &path(member), &body);
    assert!((200..300).contains(&status), "registered with {status}");
}

fn ask(client: &mut Client, method: &str, path: &str, body: &str) -> u16 {
    let bearer = format!("Bearer {TOKEN}");
    let request = Request::new(method, "localhost", path).header("Authorization", &bearer);
    match body {
        "" => client.request(&request).status,
        body => client.request(&request.header("Content-Type", "application/json").body(body.as_bytes())).status,
    }
}

/// How many members the balancer knows.
fn known(client: &mut Client) -> usize {
    let bearer = format!("Bearer {TOKEN}");
    let request = Request::get("localhost", "/api/v1/members").header("Authorization", &bearer);
    let all = client.request(&request).json();
    let pools = all["clusters"][0]["pools"].as_array().cloned().unwrap_or_default();
    pools.iter().map(|pool| pool["members"].as_array().map_or(0, Vec::len)).sum()
}

fn snapshots(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_snapshot_generation", &[])
}

/// Processor time of the threads that serve requests.
fn serving_time(elb: &Elb) -> Duration {
    let tasks = format!("/proc/{}/task", elb.id());
    let mut total = Duration::ZERO;
    for task in std::fs::read_dir(&tasks).expect("the balancer runs").flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with("edge") {
            let spent = read("schedstat").split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            total += Duration::from_nanos(spent.unwrap_or_default());
        }
    }
    assert!(!total.is_zero(), "no thread of {tasks} is called edge");
    total
}
