//! The access log: one JSON object a line for each request, written by a thread of its own.
//!
//! A request only formats its line and hands it over. If the writer cannot follow, lines are dropped and counted: a full
//! disk or a slow terminal must not slow down requests.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use log::error;
use parking_lot::Mutex;
use prometheus::IntCounter;
use serde::{Serialize, Serializer};

use crate::config::AccessLog;
use crate::origin::Client;

/// Lines that may wait for the writer.
const QUEUE: usize = 16_384;

/// How long the end of the process waits for the writer, and how often it looks.
const CLOSE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What became of a request.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// When the header had been read.
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    /// The listener's name.
    pub listener: &'a str,
    /// The address of the client, and its port if that is known.
    pub client: Option<Client>,
    /// The trusted proxy that told of the client.
    pub via: Option<IpAddr>,
    /// The request method.
    pub method: &'a str,
    /// Host and port as the client sent them.
    #[serde(serialize_with = "lossy")]
    pub host: &'a [u8],
    /// The path as the client sent it, without the query, which may hold secrets.
    #[serde(serialize_with = "lossy")]
    pub path: &'a [u8],
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: &'a str,
    /// The status that the client got; 0 if it got none.
    pub status: u16,
    /// Bytes of the body that the client got.
    pub bytes: usize,
    /// Bytes of the body that the client sent.
    pub received: usize,
    /// The cluster, if the request was for one.
    pub cluster: Option<&'a str>,
    /// The role, if the request was for one.
    pub role: Option<&'a str>,
    /// The class of the path.
    pub class: Option<&'a str>,
    /// The tenant that the path names.
    pub tenant: Option<&'a str>,
    /// The node that was asked last.
    pub node: Option<&'a str>,
    /// How many times a node was asked.
    pub attempts: usize,
    /// Whether the connection to the node was used before.
    pub reused: Option<bool>,
    /// Until the node was connected, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub connect_ms: Option<Duration>,
    /// Until the node's header was there, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub first_byte_ms: Option<Duration>,
    /// Until all was done, in milliseconds.
    #[serde(serialize_with = "milliseconds")]
    pub total_ms: Option<Duration>,
    /// Why no node was asked, or why none could answer.
    pub reason: Option<&'a str>,
}

impl Default for Entry<'_> {
    /// A request of which nothing is known.
    fn default() -> Self {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            listener: "",
            client: None,
            via: None,
            method: "",
            host: b"",
            path: b"",
            protocol: "",
            status: 0,
            bytes: 0,
            received: 0,
            cluster: None,
            role: None,
            class: None,
            tenant: None,
            node: None,
            attempts: 0,
            reused: None,
            connect_ms: None,
            first_byte_ms: None,
            total_ms: None,
            reason: None,
        }
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_micros(*time))
}

fn lossy<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

fn milliseconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        // Microseconds are as fine as these clocks are worth.
        Some(time) => serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3),
        None => serializer.serialize_none(),
    }
}

/// What the writer is told.
enum Message {
    Line(Vec<u8>),
    Close,
}

/// The sender's side of the log.
#[derive(Debug)]
pub struct AccessWriter {
    queue: Option<SyncSender<Message>>,
    lost: IntCounter,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessWriter {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the thread cannot be started.
    pub fn open(target: &AccessLog, lost: IntCounter) -> io::Result<Self> {
        let sink: Box<dyn Write + Send> = match target {
            AccessLog::Off => return Ok(AccessWriter { queue: None, lost, writer: Mutex::new(None) }),
            AccessLog::Stdout => Box::new(io::stdout()),
            AccessLog::File(path) => Box::new(open_for_append(path)?),
        };
        let (queue, lines) = sync_channel(QUEUE);
        let writer =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_lines(&lines, sink))?;
        Ok(AccessWriter { queue: Some(queue), lost, writer: Mutex::new(Some(writer)) })
    }

    /// Whether anybody wants lines.
    pub fn wanted(&self) -> bool {
        self.queue.is_some()
    }

    /// Hands a line to the writer, or drops and counts it if the queue is full.
    pub fn write(&self, entry: &Entry<'_>) {
        let Some(queue) = &self.queue else { return };
        let mut line = Vec::with_capacity(512);
        let written = serde_json::to_writer(&mut line, entry);
        line.push(b'\n');
        if written.is_err() || queue.try_send(Message::Line(line)).is_err() {
            self.lost.inc();
        }
    }

    /// Waits until every line that was handed over so far is written, and ends the log; but not for ever, since whoever
    /// should read the log may have stopped reading.
    pub fn close(&self) {
        let (Some(queue), Some(writer)) = (&self.queue, self.writer.lock().take()) else { return };
        let deadline = Instant::now() + CLOSE;
        let mut told = queue.try_send(Message::Close);
        while let Err(TrySendError::Full(message)) = told
            && Instant::now() < deadline
        {
            std::thread::park_timeout(LOOK_AGAIN);
            told = queue.try_send(message);
        }
        while !writer.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(LOOK_AGAIN);
        }
        if !writer.is_finished() {
            error!("the access log takes no lines, the last ones are lost");
        } else if writer.join().is_err() {
            error!("the writer of the access log had ended before");
        }
    }
}

fn open_for_append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes lines until it is told to close; flushes whenever there is nothing to do.
fn write_lines(messages: &Receiver<Message>, sink: Box<dyn Write + Send>) {
    let mut sink = BufWriter::with_capacity(64 * 1024, sink);
    let mut failing = false;
    let mut note = |outcome: io::Result<()>| match outcome {
        Ok(()) => failing = false,
        Err(_) if failing => {} // said once, until it works again
        Err(e) => {
            failing = true;
            error!("cannot write the access log: {e}");
        }
    };
    loop {
        let message = match messages.try_recv() {
            Err(TryRecvError::Empty) => {
                note(sink.flush());
                messages.recv().unwrap_or(Message::Close)
            }
            Err(TryRecvError::Disconnected) => Message::Close,
            Ok(message) => message,
        };
        match message {
            Message::Line(line) => note(sink.write_all(&line)),
            Message::Close => break,
        }
    }
    note(sink.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            listener: "web",
            client: Some(Client { ip: [192, 0, 2, 7].into(), port: Some(4711), via: None }),
            method: "GET",
            host: b"esb.example.com",
            path: b"/services/\xffecho\"",
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 12,
            cluster: Some("esb"),
            role: Some("worker"),
            class: Some("service"),
            node: Some("wk-1"),
            attempts: 1,
            reused: Some(true),
            connect_ms: Some(Duration::from_micros(250)),
            total_ms: Some(Duration::from_micros(1_234)),
            ..Entry::default()
        }
    }

    #[test]
    fn lines_are_json_whatever_the_client_sent() {
        let line = serde_json::to_value(entry()).unwrap();
        assert_eq!(line["time"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(line["path"], "/services/\u{fffd}echo\"");
        assert_eq!(line["connect_ms"], 0.25);
        assert_eq!(line["total_ms"], 1.234);
        assert_eq!(line["client"], "192.0.2.7:4711");
    }

    #[test]
    fn every_line_is_on_disk_after_close() {
        let path = std::env::temp_dir().join(format!("carbon-elb-access-{}", std::process::id()));
        let lost = IntCounter::new("lost", "lost").unwrap();
        let log = AccessWriter::open(&AccessLog::File(path.clone()), lost.clone()).unwrap();
        for _ in 0..1_000 {
            log.write(&entry());
        }
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.lines().count() as u64 + lost.get(), 1_000);
    }
}
