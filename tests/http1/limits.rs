//! Limits, each at its edge and beyond it.

use super::stage::{Case, Failures, Stage, push, refusal};
use crate::support::client::{Client, Request};
use crate::support::topology::HOST;

const LIMITS: &str = "limits: { target: 256B, header: 4KiB, fields: 20, body: 1KiB }";

fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: esb.test\r\n{fields}\r\n").into_bytes()
}

fn post(length: usize) -> Vec<u8> {
    let body = "b".repeat(length);
    format!("POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn chunks(sizes: &[usize]) -> Vec<u8> {
    let chunks: String = sizes.iter().map(|size| format!("{size:x}\r\n{}\r\n", "b".repeat(*size))).collect();
    format!("POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
        .into_bytes()
}

fn target(length: usize) -> String {
    format!("/services/echo/{}", "x".repeat(length - "/services/echo/".len()))
}

fn query(length: usize) -> String {
    format!("/services/echo?{}", "x".repeat(length - "/services/echo?".len()))
}

fn fields(count: usize) -> String {
    (0..count).map(|i| format!("X-{i}: y\r\n")).collect()
}

#[test]
fn what_is_within_the_limits_passes() {
    let stage = Stage::set(LIMITS);
    let mut failures = Failures::default();
    #[rustfmt::skip] // one row a case
    let rows = [
        ("the longest target", get(&target(256), "")),
        ("the longest target with a query", get(&query(256), "")),
        ("the longest target in absolute-form", get(&format!("http://esb.test{}", target(256 - "http://esb.test".len())), "")),
        ("as many fields as allowed", get("/services/echo", &fields(19))),
        ("a long field", get("/services/echo", &format!("X: {}\r\n", "y".repeat(3_500)))),
        ("the longest body", post(1_024)),
        ("the longest body in one chunk", chunks(&[1_024])),
        ("the longest body in many chunks", chunks(&[1; 1_024])),
    ];
    for (what, bytes) in rows {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &bytes);
        match client.read("GET") {
            Ok(answer) => failures.check(answer.status == 200, what, || format!("{answer:?}")),
            Err(e) => failures.add(what, e),
        }
        failures.check(!client.closed, what, || "the connection is closed".into());
    }
    failures.report();
}

#[rustfmt::skip] // one row a case
fn beyond() -> Vec<Case> {
    vec![
        Case::new("the target", get(&target(257), ""), &[414]),
        Case::new("the query", get(&query(257), ""), &[414]),
        Case::new("a target in absolute-form", get(&format!("http://esb.test{}", target(257 - "http://esb.test".len())), ""), &[414]),
        Case::new("a target that does not end", format!("GET {}", target(5_000)), &[414]),
        Case::new("a method that does not end", "G".repeat(5_000), &[400, 414, 431, 501]),
        Case::new("the number of fields", get("/services/echo", &fields(20)), &[431]),
        Case::new("the number of fields by far", get("/services/echo", &fields(300)), &[431]),
        Case::new("a long field", get("/services/echo", &format!("X: {}\r\n", "y".repeat(4_096))), &[431]),
        Case::new("many long fields", get("/services/echo", &format!("X: {}\r\n", "y".repeat(500)).repeat(10)), &[431]),
        Case::new("a long name", get("/services/echo", &format!("{}: y\r\n", "X".repeat(4_096))), &[431]),
        Case::new("a field that does not end", format!("GET /services/echo HTTP/1.1\r\nHost: esb.test\r\nX: {}", "y".repeat(8_192)), &[431]),
        Case::new("a name that does not end", format!("GET /services/echo HTTP/1.1\r\nHost: esb.test\r\n{}", "X".repeat(8_192)), &[431]),
        Case::new("a header that does not end", format!("GET /services/echo HTTP/1.1\r\nHost: esb.test\r\n{}", "X: y\r\n".repeat(5_000)), &[431]),
        Case::new("the body", post(1_025), &[413]),
        Case::new("the body by far", b"POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nContent-Length: 1000000000000\r\n\r\nb", &[413]),
        Case::new("a body that is waited for", b"POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n", &[413]),
        Case::new("the first chunk", chunks(&[1_025]), &[413]),
        Case::new("the first chunk by far", b"POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n100000000\r\nb", &[413]),
    ]
}

#[test]
fn what_is_beyond_a_limit_is_refused_and_reaches_no_node() {
    let stage = Stage::set(LIMITS);
    let mut failures = Failures::default();
    let mut refused = Vec::new();
    for case in beyond() {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &case.bytes);
        match refusal(&mut client, case.status) {
            Ok(answer) => refused.push((client.local_address(), case, answer.status)),
            Err(e) => failures.add(&case, e),
        }
    }
    let lines = stage.refusals(refused.len());
    for (client, case, status) in &refused {
        let line = lines.get(client);
        let logged = line.is_some_and(|line| line["status"] == *status && line["reason"].is_string());
        failures.check(logged, case, || format!("its access line is {line:?}"));
        let reason = line.and_then(|line| line["reason"].as_str()).unwrap_or_default();
        let counted = stage.elb.metrics().sum("carbon_elb_refused_total", &[("reason", reason)]);
        failures.check(counted >= 1.0, case, || format!("is not counted as {reason}"));
    }
    let record = stage.end();
    failures.check(record.complete.is_empty() && record.incomplete().is_empty(), "the node", || format!("{record:?}"));
    failures.report();
}

