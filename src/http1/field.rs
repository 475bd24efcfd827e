//! Lines of a header section.

use super::Fault;
use super::bytes::{all_value, is_token};

/// Bytes of a field's name. The framework's types have a limit too, and would refuse without telling anybody.
const LONGEST_NAME: usize = 1024;

/// Takes a field line (without its CR LF) apart into name and value, and refuses it if it is malformed.
pub(super) fn parse(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::Folding);
    }
    let end = line.iter().position(|&byte| !is_token(byte));
    let Some((name, [b':', value @ ..])) = end.map(|end| line.split_at(end)) else { return Err(Fault::FieldName) };
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Fault::FieldName);
    }
    if !all_value(value) {
        return Err(Fault::FieldValue);
    }
    Ok((name, trim(value)))
}

/// Without the space and tabs around a value.
pub fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The number in a `Content-Length`: digits and nothing else.
pub(super) fn length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::ContentLength);
    }
    // Digits that don't parse are a number too large for the type.
    std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or(Fault::ContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_apart() {
        for (line, expected) in [
            ("Host: x", Ok(("Host", "x"))),
            ("Host:x", Ok(("Host", "x"))),
            ("Host:\t x \t", Ok(("Host", "x"))),
            ("X-Empty:", Ok(("X-Empty", ""))),
            ("X-Empty:  ", Ok(("X-Empty", ""))),
            ("X: a:b", Ok(("X", "a:b"))),
            ("X: a\tb", Ok(("X", "a\tb"))),
            ("X: ü", Ok(("X", "ü"))),
            (" X: a", Err(Fault::Folding)),
            ("\tX", Err(Fault::Folding)),
            ("Host : x", Err(Fault::FieldName)),
            ("Host\t: x", Err(Fault::FieldName)),
            (": x", Err(Fault::FieldName)),
            ("Host", Err(Fault::FieldName)),
            ("Ho st: x", Err(Fault::FieldName)),
            ("Hö: x", Err(Fault::FieldName)),
            ("Host\0: x", Err(Fault::FieldName)),
            ("X: a\0b", Err(Fault::FieldValue)),
            ("X: a\rb", Err(Fault::FieldValue)),
            ("X: a\u{7f}b", Err(Fault::FieldValue)),
        ] {
            let parsed = parse(line.as_bytes());
            let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(parsed, expected, "{line:?}");
        }
    }

    #[test]
    fn names_have_a_limit() {
        assert!(parse(format!("{}: x", "n".repeat(LONGEST_NAME)).as_bytes()).is_ok());
        assert_eq!(parse(format!("{}: x", "n".repeat(LONGEST_NAME + 1)).as_bytes()), Err(Fault::FieldName));
    }

    #[test]
    fn lengths_are_digits() {
        for (value, expected) in [
            ("0", Some(0)),
            ("0010", Some(10)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+5", None),
            ("-1", None),
            ("5, 5", None),
            ("5 5", None),
            ("0x5", None),
            ("5.0", None),
            ("٥", None),
        ] {
            assert_eq!(length(value.as_bytes()).ok(), expected, "{value}");
        }
    }
}
