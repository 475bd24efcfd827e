//! Readers of single values: numbers, words, addresses, host names, paths.

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;

use super::checked::{HostPattern, NodeHost};
use super::decode::{scalar, wrong_type};
use super::problem::{Problems, Spot, quoted};
use super::suggest::nearest;
use super::tree::{Node, Value};
use super::units::{duration_rule, parse_duration, parse_percent, parse_size, size_rule};
use crate::ids::{NAME_RULE, Name};

pub(crate) const BIND_RULE: &str = "address:port, such as \"0.0.0.0:8243\" or \"[::1]:9443\"";
pub(crate) const HOST_PATTERN_RULE: &str =
    "a host name or address without port, \"*.\" and a host name, or \"*\" for any host";
pub(crate) const HOST_RULE: &str = "a host name or an IP address, without port";
pub(crate) const SERVICE_RULE: &str = "1 to 128 ASCII letters, digits, '_', '-' or '.'";
pub(crate) const HIDE_RULE: &str = "the name of a header that clients can do without, such as Server";
pub(crate) const HEADER_RULE: &str = "the name of a header, such as X-API-Key";
pub(crate) const RATE_RULE: &str = "requests in a second, minute or hour: 20/s, 600/m, 1000/h; 1 to 1000000000";
pub(crate) const PATH_RULE: &str =
    "a path such as /orders: begins with '/', does not end with it, no //, no . or .. segment, none of % ; ? # \\";

pub(crate) const COOKIE_RULE: &str = "the name of a cookie: 1 to 64 ASCII letters, digits or !#$%&'*+-.^_`|~";
pub(crate) const COOKIE_PATH_RULE: &str =
    "a path that begins with '/', of at most 256 visible ASCII characters but ';'";
pub(crate) const ROUTE_RULE: &str = "1 to 64 ASCII letters, digits or !#$%&'*+-^_`|~ (no dot)";

/// The largest rate; see [`RATE_RULE`].
const MOST_REQUESTS: u32 = 1_000_000_000;

/// A reader for text that `parse` understands; the error of `parse` says what is wrong with it.
pub(crate) fn parsed<T>(
    rule: &'static str,
    parse: impl Fn(&str) -> Result<T, String> + Clone,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<T> + Clone {
    move |node, at, problems| {
        let text = &scalar(node, at, rule, problems)?.text;
        parse(text).map_err(|what| problems.error(at, what, rule)).ok()
    }
}

/// A reader of whole numbers.
pub(crate) fn number<T: FromStr + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<T> {
    move |node, at, problems| {
        let allowed = format!("{} to {}", range.start(), range.end());
        let scalar = scalar(node, at, &allowed, problems)?;
        if !scalar.plain || !scalar.text.bytes().all(|b| b.is_ascii_digit()) {
            problems.error(at, format!("{} is not a whole number", quoted(&scalar.text)), allowed);
            return None;
        }
        // Digits that don't parse are a number too large for the type.
        let number = scalar.text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            problems.error(at, format!("{} is out of range", short(&scalar.text)), allowed);
        }
        number
    }
}

fn short(digits: &str) -> &str {
    digits.get(..20).unwrap_or(digits)
}

/// Reads `true` or `false`.
pub(crate) fn boolean(node: &Node, at: &Spot, problems: &mut Problems) -> Option<bool> {
    const RULE: &str = "true or false";
    let scalar = scalar(node, at, RULE, problems)?;
    match scalar.text.as_str() {
        "true" if scalar.plain => Some(true),
        "false" if scalar.plain => Some(false),
        text => {
            problems.error(at, format!("{} is not a boolean", quoted(text)), RULE);
            None
        }
    }
}

/// A reader of one of a few words.
pub(crate) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<T> {
    move |node, at, problems| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let allowed = known.join(", ");
        let text = &scalar(node, at, &allowed, problems)?.text;
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        if found.is_none() {
            let hint = nearest(text, &known).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
            problems.error(at, format!("{} is not known{hint}", quoted(text)), allowed);
        }
        found
    }
}

/// A reader of durations.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Duration> {
    move |node, at, problems| {
        let rule = duration_rule(&range);
        let text = &scalar(node, at, &rule, problems)?.text;
        parse_duration(text, &range).map_err(|what| problems.error(at, what, rule)).ok()
    }
}

/// A reader of sizes in bytes.
pub(crate) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<u64> {
    move |node, at, problems| {
        let rule = size_rule(&range);
        let text = &scalar(node, at, &rule, problems)?.text;
        parse_size(text, &range).map_err(|what| problems.error(at, what, rule)).ok()
    }
}

