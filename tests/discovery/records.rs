//! What becomes of the members while records change, end, and are not to be had.

use crate::dnsmasq::Dnsmasq;
use crate::followed::Followed;
use crate::support::wait_until;

/// A source that asks `server`.
fn source(server: &Dnsmasq, settings: &str) -> String {
    format!("workers: {{ server: \"{}\", {settings} }}", server.address())
}

#[test]
fn addresses_are_followed_within_their_time_to_live() {
    let server = Dnsmasq::start(1, "127.0.0.2 all.wk.test\nfd00::2 all.wk.test\n", &[]);
    let addresses = Followed::start(&source(&server, "dns: all.wk.test, weight: 5"));
    let six = Followed::start(&source(&server, "dns: all.wk.test, type: aaaa, ports: { passthrough: 81 }"));
    assert_eq!(addresses.next(), ["127-0-0-2 127.0.0.2 [9443, 8280] x5"]);
    assert_eq!(six.next(), ["fd00-0-0-0-0-0-0-2 fd00::2 [9443, 81] x1"]);
    server.set_hosts("127.0.0.2 all.wk.test\n127.0.0.3 all.wk.test\nfd00::3 all.wk.test\n");
    assert_eq!(addresses.next(), ["127-0-0-2 127.0.0.2 [9443, 8280] x5", "127-0-0-3 127.0.0.3 [9443, 8280] x5"]);
    assert_eq!(six.next(), ["fd00-0-0-0-0-0-0-3 fd00::3 [9443, 81] x1"]);
    server.set_hosts("127.0.0.3 all.wk.test\n");
    assert_eq!(addresses.next(), ["127-0-0-3 127.0.0.3 [9443, 8280] x5"]);
    // The other name server knows no such address any more, and so nobody has left.
    six.wait_for_errors("workers", 2.0);
    assert!(six.is_silent());
    assert_eq!(six.metric("source_members", "workers"), 1.0);
}

#[test]
fn a_name_is_asked_for_when_its_time_to_live_ends_and_within_bounds() {
    let records = ["slow", "fast", "bound", "held"].map(|name| {
        let ttl = if matches!(name, "slow" | "bound") { 3600 } else { 1 };
        format!("--host-record={name}.wk.test,127.0.0.2,{ttl}")
    });
    let server = Dnsmasq::start(1, "", &records.each_ref().map(String::as_str));
    let dns = |name: &str, bounds: &str| {
        format!("{name}: {{ dns: {name}.wk.test, server: \"{}\"{bounds} }}", server.address())
    };
    let all =
        [dns("slow", ""), dns("fast", ""), dns("bound", ", max_ttl: 1s"), dns("held", ", min_ttl: 1h, max_ttl: 2h")];
    let followed = Followed::start(&all.join(", "));
    for _ in 0..4 {
        assert_eq!(followed.next(), ["127-0-0-2 127.0.0.2 [9443, 8280] x1"]);
    }
    // By the time that two of the names have been asked for four times, the others have been asked for once.
    wait_until("what lives for a second is asked for again", || {
        server.queries("fast.wk.test") >= 4 && server.queries("bound.wk.test") >= 4
    });
    assert_eq!(server.queries("slow.wk.test"), 1);
    assert_eq!(server.queries("held.wk.test"), 1);
    assert!(followed.is_silent(), "the same answer is no news");
}

