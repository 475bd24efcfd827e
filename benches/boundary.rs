//! How many mutated management URLs reach a Tomcat behind each of several balancers, as a Markdown table.
//!
//! `make boundary-table`, which installs the others first, or `cargo bench --profile dev --bench boundary`: nothing is
//! timed. `CARBON_ELB_CORPUS` sets how many URLs. The configurations of the others are in `benches/boundary/`. Nothing but
//! loopback is listened on or asked.

#[path = "../tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};

use support::boundary::{Answer, Reached, node, reset, send_all, topology};
use support::corpus::ordinary::ordinary;
use support::corpus::{bases, mutated};
use support::elb::Elb;
use support::http1;
use support::process::Process;
use support::tomcat::{Connector, Tomcat};
use support::topology::HOST;
use support::{TempDir, wait_until};

/// As in the table of the README.
const SIZE: usize = 20_000;
const SEED: u64 = 2_024;
const CLIENTS: usize = 4;

/// A balancer that is a program of its own, with a configuration in `benches/boundary/`.
struct Peer {
    name: &'static str,
    program: &'static str,
    config: &'static str,
    arguments: fn(&mut Command, config: &Path, dir: &Path),
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "HAProxy, deny rules",
        program: "haproxy",
        config: include_str!("boundary/haproxy.cfg"),
        arguments: haproxy,
    },
    Peer {
        name: "HAProxy, the same after all `normalize-uri` actions",
        program: "haproxy",
        config: include_str!("boundary/haproxy-normalize.cfg"),
        arguments: haproxy,
    },
    Peer {
        name: "nginx, the same rules",
        program: "nginx",
        config: include_str!("boundary/nginx.cfg"),
        arguments: nginx,
    },
];

fn haproxy(command: &mut Command, config: &Path, _: &Path) {
    command.arg("-f").arg(config);
}

fn nginx(command: &mut Command, config: &Path, dir: &Path) {
    command.args(["-e", "stderr"]).arg("-p").arg(dir).arg("-c").arg(config);
}

fn main() -> ExitCode {
    // `cargo test --all-targets` starts it as well, and wants no table.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let size = std::env::var("CARBON_ELB_CORPUS").map_or(Ok(SIZE), |text| text.parse());
    let Ok(size) = size else {
        eprintln!("CARBON_ELB_CORPUS is not the number of URLs to send");
        return ExitCode::FAILURE;
    };
    let mut tomcat = node("w1", "worker");
    tomcat.begin();
    tomcat.finish_start();
    let round = Round { tomcat, mutated: mutated(SEED, size), ordinary: ordinary() };
    println!(
        "| in front of Tomcat | version | mutated URLs | reached management | refused | ordinary URLs | refused | changed |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    round.row("nothing", &format!("Tomcat {}", round.tomcat.version()), round.node());
    let missing: Vec<&str> = PEERS.iter().filter(|peer| !round.peer(peer)).map(|peer| peer.program).collect();
    // Without a manager, whom nobody asks.
    let elb = Elb::start(&topology("separated", "strict").worker("w1", round.node()));
    ["servlet", "passthrough"].map(|endpoint| elb.wait_for_node("w1", endpoint, true));
    round.row("carbon-elb", env!("CARGO_PKG_VERSION"), elb.web());
    round.row("carbon-elb, pass-through endpoint", env!("CARGO_PKG_VERSION"), elb.address("api"));
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("not compared, because not installed: {}; `tools/setup bench` installs them", missing.join(", "));
    ExitCode::FAILURE
}

/// The node, and what is sent through each balancer.
struct Round {
    tomcat: Tomcat,
    mutated: Vec<Vec<u8>>,
    ordinary: Vec<String>,
}

impl Round {
    fn node(&self) -> SocketAddr {
        self.tomcat.address(Connector::Http)
    }

    /// The row of a peer; false if it is not installed.
    fn peer(&self, peer: &Peer) -> bool {
        let Some((program, version)) = installed(peer.program) else { return false };
        let dir = TempDir::new(peer.program);
        // Neither of them tells which port it was given, so one is chosen that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("some port is free");
        let config = peer
            .config
            .replace("{port}", &address.port().to_string())
            .replace("{node}", &self.node().to_string())
            .replace("{dir}", &dir.path().to_string_lossy());
        let config = dir.write("config", &config);
        let mut command = Command::new(program);
        (peer.arguments)(&mut command, &config, dir.path());
        let mut process = Process::start(peer.program, &mut command);
        wait_until(&format!("{} listens", peer.program), || {
            assert!(process.poll().is_none(), "it has ended\n{}", process.output());
            TcpStream::connect(address).is_ok()
        });
        // Else the table would tell of rules that were forgotten.
        reset(&[&self.tomcat]);
        self.send(address, &bases());
        let reached = Reached::ask(&[&self.tomcat]);
        assert_eq!(reached.total(), 0, "the rules of {} leave out what is not even mutated: {reached:#?}", peer.name);
        self.row(peer.name, &version, address);
        true
    }

    /// Sends everything, and prints what became of it.
    fn row(&self, name: &str, version: &str, address: SocketAddr) {
        reset(&[&self.tomcat]);
        let mutated = self.send(address, &self.mutated);
        let reached = Reached::ask(&[&self.tomcat]).total();
        let ordinary = self.send(address, &self.ordinary);
        let changed = self.ordinary.iter().zip(&ordinary);
        let changed = changed.filter(|(url, answer)| !is_refused(answer) && answer.body != url.as_bytes()).count();
        let refused = |answers: &[Answer]| answers.iter().filter(|answer| is_refused(answer)).count();
        println!(
            "| {name} | {version} | {} | {reached} | {} | {} | {} | {changed} |",
            mutated.len(),
            refused(&mutated),
            ordinary.len(),
            refused(&ordinary),
        );
    }

    fn send<T: AsRef<[u8]> + Sync>(&self, address: SocketAddr, targets: &[T]) -> Vec<Answer> {
        send_all(targets, CLIENTS, |share| http1::send(address, HOST, share))
    }
}

/// Answered with an error, or not at all.
fn is_refused(answer: &Answer) -> bool {
    answer.status != 200
}

/// Where the program is, which may be beside the paths of ordinary users, and its version.
fn installed(program: &str) -> Option<(String, String)> {
    let places = [program.to_owned(), format!("/usr/sbin/{program}")];
    places.into_iter().find_map(|place| {
        let output = Command::new(&place).arg("-v").output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        // `HAProxy version 2.6.12-1 2023/…`, `nginx version: nginx/1.22.1`
        let version = text.split([' ', '/', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        Some((place, version.split(['-', '+']).next().unwrap_or(version).to_owned()))
    })
}