/// A reader of percentages.
pub(crate) fn percent<T: FromStr + PartialOrd + Display>(
    range: RangeInclusive<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<T> {
    move |node, at, problems| {
        let rule = format!("a percentage from {}% to {}%", range.start(), range.end());
        let text = &scalar(node, at, &rule, problems)?.text;
        parse_percent(text, &range).map_err(|what| problems.error(at, what, rule)).ok()
    }
}

/// A reader of maps that takes `off` for none.
pub(crate) fn map_or_off<T>(
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Option<T>> {
    move |node, at, problems| match &node.value {
        Value::Map(_) => read(node, at, problems).map(Some),
        Value::Scalar(scalar) if scalar.text == "off" => Some(None),
        _ => {
            wrong_type(node, at, "off, or a map", problems);
            None
        }
    }
}

/// A reader that takes `off` for none.
pub(crate) fn or_off<T>(
    read: impl Fn(&Node, &Spot, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Option<T>> {
    move |node, at, problems| match &node.value {
        Value::Scalar(scalar) if scalar.text == "off" => Some(None),
        _ => read(node, at, problems).map(Some),
    }
}

/// Reads a name of something in the configuration.
pub(crate) fn name(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Name> {
    parsed(NAME_RULE, |text| Name::parse(text).ok_or_else(|| format!("{} is not a name", quoted(text))))(
        node, at, problems,
    )
}

/// Reads the path of a file, not yet made absolute.
pub(crate) fn file(node: &Node, at: &Spot, problems: &mut Problems) -> Option<String> {
    parsed("the path of a file", |text| match text {
        "" => Err("is empty".to_owned()),
        text if text.contains('\0') => Err(format!("{} can't be the path of a file", quoted(text))),
        text => Ok(text.to_owned()),
    })(node, at, problems)
}

pub(crate) fn bind(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{} is not an address with a port", quoted(text)))
}

/// The address of a name server; port 53 if it has none.
pub(crate) fn name_server(text: &str) -> Result<SocketAddr, String> {
    const PORT: u16 = 53;
    let server = text.parse().ok().or_else(|| address(text).map(|address| SocketAddr::new(address, PORT)));
    server
        .filter(|server: &SocketAddr| server.port() != 0)
        .ok_or_else(|| format!("{} is not the address of a name server", quoted(text)))
}

/// A network, or an address as a network of one.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map(|network| as_client_seen(network).trunc()).map_err(|_| format!("{} is not a network", quoted(text)))
}

/// An IPv4 network that is written as IPv6 (`::ffff:192.0.2.0/120`), as IPv4: that is how addresses of clients are compared.
fn as_client_seen(network: IpNet) -> IpNet {
    /// Bits in front of the IPv4 address.
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let length = v6.prefix_len().checked_sub(MAPPED);
    let v4 = v6.addr().to_ipv4_mapped().zip(length);
    v4.and_then(|(address, length)| ipnet::Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// The name of a header, in lower case.
pub(crate) fn header_name(text: &str) -> Result<String, String> {
    let name = http::HeaderName::from_bytes(text.as_bytes());
    name.map(|name| name.as_str().to_owned()).map_err(|_| format!("{} is not the name of a header", quoted(text)))
}

/// The name of a header of an answer that may be kept from clients.
pub(crate) fn hideable(text: &str) -> Result<String, String> {
    /// Without these the answer would be another one, or end elsewhere.
    const NEEDED: [&str; 11] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "location",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    let name = header_name(text)?;
    match NEEDED.contains(&name.as_str()) {
        true => Err(format!("{} is needed to understand the answer", quoted(text))),
        false => Ok(name),
    }
}

/// A token of RFC 9110, not too long.
fn is_token(text: &str) -> bool {
    let sign = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || sign(b))
}

/// The name of a cookie.
pub(crate) fn cookie_name(text: &str) -> Result<String, String> {
    if is_token(text) { Ok(text.to_owned()) } else { Err(format!("{} is not the name of a cookie", quoted(text))) }
}

/// The `Path` attribute of a cookie.
pub(crate) fn cookie_path(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{} {why}", quoted(text)));
    if !text.starts_with('/') {
        return wrong("does not begin with '/'");
    }
    if text.len() > 256 {
        return wrong("is too long");
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == ';') {
        Some(bad) => wrong(&format!("contains {bad:?}")),
        None => Ok(text.to_owned()),
    }
}

/// Whether a text can be a route: see [`ROUTE_RULE`].
pub(crate) fn is_route(text: &str) -> bool {
    is_token(text) && !text.contains('.')
}

/// A route (`jvmRoute`): what stands behind the dot of a session id.
pub(crate) fn route(text: &str) -> Result<String, String> {
    match is_route(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("{} can't be a route", quoted(text))),
    }
}

/// Requests and the time in which they may come: `20/s`, `600/m`, `1000/h`.
pub(crate) fn rate(text: &str) -> Result<(u32, Duration), String> {
    let wrong = |why: &str| format!("{} {why}", quoted(text));
    let (number, unit) = text.split_once('/').ok_or_else(|| wrong("has no unit of time"))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return Err(wrong("has an unknown unit of time")),
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong("does not begin with a number"));
    }
    let requests = number.parse().ok().filter(|number| (1..=MOST_REQUESTS).contains(number));
    Ok((requests.ok_or_else(|| wrong("is out of range"))?, Duration::from_secs(seconds)))
}

pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, String> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return Ok(HostPattern::Suffix(host_name(suffix)?));
    }
    Ok(HostPattern::Exact(host(text)?.to_text()))
}

