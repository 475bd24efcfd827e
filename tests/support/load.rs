//! Steady load: some clients that ask again and again over keep-alive connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Request};
use super::wait_until;

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Sample {
    /// When it was sent.
    pub(crate) started: Instant,
    /// When its answer was complete, or its failure known.
    pub(crate) ended: Instant,
    /// The node that answered 200, or what came instead.
    pub(crate) outcome: Result<String, String>,
}

/// Load in the background. Dropping it ends it.
pub(crate) struct Load {
    stopping: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Sample>>>,
}

impl Load {
    /// Starts `clients` clients that ask for `path`, each with `pause` between an answer and the next request. The
    /// pause is the pace of the load, no test waits for it.
    pub(crate) fn start(address: SocketAddr, host: &str, path: &str, clients: usize, pause: Duration) -> Load {
        let stopping = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients)
            .map(|_| {
                let (stopping, done) = (Arc::clone(&stopping), Arc::clone(&done));
                let (host, path) = (host.to_owned(), path.to_owned());
                std::thread::spawn(move || {
                    let mut samples = Vec::new();
                    let mut connection = None;
                    while !stopping.load(Ordering::Acquire) {
                        samples.push(ask(&mut connection, address, &Request::get(&host, &path)));
                        done.fetch_add(1, Ordering::AcqRel);
                        // The load's rhythm; nothing is waited for.
                        std::thread::sleep(pause);
                    }
                    samples
                })
            })
            .collect();
        Load { stopping, done, clients }
    }

    /// Waits until so many more requests are done.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let goal = self.done.load(Ordering::Acquire) + more;
        wait_until(&format!("{more} more requests are done"), || self.done.load(Ordering::Acquire) >= goal);
    }

    /// Ends the load and returns all its requests.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Vec<Sample> {
        self.stopping.store(true, Ordering::Release);
        let join = |client: JoinHandle<_>| client.join().expect("a client of the load has panicked");
        std::mem::take(&mut self.clients).into_iter().flat_map(join).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

fn ask(connection: &mut Option<Client>, address: SocketAddr, request: &Request<'_>) -> Sample {
    let started = Instant::now();
    let answer = match connection.take().map_or_else(|| Client::try_connect(address), Ok) {
        Ok(mut client) => client.try_request(request).inspect(|_| {
            if !client.closed {
                *connection = Some(client);
            }
        }),
        Err(e) => Err(e),
    };
    let outcome = match answer {
        Ok(response) if response.status == 200 => Ok(response.echo().node().to_owned()),
        Ok(response) => Err(format!("{}: {}", response.status, response.text())),
        Err(e) => Err(e.to_string()),
    };
    Sample { started, ended: Instant::now(), outcome }
}

/// How many requests each node has answered.
pub(crate) fn count_by_node<'a>(nodes: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    nodes.into_iter().fold(BTreeMap::new(), |mut counts, node| {
        *counts.entry(node).or_default() += 1;
        counts
    })
}
