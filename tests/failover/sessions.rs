//! Sessions stay on their member while others crash, drain and come back; when their own member goes they move once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::operator::{self, set_state};
use crate::support::client::{Client, Request, Response};
use crate::support::elb::Elb;
use crate::support::topology::{HOST, Topology};
use crate::support::{TempDir, wait_until};
use crate::worker::{Worker, topology, wait_until_up};

const COOKIE: &str = "CARBON_ELB_WORKER";

/// A browser: it keeps cookies, and a connection for as long as that lasts.
struct Browser {
    cookies: BTreeMap<String, String>,
    connection: Option<Client>,
    address: SocketAddr,
    path: &'static str,
    /// Where its last request went to.
    node: String,
}

impl Browser {
    fn new(address: SocketAddr) -> Browser {
        let path = "/services/echo";
        Browser { cookies: BTreeMap::new(), connection: None, address, path, node: String::new() }
    }

    /// One that has begun a session.
    #[track_caller]
    fn begin(address: SocketAddr) -> Browser {
        let mut browser = Browser::new(address);
        browser.ask();
        assert!(browser.cookies.contains_key("JSESSIONID"), "{:?}", browser.cookies);
        browser
    }

    /// Goes to another balancer with what it has.
    fn move_to(&mut self, address: SocketAddr) {
        (self.connection, self.address) = (None, address);
    }

    fn request(&self) -> Vec<u8> {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = format!("own=1; {}", cookies.join("; "));
        Request::get(HOST, self.path).header("Cookie", &cookies).to_bytes()
    }

    #[track_caller]
    fn connection(&mut self) -> &mut Client {
        let address = self.address;
        self.connection.get_or_insert_with(|| Client::connect(address))
    }

    #[track_caller]
    fn send(&mut self) {
        let request = self.request();
        self.connection().send(request);
    }

    #[track_caller]
    fn receive(&mut self) -> Response {
        let response = self.connection().answer();
        if self.connection().closed {
            self.connection = None;
        }
        let set = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        for (_, cookie) in set {
            let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
            let (name, value) = pair.unwrap_or_else(|| panic!("no cookie: {cookie}"));
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let echo = response.echo();
        let received = echo.received("cookie").join("; ");
        assert!(!received.contains("CARBON_ELB") && received.contains("own=1"), "the node gets to see {received}");
        self.node = echo.node().to_owned();
        response
    }

    /// Asks once; returns the node.
    #[track_caller]
    fn ask(&mut self) -> &str {
        self.send();
        self.receive();
        &self.node
    }

    /// Asks some times, and fails if that does not stay on the node of the last time.
    #[track_caller]
    fn stays(&mut self) {
        for _ in 0..3 {
            let before = self.node.clone();
            assert_eq!(self.ask(), before);
        }
    }
}

/// As many browsers as it takes for each worker to have the sessions of four.
#[track_caller]
fn browsers(elb: &Elb, workers: &[Worker]) -> Vec<Browser> {
    let mut browsers: Vec<Browser> = Vec::new();
    wait_until("each worker has four sessions", || {
        browsers.push(Browser::begin(elb.web()));
        workers.iter().all(|worker| browsers.iter().filter(|browser| browser.node == worker.id()).count() >= 4)
    });
    browsers
}

#[track_caller]
fn moved(elb: &Elb, reason: &str) -> f64 {
    elb.metrics().sum("carbon_elb_sessions_moved_total", &[("reason", reason)])
}

#[track_caller]
fn all_moved(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_sessions_moved_total", &[])
}

/// Workers behind a pool with that affinity; cookies are made with the key in `keys`.
fn with_affinity(workers: &[Worker], affinity: &str, keys: &str) -> Topology {
    let pool = "health: { interval: 300ms, timeout: 300ms, rise: 1, fall: 3 }, outliers: off";
    topology(workers)
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool(&format!("affinity: {affinity}, {pool}"))
        .affinity(&format!("key_file: {keys}"))
}

fn key_file(dir: &TempDir, name: &str) -> String {
    let file = dir.write(name, &format!("{name}-{}\n", "k".repeat(40)));
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, only_owner).expect("it is ours");
    file.display().to_string()
}