/// A host name or an address. An IPv6 address may stand in brackets; it is kept without them.
pub(crate) fn host(text: &str) -> Result<NodeHost, String> {
    if let Some(address) = address(text) {
        return Ok(NodeHost::Address(address));
    }
    host_name(text).map(NodeHost::Name)
}

fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// A host name in lower case.
pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{} {why}", quoted(text)));
    if text.is_empty() || text.len() > 253 {
        return wrong("is not a host name");
    }
    if text.contains('*') {
        return wrong("has a wildcard that is not a whole leading label");
    }
    if !text.is_ascii() {
        return wrong("has letters outside ASCII: write the name in its xn-- form");
    }
    if text.contains(':') {
        return wrong("has a port or is not an address");
    }
    let character = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(character)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !text.split('.').all(label) {
        return wrong("is not a host name");
    }
    // No top-level domain is a number: this is an address with a mistake in it.
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return wrong("is neither a host name nor an address");
    }
    Ok(text.to_ascii_lowercase())
}

/// The name of a service, as after `/services/`.
pub(crate) fn service(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let dots_only = text.bytes().all(|b| b == b'.');
    if text.len() > 128 || dots_only || !text.bytes().all(allowed) {
        return Err(format!("{} is not the name of a service", quoted(text)));
    }
    Ok(text.to_owned())
}

/// A path in the form in which requests are compared with it.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{} {why}", quoted(text)));
    let Some(inside) = text.strip_prefix('/') else { return wrong("does not begin with '/'") };
    if inside.is_empty() {
        return wrong("would cover every path");
    }
    if inside.ends_with('/') {
        return wrong("ends with '/': without it, everything below the path is covered too");
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '%' | ';' | '?' | '#' | '\\')) {
        return wrong(&format!("contains {bad:?}"));
    }
    if inside.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return wrong("has an empty, . or .. segment");
    }
    Ok(text.to_owned())
}

