//! Requests that look odd and are right: they pass, and this is what a node sees of them.

use super::recorder::Seen;
use super::stage::{Failures, Stage, push};
use crate::support::client::{Client, Request};
use crate::support::topology::HOST;

/// What a node must see.
struct Row {
    what: &'static str,
    bytes: Vec<u8>,
    /// The request line.
    line: &'static str,
    /// Fields that the node must see with just these values; none means that it must not see the field.
    fields: Vec<(&'static str, Vec<&'static str>)>,
    body: &'static str,
}

impl Row {
    fn new(what: &'static str, bytes: impl AsRef<[u8]>, line: &'static str) -> Row {
        Row { what, bytes: bytes.as_ref().to_vec(), line, fields: Vec::new(), body: "" }
    }

    fn field<const N: usize>(mut self, name: &'static str, values: [&'static str; N]) -> Row {
        self.fields.push((name, values.to_vec()));
        self
    }

    fn body(mut self, body: &'static str) -> Row {
        self.body = body;
        self
    }
}

const GET: &str = "GET /services/echo/ok HTTP/1.1";
const POST: &str = "POST /services/echo/ok HTTP/1.1";

fn get(line: &'static str) -> Row {
    Row::new("", format!("{line}\r\nHost: esb.test\r\n\r\n"), line)
}

fn with(what: &'static str, fields: &str) -> Row {
    Row::new(what, format!("{GET}\r\nHost: esb.test\r\n{fields}\r\n\r\n"), GET)
}

fn post(what: &'static str, fields: &str, body: &str) -> Row {
    Row::new(what, format!("{POST}\r\nHost: esb.test\r\n{fields}\r\n\r\n{body}"), POST)
}

fn chunked(what: &'static str, body: &str) -> Row {
    post(what, "Transfer-Encoding: chunked", body)
}

