//! What can be done to a management URL. Each mutation may also find nothing to do.

use super::Rng;

pub(super) type Mutation = fn(&mut Rng, &mut Vec<u8>);

/// By weight.
pub(super) const MUTATIONS: &[(usize, Mutation)] = &[
    (12, encode_one),
    (5, encode_twice),
    (5, encode_segment),
    (6, flip_case),
    (3, java_letter),
    (12, slash),
    (10, end_of_segment),
    (6, insert_anywhere),
    (14, climb),
    (6, tenants),
    (6, suffix),
    (5, query),
    (4, into_query),
    (5, services_word),
    (2, absolute),
    (2, pad),
];

/// The end of the path.
fn path_end(target: &[u8]) -> usize {
    target.iter().position(|&b| b == b'?').unwrap_or(target.len())
}

/// Where in the path the bytes are that `wanted` says.
fn places(target: &[u8], wanted: impl Fn(u8) -> bool) -> Vec<usize> {
    (0..path_end(target)).filter(|&at| wanted(target[at])).collect()
}

fn place(rng: &mut Rng, target: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let places = places(target, wanted);
    (!places.is_empty()).then(|| *rng.pick(&places))
}

fn insert(target: &mut Vec<u8>, at: usize, text: &[u8]) {
    target.splice(at..at, text.iter().copied());
}

/// Two hexadecimal digits in either case.
fn hex(rng: &mut Rng, byte: u8) -> String {
    if rng.one_in(2) { format!("{byte:02x}") } else { format!("{byte:02X}") }
}

fn encode_one(rng: &mut Rng, target: &mut Vec<u8>) {
    let letters = !rng.one_in(4);
    let Some(at) = place(rng, target, |b| b != b'/' && (!letters || b.is_ascii_alphanumeric())) else { return };
    let code = format!("%{}", hex(rng, target[at]));
    target.splice(at..=at, code.bytes());
}

fn encode_twice(rng: &mut Rng, target: &mut Vec<u8>) {
    let Some(at) = place(rng, target, |_| true) else { return };
    let digits = hex(rng, target[at]);
    let (high, low) = (digits.as_bytes()[0], digits.as_bytes()[1]);
    let code = match rng.below(5) {
        0 | 1 => format!("%25{digits}"),
        2 => format!("%2525{digits}"),
        3 => format!("%%{high:02x}%{low:02x}"), // the digits encoded instead of the sign
        _ => format!("%25%{high:02X}%{low:02X}"),
    };
    target.splice(at..=at, code.bytes());
}

fn encode_segment(rng: &mut Rng, target: &mut Vec<u8>) {
    let Some(slash) = place(rng, target, |b| b == b'/') else { return };
    let end = (slash + 1..path_end(target)).find(|&at| target[at] == b'/').unwrap_or(path_end(target));
    let sparse = rng.one_in(2);
    let mut code = Vec::new();
    for &byte in &target[slash + 1..end] {
        if byte == b'%' || (sparse && rng.one_in(2)) {
            code.push(byte);
        } else {
            code.extend(format!("%{}", hex(rng, byte)).bytes());
        }
    }
    target.splice(slash + 1..end, code);
}

fn flip_case(rng: &mut Rng, target: &mut Vec<u8>) {
    let whole = rng.below(4);
    let Some(at) = place(rng, target, |b| b.is_ascii_alphabetic()) else { return };
    let end = path_end(target);
    match whole {
        0 => target[..end].make_ascii_uppercase(),
        1 => {
            let end = (at..end).find(|&at| target[at] == b'/').unwrap_or(end);
            target[at..end].make_ascii_uppercase();
        }
        _ => target[at] ^= 0x20,
    }
}

