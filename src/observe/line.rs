//! One line of the access log: a JSON object.
//!
//! It is put together by hand, since this is done for each request: a serializer escapes the names of the fields again and
//! again. What may hold anything, such as a path, goes through the serializer still.

use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::origin::Client;

/// What became of a request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// When the header had been read.
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
    pub host: &'a [u8],
    /// The path as the client sent it, without the query, which may hold secrets.
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
    pub connect_ms: Option<Duration>,
    /// Until the node's header was there, in milliseconds.
    pub first_byte_ms: Option<Duration>,
    /// Until all was done, in milliseconds.
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

impl Entry<'_> {
    /// Appends the line, with its end.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.bare("{\"time\":\"", humantime::format_rfc3339_micros(self.time));
        line.text("\",\"listener\":", Some(self.listener));
        line.quoted(",\"client\":", self.client);
        line.quoted(",\"via\":", self.via);
        line.text(",\"method\":", Some(self.method));
        line.lossy(",\"host\":", self.host);
        line.lossy(",\"path\":", self.path);
        line.text(",\"protocol\":", Some(self.protocol));
        line.number(",\"status\":", u64::from(self.status));
        line.number(",\"bytes\":", self.bytes as u64); // a usize has 64 bits at most
        line.number(",\"received\":", self.received as u64); // as above
        line.text(",\"cluster\":", self.cluster);
        line.text(",\"role\":", self.role);
        line.text(",\"class\":", self.class);
        line.text(",\"tenant\":", self.tenant);
        line.text(",\"node\":", self.node);
        line.number(",\"attempts\":", self.attempts as u64); // as above
        line.constant(",\"reused\":", self.reused.map(|reused| if reused { "true" } else { "false" }));
        line.milliseconds(",\"connect_ms\":", self.connect_ms);
        line.milliseconds(",\"first_byte_ms\":", self.first_byte_ms);
        line.milliseconds(",\"total_ms\":", self.total_ms);
        line.text(",\"reason\":", self.reason);
        line.0.extend_from_slice(b"}\n");
    }
}

/// A line while it grows. Each key comes with the punctuation around it.
struct Line<'o>(&'o mut Vec<u8>);

impl Line<'_> {
    fn constant(&mut self, key: &str, value: Option<&'static str>) {
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(value.unwrap_or("null").as_bytes());
    }

    /// What needs no escapes. The quotes are the keys'.
    fn bare(&mut self, key: &str, value: impl std::fmt::Display) {
        self.0.extend_from_slice(key.as_bytes());
        // Writing into memory does not fail.
        let _ = write!(self.0, "{value}");
    }

    /// The same in quotes of its own.
    fn quoted(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        match value {
            None => self.constant(key, None),
            Some(value) => {
                self.bare(key, format_args!("\"{value}\""));
            }
        }
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        self.0.extend_from_slice(key.as_bytes());
        match value {
            None => self.0.extend_from_slice(b"null"),
            Some(value) if value.bytes().all(is_plain) => {
                self.0.push(b'"');
                self.0.extend_from_slice(value.as_bytes());
                self.0.push(b'"');
            }
            // Writing into memory does not fail.
            Some(value) => _ = serde_json::to_writer(&mut *self.0, value),
        }
    }

    fn lossy(&mut self, key: &str, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) => self.text(key, Some(text)),
            Err(_) => self.text(key, Some(&String::from_utf8_lossy(value))),
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.0.extend_from_slice(key.as_bytes());
        self.digits(value, 1);
    }

    /// Microseconds are as fine as these clocks are worth.
    fn milliseconds(&mut self, key: &str, time: Option<Duration>) {
        let Some(time) = time else { return self.constant(key, None) };
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.number(key, micros / 1000);
        self.0.push(b'.');
        self.digits(micros % 1000, 3);
    }

    /// A number with so many digits at least.
    fn digits(&mut self, mut value: u64, least: usize) {
        let begin = self.0.len();
        while value > 0 || self.0.len() < begin + least {
            self.0.push(b'0' + (value % 10) as u8); // below 10
            value /= 10;
        }
        self.0.get_mut(begin..).unwrap_or_default().reverse();
    }
}

/// Whether JSON has this byte as it is.
fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::observe) fn entry() -> Entry<'static> {
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
        let mut text = Vec::new();
        entry().write_to(&mut text);
        assert!(text.ends_with(b"}\n"));
        let line: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(line["time"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(line["path"], "/services/\u{fffd}echo\"");
        assert_eq!(line["connect_ms"], 0.25);
        assert_eq!(line["total_ms"], 1.234);
        assert_eq!(line["client"], "192.0.2.7:4711");
        assert_eq!((&line["via"], &line["tenant"]), (&serde_json::Value::Null, &serde_json::Value::Null));
        assert_eq!((&line["status"], &line["received"], &line["reused"]), (&200.into(), &0.into(), &true.into()));
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for (value, least, expected) in
            [(0, 1, "0"), (7, 3, "007"), (1_234, 3, "1234"), (u64::MAX, 1, "18446744073709551615")]
        {
            let mut text = Vec::new();
            Line(&mut text).digits(value, least);
            assert_eq!(text, expected.as_bytes());
        }
    }
}
