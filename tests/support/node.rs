//! Nodes for tests: the program's own stub node, nodes that the test plays itself, and a node that is not there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use super::PATIENCE;
use super::client::Client;
use super::elb;
use super::process::Process;

/// `carbon-elb node`: answers JSON of what it received. Dropping it kills it.
pub(crate) struct StubNode {
    address: SocketAddr,
    // Dropping it ends the node.
    _process: Process,
}

impl StubNode {
    /// Starts a worker.
    #[track_caller]
    pub(crate) fn worker(id: &str) -> StubNode {
        StubNode::start(id, "worker", &[])
    }

    /// Starts a manager.
    #[track_caller]
    pub(crate) fn manager(id: &str) -> StubNode {
        StubNode::start(id, "manager", &[])
    }

    /// Starts a node with more options.
    #[track_caller]
    pub(crate) fn start(id: &str, role: &str, options: &[&str]) -> StubNode {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let node = StubNode::spawn(id, role, free, options);
        node.unwrap_or_else(|| panic!("stub node {id} does not start"))
    }

    /// Starts a worker at an address; `None` if it cannot listen there.
    #[track_caller]
    pub(crate) fn try_at(id: &str, address: SocketAddr) -> Option<StubNode> {
        StubNode::spawn(id, "worker", address, &[])
    }

    #[track_caller]
    fn spawn(id: &str, role: &str, address: SocketAddr, options: &[&str]) -> Option<StubNode> {
        let mut command = elb::command();
        command.args(["node", "--role", role, "--id", id, "--listen", &address.to_string()]).args(options);
        let process = Process::start(&format!("stub node {id}"), &mut command);
        let address = process.stderr.wait_for_all_or_end(|lines| {
            let listening = lines.iter().filter_map(|line| elb::listening(line));
            listening.filter(|(name, _)| *name == "node").map(|(_, address)| address).next()
        });
        address.map(|address| StubNode { address, _process: process })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A node that the test plays itself.
pub(crate) struct RawNode {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl RawNode {
    /// Serves every connection on a thread of its own. An error of `serve` ends its connection.
    pub(crate) fn start(serve: impl Fn(Client) -> std::io::Result<()> + Send + Sync + 'static) -> RawNode {
        RawNode::start_at(Ipv4Addr::LOCALHOST, serve)
    }

    /// The same at an address of its own, of those that are loopback (127.0.0.0/8).
    pub(crate) fn start_at(
        address: Ipv4Addr,
        serve: impl Fn(Client) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> RawNode {
        let serve = Arc::new(serve);
        RawNode::accept(address, move |connection| {
            let serve = Arc::clone(&serve);
            // Not joined: it ends with its connection.
            std::thread::spawn(move || serve(connection));
        })
    }

    /// Hands its connections over to the test, in the order they came.
    pub(crate) fn by_hand() -> (RawNode, Connections) {
        let (sender, receiver) = channel();
        // A test that needs no further connection drops the receiver.
        let node = RawNode::accept(Ipv4Addr::LOCALHOST, move |connection| drop(sender.send(connection)));
        (node, Connections(receiver))
    }

    fn accept(address: Ipv4Addr, handle: impl Fn(Client) + Send + 'static) -> RawNode {
        let listener = TcpListener::bind((address, 0)).expect("cannot listen");
        let address = listener.local_addr().expect("a listener has an address");
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A peer that has gone again is no concern of the node.
                if let Ok(connection) = stream.and_then(Client::over) {
                    handle(connection);
                }
            }
        });
        RawNode { address, stopping, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawNode {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the acceptor. If it cannot be reached it is not waiting either, and ends with the test process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
    }
}

/// The connections of a node that a test plays by hand.
pub(crate) struct Connections(Receiver<Client>);

impl Connections {
    /// The next connection that the balancer opens.
    #[track_caller]
    pub(crate) fn next(&self) -> Client {
        self.0.recv_timeout(PATIENCE).expect("the balancer does not connect to the node")
    }

    /// Whether there has been no further connection so far.
    pub(crate) fn none_waiting(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// An address where nobody listens, and nobody else can come to listen as long as the value lives: the port belongs
/// to the client end of a connection. Whoever connects is refused.
pub(crate) struct ClosedPort {
    held: TcpStream,
    // The other end of `held`.
    _peer: TcpListener,
}

impl ClosedPort {
    /// Takes a port.
    pub(crate) fn new() -> ClosedPort {
        let peer = TcpListener::bind("127.0.0.1:0").expect("cannot listen");
        let held = TcpStream::connect(peer.local_addr().expect("a listener has an address")).expect("cannot connect");
        ClosedPort { held, _peer: peer }
    }

    /// The address that refuses.
    pub(crate) fn address(&self) -> SocketAddr {
        self.held.local_addr().expect("a connected socket has an address")
    }
}
