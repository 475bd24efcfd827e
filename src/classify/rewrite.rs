//! The mode that rewrites an ambiguous path instead of refusing it.
//!
//! It computes what Tomcat computes on servlet ports: the parameters of each segment are cut **before** anything is
//! decoded, then escapes are decoded once, `//` collapsed, `/./` and `/../` resolved. The result is forwarded, so that
//! every node reads what was decided on, whatever it reads URIs with. Parameters are lost on the way, but for a trailing
//! session id.
//!
//! Of the escapes only the needless ones are decoded (RFC 3986, 6.2.2.2). The others are forwarded as they came: `%2B`
//! and `+` are not the same to everybody.
//!
//! Refused as ever is what has no form that all readers agree on: encoded slashes, backslashes, semicolons and control
//! characters, double encodings, what is not UTF-8, and raw characters that have to be encoded. What is rewritten is read
//! again by [`Canonical::strict`], which has the last word. So both modes decide the same on it, and a rewritten path is
//! never rewritten again.

use super::Reason;
use super::path::{Canonical, KIND, Kind, PathBytes, decode, escape, is_session_id, is_unreserved};
use super::segments::split;
use crate::ids::PathMode;

impl<'p> Canonical<'p> {
    /// Reads a path as received (without query). If it has to be rewritten, and `mode` says so, the path to forward is
    /// put into `rewritten`.
    pub(super) fn read(raw: &'p [u8], mode: PathMode, rewritten: &'p mut Option<PathBytes>) -> Result<Self, Reason> {
        let strict = Canonical::strict(raw);
        if mode == PathMode::Strict {
            return strict;
        }
        match strict {
            Ok(path) if !path.has_needless_escapes() => Ok(path),
            Ok(_) | Err(Reason::PathMatrixParameter | Reason::PathEmptySegment | Reason::PathDotSegment) => {
                Canonical::strict(rewritten.insert(rewrite(raw)?))
            }
            Err(reason) => Err(reason),
        }
    }
}

/// The path as Tomcat reads it, in the spelling that all others read like that.
fn rewrite(raw: &[u8]) -> Result<PathBytes, Reason> {
    let cut = cut(raw)?;
    // Also what the dots take away must be readable.
    decode(&cut)?;
    let mut path = resolve(&cut)?;
    path.extend_from_slice(session_id(raw));
    Ok(path)
}

/// Cuts the parameters of each segment, and decodes needless escapes.
fn cut(raw: &[u8]) -> Result<PathBytes, Reason> {
    let mut kept = PathBytes::new();
    let mut in_parameter = false;
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        let mut next = after;
        match KIND[usize::from(byte)] {
            Kind::Never(reason) => return Err(reason),
            Kind::Semicolon => in_parameter = true,
            Kind::Plain if byte == b'/' => {
                in_parameter = false;
                kept.push(byte);
            }
            _ if in_parameter => {}
            Kind::Plain => kept.push(byte),
            Kind::Percent => {
                // As a whole: two halves could make a new escape when what is between them is decoded.
                let (decoded, behind) = escape(after)?;
                next = behind;
                if is_unreserved(decoded) {
                    kept.push(decoded);
                } else {
                    kept.extend_from_slice(rest.get(..rest.len() - behind.len()).unwrap_or_default());
                }
            }
        }
        rest = next;
    }
    Ok(kept)
}

/// Collapses `//` and resolves `/./` and `/../`. What ends with a dot segment names a folder, and keeps a slash.
fn resolve(cut: &[u8]) -> Result<PathBytes, Reason> {
    let mut path = PathBytes::new();
    let (mut tail, mut folder) = (cut, false);
    while let Some((segment, after)) = split(tail) {
        folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                // Above the root there is nothing.
                let parent = path.iter().rposition(|&b| b == b'/').ok_or(Reason::PathDotSegment)?;
                path.truncate(parent);
            }
            _ => {
                path.push(b'/');
                path.extend_from_slice(segment);
            }
        }
        tail = after;
    }
    if folder {
        path.push(b'/');
    }
    Ok(path)
}

