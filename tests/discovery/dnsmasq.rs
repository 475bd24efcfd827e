//! A name server of the test's own, on a free port of this machine.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use crate::support::TempDir;
use crate::support::process::Process;

/// The domain that it knows everything of.
const DOMAIN: &str = "wk.test";

/// `dnsmasq`, without any other server behind it. Dropping it kills it.
pub(crate) struct Dnsmasq {
    process: Process,
    address: SocketAddr,
    // Holds the file of hosts.
    dir: TempDir,
}

impl Dnsmasq {
    /// Starts it with records as options of its own (`--srv-host=…`), and with hosts: `ADDRESS NAME` on each line. These
    /// live for `ttl` seconds.
    #[track_caller]
    pub(crate) fn start(ttl: u32, hosts: &str, records: &[&str]) -> Dnsmasq {
        let dir = TempDir::new("dnsmasq");
        dir.write("hosts", hosts);
        // Somebody else may take the port in between.
        for _ in 0..10 {
            let address = free();
            if let Some(process) = spawn(address, &dir, ttl, records) {
                return Dnsmasq { process, address, dir };
            }
        }
        panic!("dnsmasq found no free port ten times");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives it other hosts.
    pub(crate) fn set_hosts(&self, hosts: &str) {
        self.dir.write("hosts", hosts);
        self.process.signal("HUP");
    }

    /// Gives it other hosts from its next start on.
    pub(crate) fn set_hosts_for_next_start(&self, hosts: &str) {
        self.dir.write("hosts", hosts);
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was, with these records.
    #[track_caller]
    pub(crate) fn restart(&mut self, ttl: u32, records: &[&str]) {
        self.stop();
        // The port was free a moment ago; nobody looks for one where this one is.
        self.process = spawn(self.address, &self.dir, ttl, records).expect("dnsmasq starts where it was");
    }

    /// How often it was asked for a name so far.
    pub(crate) fn queries(&self, name: &str) -> usize {
        let query = |line: &&String| line.contains("query[") && line.contains(&format!(" {name} from "));
        self.process.stderr.all().iter().filter(query).count()
    }
}

/// A port that is free for both protocols.
#[track_caller]
fn free() -> SocketAddr {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("cannot bind");
        let address = udp.local_addr().expect("a bound socket has an address");
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for UDP and TCP");
}

/// `None` if it ended at once.
fn spawn(address: SocketAddr, dir: &TempDir, ttl: u32, records: &[&str]) -> Option<Process> {
    let user = Command::new("id").arg("-un").output().expect("cannot start id").stdout;
    let hosts: PathBuf = dir.path().join("hosts");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("dnsmasq");
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"])
        .args(["--log-facility=-", "--log-queries", "--pid-file=", "--bind-interfaces", "--cache-size=0"])
        .arg(format!("--user={}", String::from_utf8_lossy(&user).trim()))
        .arg(format!("--listen-address={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .arg(format!("--local=/{DOMAIN}/"))
        .arg(format!("--local-ttl={ttl}"))
        .arg(format!("--addn-hosts={}", hosts.display()))
        .args(records);
    let process = Process::start("dnsmasq", &mut command);
    let started = process
        .stderr
        .wait_for_all_or_end(|lines| lines.iter().any(|line| line.contains(": started, version")).then_some(()));
    started.map(|()| process)
}