/// Letters that Java takes for `k`, `s` and `i` without regard to case, or that look like others.
fn java_letter(rng: &mut Rng, target: &mut Vec<u8>) {
    let Some(at) = place(rng, target, |b| b.is_ascii_alphabetic()) else { return };
    let letter = match target[at].to_ascii_lowercase() {
        b'k' => "\u{212a}".to_owned(),
        b's' => "\u{17f}".to_owned(),
        b'i' => (*rng.pick(&["\u{130}", "\u{131}"])).to_owned(),
        // Full width.
        other => char::from_u32(0xff41 + u32::from(other - b'a')).into_iter().collect(),
    };
    let text: Vec<u8> = if rng.one_in(5) {
        letter.into_bytes()
    } else {
        letter.bytes().flat_map(|b| format!("%{}", hex(rng, b)).into_bytes()).collect()
    };
    target.splice(at..=at, text);
}

/// What can stand for one slash.
#[rustfmt::skip] // one for each line would be long
const SLASHES: &[&[u8]] = &[
    b"//", b"///", b"/./", b"/.//", b"/%2e/", b"/%2E/", b"/%252e/", b"/.;/", b"/.;x=y/", b"/;/", b"/;x/", b"/;x=y/",
    b";/", b";x/", b";x=y/", b";jsessionid=1/", b"/;a=b;c=d/", b"/;%2f/", b"/x/../", b"/x/..;/", b"/x/..;x=y/",
    b"/x/%2e%2e/", b"/x/%2E./", b"/x/.%2e;/", b"/x;y/../", b"/x//../", b"/x/y/../../", b"/x/%252e%252e/", b"/%3b/",
    b"/%3Bx/", b"%3bx/", b"%2f", b"%2F", b"%252f", b"%2f/", b"/%2f", b"\\", b"/\\", b"\\/", b"%5c", b"%5C", b"/%5c/",
    b"\\..\\", b"/..\\", b"%c0%af", b"\xc0\xaf", b"%e0%80%af", b"%ef%bc%8f", b"/\0/", b"/%00/", b"%00/", b"/%20/",
    b"/ /", b"/\t/", b"/%09/", b"/%0d%0a/",
];

fn slash(rng: &mut Rng, target: &mut Vec<u8>) {
    if let Some(at) = place(rng, target, |b| b == b'/') {
        target.splice(at..=at, rng.pick(SLASHES).iter().copied());
    }
}

/// What can be hung on a segment.
#[rustfmt::skip] // one for each line would be long
const ENDINGS: &[&[u8]] = &[
    b";", b";x", b";x=y", b";x=y;z", b";jsessionid=1", b";jsessionid=0A1B.node1", b";JSESSIONID=1", b";x=/../..",
    b";%2f", b";x=%2e%2e", b";\\", b"%3b", b"%3bx=y", b"%253b", b".", b"..", b"%2e", b"%20", b" ", b"+", b"%00",
    b"\0", b"%00.css", b"%09", b"%0a", b"%0d%0a", b"\r", b"\n", b"%7f", b"\x7f", b"%c2%85", b"%ff", b"\xff", b"\xc3",
    b"%c0%80", b"%e2%80%8b", b"%ef%bb%bf", b"%3f", b"%3fx", b"%23", b"%23x", b"#", b"#x", b"%", b"%zz", b"%u0000",
    b"~", b"*", b"'", b"\"", b"|", b"{}", b"[]", b"^", b"`",
];

fn end_of_segment(rng: &mut Rng, target: &mut Vec<u8>) {
    let Some(from) = place(rng, target, |_| true) else { return };
    let end = path_end(target);
    let at = (from + 1..end).find(|&at| target[at] == b'/').unwrap_or(end);
    insert(target, at, *rng.pick(ENDINGS));
}

fn insert_anywhere(rng: &mut Rng, target: &mut Vec<u8>) {
    let at = rng.below(path_end(target) + 1);
    let text = if rng.one_in(2) { *rng.pick(ENDINGS) } else { *rng.pick(SLASHES) };
    insert(target, at, text);
}

