//! The canonical path: computed once, and what every decision is made on.
//!
//! This is the strict mode. A path that two readers could understand differently is refused, so that only paths with a
//! single meaning are left. A reader is Tomcat (servlet ports), Synapse (pass-through ports, the raw URI), Axis2 behind
//! both, or a check of Carbon's own on the raw URI.
//!
//! **Why the raw path can be forwarded.** In what is accepted, the segments are the same for every reader: no `//`, no
//! dot segment, no encoded `/` or `\`, no `;` but a trailing session id. Within a segment a reader decodes the escapes
//! or leaves them. The decision is made on the decoded form. A reader that does not decode sees a `%` in the
//! segment, and no path or service that is on a table, or that Carbon deploys, has a `%` in its name; so it finds less
//! than was decided on, never something else. A reader that decodes twice finds the same as one that decodes once,
//! because no escape is left after the first time. Where finding less is a loss of protection, as for the checks of the
//! console, the rules ask for the plain spelling: [`Canonical::has_needless_escapes`], [`Canonical::is_plain`].
//!
//! The other mode, [`super::rewrite`], brings a path into a form that this one accepts.

use std::ops::Deref;

use smallvec::SmallVec;

use super::Reason;
use super::segments::after_each;

/// A path on the stack, if it is no longer than most.
pub type PathBytes = SmallVec<[u8; 256]>;

/// A path with a single meaning: decoded, without session id, valid UTF-8, beginning with `/`.
#[derive(Debug)]
pub(super) struct Canonical<'p> {
    path: CanonicalPath<'p>,
    needless_escapes: bool,
    session_id: bool,
}

/// The bytes of a canonical path.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one request; a box would allocate")]
pub enum CanonicalPath<'p> {
    /// Nothing was encoded: the received path, perhaps without its session id.
    AsReceived(&'p [u8]),
    /// Escapes were decoded.
    Copied(PathBytes),
}

impl Deref for CanonicalPath<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            CanonicalPath::AsReceived(path) => path,
            CanonicalPath::Copied(path) => path,
        }
    }
}

impl<'p> Canonical<'p> {
    /// Reads a path as received (without query), and refuses it if it is ambiguous.
    pub(super) fn strict(raw: &'p [u8]) -> Result<Self, Reason> {
        if raw.first() != Some(&b'/') {
            return Err(Reason::PathRelative);
        }
        let (kept, encoded) = scan(raw)?;
        let (path, needless_escapes) = if encoded {
            let (copied, needless) = decode(kept)?;
            (CanonicalPath::Copied(copied), needless)
        } else {
            (CanonicalPath::AsReceived(kept), false)
        };
        let canonical = Canonical { path, needless_escapes, session_id: kept.len() < raw.len() };
        check_segments(canonical.as_bytes())?;
        Ok(canonical)
    }

    /// The path.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.path
    }

    /// The path.
    pub(super) fn into_path(self) -> CanonicalPath<'p> {
        self.path
    }

    /// Whether characters are encoded that never have to be: a reader of the raw URI does not recognise the path.
    pub(super) const fn has_needless_escapes(&self) -> bool {
        self.needless_escapes
    }

    /// Whether a reader of the raw URI sees the same, but for escapes that the path cannot do without.
    pub(super) const fn is_plain(&self) -> bool {
        !self.needless_escapes && !self.session_id
    }
}

/// Refuses raw bytes that no path may have. Returns the path without its session id, and whether it has escapes.
fn scan(raw: &[u8]) -> Result<(&[u8], bool), Reason> {
    let mut encoded = false;
    for (at, &byte) in raw.iter().enumerate() {
        match KIND[usize::from(byte)] {
            Kind::Plain => {}
            Kind::Percent => encoded = true,
            Kind::Semicolon => {
                let (kept, parameter) = raw.split_at(at);
                return if is_session_id(parameter) { Ok((kept, encoded)) } else { Err(Reason::PathMatrixParameter) };
            }
            Kind::Never(reason) => return Err(reason),
        }
    }
    Ok((raw, encoded))
}

/// Endings by which Carbon's console tells, from the raw URI, what needs no login.
const FILE_ENDINGS: [&[u8]; 19] = [
    b"css", b"gif", b"htm", b"html", b"ico", b"jar", b"jpeg", b"jpg", b"js", b"jsp", b"map", b"png", b"svg", b"ttf",
    b"txt", b"woff", b"woff2", b"xsl", b"xslt",
];

/// `;jsessionid=VALUE` up to the end of the path. Tomcat knows the name in lower case only.
///
/// The value may end with a dot and the route of a node, but not like the name of a file: for
/// `/carbon/x.jsp;jsessionid=1.js` Tomcat runs `x.jsp`, and a check for `.js` at the end of the URI lets it through
/// (as in CVE-2025-5605).
pub(super) fn is_session_id(parameter: &[u8]) -> bool {
    let in_value = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'!' | b'-');
    let value = parameter.strip_prefix(b";jsessionid=").unwrap_or_default();
    // Axis2 looks for the name of a service behind the last `services` in the raw address, and so in here too.
    let names_service = after_each(value, b"services").next().is_some();
    !value.is_empty() && value.iter().all(in_value) && !ends_like_a_file(value) && !names_service
}

