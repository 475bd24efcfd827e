use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { target: 300, header: 1_000, fields: 10 };

fn scan(head: &[u8]) -> Result<Option<Head>, Fault> {
    HeadScanner::new(LIMITS).scan(head)
}

/// The same, byte by byte.
fn scan_slowly(head: &[u8]) -> Result<Option<Head>, Fault> {
    let mut scanner = HeadScanner::new(LIMITS);
    (1..=head.len()).map(|end| scanner.scan(&head[..end])).find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
}

fn length(bytes: u64) -> Framing {
    Framing::Length(bytes)
}

#[test]
fn good_headers_are_passed_on() {
    for (head, framing) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", length(0)),
        ("GET / HTTP/1.0\r\n\r\n", length(0)),          // HTTP/1.0 knows no Host
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", length(0)), // judged with the other hosts
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n", length(5)),
        ("POST / HTTP/1.0\r\ncontent-length:5\r\n\r\n", length(5)),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n", length(0)),
        ("GET / HTTP/1.1\r\nHost: x\r\nConnection: TE,, X-Hop\r\n\r\n", length(0)),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", length(0)),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", length(0)),
        ("M-SEARCH /a?b|c HTTP/1.1\r\nHost: x\r\nX: ü\t\r\n\r\n", length(0)),
    ] {
        let expected = Head { skip: 0, len: head.len(), framing, rewrite: None, expects_continue: false };
        assert_eq!(scan(head.as_bytes()), Ok(Some(expected.clone())), "{head:?}");
        assert_eq!(scan_slowly(head.as_bytes()), Ok(Some(expected.clone())), "{head:?}");
        // What follows is not looked at.
        let followed = [head.as_bytes(), b"\0\n\x80"].concat();
        assert_eq!(scan(&followed), Ok(Some(expected)), "{head:?}");
        // Nothing is concluded from less.
        for end in 0..head.len() {
            assert_eq!(scan(&head.as_bytes()[..end]), Ok(None), "{end} bytes of {head:?}");
        }
    }
}

#[test]
fn one_empty_line_is_skipped() {
    let head = scan(b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.skip, head.len), (2, 29));
    assert_eq!(scan(b"\r\n\r\n"), Err(Fault::EmptyLines));
    assert_eq!(scan(b"\n"), Err(Fault::LineEnding));
}

#[test]
fn absolute_targets_lose_their_authority() {
    for (target, host, expected) in [
        ("http://x.test/a?b", "x.test", Ok("/a?b")),
        ("HTTP://X.test:80/a", "x.TEST:80", Ok("/a")),
        ("https://x.test", "x.test", Ok("/")),
        ("http://x.test?b", "\t x.test ", Ok("/?b")),
        ("http://x.test/a", "y.test", Err(Fault::Authority)),
        ("http://x.test:80/a", "x.test", Err(Fault::Authority)),
        ("http://x.test/a", "", Err(Fault::Authority)),
    ] {
        let head = format!("\r\nGET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let found = scan(head.as_bytes()).map(|found| {
            let Rewrite { cut, slash } = found.unwrap().rewrite.unwrap();
            let end = head.find(" HTTP/").unwrap();
            format!("{}{}{}", &head[6..cut.start], if slash { "/" } else { "" }, &head[cut.end..end])
        });
        assert_eq!(found.as_deref().map_err(|fault| *fault), expected, "{target} {host:?}");
    }
    assert_eq!(scan(b"GET http://x/ HTTP/1.0\r\n\r\n"), Err(Fault::Authority), "nothing to agree with");
}

