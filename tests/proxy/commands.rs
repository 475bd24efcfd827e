//! The commands besides `run`: `check`, `demo`, `node`.

use std::process::Command;

use crate::support::TempDir;
use crate::support::client::{Request, get};
use crate::support::elb;
use crate::support::node::StubNode;
use crate::support::process::Process;
use crate::support::topology::Topology;

/// Ten faults, each marked where it is.
const TEN_FAULTS: &str = "\
listeners:
  web: { bind: [\"0.0.0.0:8443\"], role: worker, endpoint: servlet }
  api: { bind: [\"127.0.0.1:8443\"], role: worker, endpoint: passthrough } # FAULT the address is web's
  console: { bind: [\"127.0.0.1:9443\"], role: boss, endpoint: servlet } # FAULT no such role
clusters:
  esb:
    product: esb
    mode: separated
    colour: blue # FAULT no such key
    hosts: { worker: [esb.test, esb.test], manager: [mgt.esb.test] } # FAULT the same host twice
    services: [echo]
    services: [echo] # FAULT a key twice
    endpoints: { servlet: { scheme: http } }
    nodes:
      - { id: m1, host: 127.0.0.4, roles: [manager] }
      - { id: w1, host: 127.0.0.1, roles: [worker], weight: 0 } # FAULT out of range
      - { id: w2, host: 127.0.0.2, roles: [worker], weight: heavy } # FAULT not a number
      - { id: w1, host: 127.0.0.3, roles: [worker] } # FAULT the id of another node
    pools:
      worker: { timeouts: { connect: soon } } # FAULT not a duration
      manager: { health: { interval: 1s, timeout: 2s } } # FAULT longer than the interval
";

#[test]
fn check_reports_every_fault_with_its_line() {
    let dir = TempDir::new("check");
    let file = dir.write("faulty.yaml", TEN_FAULTS);
    let output = elb::run(&["check", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let faults = TEN_FAULTS.lines().zip(1..).filter(|(line, _)| line.contains("# FAULT"));
    let expected: Vec<usize> = faults.map(|(_, number)| number).collect();
    assert_eq!(expected.len(), 10, "the test's own file");
    let prefix = format!("{}:", file.display());
    // FILE:LINE: what. A summary has no line.
    let problems = text.lines().filter_map(|line| line.strip_prefix(&prefix)?.split_once(": "));
    let reported: Vec<usize> =
        problems.filter(|(_, what)| !what.starts_with("warning")).filter_map(|(line, _)| line.parse().ok()).collect();
    assert_eq!(reported, expected, "one problem for each faulty line:\n{text}");
    for path in ["clusters.esb.nodes[1].weight", "listeners.console.role", "clusters.esb.pools.worker.timeouts.connect"]
    {
        assert!(text.contains(path), "the key path {path} is not named:\n{text}");
    }
    assert!(text.contains("1 to 256"), "what is allowed is not said:\n{text}");
}

#[test]
fn check_judges_every_file_that_it_is_given() {
    let dir = TempDir::new("check");
    let node = "127.0.0.1:9763".parse().unwrap();
    let good = dir.write("good.yaml", &Topology::workers(&[node]).to_yaml()).to_string_lossy().into_owned();
    let bad = dir.write("bad.yaml", TEN_FAULTS).to_string_lossy().into_owned();
    let missing = dir.path().join("missing.yaml").to_string_lossy().into_owned();
    let no_yaml = dir.write("no.yaml", "listeners: [unclosed\n").to_string_lossy().into_owned();
    for (files, code) in [
        (vec!["check", &good], 0),
        (vec!["check", &good, &good], 0),
        (vec!["check", &good, &bad], 1),
        (vec!["check", &bad, &good], 1),
        (vec!["check", &missing], 1),
        (vec!["check", &no_yaml], 1),
    ] {
        let output = elb::run(&files);
        assert_eq!(output.status.code(), Some(code), "{files:?}: {output:?}");
    }
    let output = elb::run(&["check", &no_yaml, &missing]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no.yaml:") && text.contains("missing.yaml"), "each file is named: {text}");
}

#[test]
fn run_refuses_what_check_refuses() {
    let dir = TempDir::new("run");
    let bad = dir.write("bad.yaml", TEN_FAULTS);
    let output = elb::run(&["run", "--config", &bad.to_string_lossy()]);
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("clusters.esb.nodes[1].weight"), "{text}");
}

#[test]
fn run_says_which_address_it_cannot_have() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = TempDir::new("run");
    let node = "127.0.0.1:9763".parse().unwrap();
    let yaml = Topology::workers(&[node]).to_yaml().replacen("127.0.0.1:0", &address, 1);
    let config = dir.write("taken.yaml", &yaml);
    let output = elb::run(&["run", "--config", &config.to_string_lossy()]);
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&address) && text.contains("web"), "{text}");
}

#[test]
fn the_curl_lines_of_the_demo_work() {
    let any = "127.0.0.1:0";
    let mut demo = elb::command();
    demo.args(["demo", "--public", any, "--management", any, "--admin", any]);
    let mut demo = Process::start("demo", &mut demo);
    // They may come on either output, and the last of them may come a moment after the first.
    let curl = |line: &str| line.find("curl ").map(|start| line[start..].to_owned());
    let mut lines = demo.stdout.wait_for_all("curl lines for both listeners", |lines| {
        let lines: Vec<String> = lines.iter().filter_map(|line| curl(line)).collect();
        let has = |path: &str| lines.iter().any(|line| line.contains(path));
        (has("/services/echo") && has("/carbon") && has("/metrics")).then_some(lines)
    });
    lines.dedup();
    let (mut roles, mut refused) = (Vec::new(), 0);
    for line in &lines {
        // As a newcomer pastes it; silent, and with the status after the body, for the test.
        let pasted =
            line.replacen("curl ", "curl --silent --show-error --max-time 10 --write-out '\\n%{http_code}' ", 1);
        let output = Command::new("sh").args(["-c", &pasted]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{line}: {text}"));
        match status {
            "200" => roles.extend(["\"manager\"", "\"worker\""].into_iter().filter(|role| body.contains(role))),
            // The demo shows as well what is not public.
            "404" => refused += 1,
            _ => panic!("{line}: {text}"),
        }
    }
    assert!(roles.contains(&"\"manager\"") && roles.contains(&"\"worker\""), "{lines:?} were answered by {roles:?}");
    assert!(refused < lines.len() / 2, "most of {lines:?} is refused");
    assert!(demo.poll().is_none(), "the demo has ended by itself");
    demo.signal("TERM");
    let status = demo.wait(std::time::Duration::from_secs(5));
    assert!(status.success(), "{status}");
}

#[test]
fn a_stub_node_answers_what_it_received() {
    let node = StubNode::start("n7", "manager", &["--delay", "10ms"]);
    let start = std::time::Instant::now();
    let request = Request::new("PUT", "some.host:1", "/a//b/../c;d=e/%2F?f=g").header("X-One", "1").body(b"four");
    let response = request.send(node.address());
    assert!(start.elapsed() >= std::time::Duration::from_millis(10), "no delay");
    assert!(response.cookie().is_some_and(|cookie| cookie.starts_with("JSESSIONID=")), "{response:?}");
    let echo = response.echo();
    assert_eq!((echo.node(), echo.role(), echo.field("method")), ("n7", "manager", "PUT"));
    assert_eq!(echo.field("path"), "/a//b/../c;d=e/%2F?f=g");
    assert_eq!(echo.received("host"), ["some.host:1"]);
    assert_eq!(echo.received("x-one"), ["1"]);
    assert!(echo.field("client").starts_with("127.0.0.1"));
    assert_eq!(echo.body_length(), 4);

    let failing = StubNode::start("n8", "worker", &["--status", "503"]);
    assert_eq!(get(failing.address(), "h", "/services/echo").status, 503);
}
