//! Clients that are slow on purpose, one at a time: no single pause is long, and yet they do not get on.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use super::connections;
use crate::support::certs::{Certificate, openssl_client};
use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::{RawNode, StubNode};
use crate::support::topology::{HOST, Topology};
use crate::support::{TempDir, poll, wait_until};

/// Far longer than any of the limits, and shorter than what the test would wait for an answer.
const BOUND: Duration = Duration::from_secs(20);

/// Sends `piece` again and again with `pause` in between, until an answer or the end of the connection is there, or all
/// is sent. Whether that was because of the other side.
fn drip(stream: &TcpStream, piece: &[u8], pieces: usize, pause: Duration) -> bool {
    // Waiting for an answer is what makes the pause.
    stream.set_read_timeout(Some(pause)).unwrap();
    let mut stream = stream;
    let stopped = (0..pieces).any(|_| {
        if stream.write_all(piece).is_err() {
            return true;
        }
        match stream.peek(&mut [0]) {
            Ok(_) => true,
            Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    });
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stopped
}

fn drip_a_body(elb: &Elb, framing: &str, piece: &[u8]) {
    let mut client = Client::connect(elb.web());
    let began = Instant::now();
    client.send(format!("POST /services/echo HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n"));
    assert!(drip(client.stream(), piece, 60, Duration::from_millis(500)), "{framing}: all of it is taken");
    assert!(began.elapsed() < BOUND, "{framing}: given up after {:?}", began.elapsed());
    assert_eq!(client.answer().status, 408, "{framing}");
    assert!(client.closed && client.is_ended(), "{framing}");
}

#[test]
fn a_client_that_waits_for_100_continue_is_not_slow() {
    // Longer than a body may be late.
    const WAIT: Duration = Duration::from_secs(12);
    let node = RawNode::start(|mut connection| {
        let Some(request) = connection.read_request()? else { return Ok(()) };
        assert_eq!(request.header("expect"), Some("100-continue"));
        // Nothing comes while it makes up its mind.
        connection.stream().set_read_timeout(Some(WAIT))?;
        assert!(connection.stream().peek(&mut [0]).is_err(), "the body came unasked");
        connection.stream().set_read_timeout(Some(BOUND))?;
        connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        connection.read_bytes(&mut [0; 4])?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        Ok(())
    });
    let settings = "role: worker, endpoint: servlet, timeouts: { read: 30s }, limits: { body_rate: 240B }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", settings));
    let mut client = Client::connect(elb.web());
    client.send(format!(
        "POST /services/echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(client.read_head().unwrap().0, 100);
    client.send("body");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_body_that_drips_is_given_up() {
    let node = RawNode::start(|mut connection| {
        connection.read_request()?;
        // Takes all that comes, up to the end of the connection.
        loop {
            connection.read_bytes(&mut [0])?;
        }
    });
    let settings = "role: worker, endpoint: servlet, timeouts: { read: 10s }, limits: { body_rate: 240B }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", settings));
    std::thread::scope(|scope| {
        for (framing, piece) in [("Content-Length: 1000", &b"b"[..]), ("Transfer-Encoding: chunked", b"1\r\nb\r\n")] {
            let elb = &elb;
            scope.spawn(move || drip_a_body(elb, framing, piece));
        }
    });
    wait_until("no node is busy", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
    let given_up = || elb.access_lines().into_iter().filter(|line| line["status"] == 408).collect::<Vec<_>>();
    wait_until("both are in the access log", || given_up().len() == 2);
    assert!(given_up().iter().all(|line| line["reason"].is_string()), "{:?}", given_up());
}

#[test]
fn a_body_that_is_slow_but_not_too_slow_passes() {
    let node = StubNode::worker("w1");
    let settings = "role: worker, endpoint: servlet, timeouts: { read: 1s }, limits: { body_rate: 240B }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", settings));
    let mut client = Client::connect(elb.web());
    client.send(format!("POST /services/echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5000\r\n\r\n"));
    // About 1,000 bytes a second.
    assert!(!drip(client.stream(), &[b'b'; 100], 49, Duration::from_millis(100)), "it is given up");
    client.send([b'b'; 100]);
    assert_eq!(client.answer().echo().body_length(), 5_000);
}

#[test]
fn a_header_that_drips_is_given_up() {
    let node = StubNode::worker("w1");
    let settings = "role: worker, endpoint: servlet, timeouts: { idle: 60s, header: 2s, read: 60s }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", settings));
    for used_before in [false, true] {
        let mut client = Client::connect(elb.web());
        if used_before {
            assert_eq!(client.get(HOST, "/services/echo").status, 200);
        }
        client.send(format!("GET /services/echo HTTP/1.1\r\nHost: {HOST}\r\n"));
        assert!(drip(client.stream(), b"X: y\r\n", 60, Duration::from_millis(250)), "used before: {used_before}");
        // An answer is polite, an end enough.
        if !client.is_ended() {
            assert_eq!(client.answer().status, 408);
            assert!(client.is_ended());
        }
    }
    wait_until("all are gone", || connections(&elb) == 0.0);
}

/// A listener with TLS, and the files that it needs.
fn tls(node: &StubNode, settings: &str) -> (Elb, TempDir) {
    let dir = TempDir::new("tls");
    let edge = Certificate::self_signed(dir.path(), "edge", "DNS:esb.test");
    let files = format!("certificate: {}, key: {}", edge.certificate.display(), edge.key.display());
    let listener = format!("role: worker, endpoint: servlet, tls: {{ {files} }}, {settings}");
    (Elb::start(&Topology::workers(&[node.address()]).listener("web", &listener)), dir)
}

