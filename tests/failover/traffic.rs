//! Clients that ask all the time, each request with an id of its own, and the reckoning at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::topology::HOST;
use crate::support::wait_until;
use crate::worker::Worker;

/// The pause of a client between an answer and its next request: the pace of the load. No test waits for it.
const PAUSE: Duration = Duration::from_millis(2);

/// A request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    /// When it was sent.
    pub(crate) started: Instant,
    /// When its answer was complete, or its failure known.
    pub(crate) ended: Instant,
    /// The node that answered 200, or what came instead.
    pub(crate) outcome: Result<String, String>,
}

/// Load in the background. Dropping it ends it.
pub(crate) struct Traffic {
    begun: Instant,
    stopping: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Sent>>>,
}

impl Traffic {
    /// Starts clients that send the methods in turn, each over one connection for as long as that lasts.
    pub(crate) fn start(address: SocketAddr, clients: usize, methods: &'static [&'static str]) -> Traffic {
        let stopping = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let run = |client: usize| {
            let (stopping, done) = (Arc::clone(&stopping), Arc::clone(&done));
            std::thread::spawn(move || {
                let (mut connection, mut sent) = (None, Vec::new());
                // Not all clients at the same place of the turn.
                for (number, method) in methods.iter().cycle().skip(client).enumerate() {
                    if stopping.load(Ordering::Acquire) {
                        break;
                    }
                    sent.push(ask(&mut connection, address, method, format!("{client}-{number}")));
                    done.fetch_add(1, Ordering::AcqRel);
                    // The pace of a client, as of a user who reads; nothing that is asserted depends on it.
                    std::thread::sleep(PAUSE);
                }
                sent
            })
        };
        let clients = (0..clients).map(run).collect();
        Traffic { begun: Instant::now(), stopping, done, clients }
    }

    /// Waits until so many more requests are done.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let goal = self.done.load(Ordering::Acquire) + more;
        wait_until(&format!("{more} more requests are done"), || self.done.load(Ordering::Acquire) >= goal);
    }

    /// Ends the load and returns all its requests.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Sents {
        self.stopping.store(true, Ordering::Release);
        let join = |client: JoinHandle<_>| client.join().expect("a client of the load has panicked");
        let all = std::mem::take(&mut self.clients).into_iter().flat_map(join).collect();
        Sents { all, took: self.begun.elapsed() }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

fn ask(connection: &mut Option<Client>, address: SocketAddr, method: &'static str, id: String) -> Sent {
    let started = Instant::now();
    // The access log has the path and not the header.
    //
    // An answer that has begun cannot be taken back: when its node dies then, no balancer can help. The stub node writes
    // header and body apart; without a body the answer is one write, which is with the balancer as a whole or not at all.
    let path = format!("/services/echo/{id}?bytes=0");
    let mut request = Request::new(method, HOST, &path).header("X-Request-Id", &id);
    if method == "POST" {
        request = request.header("Content-Type", "application/json").body(b"{\"order\": 1}");
    }
    let answer = match connection.take().map_or_else(|| Client::try_connect(address), Ok) {
        Ok(mut client) => client.try_request(&request).inspect(|_| {
            if !client.closed {
                *connection = Some(client);
            }
        }),
        Err(e) => Err(e),
    };
    let outcome = match answer {
        Ok(response) if response.status == 200 => {
            response.header("x-node").map(str::to_owned).ok_or_else(|| "200 without a node".to_owned())
        }
        Ok(response) => Err(response.text().trim().to_owned()),
        Err(e) => Err(e.to_string()),
    };
    Sent { id, method, started, ended: Instant::now(), outcome }
}

/// All requests of a load.
pub(crate) struct Sents {
    pub(crate) all: Vec<Sent>,
    took: Duration,
}

impl Sents {
    /// Those that were not answered with 200.
    pub(crate) fn failed(&self) -> Vec<&Sent> {
        self.all.iter().filter(|sent| sent.outcome.is_err()).collect()
    }

    /// Holds what the clients know against what the balancer has counted and the workers have written down:
    ///
    /// - the balancer has counted every request once, and its 2xx and 5xx are the clients' successes and failures;
    /// - what was answered had arrived at the node that answered it;
    /// - no POST has arrived twice, on whatever nodes;
    /// - what has arrived more than once was retried by the balancer.
    ///
    /// Tells the figures.
    #[track_caller]
    pub(crate) fn reconcile(&self, what: &str, elb: &Elb, workers: &[Worker]) {
        let told: BTreeMap<_, usize> = self.failed().into_iter().fold(BTreeMap::new(), |mut told, sent| {
            *told.entry((sent.method, &sent.outcome)).or_default() += 1;
            told
        });
        if !told.is_empty() {
            eprintln!("{what}: what failed: {told:?}");
        }
        let failed = self.failed().len();
        let count = |number: usize| number as f64;
        elb.wait_for_count("carbon_elb_requests_total", &[], count(self.all.len()));
        elb.wait_for_count("carbon_elb_requests_total", &[("code", "2xx")], count(self.all.len() - failed));
        elb.wait_for_count("carbon_elb_requests_total", &[("code", "5xx")], count(failed));

        let mut arrived: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for worker in workers {
            worker.arrived().into_iter().for_each(|id| arrived.entry(id).or_default().push(worker.id()));
        }
        for Sent { id, method, outcome, .. } in &self.all {
            let at = arrived.get(id).map_or(&[][..], Vec::as_slice);
            assert!(*method != "POST" || at.len() <= 1, "{method} {id} arrived more than once: {at:?}");
            if let Ok(node) = outcome {
                assert!(at.contains(&node.as_str()), "{method} {id} was answered by {node} and arrived at {at:?}");
            }
        }
        let known: BTreeSet<_> = self.all.iter().map(|sent| &sent.id).collect();
        let strange: Vec<_> = arrived.keys().filter(|id| !known.contains(id)).collect();
        assert!(strange.is_empty(), "nobody has sent these: {strange:?}");
        let retries = elb.metrics().sum("carbon_elb_retries_total", &[]);
        let arrivals: usize = arrived.values().map(Vec::len).sum();
        assert!(count(arrivals) <= count(self.all.len()) + retries, "{arrivals} arrivals, {retries} retries");

        let posts = self.all.iter().filter(|sent| sent.method == "POST").count();
        let rate = count(self.all.len()) / self.took.as_secs_f64();
        eprintln!(
            "{what}: {} requests ({posts} POST) in {:.1?}, {rate:.0}/s{}; {failed} failed, {arrivals} arrivals at \
             nodes, {retries} retries",
            self.all.len(),
            self.took,
            if rate < 500.0 { " (below the 500/s that are meant)" } else { "" },
        );
    }
}