#[rustfmt::skip] // one row a case
fn rows() -> Vec<Row> {
    let absolute = |what, target: &str, host: &str, line| {
        Row::new(what, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"), line)
    };
    vec![
        // RFC 9112, 2.2 and 3
        Row::new("one empty line in front", format!("\r\n{GET}\r\nHost: esb.test\r\n\r\n"), GET),
        get("PATCH /services/echo/ok HTTP/1.1"),
        get("M-SEARCH /services/echo/ok HTTP/1.1"),
        get("!#$%&'*+-.^_`|~09 /services/echo/ok HTTP/1.1"),
        get("get /services/echo/ok HTTP/1.1"),
        get("OPTIONS /services/echo/ok HTTP/1.1"),
        get("GET /services/echo/ok?a=b&c=%20%C3%A4+d/?:@!$'()*,;=-._~ HTTP/1.1"),
        get("GET /services/echo/ok? HTTP/1.1"),
        get("GET /services/echo/ok?http://a@b:1/ HTTP/1.1"),
        get("GET /services/echo/a:b@c(1)'!$&*+,=~ HTTP/1.1"),
        get("GET /services/echo/%7Euser%20x HTTP/1.1"),
        Row::new("HTTP/1.0", "GET /services/echo/ok HTTP/1.0\r\nHost: esb.test\r\n\r\n", GET),
        Row::new("HTTP/1.0 with a body", "POST /services/echo/ok HTTP/1.0\r\nHost: esb.test\r\nContent-Length: 5\r\n\r\nhello", POST).body("hello"),
        // 3.2.2
        absolute("absolute-form", "http://esb.test/services/echo/ok?x=y", "esb.test", "GET /services/echo/ok?x=y HTTP/1.1").field("host", ["esb.test"]),
        absolute("absolute-form with a port", "http://esb.test:8280/services/echo/ok", "esb.test:8280", GET).field("host", ["esb.test:8280"]),
        absolute("absolute-form in another case", "HTTP://ESB.test/services/echo/ok", "esb.test", GET),
        absolute("absolute-form with https", "https://esb.test/services/echo/ok", "esb.test", GET),
        absolute("absolute-form without a path", "http://esb.test", "esb.test", "GET / HTTP/1.1"),
        absolute("absolute-form without a path, with a query", "http://esb.test?x=y", "esb.test", "GET /?x=y HTTP/1.1"),
        // 5
        with("no space behind the colon", "X-Odd:y").field("x-odd", ["y"]),
        with("spaces around the value", "X-Odd:  \t y \t ").field("x-odd", ["y"]),
        with("a tab in the value", "X-Odd: y\tz").field("x-odd", ["y\tz"]),
        with("an empty value", "X-Odd:").field("x-odd", [""]),
        with("UTF-8 in the value", "X-Odd: ä").field("x-odd", ["ä"]),
        with("every kind of character in the value", "X-Odd: !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~").field("x-odd", ["!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]),
        with("a colon in the value", "X-Odd: :y: z:").field("x-odd", [":y: z:"]),
        with("every kind of character in the name", "!#$%&'*+-.^_`|~09aZ: y").field("!#$%&'*+-.^_`|~09az", ["y"]),
        with("a field twice", "X-Odd: y\r\nX-Odd: z").field("x-odd", ["y", "z"]),
        with("Host in upper case", "x: y").field("host", ["esb.test"]),
        Row::new("a tab before Host's value", format!("{GET}\r\nHOST:\tesb.test \r\n\r\n"), GET).field("host", ["esb.test"]),
        Row::new("Host with a port", format!("{GET}\r\nHost: esb.test:8280\r\n\r\n"), GET).field("host", ["esb.test:8280"]),
        // 6
        post("leading zeros", "Content-Length: 00005", "hello").body("hello"),
        post("a name in lower case", "content-length:5", "hello").body("hello"),
        post("spaces around the length", "Content-Length: \t5\t ", "hello").body("hello"),
        post("a length of nothing", "Content-Length: 0", ""),
        Row::new("a GET with a body", format!("{GET}\r\nHost: esb.test\r\nContent-Length: 5\r\n\r\nhello"), GET).body("hello"),
        post("a coding in upper case", "TRANSFER-ENCODING: CHUNKED", "5\r\nhello\r\n0\r\n\r\n").field("content-length", []).body("hello"),
        post("spaces around the coding", "Transfer-Encoding: \t chunked \t", "5\r\nhello\r\n0\r\n\r\n").body("hello"),
        // 7.1
        chunked("chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n").body("hello"),
        chunked("nothing", "0\r\n\r\n"),
        chunked("zeros", "000005\r\nhello\r\n0000\r\n\r\n").body("hello"),
        chunked("hexadecimal in both cases", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n").body("01234567890123456789"),
        chunked("data that looks like framing", "9\r\n\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n").body("\r\n0\r\n\r\n\r\n"),
        chunked("extensions", "5;x\r\nhello\r\n0;y=z\r\n\r\n").body("hello"),
        chunked("extensions with a quoted value", "5;x=\"a;\\\"b \tc\";y=z\r\nhello\r\n0\r\n\r\n").body("hello"),
        chunked("extensions with spaces", "5 ; x = y\r\nhello\r\n0\r\n\r\n").body("hello"),
        chunked("a trailer", "5\r\nhello\r\n0\r\nX-Odd: y\r\nX-Even:\r\n\r\n").field("x-odd", []).body("hello"),
        chunked("trailers that would be framing", "0\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\nHost: other.test\r\n\r\n").field("host", ["esb.test"]),
        // RFC 9110, 10.1.1 and 7.8
        post("the body is waited for", "Expect: 100-continue\r\nContent-Length: 5", "hello").body("hello"),
        post("the same in upper case", "EXPECT: 100-CONTINUE\r\nContent-Length: 5", "hello").body("hello"),
        with("an upgrade to HTTP/2", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
            .field("upgrade", []).field("http2-settings", []),
        with("a field that Connection names", "Connection: keep-alive, X-Odd\r\nX-Odd: y").field("x-odd", []),
    ]
}

/// Says what is wrong with what the node saw.
fn compare(row: &Row, seen: &Seen) -> Option<String> {
    if seen.line() != row.line {
        return Some(format!("the node saw {}", seen.line()));
    }
    if seen.body != row.body.as_bytes() {
        return Some(format!("the node saw the body {}", seen.body.escape_ascii()));
    }
    if seen.extensions || !seen.trailers.is_empty() {
        return Some(format!("the node saw extensions: {}, trailers: {:?}", seen.extensions, seen.trailers));
    }
    // However it was framed: once.
    let framed = seen.all("content-length").len() + seen.all("transfer-encoding").len();
    if framed > 1 || (framed == 0 && !row.body.is_empty()) {
        return Some(format!("the node saw {framed} framings: {}", seen.head));
    }
    let wrong = row.fields.iter().find(|(name, values)| seen.all(name) != *values);
    wrong.map(|(name, values)| format!("the node saw {name}: {:?} and not {values:?}", seen.all(name)))
}

/// The request is answered, and the node has seen it after `before` others as it should.
fn passed(stage: &Stage, row: &Row, client: &mut Client, before: usize, failures: &mut Failures) {
    let shown = format!("{}: {}", row.what, row.bytes.escape_ascii());
    match client.read("GET") {
        Ok(answer) => failures.check(answer.status == 200, &shown, || format!("{answer:?}")),
        Err(e) => failures.add(&shown, e),
    }
    match stage.node.record().complete.get(before) {
        Some(seen) => compare(row, seen).into_iter().for_each(|wrong| failures.add(&shown, wrong)),
        None => failures.add(&shown, "the node saw nothing"),
    }
}

#[test]
fn odd_requests_pass() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    for row in rows() {
        let shown = format!("{}: {}", row.what, row.bytes.escape_ascii());
        let before = stage.node.record().complete.len();
        // To the pass-through port, where every path is a service.
        let mut client = Client::connect(stage.elb.address("api"));
        // What follows has to be found, wherever the request ends.
        let next = Request::get(HOST, "/services/echo/next").to_bytes();
        push(&client, &[&row.bytes[..], &next].concat());
        passed(&stage, &row, &mut client, before, &mut failures);
        // HTTP/1.0 does not keep the connection, and does not say so.
        if client.closed || shown.contains("HTTP/1.0") {
            continue;
        }
        match client.read("GET") {
            Ok(answer) => {
                failures.check(answer.text() == "/services/echo/next", &shown, || format!("next: {answer:?}"))
            }
            Err(e) => failures.add(&shown, format!("next: {e}")),
        }
    }
    failures.check(stage.end().incomplete().is_empty(), "the node", || "has something incomplete".into());
    failures.report();
}

#[test]
fn odd_requests_pass_byte_by_byte() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    for row in rows() {
        let before = stage.node.record().complete.len();
        let mut client = Client::connect(stage.elb.address("api"));
        for byte in &row.bytes {
            push(&client, &[*byte]);
        }
        passed(&stage, &row, &mut client, before, &mut failures);
    }
    failures.report();
}

#[test]
fn every_request_of_a_pipeline_is_answered_in_order() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let rows: Vec<Row> = rows().into_iter().filter(|row| !row.bytes.windows(8).any(|w| w == b"HTTP/1.0")).collect();
    let mut client = Client::connect(stage.elb.address("api"));
    push(&client, &rows.iter().flat_map(|row| row.bytes.clone()).collect::<Vec<_>>());
    let mut failures = Failures::default();
    for row in &rows {
        match client.read("GET") {
            Ok(answer) => failures.check(answer.status == 200, row.what, || format!("{answer:?}")),
            Err(e) => {
                failures.add(row.what, e);
                break;
            }
        }
    }
    let record = stage.end();
    let lines: Vec<&str> = record.complete.iter().map(Seen::line).collect();
    failures.check(lines == rows.iter().map(|row| row.line).collect::<Vec<_>>(), "order", || format!("{lines:#?}"));
    failures.report();
}

/// Well-formed, and refused for what they ask for: whether the connection goes on is not said, but nothing is mixed up.
#[test]
fn what_is_refused_for_its_meaning_reaches_no_node_either() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    let rows: &[(&str, &str, &[u16])] = &[
        ("OPTIONS * HTTP/1.1", "Host: esb.test", &[400]),
        ("GET //esb.test/services/echo/bad HTTP/1.1", "Host: esb.test", &[400]),
        ("GET http://esb.test//services/echo/bad HTTP/1.1", "Host: esb.test", &[400]),
        ("GET http://esb.test/services/../carbon/bad HTTP/1.1", "Host: esb.test", &[400]),
        ("GET http://esb.test/carbon/bad HTTP/1.1", "Host: esb.test", &[404]),
        ("GET http://esb.test:x/services/echo/bad HTTP/1.1", "Host: esb.test:x", &[400]),
        ("GET http://other.test/services/echo/bad HTTP/1.1", "Host: other.test", &[421]),
        ("GET /carbon/bad HTTP/1.1", "Host: esb.test", &[404]),
        ("GET /services/echo/bad HTTP/1.1", "Host: other.test", &[421]),
        ("GET /services/echo/bad HTTP/1.1", "Host:", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: esb.test:port", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: esb.test/x", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: http://esb.test", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: esb\\test", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: esb.test?x", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: ésb.test", &[400]),
        ("GET /services/echo/bad HTTP/1.1", "Host: [::1", &[400]),
        // HTTP/1.0 does not ask for a Host, but without one nobody knows whose request it is.
        ("GET /services/echo/bad HTTP/1.0", "X: y", &[400]),
    ];
    for (line, field, status) in rows {
        let row = format!("{line} {field}");
        let mut client = Client::connect(stage.elb.web());
        let behind = Request::get(HOST, "/services/echo/behind").to_bytes();
        push(&client, &[format!("{line}\r\n{field}\r\n\r\n").as_bytes(), &behind].concat());
        match client.read("GET") {
            Ok(answer) => failures.check(status.contains(&answer.status), &row, || format!("{answer:?}")),
            Err(e) => failures.add(&row, e),
        }
        if client.closed {
            failures.check(client.is_ended(), &row, || "more follows".into());
        } else {
            let next = client.read("GET").map(|answer| answer.text());
            failures
                .check(next.as_ref().is_ok_and(|text| text == "/services/echo/behind"), &row, || format!("{next:?}"));
        }
    }
    let record = stage.end();
    failures.check(record.targets().iter().all(|target| target.ends_with("/behind")), "reached", || {
        format!("{:?}", record.targets())
    });
    failures.report();
}

#[test]
fn a_websocket_passes() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut client = Client::connect(stage.elb.web());
    let answer = client.request(
        &Request::get(HOST, "/services/echo/chat")
            .header("Connection", "keep-alive, Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    );
    assert_eq!(answer.status, 101);
    drop(client);
    let record = stage.end();
    assert_eq!(record.complete[0].all("upgrade"), ["websocket"]);
}
