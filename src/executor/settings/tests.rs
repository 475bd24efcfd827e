use std::path::Path;

use super::*;
use crate::config::parse_other;

const TOKEN_TEXT: &str = "a-token-that-nobody-may-see";

fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some(TOKEN_TEXT.to_owned()),
        "PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<(Settings, Vec<Problem>), Problems> {
    parse_other(text, Path::new("/nowhere"), &environment, Settings::read)
}

const WHOLE: &str = "
balancers: [http://127.0.0.1:9601, 'https://elb-2.example.com:9601']
token: ${TOKEN}
pools:
  esb:
    worker:
      provider: docker
      docker: { image: carbon, network: esb, env: { DB: '${PASSWORD}' }, memory: 2GiB, cpus: 1.5, ports: { servlet: 9763 } }
    manager:
      prefix: mgr-
      starts: 1
      max: 3
      lease: 12s
      drain: 0s
      provider: exec
      exec: { start: [start-node, --now], stop: [stop-node], list: [list-nodes] }
  mi:
    worker: { provider: none }
";

#[test]
fn a_file_is_read_and_filled_in() {
    let (settings, warnings) = parse(WHOLE).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings, []);
    assert_eq!((settings.balancers.len(), settings.poll), (2, Duration::from_secs(2)));
    assert_eq!(settings.token.expose(), TOKEN_TEXT.as_bytes());
    let names: Vec<_> = settings.pools.iter().map(|pool| (pool.name.to_string(), pool.prefix.as_str())).collect();
    let expected = [("esb/manager", "mgr-"), ("esb/worker", "auto-worker-"), ("mi/worker", "auto-worker-")];
    assert_eq!(names, expected.map(|(name, prefix)| (name.to_owned(), prefix)));
    let limits = settings.pools[0].limits;
    assert_eq!((limits.starts, limits.drain, limits.renew), (1, Duration::ZERO, Duration::from_secs(4)));
    assert_eq!([settings.pools[0].max, settings.pools[1].max], [Some(3), None]);
    let ProviderSettings::Docker(container) = &settings.pools[1].provider else { panic!("{settings:?}") };
    assert_eq!((container.memory, container.cpus, container.ports), (Some(2 << 30), Some(1500), [Some(9763), None]));
    assert_eq!(container.env["DB"], "hunter2");
    let shown = format!("{settings:?}");
    assert!(!shown.contains("hunter2") && !shown.contains(TOKEN_TEXT), "{shown}");
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let exec = "provider: exec, exec: { start: [a], stop: [b], list: [c] }";
    let with = |worker: &str| {
        format!("balancers: http://[::1]:9601\ntoken: ${{TOKEN}}\npools: {{ esb: {{ worker: {{ {worker} }} }} }}\n")
    };
    assert!(parse(&with(exec)).is_ok_and(|(_, warnings)| warnings.is_empty()));
    for (text, expected) in [
        (with("provider: docker"), "pools.esb.worker.docker: is missing"),
        (with("provider: none, exec: { start: [a], stop: [b] }"), "pools.esb.worker.exec: is not for this provider"),
        (with("provider: dokcer"), "did you mean \"docker\""),
        (with("{}"), "pools.esb.worker"),
        (with(""), "pools.esb.worker.provider: is missing"),
        (with("provider: exec, exec: { start: [], stop: [b] }"), "pools.esb.worker.exec.start: names no program"),
        (with("provider: exec, exec: { start: 'a b', stop: [b] }"), "pools.esb.worker.exec.start: found \"a b\""),
        (with("provider: exec, exec: { start: [a] }"), "pools.esb.worker.exec.stop: is missing"),
        (
            with("provider: exec, exec: { start: [a], stop: [b] }"),
            "line 3: pools.esb.worker.exec.list: is missing; allowed: a program with its arguments",
        ),
        (with(&exec.replace("[c]", "[]")), "pools.esb.worker.exec.list: names no program"),
        (with("provider: docker, docker: { image: a }"), "pools.esb.worker.docker.network: is missing"),
        (with("provider: docker, docker: { image: a, network: b, cpus: -1 }"), "cpus"),
        (with("provider: docker, docker: { image: a, network: b, engine: 'tcp://10.0.0.1:2375' }"), "engine"),
        (with(&format!("prefix: -a, {exec}")), "pools.esb.worker.prefix: \"-a\" cannot begin a name"),
        (with(&format!("max: 0, {exec}")), "pools.esb.worker.max: "),
        (with(&format!("lease: 0s, {exec}")), "pools.esb.worker.lease: \"0s\" is out of range"),
        (with(&format!("{exec}, colour: red")), "pools.esb.worker.colour: unknown key"),
        (format!("{}x: 1\n", with(exec)), "line 4: x: unknown key"),
        (with(exec).replace("token: ${TOKEN}\n", ""), "token_file: is missing"),
        (with(exec).replace("${TOKEN}", TOKEN_TEXT), "token: a token that stands in the configuration file"),
        (with(exec).replace("http://[::1]:9601", "[]"), "balancers: there is none"),
        (with(exec).replace("http://[::1]:9601", "ftp://a"), "balancers: \"ftp://a\" does not begin"),
        (with(exec).replace("http://[::1]:9601", "http://a/b"), "balancers: \"http://a/b\" has more"),
        (with(exec).replace("http://[::1]:9601", "http://me:pw@a/"), "has more"),
        ("balancers: http://a\ntoken: ${TOKEN}\npools: {}\n".to_owned(), "pools: has no pool"),
        (WHOLE.replace("prefix: mgr-", "prefix: auto-"), "the ids of esb/manager and of esb/worker begin alike"),
    ] {
        let problems = parse(&text).expect_err(&text).to_string();
        assert!(problems.contains(expected), "{expected}:\n{problems}\n{text}");
        assert!(!problems.contains(TOKEN_TEXT), "{problems}");
    }
}

