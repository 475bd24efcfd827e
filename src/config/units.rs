//! Durations with units.

use std::ops::RangeInclusive;
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
}
