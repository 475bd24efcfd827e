//! Malformed framing of chunks (RFC 9112, section 7.1), in the first chunk and behind it.

use super::stage::{Case, Failures, Stage, push, refusal};
use crate::support::client::Client;

const HEAD: &str = "POST /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A request with that body, as it is on the wire.
fn body(bytes: &str) -> Vec<u8> {
    format!("{HEAD}{bytes}").into_bytes()
}

/// Mistakes of a chunk's first line: its text, and `hello` where there is a place for it.
#[rustfmt::skip] // one row a case
fn lines() -> Vec<(&'static str, String, &'static [u16])> {
    let row = |what, line: &str, status: &'static [u16]| (what, line.to_owned(), status);
    vec![
        row("hexadecimal with a prefix", "0x5\r\nhello\r\n", &[400]),
        row("a plus", "+5\r\nhello\r\n", &[400]),
        row("a minus", "-5\r\nhello\r\n", &[400]),
        row("no size", "\r\nhello\r\n", &[400]),
        row("an extension without a size", ";x\r\nhello\r\n", &[400]),
        row("a space before the size", " 5\r\nhello\r\n", &[400]),
        row("a tab before the size", "\t5\r\nhello\r\n", &[400]),
        row("a space behind the size", "5 \r\nhello\r\n", &[400]),
        row("a space inside the size", "0 5\r\nhello\r\n", &[400]),
        row("no hexadecimal digit", "g\r\nhello\r\n", &[400]),
        row("a digit and something else", "5g\r\nhello\r\n", &[400]),
        row("a separator", "0_5\r\nhello\r\n", &[400]),
        row("a comma", "5,5\r\nhello\r\n", &[400]),
        row("quotes", "\"5\"\r\nhello\r\n", &[400]),
        row("a full-width digit", "５\r\nhello\r\n", &[400]),
        row("2^64 + 5", "10000000000000005\r\nhello\r\n", &[400, 413]),
        row("2^32 + 2^64 + 5", "10000000100000005\r\nhello\r\n", &[400, 413]),
        row("2^64 - 1", "ffffffffffffffff\r\nhello\r\n", &[400, 413]),
        row("2^63", "8000000000000000\r\nhello\r\n", &[400, 413]),
        row("a size of many zeros", &format!("{}5\r\nhello\r\n", "0".repeat(10_000)), &[400]),
        row("a bare LF behind the size", "5\nhello\r\n", &[400]),
        row("a bare CR behind the size", "5\rhello\r\n", &[400]),
        row("two CR behind the size", "5\r\r\nhello\r\n", &[400]),
        row("a NUL behind the size", "5\0\r\nhello\r\n", &[400]),
        row("a NUL in an extension", "5;x\0\r\nhello\r\n", &[400]),
        row("a control character in an extension", "5;x\x01\r\nhello\r\n", &[400]),
        row("DEL in an extension", "5;x\x7f\r\nhello\r\n", &[400]),
        row("a bare LF in an extension", "5;x\nhello\r\n", &[400]),
        row("a bare CR in an extension", "5;x\ry\r\nhello\r\n", &[400]),
        row("a bare LF in a quoted extension", "5;x=\"\n\"\r\nhello\r\n", &[400]),
        row("a bare CR in a quoted extension", "5;x=\"\r\"\r\nhello\r\n", &[400]),
        row("a line end in a quoted extension", "5;x=\"\r\n\"\r\nhello\r\n", &[400]),
        row("a long extension", &format!("5;{}\r\nhello\r\n", "x".repeat(5_000)), &[400]),
        row("many extensions", &format!("5{}\r\nhello\r\n", ";x=y".repeat(1_500)), &[400]),
        row("a bare LF behind the last size", "0\n\r\n", &[400]),
        row("bare LF for the end", "0\n\n", &[400]),
    ]
}

/// Mistakes that show before anything of the body is there for a node.
pub(crate) fn at_once() -> Vec<Case> {
    lines().iter().map(|(what, text, status)| Case::new(what, body(text), status)).collect()
}

