//! A node that keeps every byte it receives.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::client::Client;
use crate::support::node::RawNode;
use crate::support::process::lock;
use crate::support::wait_until;

/// A request that a node received as a whole.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The request line and the header fields, without the empty line.
    pub(crate) head: String,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// What followed the last chunk's line, without the empty line.
    pub(crate) trailers: String,
    /// Whether a chunk had an extension.
    pub(crate) extensions: bool,
}

impl Seen {
    /// Such as `GET /services/echo HTTP/1.1`.
    pub(crate) fn line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }

    /// The second word of the request line.
    pub(crate) fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// Every value of the header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|field| field.split_once(':'));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// What a node has received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// In the order in which they were complete.
    pub(crate) complete: Vec<Seen>,
    /// What was left of each connection that has ended: the beginning of a request that never became complete.
    pub(crate) broken_off: Vec<Vec<u8>>,
    /// What is not complete yet, by connection.
    pending: BTreeMap<u64, Vec<u8>>,
}

impl Record {
    /// Everything that is not part of a complete request, as text.
    pub(crate) fn incomplete(&self) -> Vec<String> {
        let bytes = self.broken_off.iter().chain(self.pending.values()).filter(|bytes| !bytes.is_empty());
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// The targets of the complete requests.
    pub(crate) fn targets(&self) -> Vec<&str> {
        self.complete.iter().map(Seen::target).collect()
    }
}

/// A node that answers every complete request with its target, and records all that it receives.
pub(crate) struct Recorder {
    node: RawNode,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    /// Starts it.
    pub(crate) fn start() -> Recorder {
        let record = Arc::new(Mutex::new(Record::default()));
        let (shared, count) = (Arc::clone(&record), AtomicU64::new(0));
        let node = RawNode::start(move |connection| {
            let id = count.fetch_add(1, Ordering::Relaxed);
            lock(&shared).pending.insert(id, Vec::new());
            let outcome = serve(&connection, id, &shared);
            let mut record = lock(&shared);
            let rest = record.pending.remove(&id).unwrap_or_default();
            if !rest.is_empty() {
                record.broken_off.push(rest);
            }
            outcome
        });
        Recorder { node, record }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address()
    }

    /// What it has received so far.
    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// What it has received, after the last connection to it has ended.
    #[track_caller]
    pub(crate) fn finish(self) -> Record {
        wait_until("all connections to the node have ended", || lock(&self.record).pending.is_empty());
        self.record()
    }
}

/// Where the recorder is with a connection.
#[derive(Default)]
struct Progress {
    /// Whether the client was told to go on with its body.
    continued: bool,
}

fn serve(connection: &Client, id: u64, record: &Mutex<Record>) -> io::Result<()> {
    let mut stream = connection.stream();
    let (mut piece, mut progress) = ([0; 16 * 1024], Progress::default());
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        let mut answer = Vec::new();
        {
            let mut record = lock(record);
            let mut buffer = record.pending.remove(&id).unwrap_or_default();
            buffer.extend_from_slice(&piece[..read]);
            while let Some((seen, length)) = parse(&buffer) {
                buffer.drain(..length);
                answer.extend(answer_to(&seen));
                record.complete.push(seen);
                progress = Progress::default();
            }
            if !progress.continued && waits_for_leave(&buffer) {
                progress.continued = true;
                answer.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            record.pending.insert(id, buffer);
        }
        stream.write_all(&answer)?;
    }
}

fn answer_to(seen: &Seen) -> Vec<u8> {
    if seen.all("upgrade") == ["websocket"] {
        return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    }
    let text = seen.target();
    let body = if seen.head.starts_with("HEAD ") { "" } else { text };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len()).into_bytes()
}

fn waits_for_leave(buffer: &[u8]) -> bool {
    let head = find(buffer, b"\r\n\r\n").map(|end| String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase());
    head.is_some_and(|head| head.contains("\r\nexpect: 100-continue"))
}

/// The first request in `buffer`, and how long it is; `None` if it is not complete (or cannot be read: then it never is).
fn parse(buffer: &[u8]) -> Option<(Seen, usize)> {
    let end = find(buffer, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut seen = Seen { head, body: Vec::new(), trailers: String::new(), extensions: false };
    let mut at = end + 4;
    if !seen.all("transfer-encoding").is_empty() {
        at += read_chunks(&buffer[at..], &mut seen)?;
    } else if let Some(length) = seen.all("content-length").first() {
        let length: usize = length.parse().ok()?;
        seen.body.extend_from_slice(buffer.get(at..at + length)?);
        at += length;
    }
    Some((seen, at))
}

fn read_chunks(bytes: &[u8], seen: &mut Seen) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..end]).ok()?;
        seen.extensions |= line.contains(';');
        let size = usize::from_str_radix(line.split(';').next()?, 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        seen.body.extend_from_slice(bytes.get(at..at + size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Some(at + 2);
    }
    let end = at + find(&bytes[at..], b"\r\n\r\n")?;
    seen.trailers = String::from_utf8_lossy(&bytes[at..end]).into_owned();
    Some(end + 4)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
