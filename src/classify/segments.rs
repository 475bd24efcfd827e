//! Path segments, and how they are compared with the tables that deny.

use smallvec::SmallVec;

/// Room for a folded segment on the stack.
pub(super) type Folded = SmallVec<[u8; 128]>;

/// The first segment of `tail` and what follows it. A tail is empty or begins with `/`.
///
/// `/a/b` is `a` and `/b`; `/a/` is `a` and `/`; `/` is an empty segment and the empty tail; the empty tail has none.
pub(super) fn split(tail: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = tail.get(1..)?;
    let end = inside.iter().position(|&b| b == b'/').unwrap_or(inside.len());
    Some(inside.split_at(end))
}

/// Whether no segment follows: the tail is empty or `/`.
pub(super) fn is_end(tail: &[u8]) -> bool {
    matches!(tail, b"" | b"/")
}

/// The form in which a segment is looked up in a table that denies: in lower case as Java sees it, and cut at a decoded
/// `?` or `#`, which a second reader would take for the end of the path.
///
/// Java's `equalsIgnoreCase` and `toLowerCase` take the Kelvin sign for `k`, `ſ` for `s`, `İ` and `ı` for `i`. No other
/// character outside ASCII becomes an ASCII letter.
pub(super) fn fold(segment: &[u8]) -> Folded {
    let mut folded = Folded::new();
    let mut rest = segment;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, taken) = match rest {
            [b'?' | b'#', ..] => break,
            [0xe2, 0x84, 0xaa, ..] => (b'k', 3),
            [0xc5, 0xbf, ..] => (b's', 2),
            [0xc4, 0xb0 | 0xb1, ..] => (b'i', 2),
            _ => (first.to_ascii_lowercase(), 1),
        };
        folded.push(byte);
        rest = after.get(taken - 1..).unwrap_or_default();
    }
    folded
}

/// Whether `segment`, folded, is `word`, which is in lower case.
pub(super) fn is(segment: &[u8], word: &[u8]) -> bool {
    if segment.len() == word.len() {
        // Folding never makes a segment longer, and a shorter one cannot be the word.
        return segment.eq_ignore_ascii_case(word);
    }
    segment.len() > word.len() && !is_plain(segment) && fold(segment)[..] == *word
}

/// Whether folding changes nothing but ASCII case.
pub(super) fn is_plain(segment: &[u8]) -> bool {
    segment.iter().all(|b| b.is_ascii() && !matches!(b, b'?' | b'#'))
}

/// What follows each `word` (in lower case) in `text`, in any case, the last one first.
///
/// Who looks for the last one with regard to case finds one of these, whatever stands behind it in other letters.
pub(super) fn after_each<'s>(text: &'s [u8], word: &'static [u8]) -> impl Iterator<Item = &'s [u8]> {
    // The first letter decides nearly always, and costs least.
    let starts = move |window: &[u8]| match (window.first(), word.first()) {
        (Some(here), Some(first)) => here.eq_ignore_ascii_case(first),
        _ => false,
    };
    let found = text.windows(word.len().max(1)).enumerate().rev();
    let found = found.filter(move |(_, window)| starts(window) && window.eq_ignore_ascii_case(word));
    found.filter_map(move |(at, _)| text.get(at + word.len()..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_documented() {
        assert_eq!(split(b"/a/b"), Some((&b"a"[..], &b"/b"[..])));
        assert_eq!(split(b"/a/"), Some((&b"a"[..], &b"/"[..])));
        assert_eq!(split(b"/"), Some((&b""[..], &b""[..])));
        assert_eq!(split(b""), None);
    }

    #[test]
    fn folds_as_java_does() {
        for (segment, folded) in [
            ("Carbon", "carbon"),
            ("\u{212a}eymanager", "keymanager"), // Kelvin sign
            ("ſervıceſ", "services"),            // long s, dotless i
            ("admİn", "admin"),                  // I with a dot
            ("carbon?x", "carbon"),              // what a second reader would cut
            ("carbon#x", "carbon"),
            ("Größe", "größe"), // other characters stay
            ("ΑDMIN", "Αdmin"), // a Greek capital Alpha is no A
        ] {
            assert_eq!(fold(segment.as_bytes())[..], *folded.as_bytes(), "{segment}");
            assert!(is(segment.as_bytes(), folded.as_bytes()), "{segment}");
        }
        assert!(!is(b"carbonara", b"carbon") && !is(b"carbo", b"carbon"));
    }

    #[test]
    fn finds_every_occurrence_in_any_case() {
        let found: Vec<_> = after_each(b"myServices.x-services/SERVICES", b"services").collect();
        assert_eq!(found, [&b""[..], b"/SERVICES", b".x-services/SERVICES"]);
        assert_eq!(after_each(b"service", b"services").count(), 0);
    }
}
