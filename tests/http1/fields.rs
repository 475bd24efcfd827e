//! Malformed header fields.

use super::stage::Case;

/// A GET with that field, or several.
fn field(field: &str) -> Vec<u8> {
    format!("GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n{field}\r\n\r\n").into_bytes()
}

/// A GET with nothing but these fields.
fn only(fields: &str) -> Vec<u8> {
    format!("GET /services/echo/bad HTTP/1.1\r\n{fields}\r\n").into_bytes()
}

/// A POST with these fields and a body.
fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n{fields}\r\n\r\n{body}").into_bytes()
}

/// What a reader who believes the other of two lengths would take for the next request.
const SMUGGLED: &str = "GET /services/echo/smuggled HTTP/1.1\r\nHost: esb.test\r\nX: ";

/// An empty chunked body, and a request behind it.
fn chunked(fields: &str) -> Vec<u8> {
    post(fields, &format!("0\r\n\r\n{SMUGGLED}"))
}

/// A body for `Content-Length: 5`.
fn five(fields: &str) -> Vec<u8> {
    post(fields, "hello")
}

/// Every malformed field.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = syntax();
    cases.extend(hosts());
    cases.extend(framing());
    cases.extend(expectations());
    cases
}

/// What may lead to two readings of one request.
pub(crate) fn framing() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(codings());
    cases
}

/// RFC 9112, section 5.
#[rustfmt::skip] // one row a case
pub(crate) fn syntax() -> Vec<Case> {
    vec![
        Case::new("no colon", field("X y"), &[400]),
        Case::new("an empty name", field(": y"), &[400]),
        Case::new("a colon alone", field(":"), &[400]),
        Case::new("a space before the colon", field("X : y"), &[400]),
        Case::new("a tab before the colon", field("X\t: y"), &[400]),
        Case::new("a space in the name", field("X Y: z"), &[400]),
        Case::new("a slash in the name", field("X/Y: z"), &[400]),
        Case::new("parentheses in the name", field("X(Y): z"), &[400]),
        Case::new("an at sign in the name", field("X@Y: z"), &[400]),
        Case::new("an equals sign in the name", field("X=Y: z"), &[400]),
        Case::new("quotes around the name", field("\"X\": z"), &[400]),
        Case::new("brackets in the name", field("X[0]: z"), &[400]),
        Case::new("UTF-8 in the name", field("Xé: y"), &[400]),
        Case::new("a NUL in the name", field("X\0Y: z"), &[400]),
        Case::new("a control character in the name", field("X\x01: z"), &[400]),
        Case::new("DEL in the name", field("X\x7f: z"), &[400]),
        Case::new("a NUL in the value", field("X: y\0z"), &[400]),
        Case::new("a NUL at the end of the value", field("X: y\0"), &[400]),
        Case::new("a control character in the value", field("X: y\x01z"), &[400]),
        Case::new("a vertical tab in the value", field("X: y\x0bz"), &[400]),
        Case::new("a form feed in the value", field("X: y\x0cz"), &[400]),
        Case::new("an escape in the value", field("X: \x1b[2J"), &[400]),
        Case::new("DEL in the value", field("X: y\x7f"), &[400]),
        Case::new("a bare CR in the value", field("X: y\rZ: z"), &[400]),
        Case::new("a bare CR at the end of the value", field("X: y\r"), &[400]),
        Case::new("a bare CR before the name", field("X: y\r\n\rZ: z"), &[400]),
        Case::new("a bare LF between two fields", field("X: y\nZ: z"), &[400]),
        Case::new("a bare LF before the colon", field("X\n: y"), &[400]),
        Case::new("a bare LF at the end of the header", b"GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\n", &[400]),
        Case::new("a bare LF before the empty line", b"GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\n\r\n", &[400]),
        Case::new("two bare LF for the end", b"GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\n\n", &[400]),
        Case::new("a bare CR at the end of the header", b"GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\rX\r\n\r\n", &[400]),
        Case::new("a folded line", field("X: y\r\n z"), &[400]),
        Case::new("a line folded with a tab", field("X: y\r\n\tz"), &[400]),
        Case::new("a folded empty line", field("X: y\r\n \r\nZ: z"), &[400]),
        Case::new("a space before the first field", only(" X: y\r\nHost: esb.test\r\n"), &[400]),
        Case::new("a tab before the first field", only("\tX: y\r\nHost: esb.test\r\n"), &[400]),
        Case::new("a folded Host", only("Host:\r\n esb.test\r\n"), &[400]),
        Case::new("a space for a line", field(" "), &[400]),
    ]
}