#[test]
fn sessions_stay_when_others_crash_and_move_once_when_their_own_member_does() {
    for affinity in ["cookie", "route"] {
        let dir = TempDir::new("keys");
        let mut workers = Worker::several(3);
        let elb = Elb::start(&with_affinity(&workers, affinity, &key_file(&dir, "first")));
        wait_until_up(&elb, &workers);
        let mut browsers = browsers(&elb, &workers);
        let has_own = browsers.iter().all(|browser| browser.cookies.contains_key(COOKIE) == (affinity == "cookie"));
        assert!(has_own, "{affinity}");
        browsers.iter_mut().for_each(Browser::stays);
        assert_eq!(all_moved(&elb), 0.0, "{affinity}");

        let (mut others, mut own): (Vec<_>, Vec<_>) = browsers.into_iter().partition(|browser| browser.node != "w3");
        // One of them has a request on it when it goes.
        workers[2].freeze();
        own[0].send();
        wait_until("its request is on it", || elb.metrics().sum("carbon_elb_in_flight", &[("node", "w3")]) == 1.0);
        workers[2].kill();
        own[0].receive();
        // It was asked again over a new connection, and there was none; or its probes have failed meanwhile.
        assert_eq!(moved(&elb, "unreachable") + moved(&elb, "down"), 1.0, "{affinity}");
        // Some come before the probes have found out, and some after that.
        own[1].ask();
        assert_eq!(all_moved(&elb), 2.0, "{affinity}");
        elb.wait_for_node("w3", "servlet", false);
        own[2..].iter_mut().for_each(|browser| _ = browser.ask());
        assert_eq!(all_moved(&elb), own.len() as f64, "{affinity}");
        assert!(moved(&elb, "down") >= own.len() as f64 - 2.0, "{affinity}");
        assert!(own.iter().all(|browser| browser.node != "w3"), "{affinity}");
        own.iter_mut().for_each(Browser::stays);
        others.iter_mut().for_each(Browser::stays);
        assert_eq!(all_moved(&elb), own.len() as f64, "{affinity}: they have moved once");

        // It comes back: nobody has a reason to move again, and new sessions go to it.
        workers[2].start_again();
        elb.wait_for_node("w3", "servlet", true);
        wait_until("w3 gets a session", || Browser::begin(elb.web()).node == "w3");
        own.iter_mut().chain(&mut others).for_each(Browser::stays);
        assert_eq!(all_moved(&elb), own.len() as f64, "{affinity}");
    }
}

#[test]
fn a_request_that_fails_on_its_member_takes_no_session_with_it() {
    for affinity in ["cookie", "route"] {
        let dir = TempDir::new("keys");
        let workers = Worker::several(2);
        let pool = format!("affinity: {affinity}, retry: {{ try_timeout: 300ms, budget: 100% }}, outliers: off");
        let topology = topology(&workers)
            .servlet("scheme: http, health: { path: /services/Version }")
            // The member is asked once, when it comes, and not while it is silent.
            .worker_pool(&format!("{pool}, health: {{ interval: 1h, timeout: 1h, rise: 1, fall: 2 }}"))
            .affinity(&format!("key_file: {}", key_file(&dir, "first")));
        let elb = Elb::start(&topology);
        wait_until_up(&elb, &workers);
        let mut browser = Browser::begin(elb.web());
        let (own, cookie) = (browser.node.clone(), browser.cookies.get(COOKIE).cloned());
        let [member] = &workers.iter().filter(|worker| worker.id() == own).collect::<Vec<_>>()[..] else { panic!() };
        member.freeze();
        assert_ne!(browser.ask(), own, "{affinity}");
        member.thaw();
        assert_eq!(browser.cookies.get(COOKIE), cookie.as_ref(), "{affinity}");
        // A node that makes its own cookies has begun another session.
        let by_node = affinity == "route";
        assert_eq!(browser.ask() != own, by_node, "{affinity}");
        let counted = (moved(&elb, "node"), all_moved(&elb));
        assert_eq!(counted, (f64::from(u8::from(by_node)), f64::from(u8::from(by_node))), "{affinity}");
    }
}

