//! What the system lets the process have, and what is too little for a busy edge.

use std::fs;
use std::path::Path;

use log::{info, warn};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::edge::BACKLOG;

/// Fewer open files than this are too few for a busy edge.
const FEW_FILES: u64 = 65_536;

/// Fewer local ports than this are used up by a thousand new connections a second to one port of one node.
const FEW_PORTS: u64 = 40_000;

/// Open files that are not for clients: listeners, logs, timers, health checks.
const RESERVED_FILES: u64 = 256;

/// Memory that a connection takes at most when both sides keep their buffers full: 64 KiB to read and 64 KiB to write for
/// the client and for the node.
const CONNECTION_BYTES: u64 = 4 * 64 * 1024;

/// Raises the limit on open files as far as the process may, and returns it.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(e) = setrlimit(Resource::Nofile, limit) {
            warn!("the limit on open files cannot be raised: {e}");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Warns of limits that are too low for a busy edge, each with what to do.
pub fn warn_if_low(open_files: u64) {
    let sysctl = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
    let backlog = sysctl("net/core/somaxconn").and_then(|text| text.trim().parse().ok());
    let ports = sysctl("net/ipv4/ip_local_port_range").and_then(|text| local_ports(&text));
    for warning in warnings(open_files, backlog, ports) {
        warn!("{warning}");
    }
}

fn warnings(open_files: u64, backlog: Option<u64>, ports: Option<u64>) -> Vec<String> {
    let mut warnings = Vec::new();
    if open_files < FEW_FILES {
        warnings.push(format!(
            "only {open_files} open files are allowed, which is enough for {} requests at a time; \
             raise it with `ulimit -n`, LimitNOFILE= or --ulimit nofile=",
            open_files.saturating_sub(RESERVED_FILES) / 2
        ));
    }
    let wanted = u64::try_from(BACKLOG).unwrap_or(0);
    if let Some(backlog) = backlog.filter(|&backlog| backlog < wanted) {
        warnings.push(format!(
            "only {backlog} connections can wait to be accepted; raise it with `sysctl net.core.somaxconn={wanted}`"
        ));
    }
    if let Some(ports) = ports.filter(|&ports| ports < FEW_PORTS) {
        warnings.push(format!(
            "only {ports} local ports for connections to one port of a node; \
             widen it with `sysctl net.ipv4.ip_local_port_range='10240 65535'`"
        ));
    }
    warnings
}

/// The size of a range like `32768\t60999`.
fn local_ports(range: &str) -> Option<u64> {
    let mut bounds = range.split_whitespace().map(|bound| bound.parse::<u64>().ok());
    let (first, last) = (bounds.next()??, bounds.next()??);
    Some(last.checked_sub(first)? + 1)
}

/// How many connections of clients the process can serve at a time: each takes a file of its own and one for its node,
/// and must fit into half of the memory that the process may use.
pub fn most_connections(open_files: u64) -> usize {
    let most = connections_within(open_files, memory());
    info!("serving at most {most} connections of clients at a time");
    most
}

fn connections_within(open_files: u64, memory: Option<u64>) -> usize {
    let by_files = open_files.saturating_sub(RESERVED_FILES) / 2;
    let by_memory = memory.map_or(u64::MAX, |memory| memory / 2 / CONNECTION_BYTES);
    usize::try_from(by_files.min(by_memory)).unwrap_or(usize::MAX).max(1)
}

/// Bytes that the process may use: the limit of its cgroup, or what the machine has.
fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    // Version 2, then version 1, as seen from inside a container.
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let cgroup = files.iter().find_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    [machine, cgroup].into_iter().flatten().min()
}

/// `MemTotal:  24576000 kB`
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_limits_are_named_with_what_to_do() {
        assert_eq!(warnings(1 << 20, Some(4096), Some(55_296)), [""; 0]);
        assert_eq!(warnings(1 << 20, None, None), [""; 0], "what cannot be read is not complained about");
        let all = warnings(1024, Some(128), Some(28_232)).join("\n");
        for part in ["1024 open files", "384 requests", "ulimit -n", "somaxconn=4096", "ip_local_port_range"] {
            assert!(all.contains(part), "{part} is missing in {all}");
        }
    }

    #[test]
    fn files_and_memory_bound_the_connections() {
        for (files, memory, expected) in [
            (1024, None, 384),
            (1 << 20, Some(512 << 20), 1024),  // a container of 512 MiB
            (1 << 20, Some(24 << 30), 49_152), // a machine of 24 GiB
            (100, Some(1 << 30), 1),           // hopeless, but not zero
        ] {
            assert_eq!(connections_within(files, memory), expected, "{files} files, {memory:?} bytes");
        }
    }

    #[test]
    fn what_the_system_says_is_understood() {
        assert_eq!(local_ports("32768\t60999\n"), Some(28_232));
        assert_eq!(local_ports("60999 32768"), None);
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       24689764 kB\n"), Some(24_689_764 * 1024));
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