/// Mistakes that show when a part of the body may have been passed on.
#[rustfmt::skip] // one row a case
fn later() -> Vec<Case> {
    let mut cases: Vec<Case> =
        lines().iter().map(|(what, text, status)| Case::new(what, body(&format!("3\r\nabc\r\n{text}")), status)).collect();
    cases.extend([
        Case::new("data longer than its size", body("3\r\nhello\r\n0\r\n\r\n"), &[400]),
        Case::new("data shorter than its size", body("7\r\nhello\r\n0\r\n\r\n"), &[400]),
        Case::new("data without an end", body("5\r\nhello0\r\n\r\n"), &[400]),
        Case::new("a bare LF behind data", body("5\r\nhello\n0\r\n\r\n"), &[400]),
        Case::new("a bare CR behind data", body("5\r\nhello\r0\r\n\r\n"), &[400]),
        Case::new("LF and CR behind data", body("5\r\nhello\n\r0\r\n\r\n"), &[400]),
        Case::new("two bytes for the end of data", body("5\r\nhelloxx0\r\n\r\n"), &[400]),
        Case::new("an empty line behind data", body("5\r\nhello\r\n\r\n0\r\n\r\n"), &[400]),
        Case::new("a bare LF for the last line", body("5\r\nhello\r\n0\r\n\n"), &[400]),
        Case::new("a bare CR for the last line", body("5\r\nhello\r\n0\r\n\rx\r\n\r\n"), &[400]),
        Case::new("a request for the last line", body("0\r\nGET /services/echo/smuggled HTTP/1.1\r\nHost: esb.test\r\n\r\n"), &[400]),
        Case::new("a trailer without a colon", body("0\r\nX\r\n\r\n"), &[400]),
        Case::new("a trailer without a name", body("0\r\n: y\r\n\r\n"), &[400]),
        Case::new("a trailer with a space before the colon", body("0\r\nX : y\r\n\r\n"), &[400]),
        Case::new("a trailer with a space before the name", body("0\r\n X: y\r\n\r\n"), &[400]),
        Case::new("a folded trailer", body("0\r\nX: y\r\n z\r\n\r\n"), &[400]),
        Case::new("a trailer with a NUL", body("0\r\nX: y\0\r\n\r\n"), &[400]),
        Case::new("a trailer with a control character", body("0\r\nX: y\x01\r\n\r\n"), &[400]),
        Case::new("a trailer with a bare LF", body("0\r\nX: y\nZ: z\r\n\r\n"), &[400]),
        Case::new("a trailer with a bare CR", body("0\r\nX: y\rZ: z\r\n\r\n"), &[400]),
        Case::new("a trailer with a name that is none", body("0\r\nX(Y): z\r\n\r\n"), &[400]),
        Case::new("a long trailer", body(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(100_000))), &[400, 431]),
        Case::new("many trailers", body(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000))), &[400, 431]),
    ]);
    cases
}

#[test]
fn what_is_malformed_behind_the_first_chunk_is_never_complete() {
    let stage = Stage::set("limits: { body: 1MiB }");
    let cases = later();
    let mut failures = Failures::default();
    let mut other = Client::connect(stage.elb.web());
    for (i, case) in cases.iter().enumerate() {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &case.bytes);
        // What the rest would be for a reader who has found an end.
        push(&client, b"\r\n0\r\n\r\nGET /services/echo/behind HTTP/1.1\r\nHost: esb.test\r\n\r\n");
        if let Err(e) = refusal(&mut client, case.status) {
            failures.add(case, e);
        }
        if let Err(e) = Stage::canary(&mut other, i) {
            failures.add(case, e);
            other = Client::connect(stage.elb.web());
        }
    }
    let record = stage.end();
    for target in record.targets() {
        failures.check(target.starts_with("/services/echo/canary-"), target, || "has reached the node".into());
    }
    for rest in record.incomplete() {
        failures.check(rest.starts_with("POST /services/echo/bad "), rest, || "has reached the node".into());
    }
    failures.report();
}

#[test]
fn a_body_that_breaks_off_is_never_complete() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    let bodies = [
        "",
        "5",
        "5\r",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r",
        "5\r\nhello\r\n",
        "0\r\n",
        "0\r\n\r",
        "0\r\nX",
    ];
    for bytes in bodies {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &body(bytes));
        client.stream().shutdown(std::net::Shutdown::Write).unwrap();
        // Whether it is told does not matter, as long as it is not told that all was well.
        if let Ok(answer) = client.read("POST") {
            failures.check(answer.status >= 400, bytes.escape_debug(), || format!("is answered {}", answer.status));
        }
    }
    assert_eq!(stage.end().targets(), [""; 0]);
    failures.report();
}
