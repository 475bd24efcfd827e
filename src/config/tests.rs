//! Whole files: what is refused, what is warned of, what is filled in.

mod pools;
mod protection;
mod refused;
mod robust;
mod scaling;
mod secrets;
mod sources;
mod tenants;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checked::*;
use super::*;
use crate::ids::{Endpoint, Role, Scheme};

/// A folder with certificate files (empty ones: nothing here looks into them).
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("carbon-elb-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let folder = Folder(folder);
        for file in ["edge.crt", "edge.key", "carbon.pem"] {
            folder.write(file, "", 0o600);
        }
        folder.write("tokens", &format!("# operators\n{TOKEN}\n"), 0o600);
        folder.write("keys", &format!("# the newest first\n{KEY}\n"), 0o600);
        folder.write("members.yaml", "nodes: [{ id: b.d, host: 10.0.0.9, route: d }]\n", 0o644);
        folder
    }

    fn write(&self, file: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(file);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A key and a token that nothing may show.
const KEY: &str = "an affinity key that nobody may see";
const TOKEN: &str = "a-token-that-nobody-may-see";

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "8281",
        "KEY" => KEY,
        "OLD_KEY" => "the key that was used before this one",
        "TOKEN" => TOKEN,
        "OTHER_TOKEN" => "another-token-for-somebody-else",
        "SHORT" => "hunter2",
        "PADDED" => " a key with spaces at its beginning and end ",
        "LINES" => "two lines are more than a header\ncan ever hold",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse_in(text: &str, folder: &Path) -> Result<Loaded, Problems> {
    parse_with(text, folder, &environment, &|name| matches!(name, "UserAdmin" | "FileUploadService"))
}

/// For files that name no other files.
fn parse_text(text: &str) -> Result<Loaded, Problems> {
    parse_in(text, Path::new("/nowhere"))
}

fn accepted(text: &str) -> Loaded {
    parse_text(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

const ISSUE: &str = r#"
listeners:
  api:     { bind: ["0.0.0.0:8243"],   role: worker,  endpoint: passthrough, tls: { certificate: edge.crt, key: edge.key } }
  web:     { bind: ["0.0.0.0:443"],    role: worker,  endpoint: servlet,     tls: { certificate: edge.crt, key: edge.key } }
  console: { bind: ["127.0.0.1:9443"], role: manager, endpoint: servlet,     tls: { certificate: edge.crt, key: edge.key } }
clusters:
  esb:
    product: esb
    mode: separated
    hosts: { worker: [esb.example.com, "*.esb.example.com"], manager: [mgt.esb.example.com] }
    services: [echo, StockQuoteProxy]
    endpoints:
      servlet:     { scheme: https, port: 9443, tls: { ca: carbon.pem, server_name: localhost }, health: { path: /services/Version } }
      passthrough: { scheme: http,  port: 8280 }
    nodes:
      - { id: mgr-1, host: 10.0.0.10, roles: [manager] }
      - { id: wk-1,  host: 10.0.0.11, roles: [worker], weight: 2 }
      - { id: wk-2,  host: wk-2.internal, roles: [worker], ports: { passthrough: 8290 } }
    pools:
      worker:  { balance: round_robin, keepalive: { connections: 256, idle: 15s }, timeouts: { connect: 2s, read: 5m, write: 1m },
                 health: { interval: 5s, timeout: 2s, rise: 2, fall: 3 } }
      manager: { keepalive: { connections: 8 } }
"#;

#[test]
fn the_example_loads() {
    let folder = Folder::new();
    let Loaded { config, warnings } = parse_in(ISSUE, &folder.0).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(config.listeners[0].tls.as_ref().unwrap().certificate, folder.0.join("edge.crt"));
    assert_eq!(config.listeners[0].timeouts.idle, Duration::from_secs(75));
    assert_eq!(config.admin.bind, ["127.0.0.1:9601".parse().unwrap()]);
    let esb = &config.clusters[0];
    assert_eq!(
        esb.hosts[Role::Worker.index()],
        [HostPattern::Exact("esb.example.com".into()), HostPattern::Suffix("esb.example.com".into())]
    );
    assert_eq!(esb.services, Services::Only(vec!["echo".into(), "StockQuoteProxy".into()]));
    assert_eq!(esb.nodes[1].weight, 2);
    assert_eq!(esb.nodes[1].ports, [9443, 8280]);
    assert_eq!(esb.nodes[2].ports, [9443, 8290]);
    assert_eq!(esb.pools[Role::Manager.index()].keepalive.connections, 8);
    assert_eq!(esb.pools[Role::Manager.index()].timeouts.read, Duration::from_secs(300));
    let tls = esb.endpoints[Endpoint::Servlet.index()].tls.as_ref();
    assert_eq!(tls.unwrap().ca, Some(folder.0.join("carbon.pem")));
    // The pass-through port is judged by the servlet port, with the servlet port's TLS settings.
    assert_eq!(esb.probe_tls(Endpoint::Passthrough), tls);
    assert!(config.leads_to(esb, Role::Manager, Endpoint::Servlet));
    assert!(!config.leads_to(esb, Role::Manager, Endpoint::Passthrough));
}

#[test]
fn presets_are_filled_in() {
    let cluster = |product: &str, endpoints: &str| {
        let text = format!(
            "listeners: {{ web: {{ bind: '127.0.0.1:0', role: worker }} }}\nclusters:\n  x:\n    product: {product}\n    \
             hosts: {{ worker: ['*'] }}\n    endpoints: {endpoints}\n    nodes: [{{ id: a, host: a }}]\n"
        );
        accepted(&text).config.clusters.remove(0)
    };
    let cases = [
        ("esb", "{}", "https:9443/Own http:8280/Servlet"),
        ("esb", "{ servlet: { scheme: http } }", "http:9763/Own http:8280/Servlet"),
        ("esb", "{ passthrough: { scheme: https } }", "https:9443/Own https:8243/Servlet"),
        ("esb", "{ passthrough: { health: { path: /up } } }", "https:9443/Own http:8280/Own"),
        ("esb", "{ passthrough: { health: { path: /up, port: 9443 } } }", "https:9443/Own http:8280/Fixed(9443)"),
        ("esb", "{ servlet: { health: { path: /up, port: servlet } } }", "https:9443/Own http:8280/Servlet"),
        ("esb", "{ servlet: { health: off }, passthrough: { health: tcp } }", "https:9443/Off http:8280/Tcp"),
        ("mi", "{ passthrough: { scheme: https } }", "https:9164/Fixed(9201) https:8253/Fixed(9201)"),
    ];
    for (product, endpoints, expected) in cases {
        let cluster = cluster(product, endpoints);
        let shown = cluster.endpoints.each_ref().map(|endpoint| {
            let health = match &endpoint.health {
                HealthProbe::Http { port, .. } => format!("{port:?}"),
                other => format!("{other:?}"),
            };
            assert_eq!(endpoint.tls.is_some(), endpoint.scheme == Scheme::Https);
            format!("{}:{}/{health}", endpoint.scheme, endpoint.port)
        });
        assert_eq!(shown.join(" "), expected, "{product} {endpoints}");
        // A probe over TLS knows how to verify the node.
        for endpoint in Endpoint::ALL {
            if let HealthProbe::Http { scheme, .. } = &cluster.endpoints[endpoint.index()].health {
                assert_eq!(cluster.probe_tls(endpoint).is_some(), *scheme == Scheme::Https, "{product} {endpoints}");
            }
        }
    }
    // A node that runs with another servlet port is probed there.
    let node = Node { ports: [9444, 8281], ..cluster("esb", "{}").nodes.remove(0) };
    assert_eq!(ProbePort::Servlet.on(&node, Endpoint::Passthrough), 9444);
    assert_eq!(ProbePort::Own.on(&node, Endpoint::Passthrough), 8281);
}

#[test]
fn values_come_from_the_environment() {
    let text = "listeners: { web: { bind: '127.0.0.1:0', role: worker } }\nclusters:\n  x:\n    product: esb\n    \
                hosts: { worker: ['*'] }\n    endpoints: { passthrough: { port: '${PORT}' } }\n    \
                nodes: [{ id: a, host: '${NODE:-wk-1}.internal' }]\n";
    let cluster = accepted(text).config.clusters.remove(0);
    assert_eq!(cluster.nodes[0].ports[Endpoint::Passthrough.index()], 8281);
    assert_eq!(cluster.nodes[0].host, NodeHost::Name("wk-1.internal".into()));
}

#[test]
fn every_shipped_file_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        // That of `carbon-elb scale` has keys of its own, and a test beside them.
        let is_ours = path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("scale.yaml");
        if !is_ours {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = parse_in(&text, &folder).unwrap_or_else(|problems| panic!("{}", problems.in_file(&path)));
        assert_eq!(loaded.warnings, [], "{}", path.display());
        assert_eq!(parse_in(&effective(&loaded.config), &folder).unwrap().config, loaded.config);
    }
    assert!(files >= 5, "{files} files in {}", folder.display());
}

/// Every key, each with another value than its default.
const EVERYTHING: &str = "listeners:\n  a: { bind: ['[::]:0', '10.0.0.1:81'], role: both, exposes_management: true,\n       \
         allow: [10.0.0.0/8, '::1'], deny: [10.9.0.0/16], timeouts: { idle: 90s, read: 1500us, write: 24h },\n       \
         paths: canonicalize, proxy_protocol: [10.0.0.2], trusted_proxies: [10.0.0.3], client_address: forwarded,\n       \
         limits: { target: 8KiB, header: 16KiB, fields: 50, body: 0B, body_rate: off, connections: 9, connections_per_client: 8,\n       \
         requests: 7, requests_per_connection: 6, streams: 5 },\n       \
         response: { hsts: 365d, nosniff: true, frame_options: deny, referrer_policy: strict-origin, hide: [Server],\n       \
         cookies: { secure: true, same_site: none } },\n       \
         tls: { certificate: edge.crt, key: edge.key } }\nclusters:\n  true:\n    product: carbon\n    mode: dual\n    \
         hosts: { worker: ['*', '::1', '*.x'], manager: [a.b] }\n    services: any-but-admin\n    admin_services: [X]\n    \
         paths: { management: [/m], service: ['/s$${x}', /t], shared: [/null] }\n    endpoints:\n      \
         servlet: { tls: { ca: carbon.pem, verify: false, server_name: n }, health: off }\n      \
         passthrough: { scheme: https, tls: { server_name: no }, health: { path: '/h?a=b', port: servlet, host: h, expect: [204] } }\n    \
         access: { worker: { deny: ['::/0'] }, manager: { allow: [10.0.0.0/8] } }\n    \
         nodes: [{ id: '1', host: '[::1]', roles: [manager, worker], weight: 256, ports: { servlet: 1 } },\n      \
         { id: b.c, host: b, backup: true, max_in_flight: 9, route: b }]\n    \
         sources: { f: { file: members.yaml, every: 2s },\n      \
         a: { dns: wk.Internal, server: 127.0.0.1, min_ttl: 2s, max_ttl: 1m, weight: 3, backup: true, max_in_flight: 4, ports: { servlet: 4 } },\n      \
         s: { dns: _carbon._tcp.internal, type: srv, endpoint: servlet, roles: [worker], ports: { passthrough: 5 } } }\n    max_dynamic: 7\n    \
         tenants: { hosts: ['*.X'], max_in_flight: 50, partitions: [\n      \
         { name: p, tenants: [example.com, '*.example.com', 'example-*', 1-100, 7777], nodes: [b.c] },\n      \
         { name: q, tenants: ['*'], nodes: ['1'] }] }\n    \
         pools:\n      worker: { balance: hash, hash: { by: { path_segment: 2 }, bound: 150% }, affinity: { route: { cookie: SID } },\n        \
         outliers: { consecutive: off, error_rate: 30%, latency: 300%, requests: 9, interval: 11s, eject_for: 12s,\n        \
         eject_at_most: 13s, max_ejected: 100% }, panic: 40%,\n        \
         retry: { attempts: 3, try_timeout: 1s, budget: 10%, budget_floor: 0 }, max_in_flight: 100,\n        \
         queue: { length: 9, wait: 1s }, slow_start: 20s,\n        \
         load: { orca: true, fade: 1s, agent: { port: 7777, interval: 3s, timeout: 1s } },\n        \
         scale: { acts: true, min: 2, max: 30, target: 60, interval: 5s, window: 2m, panic: { window: 4s, threshold: 150% },\n        \
         startup: 45s, startup_limit: 5m, cool_down: 3m, scale_down_at: 80%, step_up: 4, step_down: 3, scale_to_zero: 1h,\n        \
         node_load: 75% },\n        \
         allowed_networks: [10.1.0.0/16, 'fd00::/8'] }\n      \
         manager: { affinity: { cookie: { name: __Host-elb, secure: always, same_site: none, lifetime: 8h } },\n        \
         outliers: off, retry: off, queue: off }\n\
         rules: { a: { listener: a, cluster: 'true', role: worker, path: /s, body: off, rate: 5/s },\n         \
         b: { body: 5MiB }, c: { rate: 5/m, per: all }, d: { rate: 5/h, per: tenant }, e: { rate: 1/s, per: { header: X-Y } } }\n\
         affinity: { keys: ['${KEY}', '${OLD_KEY}'] }\n\
         admin: { bind: [], token_file: tokens }\nserver: { threads: 4, grace: 0s, access_log: log.txt }\n";

#[test]
fn the_effective_configuration_loads_to_the_same() {
    let folder = Folder::new();
    for text in [ISSUE, EVERYTHING, &everything_else()] {
        let loaded = parse_in(text, &folder.0).unwrap_or_else(|problems| panic!("{problems}"));
        let printed = effective(&loaded.config);
        let again =
            parse_in(&printed, Path::new("/nowhere")).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
        assert_eq!(again.config, loaded.config, "{printed}");
        assert_eq!(effective(&again.config), printed);
        assert!(!printed.contains(KEY) && !printed.contains(TOKEN), "{printed}");
        assert_eq!(without_lines(&again.warnings), without_lines(&loaded.warnings));
    }
}

/// What is wrong where, without the lines, which differ between a file and its effective form.
fn without_lines(problems: &[Problem]) -> std::collections::BTreeSet<String> {
    problems.iter().map(|problem| Problem { line: None, ..problem.clone() }.to_string()).collect()
}

/// [`EVERYTHING`] with other keys where only one of several can stand.
fn everything_else() -> String {
    let changes = [
        ("keys: ['${KEY}', '${OLD_KEY}']", "key_file: keys"),
        (
            "token_file: tokens",
            "tokens: [{ token: '${TOKEN}', may: [register, read], pools: ['true/worker', '*/manager'] }]",
        ),
        ("affinity: { route: {", "affinity: { hash: {"),
    ];
    changes.iter().fold(EVERYTHING.to_owned(), |text, (replace, by)| {
        assert_eq!(text.matches(replace).count(), 1, "{replace:?} is not unique");
        text.replace(replace, by)
    })
}

/// The paths of all values of the tree, with the words of README.md for what operators choose.
fn paths(node: &tree::Node, path: &str, into: &mut std::collections::BTreeSet<String>) {
    match &node.value {
        tree::Value::Map(entries) => {
            for entry in entries {
                let step = match path.rsplit('.').next().unwrap_or_default() {
                    "listeners" | "clusters" | "rules" | "sources" => "NAME",
                    "access" | "pools" => "ROLE",
                    "endpoints" => "ENDPOINT",
                    _ => &entry.key,
                };
                paths(&entry.value, format!("{path}.{step}").trim_start_matches('.'), into);
            }
        }
        tree::Value::List(items) if items.iter().any(|item| matches!(item.value, tree::Value::Map(_))) => {
            items.iter().for_each(|item| paths(item, &format!("{path}[]"), into));
        }
        tree::Value::List(_) | tree::Value::Scalar(_) | tree::Value::Broken => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn every_key_is_documented_and_nothing_else() {
    let folder = Folder::new();
    let mut found = std::collections::BTreeSet::new();
    for text in [ISSUE, EVERYTHING, &everything_else()] {
        let printed = effective(&parse_in(text, &folder.0).unwrap().config);
        paths(&tree::read(&printed, &mut Problems::default()).unwrap(), "", &mut found);
    }
    let manual = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let documented: Vec<&str> =
        manual.lines().filter_map(|line| line.strip_prefix("#### `")?.strip_suffix('`')).collect();
    // Keys that are a part of a value: documented with it.
    let values = ["hash.by", "affinity.hash", "rules.NAME.per"];
    assert!(found.len() > 120, "{found:?}");
    for path in &found {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let key = if values.iter().any(|value| parent.ends_with(value)) { parent } else { path };
        assert!(documented.contains(&key), "{key} is not in README.md");
    }
    for path in documented {
        assert!(found.iter().any(|found| found.starts_with(path)), "{path} is in README.md, but not a key");
    }
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let folder = Folder::new();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.0.join(name), bytes).unwrap();
        load(&folder.0.join(name)).unwrap_err().to_string()
    };
    assert!(load(&folder.0.join("none.yaml")).unwrap_err().to_string().contains("can't be read"));
    assert!(load(&folder.0).unwrap_err().to_string().contains("can't be read"));
    assert!(write("latin1.yaml", b"a: 1\nb: \xe4\n").starts_with("line 2: is not UTF-8"));
    assert!(write("huge.yaml", &vec![b'#'; 2 << 20]).contains("larger than"));
    assert!(write("empty.yaml", b"").contains("is empty"));
}