#[test]
fn a_token_in_clear_text_is_warned_of() {
    let (_, warnings) = parse(&WHOLE.replace("127.0.0.1", "elb.example.com")).unwrap();
    assert!(warnings[0].to_string().contains("clear text to elb.example.com"), "{warnings:?}");
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_example_is_good() {
    let with_token = |name: &str| (name == "CARBON_ELB_SCALE_TOKEN").then(|| TOKEN_TEXT.to_owned());
    let (settings, warnings) =
        parse_other(&file("conf/scale.yaml"), Path::new("/nowhere"), &with_token, Settings::read).unwrap();
    assert_eq!((settings.pools.len(), warnings), (3, vec![]));
}

#[test]
fn every_key_is_documented_and_in_the_example() {
    let manual = file("README.md");
    let (_, section) = manual.split_once("### What starts and stops nodes").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| row.split(" | ").next().unwrap());
    let names = rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    let documented: Vec<&str> = names.map(|name| name.rsplit('.').next().unwrap()).collect();
    let example = file("conf/scale.yaml");
    // What is only a choice stands there as a comment.
    let written = |key: &str| example.contains(&format!("{key}: "));
    let keys = [
        "balancers",
        "token",
        "token_file",
        "ca",
        "poll",
        "timeout",
        "prefix",
        "weight",
        "lease",
        "max",
        "starts",
        "drain",
        "provider",
        "engine",
        "image",
        "command",
        "env",
        "network",
        "labels",
        "ports",
        "memory",
        "cpus",
        "read_only",
        "capabilities",
        "stop_timeout",
        "start",
        "stop",
        "list",
    ];
    for key in keys {
        assert!(documented.contains(&key), "{key} is not in README.md: {documented:?}");
        assert!(written(key), "{key} is not in conf/scale.yaml");
    }
    for key in documented.iter().filter(|key| !["docker", "exec", "none", "ROLE"].contains(key)) {
        assert!(keys.contains(key), "{key} is in README.md, but not known here");
    }
}
