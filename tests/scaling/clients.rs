//! Clients that ask all the time, more of them or fewer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::support::client::{Client, Request};
use crate::support::topology::HOST;
use crate::support::wait_until;

/// Requests of clients, each over a connection that is kept.
pub(crate) struct Clients {
    address: SocketAddr,
    done: Arc<AtomicUsize>,
    clients: Vec<(Arc<AtomicBool>, JoinHandle<Vec<String>>)>,
    started: usize,
    failed: Vec<String>,
}

impl Clients {
    pub(crate) fn of(address: SocketAddr) -> Clients {
        Clients { address, done: Arc::default(), clients: Vec::new(), started: 0, failed: Vec::new() }
    }

    /// From now on there are so many.
    #[track_caller]
    pub(crate) fn be(&mut self, count: usize) {
        for (stopping, _) in self.clients.iter().skip(count) {
            stopping.store(true, Ordering::Release);
        }
        while self.clients.len() > count {
            let (_, client) = self.clients.pop().expect("there are more");
            self.failed.extend(client.join().expect("a client has panicked"));
        }
        while self.clients.len() < count {
            let stopping = Arc::new(AtomicBool::new(false));
            let (stop, done, address, number) =
                (Arc::clone(&stopping), Arc::clone(&self.done), self.address, self.started);
            self.started += 1;
            let client = std::thread::spawn(move || ask_on(address, number, &stop, &done));
            self.clients.push((stopping, client));
        }
    }

    /// Waits until so many more requests are done.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let goal = self.done() + more;
        wait_until(&format!("{more} more requests are done"), || self.done() >= goal);
    }

    /// Requests that are done.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }

    /// Ends them, and returns what failed.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.be(0);
        std::mem::take(&mut self.failed)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.clients.iter().for_each(|(stopping, _)| stopping.store(true, Ordering::Release));
    }
}

/// Asks until it is told to stop. Returns what was no answer of a node.
fn ask_on(address: SocketAddr, client: usize, stop: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let mut failed = Vec::new();
    let mut connection: Option<Client> = None;
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let id = format!("{client}-{number}");
        // No body: such an answer comes as a whole or not at all, also when the node dies.
        let request = Request::get(HOST, "/services/echo?bytes=0").header("X-Request-Id", &id);
        let asked = connection.take().map_or_else(|| Client::try_connect(address), Ok).and_then(|mut client| {
            let answer = client.try_request(&request)?;
            Ok((answer, (!client.closed).then_some(client)))
        });
        match asked {
            Ok((answer, kept)) => {
                connection = kept;
                if answer.status != 200 {
                    failed.push(format!("{id}: {}: {}", answer.status, answer.text()));
                }
            }
            Err(e) => failed.push(format!("{id}: {e}")),
        }
        done.fetch_add(1, Ordering::AcqRel);
    }
    failed
}