fn ends_like_a_file(value: &[u8]) -> bool {
    let ending = value.iter().rposition(|&b| b == b'.').and_then(|dot| value.get(dot + 1..));
    ending.is_some_and(|ending| FILE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// Decodes every escape once, and refuses those that change the structure of the path or leave another escape. Says too
/// whether one of them is needless.
pub(super) fn decode(path: &[u8]) -> Result<(PathBytes, bool), Reason> {
    let (mut decoded, mut needless) = (PathBytes::new(), false);
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (byte, after) = escape(after)?;
        match byte {
            b'/' => return Err(Reason::PathEncodedSlash),
            b'\\' => return Err(Reason::PathEncodedBackslash),
            // Tomcat takes it for an ordinary character, and whoever cuts parameters after decoding does not.
            b';' => return Err(Reason::PathEncodedSemicolon),
            byte if byte.is_ascii_control() => return Err(Reason::PathControlCharacter),
            byte => decoded.push(byte),
        }
        needless |= is_unreserved(byte);
        rest = after;
    }
    let text = std::str::from_utf8(&decoded).map_err(|_| Reason::PathNotUtf8)?;
    // The C1 controls, which take two bytes in UTF-8.
    if !text.is_ascii() && text.chars().any(char::is_control) {
        return Err(Reason::PathControlCharacter);
    }
    if decoded.windows(3).any(|w| matches!(w, [b'%', high, low] if hex(*high).is_some() && hex(*low).is_some())) {
        return Err(Reason::PathDoubleEncoding);
    }
    Ok((decoded, needless))
}

/// The byte that an escape stands for, and what follows. `after` is what follows the `%`.
pub(super) fn escape(after: &[u8]) -> Result<(u8, &[u8]), Reason> {
    match after {
        [high, low, rest @ ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => Ok((high << 4 | low, rest)),
            _ => Err(Reason::PathBadEscape),
        },
        _ => Err(Reason::PathBadEscape),
    }
}

/// What never has to be encoded (RFC 3986, 2.3).
pub(super) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Refuses `//`, `.` and `..`. The last segment may be empty.
fn check_segments(path: &[u8]) -> Result<(), Reason> {
    for (at, &byte) in path.iter().enumerate() {
        if byte != b'/' {
            continue;
        }
        match path.get(at + 1..).unwrap_or_default() {
            [b'/', ..] => return Err(Reason::PathEmptySegment),
            [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => return Err(Reason::PathDotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// What a raw byte is in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/`, and what RFC 3986 allows in a segment (`pchar`) as it is, `;` excepted.
    Plain,
    Percent,
    Semicolon,
    /// What no path may have; ASCII that has to be encoded (space `"` `#` `<` `>` `?` `[` `]` `^` `` ` `` `{` `|` `}`) is
    /// among it. Tomcat refuses that too.
    Never(Reason),
}

/// One for each byte, so that none is out of bounds.
pub(super) const KIND: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = kind(byte as u8); // below 256 by the loop's condition
        byte += 1;
    }
    kinds
};

const fn kind(byte: u8) -> Kind {
    match byte {
        byte if is_unreserved(byte) => Kind::Plain,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' | b'/' => Kind::Plain,
        b'%' => Kind::Percent,
        b';' => Kind::Semicolon,
        b'\\' => Kind::Never(Reason::PathBackslash),
        0..=0x1f | 0x7f => Kind::Never(Reason::PathControlCharacter),
        0x80.. => Kind::Never(Reason::PathNotAscii),
        _ => Kind::Never(Reason::PathInvalidCharacter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Result<String, Reason> {
        Canonical::strict(raw.as_bytes()).map(|path| String::from_utf8(path.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn ordinary_paths_pass() {
        for (raw, path) in [
            ("/", "/"),
            ("/services/echo", "/services/echo"),
            ("/services/echo/", "/services/echo/"),
            ("/a.b/..c/d../...", "/a.b/..c/d../..."), // dots that are no dot segment
            ("/scim2/Users/user@example.com", "/scim2/Users/user@example.com"),
            ("/odata/Orders(1)/Items('a,b')/$count", "/odata/Orders(1)/Items('a,b')/$count"),
            ("/a+b/a%20b", "/a+b/a b"),                        // `+` is no space in a path
            ("/users/J%C3%BCrgen", "/users/Jürgen"),           // UTF-8
            ("/%63arbon", "/carbon"),                          // decoded, then decided
            ("/a%3Fb/c%23d", "/a?b/c#d"),                      // harmless to the segments
            ("/100%25/x", "/100%/x"),                          // a percent sign as such
            ("/100%25zz", "/100%zz"),                          // and no second escape behind it
            ("/carbon;jsessionid=AB12.node-1!x_y", "/carbon"), // learned from old links
            ("/carbon/;jsessionid=AB12", "/carbon/"),
            ("/carbon/;jsessionid=AB12.js-1", "/carbon/"), // a route, no file
            ("/carbon/;jsessionid=js", "/carbon/"),
        ] {
            assert_eq!(read(raw).as_deref(), Ok(path), "{raw}");
        }
        let read = Canonical::strict(b"/t/x/carbon;jsessionid=1").unwrap();
        assert!(matches!(read.path, CanonicalPath::AsReceived(b"/t/x/carbon")));
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for (raw, reason) in [
            ("", Reason::PathRelative),
            ("*", Reason::PathRelative), // OPTIONS *
            ("carbon", Reason::PathRelative),
            ("http://x/carbon", Reason::PathRelative), // absolute-form is taken apart before
            ("%2fcarbon", Reason::PathRelative),
            ("//carbon", Reason::PathEmptySegment),
            ("/carbon//", Reason::PathEmptySegment),
            ("/a//;jsessionid=1", Reason::PathEmptySegment),
            ("/./carbon", Reason::PathDotSegment),
            ("/x/../carbon", Reason::PathDotSegment),
            ("/x/..", Reason::PathDotSegment),
            ("/x/.", Reason::PathDotSegment),
            ("/x/%2e%2e/carbon", Reason::PathDotSegment),
            ("/x/.%2E/carbon", Reason::PathDotSegment),
            ("/x/..;jsessionid=1", Reason::PathDotSegment), // cut first, as Tomcat does
            ("/services/..;/carbon", Reason::PathMatrixParameter),
            ("/;x/carbon", Reason::PathMatrixParameter),
            ("/carbon;x", Reason::PathMatrixParameter),
            ("/carbon;", Reason::PathMatrixParameter),
            ("/carbon;jsessionid=", Reason::PathMatrixParameter),
            ("/carbon;JSESSIONID=1", Reason::PathMatrixParameter),
            ("/carbon;jsessionid=1/x", Reason::PathMatrixParameter), // not on the last segment
            ("/carbon;jsessionid=1;x=2", Reason::PathMatrixParameter),
            ("/carbon;jsessionid=%41", Reason::PathMatrixParameter),
            ("/carbon/x.jsp;.jar", Reason::PathMatrixParameter), // CVE-2025-5605
            ("/carbon/x.jsp;jsessionid=1.jar", Reason::PathMatrixParameter),
            ("/carbon/x.jsp;jsessionid=A.b.CSS", Reason::PathMatrixParameter),
            ("/carbon/x.jsp;jsessionid=.js", Reason::PathMatrixParameter),
            ("/carbon%3bx", Reason::PathEncodedSemicolon),
            ("/x%2fcarbon", Reason::PathEncodedSlash),
            ("/x%2Fcarbon", Reason::PathEncodedSlash),
            ("/x\\carbon", Reason::PathBackslash),
            ("/x%5ccarbon", Reason::PathEncodedBackslash),
            ("/%2563arbon", Reason::PathDoubleEncoding),
            ("/x%252f", Reason::PathDoubleEncoding),
            ("/x%25%32%66", Reason::PathDoubleEncoding), // digits encoded as well
            ("/x%", Reason::PathBadEscape),
            ("/x%4", Reason::PathBadEscape),
            ("/x%u0041", Reason::PathBadEscape),
            ("/x%zz", Reason::PathBadEscape),
            ("/x%+1", Reason::PathBadEscape), // what integer parsers take
            ("/x\0", Reason::PathControlCharacter),
            ("/x\n", Reason::PathControlCharacter),
            ("/x\u{7f}", Reason::PathControlCharacter),
            ("/x%00", Reason::PathControlCharacter),
            ("/x%0d%0a", Reason::PathControlCharacter),
            ("/x%7f", Reason::PathControlCharacter),
            ("/x%C2%85", Reason::PathControlCharacter), // C1
            ("/x%ff", Reason::PathNotUtf8),
            ("/%c0%af", Reason::PathNotUtf8),    // overlong slash
            ("/%ed%a0%80", Reason::PathNotUtf8), // surrogate
            ("/Jürgen", Reason::PathNotAscii),
            ("/a b", Reason::PathInvalidCharacter),
            ("/a?b", Reason::PathInvalidCharacter),
            ("/a#b", Reason::PathInvalidCharacter),
            ("/{a}", Reason::PathInvalidCharacter),
            ("/a|b", Reason::PathInvalidCharacter),
            ("/a\"b", Reason::PathInvalidCharacter),
        ] {
            assert_eq!(read(raw), Err(reason), "{raw:?}");
        }
        assert_eq!(Canonical::strict(b"/\xff").err(), Some(Reason::PathNotAscii));
    }

    #[test]
    fn tells_how_a_path_is_spelled() {
        for (raw, needless, plain) in [
            ("/carbon", false, true),
            ("/carbon;jsessionid=1", false, false),
            ("/%63arbon", true, false),
            ("/a%2Db", true, false), // - . _ ~ as well
            ("/a%7E", true, false),
            ("/J%C3%BCrgen%20%2B%25", false, true), // these cannot be written otherwise, or mean something else then
            ("/a%27b%40", false, true),
        ] {
            let path = Canonical::strict(raw.as_bytes()).unwrap();
            assert_eq!((path.has_needless_escapes(), path.is_plain()), (needless, plain), "{raw}");
        }
    }
}