/// RFC 9112, 3.2: no `Host`, more than one, or one that is no host.
#[rustfmt::skip]
pub(crate) fn hosts() -> Vec<Case> {
    vec![
        Case::new("no Host", only(""), &[400]),
        Case::new("no Host among others", only("X: y\r\nHostess: esb.test\r\n"), &[400]),
        Case::new("two Hosts", field("Host: other.test"), &[400]),
        Case::new("two equal Hosts", field("Host: esb.test"), &[400]),
        Case::new("two Hosts in different case", field("hOST: esb.test"), &[400]),
        Case::new("a second, empty Host", field("Host:"), &[400]),
        Case::new("a space before the colon of Host", only("Host : esb.test\r\n"), &[400]),
        Case::new("user information", only("Host: user@esb.test\r\n"), &[400]),
        Case::new("the host as user", only("Host: esb.test@other.test\r\n"), &[400]),
        Case::new("a space", only("Host: esb.test other.test\r\n"), &[400]),
        Case::new("a tab", only("Host: esb.test\tother.test\r\n"), &[400]),
        Case::new("a list", only("Host: esb.test, other.test\r\n"), &[400]),
        Case::new("a comma at the end", only("Host: esb.test,\r\n"), &[400]),
        Case::new("a NUL", only("Host: esb.test\0\r\n"), &[400]),
        Case::new("a bare CR", only("Host: esb.test\rX: y\r\n"), &[400]),
    ]
}

/// RFC 9112, 6.2 and 6.3. A list of equal lengths may be accepted or refused; refused is what nobody can misread.
#[rustfmt::skip]
fn lengths() -> Vec<Case> {
    vec![
        Case::new("two lengths", five("Content-Length: 5\r\nContent-Length: 6"), &[400]),
        Case::new("two equal lengths", five("Content-Length: 5\r\nContent-Length: 5"), &[400]),
        Case::new("two lengths in different case", five("Content-Length: 5\r\ncontent-length: 0"), &[400]),
        Case::new("two lengths of nothing", field("Content-Length: 0\r\nContent-Length: 0"), &[400]),
        Case::new("a list of equal lengths", five("Content-Length: 5, 5"), &[400]),
        Case::new("a list of lengths", five("Content-Length: 5,6"), &[400]),
        Case::new("an empty place in a list", five("Content-Length: ,5"), &[400]),
        Case::new("a plus", five("Content-Length: +5"), &[400]),
        Case::new("a minus", five("Content-Length: -5"), &[400]),
        Case::new("minus nothing", field("Content-Length: -0"), &[400]),
        Case::new("hexadecimal", five("Content-Length: 0x5"), &[400]),
        Case::new("a hexadecimal digit", five("Content-Length: a"), &[400]),
        Case::new("empty", five("Content-Length:"), &[400]),
        Case::new("a space", five("Content-Length: "), &[400]),
        Case::new("a space inside", five("Content-Length: 5 0"), &[400]),
        Case::new("a fraction", five("Content-Length: 5.0"), &[400]),
        Case::new("an exponent", five("Content-Length: 5e0"), &[400]),
        Case::new("a separator", five("Content-Length: 0_5"), &[400]),
        Case::new("quotes", five("Content-Length: \"5\""), &[400]),
        Case::new("a parameter", five("Content-Length: 5;x"), &[400]),
        Case::new("a full-width digit", five("Content-Length: ５"), &[400]),
        Case::new("a no-break space", five("Content-Length: \u{a0}5"), &[400]),
        Case::new("a vertical tab", five("Content-Length: \x0b5"), &[400]),
        Case::new("a NUL", five("Content-Length: 5\0"), &[400]),
        Case::new("2^64", five("Content-Length: 18446744073709551616"), &[400]),
        Case::new("2^64 + 5", five("Content-Length: 18446744073709551621"), &[400]),
        Case::new("a hundred digits", five(&format!("Content-Length: {}", "9".repeat(100))), &[400]),
        Case::new("2^63", five("Content-Length: 9223372036854775808"), &[400, 413]),
        Case::new("2^64 - 1", five("Content-Length: 18446744073709551615"), &[400, 413]),
        Case::new("a space before the colon", five("Content-Length : 5"), &[400]),
        Case::new("a tab before the colon", five("Content-Length\t: 5"), &[400]),
        Case::new("a folded length", five("Content-Length:\r\n 5"), &[400]),
        Case::new("a length behind a bare LF", five("X: y\nContent-Length: 5"), &[400]),
    ]
}

