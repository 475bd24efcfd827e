//! What is read from a request's header, and what a node gets to see of it.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_TYPE, COOKIE, FORWARDED, HOST, HeaderName, HeaderValue, UPGRADE};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr, Result};
use smallvec::SmallVec;

use crate::classify::looks_like_soap;
use crate::config::AddressHeader;
use crate::ids::Scheme;
use crate::origin::Client;
use crate::room;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers by which a client could claim to be somebody else, or to have asked for something else. With `-` for `_`, as
/// some applications take one for the other.
const CLAIMS: [&str; 13] = [
    "forwarded",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-real-ip",
    // Some CGI-like applications take this for a proxy to use (CVE-2016-5385).
    "proxy",
    // API Manager's default for the certificate of a client whose TLS a balancer ended: it must not come from a client.
    "x-wso2-client-certificate",
    "x-wso2-mtls-cert",
    "x-client-cert",
    "ssl-client-cert",
];

/// Beginnings of the names of such headers.
const CLAIM_PREFIXES: [&str; 3] = ["x-forwarded-", "x-ssl-", "ssl-client-"];

/// Whether a header is such a claim.
fn is_claim(name: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || (a == b'_' && b == b'-');
    let starts = |prefix: &str| name.len() >= prefix.len() && name.bytes().zip(prefix.bytes()).all(same);
    CLAIM_PREFIXES.into_iter().any(starts) || CLAIMS.into_iter().any(|claim| claim.len() == name.len() && starts(claim))
}

/// Host and port that the client asked for: `:authority` in HTTP/2, `Host` in HTTP/1.
pub(super) fn host(request: &RequestHeader) -> Option<&[u8]> {
    let header = request.headers.get(HOST).map(HeaderValue::as_bytes);
    match request.version {
        http::Version::HTTP_2 => request.uri.authority().map(|authority| authority.as_str().as_bytes()).or(header),
        _ => header,
    }
}

/// The same as a value.
fn host_value(request: &RequestHeader) -> Option<HeaderValue> {
    let asked = host(request)?;
    let header = request.headers.get(HOST).filter(|header| header.as_bytes() == asked);
    header.cloned().or_else(|| room::value(asked).ok())
}

/// The path as it came, without the query.
pub(super) fn path(request: &RequestHeader) -> &[u8] {
    split_target(request).0
}

/// The query as it came, without the question mark; empty if there is none.
pub(super) fn query(request: &RequestHeader) -> &[u8] {
    split_target(request).1
}

