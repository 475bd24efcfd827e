//! Bodies pass through piece by piece, in both directions, and are never held as a whole.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::client::{Client, Request};
use crate::support::elb::Elb;
use crate::support::node::RawNode;
use crate::support::topology::{HOST, Topology};
use crate::support::wait_until_steady;

const MIB: u64 = 1 << 20;
const BODY: u64 = 50 * MIB;
/// How much memory the balancer may take more for a body of [`BODY`]: buffers, the pages of code that it had not run
/// before, but not the body.
const ALLOWED_KIB: u64 = 16 * 1024;

const CHUNKED_POST: &str = "POST /services/echo HTTP/1.1\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Sends back every chunk as it comes.
fn mirror(mut connection: Client) -> io::Result<()> {
    while connection.read_request()?.is_some() {
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut bytes = Vec::new();
        while connection.read_chunk(&mut bytes)? {
            connection.stream().write_all(&chunk(&bytes))?;
            bytes.clear();
        }
        connection.send("0\r\n\r\n");
    }
    Ok(())
}

#[test]
fn every_piece_is_passed_on_when_it_comes() {
    let node = RawNode::start(mirror);
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let mut client = Client::connect(elb.web());
    let mut closes = false;
    client.send(CHUNKED_POST);
    // The next piece is sent only after the last one has come back: whoever waits for more of the request before
    // passing it on, or for more of the answer, waits for ever.
    for i in 0..10 {
        let piece = format!("piece {i}");
        client.send(chunk(piece.as_bytes()));
        if i == 0 {
            let (status, headers) = client.read_head().unwrap();
            assert_eq!(status, 200);
            closes = headers.contains(&("Connection".into(), "close".into()));
        }
        let mut bytes = Vec::new();
        while bytes.len() < piece.len() {
            assert!(client.read_chunk(&mut bytes).unwrap(), "the answer ended early");
        }
        assert_eq!(bytes, piece.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert!(!client.read_chunk(&mut Vec::new()).unwrap(), "the end is passed on too");
    // The balancer may end the connection, as the answer began before the request was complete, but has to say so.
    if !closes {
        client.send([CHUNKED_POST.as_bytes(), &chunk(b"again"), b"0\r\n\r\n"].concat());
        assert_eq!(client.answer().text(), "again");
    }
}

/// What a body of any length consists of: bytes that count from 0 again and again.
fn counting(length: u64) -> Vec<u8> {
    (0..length).map(|i| i as u8).collect()
}

/// Sends [`BODY`] in chunks.
fn send_chunked(mut to: &TcpStream) -> io::Result<()> {
    let piece = chunk(&counting(MIB / 16));
    for _ in 0..BODY * 16 / MIB {
        to.write_all(&piece)?;
    }
    to.write_all(b"0\r\n\r\n")
}

/// Reads a chunked body that consists of [`counting`] bytes; returns its length and how many bytes were wrong.
fn receive_chunked(connection: &mut Client) -> io::Result<(u64, usize)> {
    let (mut total, mut wrong, mut bytes) = (0, 0, Vec::new());
    while connection.read_chunk(&mut bytes)? {
        wrong += bytes.iter().zip(total..).filter(|(byte, i): &(&u8, u64)| **byte != *i as u8).count();
        total += bytes.len() as u64;
        bytes.clear();
    }
    Ok((total, wrong))
}

#[test]
fn large_chunked_bodies_pass_both_ways_and_take_little_memory() {
    // Takes the whole body, says what it was, and gives one of its own.
    let node = RawNode::start(|mut connection| {
        connection.read_request()?;
        let (total, wrong) = receive_chunked(&mut connection)?;
        connection.send(format!("HTTP/1.1 200 OK\r\nX-Total: {total}\r\nX-Wrong: {wrong}\r\n"));
        connection.send("Transfer-Encoding: chunked\r\n\r\n");
        send_chunked(connection.stream())
    });
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let _ = elb.metrics();
    let before = elb.peak_memory();

    let mut client = Client::connect(elb.web());
    client.send(CHUNKED_POST);
    send_chunked(client.stream()).unwrap();
    let (status, headers) = client.read_head().unwrap();
    let header = |name| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    assert_eq!((status, header("X-Total"), header("X-Wrong")), (200, Some(BODY.to_string().as_str()), Some("0")));
    assert_eq!(receive_chunked(&mut client).unwrap(), (BODY, 0));

    let grown = elb.peak_memory().saturating_sub(before);
    assert!(grown < ALLOWED_KIB, "{BODY} bytes each way took {grown} KiB of memory");
    let line = elb.access_line("the large request", |line| line["received"].as_u64() >= Some(BODY));
    assert!(line["bytes"].as_u64() >= Some(BODY), "{line}");
}

/// Sends [`BODY`] as fast as it can; `sent` tells how far it has come.
fn flood(mut connection: Client, sent: &AtomicU64) -> io::Result<()> {
    connection.read_request()?;
    connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n"));
    let piece = vec![b'x'; (MIB / 16) as usize];
    while sent.load(Ordering::Acquire) < BODY {
        connection.stream().write_all(&piece)?;
        sent.fetch_add(piece.len() as u64, Ordering::AcqRel);
    }
    Ok(())
}

#[test]
fn a_client_that_does_not_read_holds_the_node_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let node = RawNode::start(move |connection| flood(connection, &counter));
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let _ = elb.metrics();
    let before = elb.peak_memory();

    let mut client = Client::connect(elb.web());
    client.send(Request::get(HOST, "/services/echo").to_bytes());
    assert_eq!(client.read_head().unwrap().0, 200);
    let stuck = wait_until_steady("the node is held back", Duration::from_millis(300), || sent.load(Ordering::Acquire));
    assert!(stuck < BODY, "all was taken from the node though nobody reads it");
    let grown = elb.peak_memory().saturating_sub(before);
    assert!(grown < ALLOWED_KIB, "a client that does not read took {grown} KiB of memory");

    // It was only slow: all arrives.
    let mut body = vec![0; BODY as usize];
    client.read_bytes(&mut body).unwrap();
    assert!(body.iter().all(|byte| *byte == b'x'));
    assert_eq!(sent.load(Ordering::Acquire), BODY);
}

#[test]
fn a_node_that_does_not_read_holds_the_client_back() {
    let (node, connections) = RawNode::by_hand();
    let elb = Elb::start(&Topology::workers(&[node.address()]));
    let _ = elb.metrics();
    let before = elb.peak_memory();

    let sent = Arc::new(AtomicU64::new(0));
    let sending = upload(elb.web(), &sent);
    let mut at_node = connections.next();
    at_node.read_request().unwrap();
    let stuck =
        wait_until_steady("the client is held back", Duration::from_millis(300), || sent.load(Ordering::Acquire));
    assert!(stuck < BODY, "all was taken from the client though nobody reads it");
    let grown = elb.peak_memory().saturating_sub(before);
    assert!(grown < ALLOWED_KIB, "a node that does not read took {grown} KiB of memory");

    let mut body = vec![0; BODY as usize];
    at_node.read_bytes(&mut body).unwrap();
    at_node.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    assert_eq!(sending.join().unwrap(), "done");
}

/// Sends [`BODY`] with Content-Length; `sent` tells how far it has come. Returns the answer.
fn upload(address: SocketAddr, sent: &Arc<AtomicU64>) -> std::thread::JoinHandle<String> {
    let sent = Arc::clone(sent);
    std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.send(format!("POST /services/echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {BODY}\r\n\r\n"));
        let piece = vec![b'x'; (MIB / 16) as usize];
        for _ in 0..BODY / piece.len() as u64 {
            client.send(&piece);
            sent.fetch_add(piece.len() as u64, Ordering::AcqRel);
        }
        client.answer().text()
    })
}