#[test]
fn services_have_ports_weights_and_backups() {
    let hosts = "127.0.0.2 one.wk.test\n127.0.0.3 two.wk.test\n127.0.0.4 three.wk.test\n";
    let srv = |target: &str, port: u16, priority: u16, weight: u16| {
        format!("--srv-host=_carbon._tcp.wk.test,{target}.wk.test,{port},{priority},{weight}")
    };
    let records = [srv("one", 8281, 10, 7), srv("one", 8282, 10, 0), srv("two", 8280, 20, 1)];
    let mut server = Dnsmasq::start(1, hosts, &records.each_ref().map(String::as_str));
    let followed = Followed::start(&source(&server, "dns: _carbon._tcp.wk.test, type: srv"));
    assert_eq!(
        followed.next(),
        [
            "one-wk-test-8281 127.0.0.2 [9443, 8281] x7",
            "one-wk-test-8282 127.0.0.2 [9443, 8282] x1",
            "two-wk-test-8280 127.0.0.3 [9443, 8280] x1 backup",
        ]
    );
    let records = [srv("one", 8281, 10, 7), srv("three", 8280, 10, 700), srv("two", 8280, 20, 1)];
    server.restart(1, &records.each_ref().map(String::as_str));
    assert_eq!(
        followed.next(),
        [
            "one-wk-test-8281 127.0.0.2 [9443, 8281] x3",
            "three-wk-test-8280 127.0.0.4 [9443, 8280] x256",
            "two-wk-test-8280 127.0.0.3 [9443, 8280] x1 backup",
        ]
    );
    // A target moves; another one is not known any more, and stays.
    server.set_hosts("127.0.0.5 three.wk.test\n127.0.0.2 one.wk.test\n");
    assert_eq!(
        followed.next(),
        [
            "one-wk-test-8281 127.0.0.2 [9443, 8281] x3",
            "three-wk-test-8280 127.0.0.5 [9443, 8280] x256",
            "two-wk-test-8280 127.0.0.3 [9443, 8280] x1 backup",
        ]
    );
    // The name that says that there is no such service takes nobody away.
    server.restart(1, &["--srv-host=_carbon._tcp.wk.test"]);
    followed.wait_for_errors("workers", 2.0);
    assert!(followed.is_silent());
    assert_eq!(followed.metric("source_members", "workers"), 3.0);
}

#[test]
fn who_is_not_found_stays() {
    let mut server = Dnsmasq::start(1, "127.0.0.2 all.wk.test\n", &[]);
    // So that pauses after failures are short.
    let followed = Followed::start(&source(&server, "dns: all.wk.test, max_ttl: 1s"));
    let first = ["127-0-0-2 127.0.0.2 [9443, 8280] x1"];
    assert_eq!(followed.next(), first);
    let answered = followed.metric("source_last_good_timestamp_seconds", "workers");
    assert!(answered > 1_600_000_000.0);
    // No such name; no such records; nothing that a node could be at; no server.
    server.set_hosts("");
    followed.wait_for_errors("workers", 2.0);
    server.set_hosts("fd00::2 all.wk.test\n");
    followed.wait_for_errors("workers", 2.0);
    server.set_hosts("0.0.0.0 all.wk.test\n");
    followed.wait_for_errors("workers", 2.0);
    server.stop();
    followed.wait_for_errors("workers", 1.0);
    assert!(followed.is_silent());
    assert_eq!(followed.metric("source_members", "workers"), 1.0);
    let before = followed.metric("source_last_good_timestamp_seconds", "workers");
    // It is back, and has others.
    server.set_hosts_for_next_start("127.0.0.7 all.wk.test\n");
    server.restart(1, &[]);
    assert_eq!(followed.next(), ["127-0-0-7 127.0.0.7 [9443, 8280] x1"]);
    assert!(followed.metric("source_last_good_timestamp_seconds", "workers") > before);
}

#[test]
fn an_answer_that_fits_into_no_datagram_is_whole() {
    let hosts: String = (1..=200).map(|number| format!("127.1.0.{number} all.wk.test\n")).collect();
    let server = Dnsmasq::start(1, &hosts, &[]);
    let followed = Followed::start(&source(&server, "dns: all.wk.test"));
    followed.until_members(200);
    server.set_hosts("127.1.0.1 all.wk.test\n");
    followed.until_members(1);
}

#[test]
fn the_first_answer_may_come_late() {
    let mut server = Dnsmasq::start(1, "127.0.0.2 all.wk.test\n", &[]);
    server.stop();
    let followed = Followed::start(&source(&server, "dns: all.wk.test, max_ttl: 1s"));
    followed.wait_for_errors("workers", 1.0);
    assert!(followed.is_silent());
    server.restart(1, &[]);
    assert_eq!(followed.next(), ["127-0-0-2 127.0.0.2 [9443, 8280] x1"]);
}
