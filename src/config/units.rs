//! Durations and sizes with units.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::problem::quoted;

/// Nothing in a load balancer may take longer than a day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The syntax of a duration in words, with its limits.
pub(crate) fn duration_rule(range: &RangeInclusive<Duration>) -> String {
    let (least, most) = (print_duration(*range.start()), print_duration(*range.end()));
    format!("a duration with a unit, such as 500ms, 15s, 5m; from {least} to {most}")
}

/// Reads a duration, or says what is wrong with it.
pub(crate) fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    // The `humantime` crate takes a bare 0; what is zero of what?
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("{} has no unit", quoted(text)));
    }
    let duration = humantime::parse_duration(text).map_err(|error| format!("{}: {error}", quoted(text)))?;
    if !range.contains(&duration) {
        return Err(format!("{} is out of range", quoted(text)));
    }
    Ok(duration)
}

/// A duration as [`parse_duration`] reads it.
pub(crate) fn print_duration(duration: Duration) -> String {
    if !duration.is_zero() && duration.as_secs().is_multiple_of(3600) && duration.subsec_nanos() == 0 {
        // Hours up to a day, so that the limits read as they are documented: 24h, not "1day".
        return format!("{}h", duration.as_secs() / 3600);
    }
    humantime::format_duration(duration).to_string()
}

/// Units of sizes, the greatest first.
const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The syntax of a size in words, with its limits.
pub(crate) fn size_rule(range: &RangeInclusive<u64>) -> String {
    let (least, most) = (print_size(*range.start()), print_size(*range.end()));
    format!("a size with a unit (B, KiB, MiB, GiB), such as 64KiB; from {least} to {most}")
}

/// Reads a number of bytes, or says what is wrong with it.
pub(crate) fn parse_size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(format!("{} is not a size", quoted(text)));
    }
    if unit.is_empty() {
        return Err(format!("{} has no unit", quoted(text)));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()) else {
        return Err(format!("{} has an unknown unit", quoted(text)));
    };
    // Digits that don't parse are a number too large for the type.
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| format!("{} is out of range", quoted(text)))
}

/// A number of bytes as [`parse_size`] reads it.
pub(crate) fn print_size(bytes: u64) -> String {
    let (unit, factor) = UNITS.iter().find(|(_, f)| bytes >= *f && bytes.is_multiple_of(*f)).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / factor)
}

/// Reads a percentage, or says what is wrong with it.
pub(crate) fn parse_percent<T: FromStr + PartialOrd>(text: &str, range: &RangeInclusive<T>) -> Result<T, String> {
    let Some(number) = text.strip_suffix('%') else {
        return Err(format!("{} does not end with '%'", quoted(text)));
    };
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{} is not a whole number of percent", quoted(text)));
    }
    // Digits that don't parse are a number too large for the type.
    let percent = number.parse().ok().filter(|percent| range.contains(percent));
    percent.ok_or_else(|| format!("{} is out of range", quoted(text)))
}

/// A percentage as [`parse_percent`] reads it.
pub(crate) fn print_percent(percent: impl Display) -> String {
    format!("{percent}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let range = Duration::from_millis(1)..=DAY;
        let cases = [
            ("500ms", Ok(500)),
            ("15s", Ok(15_000)),
            ("5m", Ok(300_000)),
            ("1m 15s", Ok(75_000)),
            ("1.5s", Ok(1_500)),
            ("24h", Ok(86_400_000)),
            ("15", Err("has no unit")),
            ("0", Err("has no unit")),
            ("1.5", Err("has no unit")),
            ("", Err("has no unit")),
            ("0s", Err("out of range")),
            ("25h", Err("out of range")),
            ("-1s", Err("number")),
            ("15 parsecs", Err("unknown time unit")),
            ("99999999999999999999999999s", Err("too large")),
            ("18446744073709551615y", Err("too large")),
        ];
        for (text, expected) in cases {
            match (parse_duration(text, &range), expected) {
                (Ok(duration), Ok(millis)) => assert_eq!(duration, Duration::from_millis(millis), "{text}"),
                (Err(what), Err(expected)) => assert!(what.contains(expected), "{text}: {what}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_printed_duration_is_read_back() {
        for millis in [0, 1, 1_500, 75_000, 300_000, 3_600_000, 3_601_000, 86_400_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&print_duration(duration), &(Duration::ZERO..=DAY)), Ok(duration));
        }
        assert!(duration_rule(&(Duration::from_secs(1)..=DAY)).ends_with("from 1s to 24h"));
    }

    #[test]
    fn sizes_have_units() {
        let range = 1..=1 << 40;
        let cases = [
            ("1B", Ok(1)),
            ("64KiB", Ok(65_536)),
            ("64 KiB", Ok(65_536)),
            ("1GiB", Ok(1 << 30)),
            ("1TiB", Ok(1 << 40)),
            ("64", Err("has no unit")),
            ("64kb", Err("unknown unit")),
            ("64K", Err("unknown unit")), // 1,000 or 1,024?
            ("KiB", Err("is not a size")),
            ("-1B", Err("is not a size")),
            ("", Err("is not a size")),
            ("0B", Err("out of range")),
            ("2TiB", Err("out of range")),
            ("99999999999999999999B", Err("out of range")),
            ("18446744073709551615TiB", Err("out of range")),
        ];
        for (text, expected) in cases {
            match (parse_size(text, &range), expected) {
                (Ok(size), Ok(bytes)) => assert_eq!(size, bytes, "{text}"),
                (Err(what), Err(expected)) => assert!(what.contains(expected), "{text}: {what}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
        for bytes in [0, 1, 1_000, 1_024, 1_536, 1 << 20, 3 << 30, 1 << 40] {
            assert_eq!(parse_size(&print_size(bytes), &(0..=1 << 40)), Ok(bytes));
        }
    }

    #[test]
    fn percentages_are_whole_and_have_their_sign() {
        let cases = [
            ("0%", Ok(0)),
            ("125%", Ok(125)),
            ("200%", Ok(200)),
            ("125", Err("does not end with '%'")),
            ("1.25%", Err("not a whole number")),
            ("-1%", Err("not a whole number")),
            ("+1%", Err("not a whole number")),
            ("%", Err("not a whole number")),
            ("20 %", Err("not a whole number")),
            ("201%", Err("out of range")),
            ("99999999999%", Err("out of range")),
        ];
        for (text, expected) in cases {
            match (parse_percent::<u16>(text, &(0..=200)), expected) {
                (Ok(percent), Ok(expected)) => {
                    assert_eq!(percent, expected, "{text}");
                    assert_eq!(print_percent(percent), text);
                }
                (Err(what), Err(expected)) => assert!(what.contains(expected), "{text}: {what}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }
}
