//! The target of a request.

use std::ops::Range;

use super::Fault;
use super::bytes::is_target;

/// How an absolute target becomes what is behind its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Where scheme and authority stand in the head.
    pub cut: Range<usize>,
    /// Whether `/` must take their place, because nothing or a query follows.
    pub slash: bool,
}

/// Where a target's authority stands in the head, and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Absolute {
    /// Host and port.
    pub(super) authority: Range<usize>,
    pub(super) rewrite: Rewrite,
}

/// Checks a target that begins at `at` of the head. Returns where its authority is, if it has one.
///
/// `*` is taken here; the path is judged later.
pub(super) fn check(target: &[u8], at: usize) -> Result<Option<Absolute>, Fault> {
    if target.is_empty() || !target.iter().copied().all(is_target) {
        return Err(Fault::Target);
    }
    if target.starts_with(b"/") || target == b"*" {
        return Ok(None);
    }
    absolute(target, at).map(Some)
}

/// Absolute-form (RFC 9112, 3.2.2).
fn absolute(target: &[u8], at: usize) -> Result<Absolute, Fault> {
    let starts = |scheme: &[u8]| {
        let (head, rest) = target.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let Some(rest) = starts(b"http://").or_else(|| starts(b"https://")) else {
        // Another scheme, or a path without its slash.
        let has_scheme = target.windows(3).any(|window| window == b"://");
        return Err(if has_scheme { Fault::Authority } else { Fault::Target });
    };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'\\')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.contains(&b'@') || path.starts_with(b"\\") {
        return Err(Fault::Authority);
    }
    let from = at + target.len() - rest.len();
    let rewrite = Rewrite { cut: at..from + end, slash: !path.starts_with(b"/") };
    Ok(Absolute { authority: from..from + end, rewrite })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_paths_or_have_an_authority() {
        for (target, expected) in [
            ("/", Ok(None)),
            ("/a?b", Ok(None)),
            ("*", Ok(None)),
            ("http://x/a", Ok(Some((7..8, 0..8, false)))),
            ("HTTPS://x:1/a", Ok(Some((8..11, 0..11, false)))),
            ("http://x", Ok(Some((7..8, 0..8, true)))),
            ("http://x?a", Ok(Some((7..8, 0..8, true)))),
            ("http:///a", Err(Fault::Authority)),
            ("http://u@x/", Err(Fault::Authority)),
            ("http://x\\a", Err(Fault::Authority)),
            ("ftp://x/a", Err(Fault::Authority)),
            ("http:/x", Err(Fault::Target)),
            ("a/b", Err(Fault::Target)),
            ("x:80", Err(Fault::Target)),
            ("", Err(Fault::Target)),
            ("/a b", Err(Fault::Target)),
            ("/a\tb", Err(Fault::Target)),
            ("/a#b", Err(Fault::Target)),
            ("/ä", Err(Fault::Target)),
            ("/a\0", Err(Fault::Target)),
        ] {
            let found = check(target.as_bytes(), 0)
                .map(|found| found.map(|Absolute { authority, rewrite }| (authority, rewrite.cut, rewrite.slash)));
            assert_eq!(found, expected, "{target:?}");
        }
        let absolute = check(b"http://x/a", 4).unwrap().unwrap();
        assert_eq!((absolute.authority, absolute.rewrite.cut), (11..12, 4..12));
    }
}