#[test]
fn sessions_stay_on_a_member_that_drains_and_move_once_when_it_is_in_maintenance() {
    for affinity in ["cookie", "route"] {
        let dir = TempDir::new("keys");
        let workers = Worker::several(3);
        let elb = operator::start(with_affinity(&workers, affinity, &key_file(&dir, "first")));
        wait_until_up(&elb, &workers);
        let mut browsers = browsers(&elb, &workers);
        set_state(&elb, "w2", "draining");
        browsers.iter_mut().for_each(Browser::stays);
        let new: Vec<_> = (0..12).map(|_| Browser::begin(elb.web()).node).collect();
        assert!(!new.contains(&"w2".to_owned()), "{affinity}: {new:?}");
        assert_eq!(all_moved(&elb), 0.0, "{affinity}");

        set_state(&elb, "w2", "maintenance");
        let (mut own, mut others): (Vec<_>, Vec<_>) = browsers.into_iter().partition(|browser| browser.node == "w2");
        for browser in &mut own {
            assert_ne!(browser.ask(), "w2", "{affinity}");
            browser.stays();
        }
        others.iter_mut().for_each(Browser::stays);
        assert_eq!(moved(&elb, "maintenance"), own.len() as f64, "{affinity}");
        set_state(&elb, "w2", "ready");
        own.iter_mut().chain(&mut others).for_each(Browser::stays);
        wait_until("w2 gets a session", || Browser::begin(elb.web()).node == "w2");
        assert_eq!(all_moved(&elb), own.len() as f64, "{affinity}: they have moved once");
    }
}

#[test]
fn a_browser_has_a_session_in_each_partition_and_no_node_sees_our_cookies() {
    const EVERYBODY: &str = "/services/echo";
    const GOLD: &str = "/t/gold.example/services/echo";
    let dir = TempDir::new("keys");
    let keys = key_file(&dir, "first");
    let workers = Worker::several(4);
    let partition = "partitions: [{ name: gold, tenants: [gold.example], nodes: [w3, w4] }]";
    let elb = Elb::start(&with_affinity(&workers, "cookie", &keys).tenants(partition));
    wait_until_up(&elb, &workers);
    for _ in 0..4 {
        let mut browser = Browser::new(elb.web());
        // On a host of both roles browsers send the managers' cookie to workers, too.
        browser.cookies.insert("CARBON_ELB".to_owned(), "of-managers".to_owned());
        let nodes = [EVERYBODY, GOLD].map(|path| {
            browser.path = path;
            browser.ask().to_owned()
        });
        assert!(["w1", "w2"].contains(&nodes[0].as_str()) && ["w3", "w4"].contains(&nodes[1].as_str()), "{nodes:?}");
        for _ in 0..3 {
            for (path, node) in [EVERYBODY, GOLD].into_iter().zip(&nodes) {
                browser.path = path;
                assert_eq!(browser.ask(), node, "{path}");
            }
        }
        for cookie in [COOKIE, "CARBON_ELB_WORKER.gold"] {
            assert!(browser.cookies.contains_key(cookie), "{:?}", browser.cookies);
        }
        assert_eq!(browser.cookies["CARBON_ELB"], "of-managers");
    }
    assert_eq!(all_moved(&elb), 0.0);
    assert_eq!(elb.metrics().sum("carbon_elb_affinity_cookies_ignored_total", &[]), 0.0);
}