#[test]
fn malformed_headers_are_refused() {
    let long = |count| "x".repeat(count);
    let rows: &[(&str, Fault)] = &[
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", Fault::LineEnding),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", Fault::LineEnding),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n", Fault::LineEnding),
        ("GET / HTTP/1.1\rX\r\nHost: x\r\n\r\n", Fault::LineEnding),
        ("GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", Fault::LineEnding),
        ("GET /\r\n", Fault::RequestLine),
        ("GET  / HTTP/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 x\r\n", Fault::RequestLine),
        ("GET /a b HTTP/1.1\r\n", Fault::RequestLine),
        ("GET\t/ HTTP/1.1\r\n", Fault::RequestLine),
        ("GET / http/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/1.10\r\n", Fault::RequestLine),
        ("GET / HTTP/11\r\n", Fault::RequestLine),
        (" / HTTP/1.1\r\n", Fault::Method),
        ("G(T / HTTP/1.1\r\n", Fault::Method),
        ("G\0T / HTTP/1.1\r\n", Fault::Method),
        ("CONNECT x:80 HTTP/1.1\r\n", Fault::MethodNotImplemented),
        ("TRACE / HTTP/1.1\r\n", Fault::MethodNotImplemented),
        ("GET / HTTP/1.2\r\n", Fault::Version),
        ("GET / HTTP/0.9\r\n", Fault::Version),
        ("PRI * HTTP/2.0\r\n", Fault::Version),
        ("GET a HTTP/1.1\r\n", Fault::Target),
        ("GET /#a HTTP/1.1\r\n", Fault::Target),
        ("GET /\t HTTP/1.1\r\n", Fault::Target),
        ("GET /ä HTTP/1.1\r\n", Fault::Target),
        ("GET ftp://x/ HTTP/1.1\r\n", Fault::Authority),
        ("GET / HTTP/1.1\r\n X: y\r\n", Fault::Folding),
        ("GET / HTTP/1.1\r\nX: y\r\n\tz\r\n", Fault::Folding),
        ("GET / HTTP/1.1\r\nHost : x\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\nHost\r\n", Fault::FieldName),
        ("GET / HTTP/1.1\r\nX: a\0\r\n", Fault::FieldValue),
        ("GET / HTTP/1.1\r\n\r\n", Fault::HostMissing),
        ("GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n", Fault::HostRepeated),
        ("GET / HTTP/1.1\r\nHost: u@x\r\n", Fault::Authority),
        ("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n", Fault::ContentLength),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n", Fault::ContentLength),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Fault::Framing),
        ("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Fault::Framing),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Fault::Framing),
        ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", Fault::Framing),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n", Fault::TransferCoding),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n", Fault::TransferCoding),
        ("GET / HTTP/1.1\r\nTransfer-Encoding:\r\n", Fault::TransferCoding),
        ("GET / HTTP/1.1\r\nExpect: 200-ok\r\n", Fault::Expectation),
        ("POST / HTTP/1.1\r\nConnection: close\t,\tContent-Type \r\n", Fault::Connection),
        ("POST / HTTP/1.1\r\nconnection: soapaction\r\n", Fault::Connection),
        ("GET / HTTP/1.1\r\nUpgrade: TLS/1.0\r\n", Fault::Upgrade),
        ("GET / HTTP/1.1\r\nUpgrade: websocket, h2c\r\n", Fault::Upgrade),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n", Fault::Upgrade),
    ];
    for (head, fault) in rows {
        assert_eq!(scan(head.as_bytes()), Err(*fault), "{head:?}");
        assert_eq!(scan_slowly(head.as_bytes()), Err(*fault), "{head:?}");
    }
    for (head, fault) in [
        (format!("GET /{}", long(400)), Fault::TargetTooLong), // without waiting for its end
        (format!("GET /{} HTTP/1.1\r\n", long(300)), Fault::TargetTooLong),
        (format!("GET /{} HTTP/1.1\r\n", long(2_000)), Fault::TargetTooLong),
        (format!("GET / HTTP/1.1\r\nX: {}", long(1_000)), Fault::HeaderTooLarge),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", long(1_000)), Fault::HeaderTooLarge),
        (format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(11)), Fault::TooManyFields),
        (format!("{} / HTTP/1.1\r\n", long(50)), Fault::Method),
    ] {
        assert_eq!(scan(head.as_bytes()), Err(fault), "{head:?}");
        assert_eq!(scan_slowly(head.as_bytes()), Err(fault), "{head:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_make_no_difference(
        parts in prop::collection::vec(prop::sample::select(&[
            "GET / HTTP/1.1\r\n", "POST /a HTTP/1.1\r\n", "Host: x\r\n", "\r\n", "\n", "\r", "X: y\r\n", "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n", " ", ":", "\0", "a", "http://x/", "é",
        ][..]), 0..12),
    ) {
        let text = parts.concat();
        prop_assert_eq!(scan(text.as_bytes()), scan_slowly(text.as_bytes()));
    }
}