/// `;jsessionid=VALUE` at the very end, or nothing.
fn session_id(raw: &[u8]) -> &[u8] {
    let last = raw.iter().rposition(|b| matches!(b, b'/' | b';')).and_then(|at| raw.get(at..));
    last.filter(|parameter| is_session_id(parameter)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is forwarded instead (`None`: what was received), and what is decided on.
    fn read(raw: &str) -> Result<(Option<String>, String), Reason> {
        let mut rewritten = None;
        let decided = Canonical::read(raw.as_bytes(), PathMode::Canonicalize, &mut rewritten)?.as_bytes().to_vec();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((rewritten.as_deref().map(text), text(&decided)))
    }

    #[test]
    fn rewrites_as_tomcat_reads() {
        for (raw, forwarded, decided) in [
            ("//carbon/", "/carbon/", "/carbon/"),
            ("/carbon//", "/carbon/", "/carbon/"),
            ("//", "/", "/"),
            ("/./carbon", "/carbon", "/carbon"),
            ("/carbon/.", "/carbon/", "/carbon/"), // a folder, as Tomcat has it
            ("/x/../carbon", "/carbon", "/carbon"),
            ("/x/y/..", "/x/", "/x/"),
            ("/x/..", "/", "/"),
            ("/a//../b", "/b", "/b"), // slashes first
            ("/x/%2e%2e/carbon", "/carbon", "/carbon"),
            ("/x/.%2E/carbon", "/carbon", "/carbon"),
            ("/services/..;/carbon/", "/carbon/", "/carbon/"), // parameters before dots
            ("/services/..;x=%2f;y/carbon/", "/carbon/", "/carbon/"), // nobody gets to see what is cut
            ("/services/..;x=%zz/carbon/", "/carbon/", "/carbon/"),
            ("/;x/carbon/", "/carbon/", "/carbon/"),
            ("/carbon;x/", "/carbon/", "/carbon/"),
            ("/carbon;", "/carbon", "/carbon"),
            ("/carbon/x.jsp;.jar", "/carbon/x.jsp", "/carbon/x.jsp"), // CVE-2025-5605
            ("/carbon/x.jsp;jsessionid=1.jar", "/carbon/x.jsp", "/carbon/x.jsp"),
            ("//carbon;jsessionid=A1.n-1", "/carbon;jsessionid=A1.n-1", "/carbon"),
            ("/carbon;x=1;jsessionid=A1", "/carbon;jsessionid=A1", "/carbon"),
            ("/carbon;jsessionid=A1;x=1", "/carbon", "/carbon"),
            ("/carbon;jsessionid=A1/x", "/carbon/x", "/carbon/x"),
            ("/x/..;jsessionid=A1", "/;jsessionid=A1", "/"),
            ("/%63arbon", "/carbon", "/carbon"),
            ("/%63%61rbon/J%c3%bcrgen", "/carbon/J%c3%bcrgen", "/carbon/Jürgen"),
            ("/a%2Bb/%41%26%27", "/a%2Bb/A%26%27", "/a+b/A&'"), // only the needless ones
            ("/%61%3Fb%23c", "/a%3Fb%23c", "/a?b#c"),
            ("//100%25zz", "/100%25zz", "/100%zz"),
        ] {
            assert_eq!(read(raw), Ok((Some(forwarded.to_owned()), decided.to_owned())), "{raw}");
            assert_eq!(read(forwarded), Ok((None, decided.to_owned())), "{forwarded}");
        }
    }

    #[test]
    fn what_is_plain_is_forwarded_as_received() {
        for raw in [
            "/",
            "/carbon/admin/login.jsp",
            "/a/;jsessionid=1",
            "/J%C3%BCrgen%20M",
            "/a%2bb",
            "/...",
            "/a;jsessionid=1",
        ] {
            assert_eq!(read(raw).map(|(forwarded, _)| forwarded), Ok(None), "{raw}");
        }
    }

    #[test]
    fn what_has_no_single_form_is_refused() {
        for (raw, reason) in [
            ("", Reason::PathRelative),
            ("carbon//", Reason::PathRelative),
            ("/..", Reason::PathDotSegment), // above the root
            ("/x/../..", Reason::PathDotSegment),
            ("//../carbon", Reason::PathDotSegment),
            ("/%2e%2e;/carbon", Reason::PathDotSegment),
            ("//x%2fcarbon", Reason::PathEncodedSlash),
            ("/x%2f/../carbon", Reason::PathEncodedSlash), // also in what the dots take away
            ("//x%5c", Reason::PathEncodedBackslash),
            ("//x%3b", Reason::PathEncodedSemicolon),
            ("//x%3B.jar", Reason::PathEncodedSemicolon),
            ("/;\\/carbon", Reason::PathBackslash), // also in what is cut
            ("/;x\0/carbon", Reason::PathControlCharacter),
            ("/;ü/carbon", Reason::PathNotAscii),
            ("/; /carbon", Reason::PathInvalidCharacter),
            ("/;/a?b", Reason::PathInvalidCharacter),
            ("//x%00", Reason::PathControlCharacter),
            ("//x%C2%85", Reason::PathControlCharacter),
            ("//x%ff", Reason::PathNotUtf8),
            ("/%ff/../x", Reason::PathNotUtf8),
            ("//x%zz", Reason::PathBadEscape),
            ("//x%", Reason::PathBadEscape),
            ("//%%341", Reason::PathBadEscape), // decoding the digit would make an escape
            ("//%2%35c", Reason::PathBadEscape),
            ("//x%2541", Reason::PathDoubleEncoding),
            ("//x%25%34%31", Reason::PathDoubleEncoding),
            ("/%2e%252e/x", Reason::PathDoubleEncoding),
        ] {
            assert_eq!(read(raw), Err(reason), "{raw:?}");
        }
    }

    #[test]
    fn the_strict_mode_rewrites_nothing() {
        let mut rewritten = None;
        assert_eq!(Canonical::read(b"//x", PathMode::Strict, &mut rewritten).err(), Some(Reason::PathEmptySegment));
        let mut rewritten = None;
        assert!(Canonical::read(b"/%63arbon", PathMode::Strict, &mut rewritten).is_ok());
        assert_eq!(rewritten, None);
    }
}
