//! A worker that can be killed, stopped, frozen and started again on its port, and that writes down what arrives.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use crate::support::elb::{self, Elb};
use crate::support::process::Process;
use crate::support::topology::Topology;
use crate::support::{PATIENCE, TempDir, wait_until};

/// A worker as a process of its own.
pub(crate) struct Worker {
    id: String,
    options: Vec<String>,
    port: HeldPort,
    record: PathBuf,
    process: Option<Process>,
    _dir: TempDir,
}

/// A line of a worker's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// `arrived` or `answered`.
    pub(crate) what: String,
    pub(crate) method: String,
    /// The request's `X-Request-Id`.
    pub(crate) id: String,
}

impl Worker {
    /// Starts a worker with more options of the stub node.
    #[track_caller]
    pub(crate) fn start(id: &str, options: &[&str]) -> Worker {
        let dir = TempDir::new("worker");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let record = dir.path().join("record");
        let mut worker = Worker { id: id.to_owned(), options, port: HeldPort::new(), record, process: None, _dir: dir };
        worker.start_again();
        worker
    }

    /// Workers `w1`, `w2` and so on.
    #[track_caller]
    pub(crate) fn several(count: usize) -> Vec<Worker> {
        (1..=count).map(|number| Worker::start(&format!("w{number}"), &[])).collect()
    }

    /// Starts it on its port.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let mut command = elb::command();
        command.args(["node", "--role", "worker", "--id", &self.id, "--listen", &self.address().to_string()]);
        command.arg("--record").arg(&self.record).args(&self.options);
        let process = Process::start(&format!("worker {}", self.id), &mut command);
        process.stderr.wait_for("listening: node", |line| elb::listening(line).map(drop));
        self.process = Some(process);
    }

    /// The same with other options.
    #[track_caller]
    pub(crate) fn start_again_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self.start_again();
    }

    /// Kills it as a crash does. Returns when that began, and when it was gone and all its connections closed.
    #[track_caller]
    pub(crate) fn kill(&mut self) -> (Instant, Instant) {
        let begun = Instant::now();
        self.process.take().expect("it does not run").kill();
        (begun, Instant::now())
    }

    /// Stops it as an operator does, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it does not run");
        process.signal("TERM");
        process.wait(PATIENCE);
    }

    /// Makes it hang: the system takes connections and bytes for it still, and nobody answers.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        let process = self.process();
        process.signal("STOP");
        let tasks = format!("/proc/{}/task", process.id());
        wait_until("every thread of it is stopped", || {
            let tasks = std::fs::read_dir(&tasks).expect("cannot read /proc").flatten();
            // Threads may end while this looks at them.
            let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
            stats.into_iter().all(|stat| stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T')))
        });
    }

    /// Lets it go on after [`Worker::freeze`].
    #[track_caller]
    pub(crate) fn thaw(&self) {
        self.process().signal("CONT");
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it does not run")
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// All that it has written down, in all its lives.
    #[track_caller]
    pub(crate) fn record(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.record).expect("a worker makes its record when it starts");
        let line = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            Some(Line { what: words.next()?, method: words.next()?, id: words.next()? })
        };
        text.lines().map(|text| line(text).unwrap_or_else(|| panic!("not a record: {text:?}"))).collect()
    }

    /// The ids of all requests that have arrived, in the order in which they did.
    #[track_caller]
    pub(crate) fn arrived(&self) -> Vec<String> {
        self.record().into_iter().filter(|line| line.what == "arrived").map(|line| line.id).collect()
    }

    /// Waits until something arrives that has not arrived yet.
    #[track_caller]
    pub(crate) fn wait_for_more(&self) {
        let length = || std::fs::metadata(&self.record).map_or(0, |record| record.len());
        let before = length();
        wait_until(&format!("{} is asked", self.id), || length() > before);
    }
}

/// Adds the workers to a topology.
pub(crate) fn topology(workers: &[Worker]) -> Topology {
    workers.iter().fold(Topology::new(), |topology, worker| topology.worker(worker.id(), worker.address()))
}

/// Waits until the balancer knows that all workers are up.
#[track_caller]
pub(crate) fn wait_until_up(elb: &Elb, workers: &[Worker]) {
    workers.iter().for_each(|worker| elb.wait_for_node(worker.id(), "servlet", true));
}

/// A port that stays ours while nobody listens on it: it is bound by a socket that never listens, so whoever connects is
/// refused, no connection gets it as its own, and the worker can listen beside (`SO_REUSEADDR`).
struct HeldPort {
    address: SocketAddr,
    _socket: Socket,
}

impl HeldPort {
    fn new() -> HeldPort {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("cannot make a socket");
        socket.set_reuse_address(true).expect("cannot set SO_REUSEADDR");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("cannot bind");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        HeldPort { address: address.expect("a bound socket has an address"), _socket: socket }
    }
}
