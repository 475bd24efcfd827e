//! Malformed request lines, and targets that cannot be served.

use super::stage::Case;

/// A request with that line and a good `Host`.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: esb.test\r\n\r\n").into_bytes()
}

fn host(line: &str, host: &str) -> Vec<u8> {
    format!("{line}\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// RFC 9112, section 3: `method SP request-target SP HTTP-version`.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = spaces();
    cases.extend(methods());
    cases.extend(versions());
    cases.extend(targets());
    cases.extend(absolute());
    cases
}

#[rustfmt::skip] // one row a case
fn spaces() -> Vec<Case> {
    vec![
        Case::new("two spaces before the target", line("GET  /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("two spaces before the version", line("GET /services/echo/bad  HTTP/1.1"), &[400]),
        Case::new("a space behind the version", line("GET /services/echo/bad HTTP/1.1 "), &[400]),
        Case::new("a tab behind the version", line("GET /services/echo/bad HTTP/1.1\t"), &[400]),
        Case::new("a space before the method", line(" GET /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a tab for the first space", line("GET\t/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a tab for the second space", line("GET /services/echo/bad\tHTTP/1.1"), &[400]),
        Case::new("a vertical tab for a space", line("GET\x0b/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a bare CR for a space", line("GET\r/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a space in the target", line("GET /services/echo/b ad HTTP/1.1"), &[400]),
        Case::new("a tab in the target", line("GET /services/echo/b\tad HTTP/1.1"), &[400]),
        Case::new("two empty lines in front", b"\r\n\r\nGET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("a bare LF in front", b"\nGET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("a bare CR in front", b"\rGET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("a NUL in front", b"\0GET /services/echo/bad HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("a byte order mark in front", line("\u{feff}GET /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a bare LF at the end of the line", b"GET /services/echo/bad HTTP/1.1\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("two CR at the end of the line", b"GET /services/echo/bad HTTP/1.1\r\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("bare LF at the end of every line", b"GET /services/echo/bad HTTP/1.1\nHost: esb.test\n\n", &[400]),
    ]
}

#[rustfmt::skip]
fn methods() -> Vec<Case> {
    vec![
        Case::new("no method", line("/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a method with @", line("G@T /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a method with a NUL", line("GET\0 /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a method with a colon", line("GET: /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a method in braces", line("{GET} /services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a method outside ASCII", line("GÉT /services/echo/bad HTTP/1.1"), &[400]),
        // What would make a tunnel, and what would send the client's own headers back (RFC 9110, 9.3.6 and 9.3.8).
        Case::new("CONNECT", host("CONNECT esb.test:443 HTTP/1.1", "esb.test:443"), &[501]),
        Case::new("CONNECT with a path", line("CONNECT /services/echo/bad HTTP/1.1"), &[501]),
        Case::new("TRACE", line("TRACE /services/echo/bad HTTP/1.1"), &[501]),
    ]
}

#[rustfmt::skip]
fn versions() -> Vec<Case> {
    vec![
        Case::new("HTTP/0.9", b"GET /services/echo/bad\r\n", &[400]),
        Case::new("HTTP/0.9 with headers", line("GET /services/echo/bad"), &[400]),
        Case::new("no version", line("GET /services/echo/bad "), &[400]),
        Case::new("lower case", line("GET /services/echo/bad http/1.1"), &[400]),
        Case::new("half in lower case", line("GET /services/echo/bad HTTp/1.1"), &[400]),
        Case::new("another protocol", line("GET /services/echo/bad FTP/1.1"), &[400]),
        Case::new("a longer protocol", line("GET /services/echo/bad XHTTP/1.1"), &[400]),
        Case::new("no minor version", line("GET /services/echo/bad HTTP/1"), &[400]),
        Case::new("no digits", line("GET /services/echo/bad HTTP/"), &[400]),
        Case::new("letters for digits", line("GET /services/echo/bad HTTP/x.y"), &[400]),
        Case::new("two digits behind the dot", line("GET /services/echo/bad HTTP/1.10"), &[400]),
        Case::new("two digits before the dot", line("GET /services/echo/bad HTTP/11.1"), &[400]),
        Case::new("a leading zero", line("GET /services/echo/bad HTTP/01.1"), &[400]),
        Case::new("a sign", line("GET /services/echo/bad HTTP/1.-1"), &[400]),
        Case::new("a comma", line("GET /services/echo/bad HTTP/1,1"), &[400]),
        Case::new("more behind the version", line("GET /services/echo/bad HTTP/1.1x"), &[400]),
        Case::new("a NUL behind the version", line("GET /services/echo/bad HTTP/1.1\0"), &[400]),
        Case::new("a space in the version", line("GET /services/echo/bad HTTP/1. 1"), &[400]),
        Case::new("HTTP/0.9 by name", line("GET /services/echo/bad HTTP/0.9"), &[400, 505]),
        Case::new("HTTP/1.2", line("GET /services/echo/bad HTTP/1.2"), &[505]),
        Case::new("HTTP/2.0", line("GET /services/echo/bad HTTP/2.0"), &[505]),
        Case::new("HTTP/3.0", line("GET /services/echo/bad HTTP/3.0"), &[505]),
        Case::new("HTTP/9.9", line("GET /services/echo/bad HTTP/9.9"), &[505]),
        Case::new("HTTP/2 with prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[505]),
    ]
}

#[rustfmt::skip]
fn targets() -> Vec<Case> {
    vec![
        Case::new("no target", line("GET HTTP/1.1"), &[400]),
        Case::new("an empty target", line("GET  HTTP/1.1"), &[400]),
        Case::new("no leading slash", line("GET services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a query alone", line("GET ?services/echo/bad HTTP/1.1"), &[400]),
        Case::new("an encoded leading slash", line("GET %2fservices/echo/bad HTTP/1.1"), &[400]),
        Case::new("a backslash in front", line("GET \\services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a fragment", line("GET /services/echo/bad#x HTTP/1.1"), &[400]),
        Case::new("a fragment behind a query", line("GET /services/echo/bad?x#y HTTP/1.1"), &[400]),
        Case::new("a fragment alone", line("GET #/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a NUL in the target", line("GET /services/echo/b\0ad HTTP/1.1"), &[400]),
        Case::new("a NUL in the query", line("GET /services/echo/bad?\0 HTTP/1.1"), &[400]),
        Case::new("a control character in the target", line("GET /services/echo/b\x01ad HTTP/1.1"), &[400]),
        Case::new("DEL in the target", line("GET /services/echo/b\x7fad HTTP/1.1"), &[400]),
        Case::new("a control character in the query", line("GET /services/echo/bad?x\x1by HTTP/1.1"), &[400]),
        Case::new("a bare CR in the target", line("GET /services/echo/b\rad HTTP/1.1"), &[400]),
        Case::new("a bare LF in the target", line("GET /services/echo/b\nad HTTP/1.1"), &[400]),
        Case::new("raw UTF-8 in the path", line("GET /services/echo/bäd HTTP/1.1"), &[400]),
        Case::new("raw UTF-8 in the query", line("GET /services/echo/bad?ä HTTP/1.1"), &[400]),
        Case::new("a raw byte in the path", b"GET /services/echo/b\xffad HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("a raw byte in the query", b"GET /services/echo/bad?\x80 HTTP/1.1\r\nHost: esb.test\r\n\r\n", &[400]),
        Case::new("* with GET", line("GET * HTTP/1.1"), &[400]),
        Case::new("* and more", line("OPTIONS *bad HTTP/1.1"), &[400]),
        Case::new("authority-form", line("GET esb.test:80 HTTP/1.1"), &[400]),
    ]
}

/// RFC 9112, 3.2.2: a proxy must take the host from the target, and so a `Host` that says something else could mislead
/// whoever looks at that.
#[rustfmt::skip]
fn absolute() -> Vec<Case> {
    vec![
        Case::new("another host", line("GET http://other.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a longer host", line("GET http://esb.test.evil/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("another port", host("GET http://esb.test:81/services/echo/bad HTTP/1.1", "esb.test:82"), &[400]),
        Case::new("no Host beside it", b"GET http://esb.test/services/echo/bad HTTP/1.1\r\n\r\n", &[400]),
        Case::new("an empty Host beside it", host("GET http://esb.test/services/echo/bad HTTP/1.1", ""), &[400]),
        Case::new("two Hosts beside it", host("GET http://esb.test/services/echo/bad HTTP/1.1", "esb.test\r\nHost: a"), &[400]),
        Case::new("user information", line("GET http://user@esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("user and password", line("GET http://a:b@esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("empty user information", line("GET http://@esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("the host as user", line("GET http://esb.test@other.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("another scheme", line("GET ftp://esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("the scheme of WebSockets", line("GET ws://esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a script", line("GET javascript:/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a file", line("GET file:///services/echo/bad HTTP/1.1"), &[400]),
        Case::new("no host", line("GET http:///services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a port alone", line("GET http://:80/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("one slash", line("GET http:/esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("no slash", line("GET http:services/echo/bad HTTP/1.1"), &[400]),
        Case::new("backslashes", line("GET http:\\\\esb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a backslash behind the host", line("GET http://esb.test\\services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a NUL in the host", line("GET http://esb.test\0/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("an encoded host", line("GET http://%65sb.test/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("a fragment", line("GET http://esb.test/services/echo/bad#x HTTP/1.1"), &[400]),
        Case::new("a fragment behind the host", line("GET http://esb.test#/services/echo/bad HTTP/1.1"), &[400]),
        Case::new("two colons", line("GET http://esb.test:80:80/services/echo/bad HTTP/1.1"), &[400]),
    ]
}
