//! What others have written, for the log.

/// The most that is shown of a line that a program has printed, in characters.
pub(super) const LINE: usize = 100;

/// The most that is shown of a sentence of a balancer or an Engine, in characters.
pub(super) const SENTENCE: usize = 300;

/// The beginning of a text, at most `longest` characters of it, with escapes for what would not stay on its line or cannot be
/// seen. Quotes stay as they are.
pub(super) fn excerpt(text: &str, longest: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(longest) {
        match c {
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_others_is_short_and_on_one_line() {
        for (text, expected) in [
            ("", ""),
            ("it's \"é\"", "it's \"é\""),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\0", "\\u{1b}[31mred\\0"),
            ("a\u{2028}b\u{202e}c", "a\\u{2028}b\\u{202e}c"),
            ("\\n", "\\\\n"),
            ("0123456789é", "0123456789…"),
        ] {
            assert_eq!(excerpt(text, 10), expected, "{text:?}");
        }
    }
}
