//! Asks the agents of the nodes how these are and how much they can take, and tells the registry.
//!
//! An agent is asked by connecting to its port; it says one line, see [`crate::report::agent`]. Every node has a task of
//! its own. An agent that does not answer says nothing of its node: only how much the node could take is forgotten in the
//! end, see [`AgentState::forget_load`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use log::{debug, info, warn};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{first_address, offset};
use crate::config::AgentCheck;
use crate::registry::{NodeKey, Registry};
use crate::report::agent::{AgentState, Contact, Heard, LONGEST, Reply, parse};
use crate::tasks::Tasks;

/// The checks of the agents of all nodes.
pub struct Agents {
    registry: Arc<Registry>,
    tasks: Tasks<NodeKey, AgentCheck>,
}

impl Agents {
    /// Without any checks.
    pub fn new(registry: Arc<Registry>) -> Self {
        Agents { registry, tasks: Tasks::new() }
    }

    /// Starts and stops checks as the newest configuration says: a task for each node whose agent some pool wants to be
    /// asked. It must be called where tasks can be started.
    pub fn follow(&mut self) {
        let asked = self.registry.agents();
        let names: AHashMap<NodeKey, String> = asked.iter().map(|(key, name, _)| (*key, name.clone())).collect();
        let Agents { registry, tasks } = self;
        tasks.follow(asked.into_iter().map(|(key, _, check)| (key, check)), |key, check| {
            let agent = Agent {
                registry: registry.clone(),
                key: *key,
                check: *check,
                offset: offset(check.interval, key.0),
                name: format!("{} agent", names.get(key).map_or("", String::as_str)),
                contact: Contact::default(),
                unknown: None,
            };
            agent.run()
        });
    }
}

/// The checks of a node's agent.
struct Agent {
    registry: Arc<Registry>,
    key: NodeKey,
    check: AgentCheck,
    offset: Duration,
    name: String,
    contact: Contact,
    /// The word that it said last and that means nothing.
    unknown: Option<String>,
}

impl Agent {
    /// Asks at once, and then in every interval, until it is stopped.
    async fn run(mut self) {
        let address = first_address(&self.registry, self.key).await;
        self.ask(address).await;
        let mut ticks = interval_at(Instant::now() + self.offset, self.check.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(address) = self.registry.address(self.key) {
                self.ask(address).await;
            }
        }
    }

    /// One check, within the timeout as a whole.
    async fn ask(&mut self, address: IpAddr) {
        let reply = converse(SocketAddr::new(address, self.check.port));
        let reply = timeout(self.check.timeout, reply).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let heard = self.contact.record(reply.is_ok());
        match reply {
            Ok(reply) => self.answered(heard, address, &reply),
            Err(e) => self.missed(heard, &e),
        }
    }

    fn answered(&mut self, heard: Option<Heard>, address: IpAddr, reply: &Reply) {
        if heard == Some(Heard::Again) {
            info!("{}: answers again", self.name);
        }
        if let Some(word) = &reply.unknown
            && self.unknown != reply.unknown
        {
            warn!("{}: says \"{word}\", which means nothing", self.name);
        }
        self.unknown.clone_from(&reply.unknown);
        if let Some(state) = self.registry.record_agent(self.key, address, reply, now()) {
            self.tell(state, reply.description.as_deref());
        }
    }

    fn missed(&self, heard: Option<Heard>, error: &io::Error) {
        debug!("{}: no reply: {error}", self.name);
        if heard == Some(Heard::Nothing) {
            warn!("{}: does not answer: {error}", self.name);
        }
        if heard == Some(Heard::NothingForLong)
            && let Some(state) = self.registry.record_silent_agent(self.key, now())
        {
            self.tell(state, Some("it has been silent for long"));
        }
    }

    /// A line of the log for what holds now.
    fn tell(&self, state: AgentState, why: Option<&str>) {
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        if state.up { info!("{}: {state}{why}", self.name) } else { warn!("{}: {state}{why}", self.name) }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Connects and reads a line.
async fn converse(address: SocketAddr) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(address).await?;
    let mut received = [0; LONGEST];
    let mut length = 0;
    loop {
        // `length` is never greater than the length of `received`; nothing is read when it is as great.
        let read = stream.read(&mut received[length..]).await?;
        length += read;
        match parse(&received[..length]) {
            Ok(reply) => return Ok(reply),
            Err(e) if read == 0 => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of an agent that says these pieces and closes the connection.
    async fn heard(pieces: &[&str]) -> io::Result<Reply> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in pieces {
                // The check ends as soon as it has its line, whatever comes behind.
                let _ = stream.write_all(piece.as_bytes()).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(agent, converse(address)).1
    }

    #[tokio::test]
    async fn a_line_is_read_in_pieces_and_within_bounds() {
        let long = "x".repeat(LONGEST);
        for (pieces, expected) in [
            (&["up\n"][..], Some(true)),
            (&["d", "ow", "n\r\n", "up\n"], Some(false)),
            (&["up"], None),
            (&[], None),
            (&[&long, "\nup\n"], None),
        ] {
            let reply = heard(pieces).await;
            assert_eq!(reply.as_ref().ok().and_then(|reply| reply.up), expected, "{pieces:?}: {reply:?}");
            assert_eq!(reply.is_ok(), expected.is_some(), "{pieces:?}: {reply:?}");
        }
    }
}
