//! Path segments, and how they are compared with the tables that deny.

use crate::admin_services::fold;

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
    fn compares_folded() {
        for segment in ["services", "SERVICES", "ſervıceſ", "Services?x"] {
            assert!(is(segment.as_bytes(), b"services"), "{segment}");
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
