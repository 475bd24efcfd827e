//! The scanners of headers and of chunks: nothing panics, pieces give the same result as the whole, and what is accepted
//! has one meaning for a reader that is written differently.
//!
//! The input is a request as it is on the wire; its first byte says where it is split.
#![no_main]

use carbon_elb::http1::{Chunks, Fault, Framing, Head, HeadLimits, HeadScanner, Scanned, summary};
use libfuzzer_sys::fuzz_target;

/// Small, so that inputs reach them.
const LIMITS: HeadLimits = HeadLimits { target: 128, header: 512, fields: 12 };
const MOST_TRAILERS: usize = 64;

fuzz_target!(|input: &[u8]| {
    let Some((&split, request)) = input.split_first() else { return };
    let (method, path) = summary(request);
    assert!(method.len() <= 256 && path.len() <= 256 && !path.contains(&b'?'));

    let whole = HeadScanner::new(LIMITS).scan(request);
    let at = usize::from(split).min(request.len());
    assert_eq!(scan_head(request, &[at]), whole, "split at {at}");
    assert_eq!(scan_head(request, &(1..request.len()).collect::<Vec<_>>()), whole, "byte by byte");

    match &whole {
        Ok(Some(head)) => {
            check_head(request, head);
            if head.framing == Framing::Chunked {
                check_chunks(&request[head.len..], at);
            }
        }
        Ok(None) => assert!(request.len() <= LIMITS.header + 2, "{} bytes and no end", request.len()),
        // What no header begins with can be a body.
        Err(_) => check_chunks(request, at),
    }
});

/// Gives a scanner ever more of the header, first up to each of `ends`.
fn scan_head(request: &[u8], ends: &[usize]) -> Result<Option<Head>, Fault> {
    let mut scanner = HeadScanner::new(LIMITS);
    for &end in ends {
        let outcome = scanner.scan(&request[..end]);
        if !matches!(outcome, Ok(None)) {
            return outcome;
        }
    }
    scanner.scan(request)
}

/// An accepted header, read in another way.
fn check_head(request: &[u8], head: &Head) {
    assert!(head.skip <= 2 && head.len <= request.len() && head.len - head.skip <= LIMITS.header, "{head:?}");
    let text = String::from_utf8_lossy(&request[head.skip..head.len]);
    let text = text.strip_suffix("\r\n\r\n").expect("it ends with an empty line");
    let mut lines = text.split("\r\n");
    assert!(!text.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t'), "{text:?}");

    let words: Vec<&str> = lines.next().expect("split has a first").split(' ').collect();
    let [method, target, version @ ("HTTP/1.0" | "HTTP/1.1")] = words[..] else { panic!("{words:?}") };
    assert!(!method.is_empty() && method != "CONNECT" && method != "TRACE", "{method}");
    assert!(target.len() <= LIMITS.target && target.is_ascii() && !target.contains(['#', '\t']), "{target:?}");

    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
        .collect();
    assert!(fields.len() <= LIMITS.fields);
    assert!(
        fields.iter().all(|(name, _)| !name.is_empty() && !name.contains([' ', '\t', '"', '(', ')', '/'])),
        "{text:?}"
    );
    let all =
        |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect::<Vec<_>>();

    let host = all("host");
    assert!(host.len() == 1 || (host.is_empty() && version == "HTTP/1.0"), "{host:?}");
    match (&head.framing, &all("content-length")[..], &all("transfer-encoding")[..]) {
        (Framing::Length(0), [], []) => {}
        (Framing::Length(length), [digits], []) => {
            assert!(digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse() == Ok(*length), "{digits:?}");
        }
        (Framing::Chunked, [], [coding]) => assert!(coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1"),
        other => panic!("{other:?}"),
    }
    match &head.rewrite {
        None => assert!(target.starts_with('/') || target == "*", "{target:?}"),
        Some(rewrite) => {
            let cut = String::from_utf8_lossy(&request[rewrite.cut.clone()]);
            let (scheme, authority) = cut.split_once("://").unwrap_or_else(|| panic!("{cut:?}"));
            assert!(["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)), "{scheme:?}");
            assert!(
                authority.eq_ignore_ascii_case(host[0]) && !authority.contains(['@', '/', '\\', '?']),
                "{authority:?}"
            );
            let left = target.strip_prefix(&*cut).unwrap_or_else(|| panic!("{cut:?} is not where {target:?} begins"));
            assert_eq!(rewrite.slash, !left.starts_with('/'), "{target:?}");
            assert!(left.is_empty() || left.starts_with(['/', '?']), "{target:?}");
        }
    }
}

/// Scans a chunked body as a whole and in pieces, and compares it with a plain reader if it is accepted.
fn check_chunks(body: &[u8], at: usize) {
    let whole = Chunks::new(MOST_TRAILERS).scan(body);
    let at = at.min(body.len());
    assert_eq!(scan_chunks(&[&body[..at], &body[at..]]), whole, "split at {at}");
    assert_eq!(scan_chunks(&body.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
    if let Ok(scanned) = whole {
        assert!(scanned.taken <= body.len() && (scanned.ended || scanned.taken == body.len()), "{scanned:?}");
        if scanned.ended {
            assert_eq!(read_chunks(body), Some(scanned.taken), "{}", body.escape_ascii());
        }
    }
}

/// One scanner for all pieces.
fn scan_chunks(pieces: &[&[u8]]) -> Result<Scanned, Fault> {
    let mut chunks = Chunks::new(MOST_TRAILERS);
    let mut taken = 0;
    for piece in pieces {
        let scanned = chunks.scan(piece)?;
        taken += scanned.taken;
        if scanned.ended {
            return Ok(Scanned { taken, ended: true });
        }
    }
    Ok(Scanned { taken, ended: false })
}

/// The length of a chunked body, for a reader who looks for line ends first.
fn read_chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    let line = |at: &mut usize| {
        let end = *at + body[*at..].windows(2).position(|window| window == b"\r\n")?;
        let line = &body[*at..end];
        *at = end + 2;
        (!line.contains(&b'\n') && !line.contains(&b'\r')).then_some(line)
    };
    loop {
        let size = line(&mut at)?;
        let digits = std::str::from_utf8(size.split(|b| *b == b';').next()?).ok()?;
        // The other signs that the standard library takes for a number.
        let size = usize::from_str_radix(digits.trim_end_matches([' ', '\t']), 16)
            .ok()
            .filter(|_| !digits.starts_with('+'))?;
        if size == 0 {
            break;
        }
        at = at.checked_add(size)?;
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    while !line(&mut at)?.is_empty() {}
    Some(at)
}