fn split_target(request: &RequestHeader) -> (&[u8], &[u8]) {
    let mut parts = request.raw_path().splitn(2, |&byte| byte == b'?');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// Puts `path` in place of the one that came; the query stays.
pub(super) fn set_path(request: &mut RequestHeader, path: &[u8]) -> Result<()> {
    let received = request.raw_path();
    let query = received.iter().position(|&byte| byte == b'?').and_then(|at| received.get(at..));
    let target = [path, query.unwrap_or_default()].concat();
    request.set_raw_path(&target)
}

/// Whether a request may be SOAP.
pub(super) fn may_be_soap(request: &RequestHeader, has_body: bool) -> bool {
    let content_types = request.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    looks_like_soap(content_types, request.headers.contains_key("soapaction"), has_body)
}

/// The scheme that a trusted proxy says its client used.
pub(super) fn forwarded_proto(request: &RequestHeader) -> Option<Scheme> {
    match request.headers.get(X_FORWARDED_PROTO)?.as_bytes().trim_ascii() {
        proto if proto.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        proto if proto.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ => None,
    }
}

/// Prepares the header for a node: `Host` stays, the forwarding headers tell of the client.
///
/// What a client says of itself goes. What a trusted proxy says of its client stays, but for the header of the two that
/// it is not known to set (`told_in` is the other): it may be the client's.
pub(super) fn forward(
    session: &Session,
    request: &mut RequestHeader,
    client: &Client,
    told_in: AddressHeader,
    scheme: Scheme,
) -> Result<()> {
    match client.via {
        None => forward_from_client(request, client)?,
        Some(via) => forward_from_proxy(request, client, via, told_in)?,
    }
    if !request.headers.contains_key(X_FORWARDED_PROTO) {
        request.insert_header("X-Forwarded-Proto", HeaderValue::from_static(scheme.as_str()))?;
    }
    if let Some(host) = host_value(session.req_header()) {
        if !request.headers.contains_key(X_FORWARDED_PORT) {
            let port = port(host.as_bytes()).and_then(|port| room::value(port).ok());
            let default = HeaderValue::from_static(if scheme == Scheme::Https { "443" } else { "80" });
            request.insert_header("X-Forwarded-Port", port.unwrap_or(default))?;
        }
        if !request.headers.contains_key(X_FORWARDED_HOST) {
            request.insert_header("X-Forwarded-Host", host)?;
        }
    }
    merge_cookies(request)
}

fn forward_from_client(request: &mut RequestHeader, client: &Client) -> Result<()> {
    let claims = request.headers.keys().filter(|name| is_claim(name.as_str()));
    for claim in claims.cloned().collect::<SmallVec<[HeaderName; 4]>>() {
        request.remove_header(&claim);
    }
    request
        .insert_header("X-Forwarded-For", room::value(&text(client.ip)).or_err(ErrorType::InternalError, "an address")?)
}

/// An address as it is written.
fn text(ip: IpAddr) -> SmallVec<[u8; 48]> {
    let mut text = SmallVec::new();
    match ip {
        // Done for each request; what is general costs ten times as much.
        IpAddr::V4(ip) => {
            for (position, octet) in ip.octets().into_iter().enumerate() {
                if position > 0 {
                    text.push(b'.');
                }
                let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
                let needed = 1 + usize::from(octet >= 10) + usize::from(octet >= 100);
                text.extend_from_slice(digits.get(3 - needed..).unwrap_or_default());
            }
        }
        IpAddr::V6(ip) => text.extend_from_slice(ip.to_string().as_bytes()),
    }
    text
}

/// Each proxy adds the address that it was asked from.
fn forward_from_proxy(request: &mut RequestHeader, client: &Client, via: IpAddr, told_in: AddressHeader) -> Result<()> {
    match told_in {
        AddressHeader::XForwardedFor => {
            request.remove_header(&FORWARDED);
            let chain = joined(request, &X_FORWARDED_FOR);
            let separator = if chain.is_empty() { "" } else { ", " };
            request
                .insert_header(X_FORWARDED_FOR, [&chain[..], separator.as_bytes(), via.to_string().as_bytes()].concat())
        }
        AddressHeader::Forwarded => {
            let via = if via.is_ipv6() { format!("for=\"[{via}]\"") } else { format!("for={via}") };
            let chain = joined(request, &FORWARDED);
            let separator = if chain.is_empty() { "" } else { ", " };
            request.insert_header(FORWARDED, [&chain[..], separator.as_bytes(), via.as_bytes()].concat())?;
            request.insert_header(X_FORWARDED_FOR, client.ip.to_string())
        }
    }
}

/// The values of a field as one.
fn joined(request: &RequestHeader, name: &HeaderName) -> Vec<u8> {
    let values: SmallVec<[&[u8]; 4]> = request.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    values.join(&b", "[..])
}

/// Fields of an answer that are about the connection to the node, and not about the answer (RFC 9110, 7.6.1). The
/// framework sets what is true of the client's connection, and takes care of `Transfer-Encoding`.
const HOP_BY_HOP: [HeaderName; 2] =
    [HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

/// Fields that `Connection` cannot take away: without them the answer would be another one.
const NOT_TO_BE_NOMINATED: [&str; 6] =
    ["close", "keep-alive", "upgrade", "content-length", "content-type", "transfer-encoding"];

/// Ends the node's hop-by-hop fields here. An upgrade needs them.
pub(super) fn strip_hop_by_hop(response: &mut ResponseHeader) {
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    for name in &HOP_BY_HOP {
        response.remove_header(name);
    }
    if response.status != http::StatusCode::UPGRADE_REQUIRED {
        response.remove_header(&UPGRADE);
    }
    if !response.headers.contains_key(CONNECTION) {
        return;
    }
    for name in nominated(response) {
        response.remove_header(&name);
    }
    response.remove_header(&CONNECTION);
}

/// The fields that `Connection` names.
fn nominated(response: &ResponseHeader) -> SmallVec<[HeaderName; 2]> {
    let fields = response.headers.get_all(CONNECTION).iter();
    let names = fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let names = names.filter(|name| NOT_TO_BE_NOMINATED.iter().all(|kept| !name.eq_ignore_ascii_case(kept.as_bytes())));
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

/// The port in `host:port` or `[address]:port`.
pub(super) fn port(host: &[u8]) -> Option<&[u8]> {
    let colon = host.iter().rposition(|&byte| byte == b':')?;
    let (port, bracket) = (host.get(colon + 1..)?, host.iter().rposition(|&byte| byte == b']'));
    (bracket.is_none_or(|bracket| bracket < colon) && !port.is_empty()).then_some(port)
}

/// HTTP/2 clients may send their cookies in several fields, which HTTP/1 does not allow (RFC 9113, 8.2.3).
fn merge_cookies(request: &mut RequestHeader) -> Result<()> {
    let mut fields = request.headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return Ok(()) };
    let mut merged = [first.as_bytes(), second.as_bytes()].join(&b"; "[..]);
    for field in fields {
        merged.extend_from_slice(b"; ");
        merged.extend_from_slice(field.as_bytes());
    }
    request.insert_header(COOKIE, merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_host() {
        for (host, expected) in [
            ("esb.example.com", None),
            ("esb.example.com:8243", Some("8243")),
            ("esb.example.com:", None),
            ("[2001:db8::1]", None), // the colons are the address's
            ("[2001:db8::1]:8243", Some("8243")),
        ] {
            assert_eq!(port(host.as_bytes()), expected.map(str::as_bytes), "{host}");
        }
    }

    #[test]
    fn addresses_are_written_as_usual() {
        for ip in ["0.9.10.99", "100.101.255.1", "192.0.2.7", "::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1"] {
            let parsed: IpAddr = ip.parse().unwrap();
            assert_eq!(std::str::from_utf8(&text(parsed)), Ok(ip));
        }
    }

    #[test]
    fn claims_are_known_in_every_spelling() {
        for name in ["forwarded", "x-forwarded-for", "x_forwarded_for", "x-forwarded-client-cert", "x-ssl-client-dn"] {
            assert!(is_claim(name), "{name}");
        }
        for name in ["x-wso2-client-certificate", "X-WSO2-Client_Certificate", "proxy", "true-client-ip"] {
            assert!(is_claim(&name.to_ascii_lowercase()), "{name}");
        }
        for name in ["x-forwarded", "host", "proxy-authorization", "forwarded-for", "x-request-id", "authorization"] {
            assert!(!is_claim(name), "{name}");
        }
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        let fields =
            [("Connection", "X-Hop, close"), ("Connection", "content-length"), ("X-Hop", "1"), ("Keep-Alive", "5")];
        for (name, value) in fields.into_iter().chain([("Content-Length", "2"), ("X-Kept", "1")]) {
            response.append_header(name, value).unwrap();
        }
        strip_hop_by_hop(&mut response);
        let mut left: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-kept"]);
    }

    #[test]
    fn cookies_of_http2_become_one_field() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for cookie in ["a=1", "b=2", "c=3"] {
            request.append_header(COOKIE, cookie).unwrap();
        }
        merge_cookies(&mut request).unwrap();
        let fields: Vec<_> = request.headers.get_all(COOKIE).iter().collect();
        assert_eq!(fields, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn the_path_is_replaced_and_the_query_stays() {
        for (target, expected) in [("//a/%62?c=//d", "/a/b?c=//d"), ("//a/%62", "/a/b"), ("//a/%62?", "/a/b?")] {
            let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            set_path(&mut request, b"/a/b").unwrap();
            assert_eq!(request.raw_path(), expected.as_bytes(), "{target}");
        }
    }

    #[test]
    fn the_query_is_not_part_of_the_path() {
        let targets = [("/a?b=/c?", "/a", "b=/c?"), ("/a", "/a", ""), ("/?", "/", ""), ("/a%3Fb", "/a%3Fb", "")];
        for (target, expected_path, expected_query) in targets {
            let request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
            assert_eq!(path(&request), expected_path.as_bytes(), "{target}");
            assert_eq!(query(&request), expected_query.as_bytes(), "{target}");
        }
    }
}
