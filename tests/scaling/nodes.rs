//! Stub nodes that are started and stopped by commands, as an operator's would be.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::TempDir;
use crate::support::elb;

/// Starts a node that ends with the test, however that ends: the pipe that it waits at is the test's.
const START: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")"
id=$CARBON_ELB_MEMBER
env >"$id.env"
[ ! -e refuse ] || { echo "there is no room" >&2; exit 1; }
(
    "PROGRAM" node --role "$CARBON_ELB_ROLE" --id "$id" --listen 127.0.0.1:0 --delay 40ms --record "$id.record" \
        >/dev/null 2>"$id.log" &
    echo $! >"$id.pid"
    cat alive >/dev/null
    kill $! 2>/dev/null
) </dev/null >/dev/null 2>&1 &
echo $! >"$id.keeper"
tries=0
until grep -q 'listening: node ' "$id.log" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || exit 1
    sleep 0.01
done
sed -n 's/.*listening: node //p' "$id.log"
"#;

/// Stops a node, and returns when it has ended.
const STOP: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
id=$CARBON_ELB_MEMBER
echo "$id $CARBON_ELB_CLUSTER $CARBON_ELB_ROLE" >>stopped
pid=$(cat "$id.pid") || exit 0
kill "$(cat "$id.keeper")" 2>/dev/null
kill "$pid" 2>/dev/null
tries=0
while kill -0 "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || exit 1
    sleep 0.01
done
rm -f "$id.pid"
"#;

/// Names the nodes that run, and where.
const LIST: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
[ ! -e blind ] || exit 1
for file in *.pid; do
    id=${file%.pid}
    kill -0 "$(cat "$file" 2>/dev/null)" 2>/dev/null || continue
    address=$(sed -n 's/.*listening: node //p' "$id.log" 2>/dev/null)
    [ -z "$address" ] || echo "$id $address"
done
"#;

/// The folder of the commands, with what they write down.
pub(crate) struct Nodes {
    dir: TempDir,
    /// While this is open the nodes live.
    _alive: File,
}

impl Nodes {
    #[track_caller]
    pub(crate) fn new() -> Nodes {
        let dir = TempDir::new("nodes");
        let pipe = dir.path().join("alive");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("cannot start mkfifo");
        assert!(made.success(), "mkfifo: {made}");
        // Open for both, which does not wait for the other side.
        let alive = OpenOptions::new().read(true).write(true).open(&pipe).expect("cannot open the pipe");
        for (name, text) in [("start", START), ("stop", STOP), ("list", LIST)] {
            let program = elb::command().get_program().display().to_string();
            let script = dir.write(name, &text.replace("PROGRAM", &program));
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("it is ours");
        }
        Nodes { dir, _alive: alive }
    }

    /// The provider's settings.
    pub(crate) fn settings(&self) -> String {
        let script = |name: &str| self.dir.path().join(name).display().to_string();
        let [start, stop, list] = ["start", "stop", "list"].map(script);
        format!("provider: exec, exec: {{ start: [{start}], stop: [{stop}], list: [{list}], timeout: 20s }}")
    }

    /// The environments that nodes were started in.
    pub(crate) fn environments(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("it is ours").flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "env"));
        files.map(|path| std::fs::read_to_string(path).expect("it is ours")).collect()
    }

    /// Whether a switch of the commands is on: `refuse` (no start succeeds), `blind` (the list fails).
    pub(crate) fn switch(&self, name: &str, on: bool) {
        let path = self.dir.path().join(name);
        match on {
            true => drop(File::create(path).expect("cannot write a switch")),
            false => std::fs::remove_file(path).expect("it was on"),
        }
    }

    /// The nodes that run, with their process ids.
    pub(crate) fn running(&self) -> BTreeMap<String, u32> {
        let entries = std::fs::read_dir(self.dir.path()).expect("it is ours").flatten();
        let node = |name: String| {
            let id = name.strip_suffix(".pid")?.to_owned();
            let pid = std::fs::read_to_string(self.dir.path().join(name)).ok()?.trim().parse().ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            // One that was killed is there until its parent has noticed.
            (!status.contains("\nState:\tZ")).then_some((id, pid))
        };
        entries.filter_map(|entry| node(entry.file_name().into_string().ok()?)).collect()
    }

    /// The lines that the stop command has written: id, cluster, role.
    pub(crate) fn stopped(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("stopped")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// For each node that there ever was: how many requests have arrived, and how many were answered.
    pub(crate) fn records(&self) -> BTreeMap<String, [usize; 2]> {
        let entries = std::fs::read_dir(self.dir.path()).expect("it is ours").flatten();
        let record = |name: String| {
            let id = name.strip_suffix(".record")?.to_owned();
            let text = std::fs::read_to_string(self.dir.path().join(name)).ok()?;
            let lines = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
            Some((id, [lines("arrived "), lines("answered ")]))
        };
        entries.filter_map(|entry| record(entry.file_name().into_string().ok()?)).collect()
    }

    /// Kills a node as a crash does.
    #[track_caller]
    pub(crate) fn kill(&self, id: &str) {
        let pid = self.running()[id];
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("cannot start kill");
        assert!(killed.success(), "{killed}");
    }
}