/// Places from which a path can climb back to the root: what a worker serves, mostly.
const STEMS: &[&str] = &[
    "/services",
    "/services/echo",
    "/services/echo/echoString",
    "/oauth2",
    "/oauth2/token",
    "/scim2/Users",
    "/pizzashack/1.0.0",
    "/t/wso2.com",
    "/t/wso2.com/services/echo",
    "/authenticationendpoint",
    "/.well-known",
    "/favicon.ico",
    "/x",
];

/// Ways to write `/..`.
#[rustfmt::skip] // one for each line would be long
const UPS: &[&[u8]] = &[
    b"/..", b"/..", b"/..;", b"/..;x=y", b"/..;/.", b"/..;jsessionid=1", b"/%2e%2e", b"/%2E%2E", b"/.%2e", b"/%2e.",
    b"/%2e%2e;", b"/.%2E;x", b"//..", b"/./..", b"/;/..", b"/;x/..;", b"/%252e%252e", b"/..%252f", b"/..%3b",
    b"/..%2f", b"%2f..", b"/..\\", b"\\..", b"/..%5c", b"/..%00", b"/..\0", b"/%c0%ae%c0%ae", b"/%ef%bc%8e%ef%bc%8e",
    b"/%u002e%u002e", b"/...", b"/.. ", b"/..%20",
];

fn climb(rng: &mut Rng, target: &mut Vec<u8>) {
    let stem = *rng.pick(STEMS);
    let mut front = stem.as_bytes().to_vec();
    let mut levels = stem.matches('/').count();
    if rng.one_in(8) {
        levels += 1; // above the root, for most
    }
    let one = *rng.pick(UPS);
    for _ in 0..levels {
        front.extend_from_slice(if rng.one_in(4) { *rng.pick(UPS) } else { one });
    }
    insert(target, 0, &front);
}

/// What a tenant, or an organisation, is written as in front of a path.
#[rustfmt::skip] // one for each line would be long
const TENANTS: &[&[u8]] = &[
    b"/t/a", b"/t/wso2.com", b"/t/carbon.super", b"/T/a", b"/%74/a", b"/t/a;x", b"/t;x/a", b"/t//a", b"/t/./a",
    b"/t/a%20b", b"/t/a%2fb", b"/t/%61", b"/t/services", b"/t/echo", b"/t/..;/t/a", b"/t/user@a.com", b"/o/org",
    b"/o", b"/t/a/o/org", b"/t/", b"/t",
];

fn tenants(rng: &mut Rng, target: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let tenant = *rng.pick(TENANTS);
        insert(target, 0, tenant);
    }
}

/// What can stand behind a path.
#[rustfmt::skip] // one for each line would be long
const SUFFIXES: &[&[u8]] = &[
    b"/", b"//", b"/.", b"/%2e", b"/x/..", b"/x/..;", b"/;x", b";.css", b"/x.css", b".jsp", b".json",
    b"/..;/services/echo/../../carbon", b"/services/echo", b"/SERVICES/echo", b";/services/echo",
    b"/..%2fservices/echo", b"/oauth2/token", b"/echo.echoHttpEndpoint", b"/*", b"/%20", b"/WEB-INF/..", b"%2f",
    b"\\",
];

fn suffix(rng: &mut Rng, target: &mut Vec<u8>) {
    let text = *rng.pick(SUFFIXES);
    let at = path_end(target);
    insert(target, at, text);
}

/// Queries and fragments, and what only looks like them.
#[rustfmt::skip] // one for each line would be long
const QUERIES: &[&[u8]] = &[
    b"?", b"??", b"?x=y", b"?wsdl", b"?/services/echo", b"?x=/services/echo", b"?x=services/echo", b"?SERVICES/echo",
    b"?services=echo", b"?/../services/echo", b"?x=/carbon/", b"?x=%2e%2e%2f", b"?x=y#/services/echo",
    b"#/services/echo", b"%3f/services/echo", b"?x=\0", b"?x=\xff", b"?x=%ff", b"?x= y", b"?%",
];

fn query(rng: &mut Rng, target: &mut Vec<u8>) {
    let text = *rng.pick(QUERIES);
    let at = path_end(target);
    insert(target, at, text);
}