#[test]
fn a_pool_without_affinity_keeps_our_cookies_from_its_nodes_too() {
    let dir = TempDir::new("keys");
    let workers = Worker::several(1);
    let elb = Elb::start(&with_affinity(&workers, "off", &key_file(&dir, "first")));
    wait_until_up(&elb, &workers);
    let mut browser = Browser::new(elb.web());
    browser.cookies.insert("CARBON_ELB".to_owned(), "of-managers".to_owned());
    // What the node gets to see is looked at with each answer.
    assert_eq!(browser.ask(), "w1");
    assert!(!browser.cookies.contains_key(COOKIE), "{:?}", browser.cookies);
}

#[test]
fn balancers_with_the_same_keys_agree_and_a_restart_changes_nothing() {
    let dir = TempDir::new("keys");
    let workers = Worker::several(3);
    let same = with_affinity(&workers, "cookie", &key_file(&dir, "first"));
    let start = |topology: &Topology| {
        let elb = Elb::start(topology);
        wait_until_up(&elb, &workers);
        elb
    };
    let (first, second) = (start(&same), start(&same));
    let mut browsers = browsers(&first, &workers);
    let visit = |browsers: &mut Vec<Browser>, elb: &Elb| {
        browsers.iter_mut().for_each(|browser| {
            let cookie = browser.cookies[COOKIE].clone();
            browser.move_to(elb.web());
            browser.stays();
            assert_eq!(browser.cookies[COOKIE], cookie, "it got another one");
        });
        assert_eq!(all_moved(elb), 0.0);
    };
    visit(&mut browsers, &second);
    drop(first);
    visit(&mut browsers, &start(&same));

    // Other weights, an order in which the nodes were not before, and one more.
    let fourth = Worker::start("w0", &[]);
    let node = |worker: &Worker, weight| {
        let port = worker.address().port();
        let ports = format!("ports: {{ servlet: {port}, passthrough: {port} }}");
        format!("id: {}, host: 127.0.0.1, weight: {weight}, {ports}", worker.id())
    };
    let changed = [(&fourth, 1), (&workers[2], 9), (&workers[0], 2), (&workers[1], 1)];
    let changed =
        changed.iter().fold(Topology::new(), |topology, (worker, weight)| topology.node(&node(worker, *weight)));
    let changed = changed
        .servlet("scheme: http, health: { path: /services/Version }")
        .worker_pool("affinity: cookie, health: { interval: 300ms, timeout: 300ms, rise: 1, fall: 3 }")
        .affinity(&format!("key_file: {}/first", dir.path().display()));
    visit(&mut browsers, &start(&changed));
}

#[test]
fn a_cookie_that_nobody_has_made_here_is_ignored_and_counted() {
    let dir = TempDir::new("keys");
    let workers = Worker::several(2);
    let (ours, theirs) = (key_file(&dir, "ours"), key_file(&dir, "theirs"));
    let [ours, theirs] = [ours, theirs].map(|keys| Elb::start(&with_affinity(&workers, "cookie", &keys)));
    [&ours, &theirs].into_iter().for_each(|elb| wait_until_up(elb, &workers));
    let foreign = Browser::begin(theirs.web()).cookies[COOKIE].clone();
    let mut changed = Browser::begin(ours.web()).cookies[COOKIE].clone();
    changed.replace_range(0..1, if changed.starts_with('A') { "B" } else { "A" });

    let forged = [foreign.as_str(), changed.as_str(), "w1", "", &"x".repeat(4000)];
    for (number, cookie) in (1..).zip(forged) {
        let mut nodes = BTreeSet::new();
        for _ in 0..4 {
            let mut browser = Browser::new(ours.web());
            browser.cookies.insert(COOKIE.to_owned(), cookie.to_owned());
            nodes.insert(browser.ask().to_owned());
            assert_ne!(browser.cookies[COOKIE], cookie, "it got none of its own");
            browser.stays();
        }
        assert_eq!(nodes.len(), 2, "{cookie} leads to {nodes:?}");
        ours.wait_for_count("carbon_elb_affinity_cookies_ignored_total", &[], f64::from(number * 4));
    }
    assert_eq!(all_moved(&ours), 0.0);
}