#[test]
fn a_handshake_has_a_deadline() {
    let node = StubNode::worker("w1");
    let (elb, _dir) = tls(&node, "timeouts: { idle: 60s, header: 60s, read: 60s, handshake: 2s }");
    // The beginning of a ClientHello whose rest never comes: a record of 512 bytes.
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend([0; 20]);
    let mut silent = Client::connect(elb.web());
    let mut half = Client::connect(elb.web());
    half.send(&hello);
    let mut dripping = Client::connect(elb.web());
    for byte in &hello {
        if drip(dripping.stream(), &[*byte], 1, Duration::from_millis(250)) {
            break;
        }
    }
    for (who, client) in [("silent", &mut silent), ("half", &mut half), ("dripping", &mut dripping)] {
        client.stream().set_read_timeout(Some(BOUND)).unwrap();
        assert!(client.is_ended(), "{who}");
    }
    wait_until("all are gone", || connections(&elb) == 0.0);
}

/// A client that has agreed on HTTP/2 and sends what it is told to.
struct Http2 {
    process: std::process::Child,
    stdin: ChildStdin,
}

impl Http2 {
    fn open(elb: &Elb) -> Http2 {
        let mut process = openssl_client(elb.web());
        let stdin = process.stdin.take().expect("it is piped");
        Http2 { process, stdin }
    }

    /// The preface, and an empty SETTINGS frame.
    fn begin(&mut self) {
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    }

    /// A HEADERS frame for stream 1 with the flags (1: end of the stream, 4: end of the header).
    fn headers(&mut self, method: u8, flags: u8) {
        // RFC 7541: indexed fields for method and scheme, and two literals that are not indexed.
        let mut block = vec![method, 0x87];
        for (name, value) in [(0x04, "/services/echo"), (0x01, HOST)] {
            block.extend([name, u8::try_from(value.len()).expect("short")]);
            block.extend(value.as_bytes());
        }
        let length = u8::try_from(block.len()).expect("short");
        self.send(&[&[0, 0, length, 0x01, flags, 0, 0, 0, 1][..], &block].concat());
    }

    fn send(&mut self, bytes: &[u8]) {
        // It may have been turned out already.
        let _ = self.stdin.write_all(bytes).and_then(|()| self.stdin.flush());
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(Some(_)))
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

#[test]
fn http2_connections_on_which_nothing_moves_end() {
    let node = StubNode::worker("w1");
    let (elb, _dir) = tls(&node, "timeouts: { idle: 2s, header: 2s, read: 2s, write: 2s, handshake: 6s }");
    let mut clients: Vec<(&str, Http2)> = ["silent", "half a preface", "begun", "half a header", "no body", "answered"]
        .map(|what| (what, Http2::open(&elb)))
        .into();
    for (what, client) in &mut clients {
        match *what {
            "silent" => {}
            "half a preface" => client.send(b"P"),
            _ => client.begin(),
        }
        match *what {
            "half a header" => client.headers(GET, 1),
            "no body" => client.headers(POST, 4),
            "answered" => client.headers(GET, 1 | 4),
            _ => {}
        }
    }
    let ended = poll(BOUND, || clients.iter_mut().all(|(_, client)| client.has_ended()).then_some(()));
    let left: Vec<_> = clients.iter_mut().filter_map(|(what, c)| (!c.has_ended()).then_some(*what)).collect();
    assert!(ended.is_some(), "still there: {left:?}");
    wait_until("all are gone", || connections(&elb) == 0.0);
    wait_until("no node is busy", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
}

#[test]
fn an_http2_body_that_drips_is_given_up() {
    let node = StubNode::worker("w1");
    let (elb, _dir) = tls(&node, "timeouts: { idle: 10s, read: 10s, handshake: 10s }, limits: { body_rate: 240B }");
    let mut client = Http2::open(&elb);
    client.begin();
    client.headers(POST, 4);
    let given_up = poll(BOUND, || {
        // A DATA frame of one byte.
        client.send(b"\0\0\x01\0\0\0\0\0\x01b");
        let pause = poll(Duration::from_millis(250), || client.has_ended().then_some(()));
        let answered = || elb.access_lines().iter().any(|line| line["status"] == 408);
        (pause.is_some() || answered()).then_some(())
    });
    assert!(given_up.is_some(), "it goes on for ever");
    wait_until("no node is busy", || elb.metrics().sum("carbon_elb_in_flight", &[]) == 0.0);
}

#[test]
fn a_client_that_pauses_within_the_limits_is_served() {
    let node = StubNode::worker("w1");
    let settings = "role: worker, endpoint: servlet, timeouts: { idle: 20s, header: 10s, read: 10s }";
    let elb = Elb::start(&Topology::workers(&[node.address()]).listener("web", settings));
    let mut client = Client::connect(elb.web());
    for piece in [&b"GET /serv"[..], b"ices/echo HTTP/1.1\r", b"\nHost: esb.test\r\n\r", b"\n"] {
        assert!(!drip(client.stream(), piece, 1, Duration::from_millis(300)) || piece == b"\n");
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.request(&Request::get(HOST, "/services/echo")).status, 200);
}