/// Addresses in whose query Axis2 could find a service.
#[rustfmt::skip] // one for each line would be long
const FRONTS: &[&[u8]] = &[
    b"/services/echo?x=", b"/services/echo?x=y&z=", b"/services/echo?", b"/services/echo/op?wsdl&",
    b"/oauth2/authorize?redirect_uri=https://app.test", b"/pizzashack/1.0.0/menu?x=", b"/t/wso2.com/services/echo?",
    b"/services?", b"/services/echo#", b"/services/echo%3f",
];

/// What Axis2 finds behind `services` in a query.
fn into_query(rng: &mut Rng, target: &mut Vec<u8>) {
    let front = *rng.pick(FRONTS);
    // `/services?UserAdmin`: the question mark is the character that Axis2 skips.
    let name = target.windows(9).position(|window| window == b"services/");
    match name.filter(|_| rng.one_in(3)) {
        Some(at) => target[at + 8] = b'?',
        None => insert(target, 0, front),
    }
}

/// What can stand for `services/` in front of a name.
#[rustfmt::skip] // one for each line would be long
const SERVICES: &[&[u8]] = &[
    b"Services/", b"SERVICES/", b"services//", b"services/./", b"services-", b"services.", b"services;x/",
    b"services%2f", b"services/;x/", b"services/t/a/", b"services/t/a/t/b/", b"services/T/a/", b"services/echo/../",
    b"services/echo/..;/", b"services/echo/services/", b"services/echo/echoString/services/", b"services/services/",
    b"x/services/", b"pizzashack/1.0.0/services/", b"oauth2/services/", b"myservices/", b"services/echo.",
    b"services/echo;services/", b"services/x/", b"services/echo%2fservices/",
    b"x/services?", b"pizzashack/1.0.0/service%73?", b"x/services;jsessionid=1?", b"x/services%3f",
];

fn services_word(rng: &mut Rng, target: &mut Vec<u8>) {
    let Some(at) = target.windows(9).position(|window| window == b"services/") else { return };
    let text = *rng.pick(SERVICES);
    target.splice(at..at + 9, text.iter().copied());
}

/// What can stand for the first slash.
#[rustfmt::skip] // one for each line would be long
const FIRSTS: &[&[u8]] = &[
    b"", b"%2f", b"\\", b"./", b" /", b"x/../", b"*/", b"?/", b"#/", b";/",
];

/// What can stand in front of a path as an authority.
#[rustfmt::skip] // one for each line would be long
const AUTHORITIES: &[&[u8]] = &[
    b"http://esb.test", b"http://esb.test:80", b"https://esb.test", b"HTTP://esb.test", b"http://mgt.esb.test",
    b"http://esb.test/services/echo/../..", b"http://user@esb.test", b"http://other.test", b"http:/esb.test",
    b"http:", b"//esb.test", b"/http://esb.test", b"ftp://esb.test",
];

/// Forms of a request target other than a path.
fn absolute(rng: &mut Rng, target: &mut Vec<u8>) {
    if rng.one_in(4) && target.first() == Some(&b'/') {
        let first = *rng.pick(FIRSTS);
        target.splice(..1, first.iter().copied());
        return;
    }
    let front = *rng.pick(AUTHORITIES);
    insert(target, 0, front);
}

/// What makes a path long and changes nothing, to most readers.
#[rustfmt::skip] // one for each line would be long
const PADDING: &[&[u8]] = &[
    b"/.", b"/", b"/;x", b"/t/a", b"/x/..", b"/x/..;", b"/%2e", b"/services/echo/../..",
];

/// Much of the same: what limits how far a reader looks.
fn pad(rng: &mut Rng, target: &mut Vec<u8>) {
    let times = 1 << rng.below(8);
    let unit = *rng.pick(PADDING);
    let at = place(rng, target, |b| b == b'/').unwrap_or(0);
    insert(target, at, &unit.repeat(times));
}