/// Path and query of a request.
pub(crate) fn target(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.chars().any(|c| !c.is_ascii_graphic() || c == '#') {
        return Err(format!("{} is not a path", quoted(text)));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases are "input => result", where a result that begins with `!` is a part of the error.
    fn check<T>(parse: impl Fn(&str) -> Result<T, String>, show: impl Fn(T) -> String, cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            match (parse(text), expected.strip_prefix('!')) {
                (Ok(value), None) => assert_eq!(&show(value), expected, "{text:?}"),
                (Err(what), Some(expected)) => assert!(what.contains(expected), "{text:?}: {what}"),
                (Ok(value), Some(_)) => panic!("{text:?} is taken as {}", show(value)),
                (Err(what), None) => panic!("{text:?}: {what}"),
            }
        }
    }

    #[test]
    fn host_patterns() {
        let long = "a".repeat(64);
        let cases = [
            ("esb.example.com", "Exact(\"esb.example.com\")"),
            ("ESB.Example.COM", "Exact(\"esb.example.com\")"),
            ("*.Esb.example.com", "Suffix(\"esb.example.com\")"),
            ("*", "Any"),
            ("localhost", "Exact(\"localhost\")"),
            ("wk_1", "Exact(\"wk_1\")"),
            ("10.0.0.1", "Exact(\"10.0.0.1\")"),
            ("[::1]", "Exact(\"::1\")"),
            ("0:0:0::1", "Exact(\"::1\")"),
            ("", "!not a host name"),
            ("esb.example.com:443", "!has a port"),
            ("10.0.0.1:443", "!has a port"),
            ("*example.com", "!wildcard"),
            ("esb.*.com", "!wildcard"),
            ("*.*.com", "!wildcard"),
            ("**", "!wildcard"),
            ("*.", "!not a host name"),
            ("*.10.0.0.1", "!neither"),
            ("10.0.0.300", "!neither"),
            ("esb.example.com.", "!not a host name"),
            (".example.com", "!not a host name"),
            ("-a.com", "!not a host name"),
            ("a b.com", "!not a host name"),
            ("http://a.com", "!has a port"),
            ("bücher.example", "!xn--"),
            (&long, "!not a host name"),
        ];
        check(host_pattern, |pattern| format!("{pattern:?}"), &cases);
    }

    #[test]
    fn paths_and_services() {
        let cases = [
            ("/orders", "/orders"),
            ("/a/b.c/d-e_f", "/a/b.c/d-e_f"),
            ("orders", "!does not begin"),
            ("", "!does not begin"),
            ("/", "!every path"),
            ("/a/", "!ends with '/'"),
            ("//a", "!segment"),
            ("/a//b", "!segment"),
            ("/a/./b", "!segment"),
            ("/a/..", "!segment"),
            ("/a%62", "!contains '%'"),
            ("/a;x", "!contains ';'"),
            ("/a?x", "!contains '?'"),
            ("/a#x", "!contains '#'"),
            ("/a\\b", "!contains '\\\\'"),
            ("/a b", "!contains ' '"),
            ("/ä", "!contains 'ä'"),
        ];
        check(path, |path| path, &cases);
        let cases = [
            ("echo", "echo"),
            ("Stock_Quote-Proxy.v1", "Stock_Quote-Proxy.v1"),
            ("", "!not the name"),
            ("..", "!not the name"),
            ("a/b", "!not the name"),
            ("a*", "!not the name"),
        ];
        check(service, |service| service, &cases);
        check(target, |path| path, &[("/a?b=%20", "/a?b=%20"), ("a", "!not a path"), ("/a b", "!not a path")]);
    }

    #[test]
    fn networks_and_binds() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.168.1.7", "192.168.1.7/32"),
            ("::1", "::1/128"),
            ("10.0.0.0/33", "!not a network"),
            ("intranet", "!not a network"),
        ];
        check(network, |network| network.to_string(), &cases);
        let cases = [
            ("0.0.0.0:443", "0.0.0.0:443"),
            ("[::]:0", "[::]:0"),
            ("localhost:443", "!not an address"),
            ("0.0.0.0", "!not an address"),
            ("0.0.0.0:65536", "!not an address"),
        ];
        check(bind, |bind| bind.to_string(), &cases);
        let cases = [
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("10.0.0.2", "10.0.0.2:53"),
            ("[fd00::2]:54", "[fd00::2]:54"),
            ("[fd00::2]", "[fd00::2]:53"),
            ("fd00::2", "[fd00::2]:53"),
            ("10.0.0.2:0", "!not the address of a name server"),
            ("ns.internal", "!not the address of a name server"),
        ];
        check(name_server, |server| server.to_string(), &cases);
    }

    #[test]
    fn rates_and_headers() {
        let cases = [
            ("20/s", "20 in 1s"),
            ("600/m", "600 in 60s"),
            ("1000000000/h", "1000000000 in 3600s"),
            ("20", "!no unit of time"),
            ("20/d", "!unknown unit"),
            ("20/ s", "!unknown unit"),
            ("/s", "!does not begin"),
            ("-1/s", "!does not begin"),
            ("0/s", "!out of range"),
            ("1000000001/s", "!out of range"),
        ];
        check(rate, |(requests, window)| format!("{requests} in {}s", window.as_secs()), &cases);
        check(header_name, |name| name, &[("X-API-Key", "x-api-key"), ("a b", "!not the name"), ("", "!not the name")]);
    }

    #[test]
    fn cookies_and_routes() {
        let long = "x".repeat(65);
        let cases = [
            ("CARBON_ELB", "CARBON_ELB"),
            ("__Host-a.b", "__Host-a.b"),
            ("", "!not the"),
            ("a b", "!not the"),
            ("a=b", "!"),
            ("ä", "!"),
            (&long, "!"),
        ];
        check(cookie_name, |name| name, &cases);
        let long = format!("/{}", "x".repeat(256));
        let cases = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("a", "!does not begin"),
            ("", "!does not begin"),
            ("/;", "!contains ';'"),
            ("/ ", "!contains ' '"),
            ("/\n", "!contains"),
            ("/ä", "!contains"),
            (&long, "!too long"),
        ];
        check(cookie_path, |path| path, &cases);
        check(
            route,
            |route| route,
            &[("wk-1", "wk-1"), ("wk.1", "!can't be a route"), ("", "!"), ("a b", "!"), ("a;", "!")],
        );
    }
}