/// RFC 9112, 6.1: what no reader may be left to guess about.
#[rustfmt::skip]
fn codings() -> Vec<Case> {
    vec![
        Case::new("length, then chunked", chunked("Content-Length: 5\r\nTransfer-Encoding: chunked"), &[400]),
        Case::new("chunked, then length", chunked("Transfer-Encoding: chunked\r\nContent-Length: 5"), &[400]),
        Case::new("a length of nothing and chunked", chunked("Content-Length: 0\r\nTransfer-Encoding: chunked"), &[400]),
        Case::new("length and an unknown coding", five("Content-Length: 5\r\nTransfer-Encoding: xchunked"), &[400, 501]),
        Case::new("length and identity", five("Content-Length: 5\r\nTransfer-Encoding: identity"), &[400, 501]),
        Case::new("length and an empty coding", five("Content-Length: 5\r\nTransfer-Encoding:"), &[400, 501]),
        Case::new("two codings of which one is chunked", chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"), &[400, 501]),
        Case::new("chunked twice", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), &[400]),
        Case::new("chunked twice in a list", chunked("Transfer-Encoding: chunked, chunked"), &[400, 501]),
        Case::new("chunked, then identity", chunked("Transfer-Encoding: chunked, identity"), &[501]),
        Case::new("identity, then chunked", chunked("Transfer-Encoding: identity, chunked"), &[501]),
        Case::new("gzip, then chunked", chunked("Transfer-Encoding: gzip, chunked"), &[501]),
        Case::new("identity", chunked("Transfer-Encoding: identity"), &[501]),
        Case::new("gzip", chunked("Transfer-Encoding: gzip"), &[501]),
        Case::new("an unknown coding that ends in chunked", chunked("Transfer-Encoding: xchunked"), &[501]),
        Case::new("an unknown coding that begins with chunked", chunked("Transfer-Encoding: chunkedx"), &[501]),
        Case::new("a parameter", chunked("Transfer-Encoding: chunked;q=1"), &[501]),
        Case::new("quotes", chunked("Transfer-Encoding: \"chunked\""), &[400, 501]),
        Case::new("apostrophes", chunked("Transfer-Encoding: 'chunked'"), &[501]),
        Case::new("an empty coding", chunked("Transfer-Encoding:"), &[400, 501]),
        Case::new("a comma behind it", chunked("Transfer-Encoding: chunked,"), &[400, 501]),
        Case::new("a comma before it", chunked("Transfer-Encoding: ,chunked"), &[400, 501]),
        Case::new("a space inside", chunked("Transfer-Encoding: chun ked"), &[400, 501]),
        Case::new("a no-break space before it", chunked("Transfer-Encoding: \u{a0}chunked"), &[400, 501]),
        Case::new("the Kelvin sign for k", chunked("Transfer-Encoding: chun\u{212a}ed"), &[400, 501]),
        Case::new("a vertical tab before it", chunked("Transfer-Encoding: \x0bchunked"), &[400]),
        Case::new("a NUL behind it", chunked("Transfer-Encoding: chunked\0"), &[400]),
        Case::new("a bare CR behind it", chunked("Transfer-Encoding: chunked\r"), &[400]),
        Case::new("a space before the colon", chunked("Transfer-Encoding : chunked"), &[400]),
        Case::new("a tab before the colon", chunked("Transfer-Encoding\t: chunked"), &[400]),
        Case::new("a NUL before the colon", chunked("Transfer-Encoding\0: chunked"), &[400]),
        Case::new("a space before the name", chunked("X: y\r\n Transfer-Encoding: chunked"), &[400]),
        Case::new("a folded coding", chunked("Transfer-Encoding:\r\n chunked"), &[400, 501]),
        Case::new("a coding folded behind it", chunked("Transfer-Encoding: chunked\r\n , identity"), &[400]),
        Case::new("a coding behind a bare LF", chunked("X: y\nTransfer-Encoding: chunked"), &[400]),
        Case::new("a coding behind a bare CR", chunked("X: y\rTransfer-Encoding: chunked"), &[400]),
        Case::new("a name in quotes", chunked("\"Transfer-Encoding\": chunked"), &[400]),
        // RFC 9112, 6.1: such framing must be treated as faulty.
        Case::new("chunked in HTTP/1.0", b"POST /services/echo/bad HTTP/1.0\r\nHost: esb.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
        Case::new("chunked with length in HTTP/1.0", b"POST /services/echo/bad HTTP/1.0\r\nHost: esb.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    ]
}

/// RFC 9110, 10.1.1 and 7.8.
#[rustfmt::skip]
fn expectations() -> Vec<Case> {
    vec![
        Case::new("an unknown expectation", field("Expect: 200-ok"), &[417]),
        Case::new("a known and an unknown expectation", field("Expect: 100-continue, x"), &[417]),
        Case::new("an expectation with a parameter", field("Expect: 100-continue;x=y"), &[417]),
        Case::new("a type that Connection takes away", five("Connection: content-type\r\nContent-Type: text/xml"), &[400]),
        Case::new("a SOAPAction that Connection takes away", field("Connection: close, SOAPAction\r\nSOAPAction: urn:x"), &[400]),
        Case::new("an upgrade to something unknown", field("Connection: Upgrade\r\nUpgrade: foo"), &[501]),
        Case::new("an upgrade to TLS", field("Connection: Upgrade\r\nUpgrade: TLS/1.0"), &[501]),
        Case::new("an upgrade to WebSocket or something unknown", field("Connection: Upgrade\r\nUpgrade: websocket, foo"), &[501]),
        Case::new("two upgrades", field("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: foo"), &[501]),
    ]
}
