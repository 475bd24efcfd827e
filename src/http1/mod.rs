//! HTTP/1 as RFC 9112 has it, byte by byte, before anything else reads it.
//!
//! The framework reads HTTP/1 leniently: bare line feeds, repeated lengths, a length beside a transfer coding, control
//! characters. Whoever stands behind it may read the same bytes in another way, and then a request can hide inside
//! another one. So each header and the framing of each body are checked here first, and refused unless they have one
//! meaning. What is let through is a subset of what RFC 9112 allows.
//!
//! Pure: bytes in, a [`Head`], a number of bytes or a [`Fault`] out. [`crate::edge`] does the reading and the answering.

mod bytes;
mod chunks;
mod fault;
mod field;
mod head;
mod target;

pub use self::bytes::is_token;
pub use self::chunks::{Chunks, Scanned};
pub use self::fault::Fault;
pub use self::field::trim;
pub use self::head::{Framing, Head, HeadLimits, HeadScanner};
pub use self::target::Rewrite;

/// Whether the target of a request may hold these bytes: none is a control character, a space, a `#` or beyond ASCII.
pub fn is_target(bytes: &[u8]) -> bool {
    bytes.iter().copied().all(bytes::is_target)
}

/// Method and path of a header that was refused, as far as they can be told, for the log: at most 256 bytes each, and
/// without the query, which may hold secrets.
pub fn summary(head: &[u8]) -> (&[u8], &[u8]) {
    const MOST: usize = 256;
    let mut lines = head.split(|b| matches!(b, b'\r' | b'\n'));
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default();
    (method.get(..MOST).unwrap_or(method), path.get(..MOST).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_header_is_summed_up_without_its_query() {
        for (head, method, path) in [
            ("GET /a?token=x HTTP/1.1\r\nHost: x", "GET", "/a"),
            ("\r\nGET /a#b", "GET", "/a"),
            ("GET\r\n", "GET", ""),
            ("", "", ""),
            ("\r\n\r\n", "", ""),
            ("GET  /a", "GET", ""),
        ] {
            assert_eq!(summary(head.as_bytes()), (method.as_bytes(), path.as_bytes()), "{head:?}");
        }
        let long = format!("GET /{} HTTP/1.1", "x".repeat(1_000));
        assert_eq!(summary(long.as_bytes()).1.len(), 256);
    }
}