#[test]
fn a_chunked_body_that_grows_beyond_the_limit_is_never_complete() {
    let stage = Stage::set(LIMITS);
    let mut failures = Failures::default();
    for sizes in [&[1_024, 1][..], &[1; 1_025], &[512, 513], &[1_000, 1_000, 1_000], &[1, 1_024]] {
        let row = format!("{} chunks", sizes.len());
        let mut client = Client::connect(stage.elb.web());
        push(&client, &chunks(sizes));
        push(&client, &Request::get(HOST, "/services/echo/behind").to_bytes());
        // 413, or cut off if a part of the answer was there before.
        if let Err(e) = refusal(&mut client, &[413]) {
            failures.add(row, e);
        }
    }
    let record = stage.end();
    failures.check(record.complete.is_empty(), "the node", || format!("{:?}", record.targets()));
    failures.report();
}

#[test]
fn the_client_sees_the_answer_while_it_is_sending() {
    let stage = Stage::set(LIMITS);
    // More than fits into the buffers of the system: whoever closes at once resets the connection, and the answer is lost.
    let body = vec![b'b'; 8 << 20];
    let announced = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    // In chunks that are allowed each; what is too large shows when a node has the request already.
    let chunk = [b"200\r\n", &body[..512], b"\r\n"].concat();
    let chunks = [&b"Transfer-Encoding: chunked\r\n\r\n"[..], &chunk.repeat((8 << 20) / 512)].concat();
    for bytes in [[&announced[..], &body].concat(), chunks] {
        let mut client = Client::connect(stage.elb.web());
        push(&client, b"POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\n");
        let mut sender = client.stream().try_clone().unwrap();
        let sending = std::thread::spawn(move || drop(std::io::Write::write_all(&mut sender, &bytes)));
        assert_eq!(client.answer().status, 413);
        drop(client);
        sending.join().unwrap();
    }
}

#[test]
fn the_usual_limits_hold_without_being_named() {
    let stage = Stage::set("timeouts: { idle: 10s }");
    let mut failures = Failures::default();
    #[rustfmt::skip] // one row a case
    let rows = [
        Case::new("16 KiB of target", get(&target(16_384), ""), &[200]),
        Case::new("more than 16 KiB of target", get(&target(16_385), ""), &[414]),
        Case::new("100 fields", get("/services/echo", &fields(99)), &[200]),
        Case::new("101 fields", get("/services/echo", &fields(100)), &[431]),
        Case::new("60 KiB of header", get("/services/echo", &format!("X: {}\r\n", "y".repeat(6_000)).repeat(10)), &[200]),
        Case::new("70 KiB of header", get("/services/echo", &format!("X: {}\r\n", "y".repeat(7_000)).repeat(10)), &[431]),
        Case::new("more than 1 GiB of body", b"POST /services/echo/b HTTP/1.1\r\nHost: esb.test\r\nContent-Length: 1073741825\r\n\r\nb", &[413]),
    ];
    for case in rows {
        let mut client = Client::connect(stage.elb.web());
        push(&client, &case.bytes);
        match client.read("GET") {
            Ok(answer) => failures.check(case.status.contains(&answer.status), &case, || format!("{answer:?}")),
            Err(e) => failures.add(&case, e),
        }
    }
    failures.report();
}
