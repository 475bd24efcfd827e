//! Cookies of managers: nothing panics, what the node sent stays as it is, and afterwards a browser finds what was asked
//! for, once.
#![no_main]

use carbon_elb::config::{CookieSettings, SameSite};
use carbon_elb::cookies::harden;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, value)) = input.split_first() else { return };
    // An answer with other control characters is not taken from a node, and for those browsers differ.
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return;
    }
    let mut settings = CookieSettings::default();
    settings.secure = choice & 1 != 0;
    settings.same_site =
        [None, Some(SameSite::Lax), Some(SameSite::Strict), Some(SameSite::None)][usize::from(choice >> 1 & 3)];

    let Some(hardened) = harden(value, settings) else {
        assert!(!settings.secure || count(value, "secure") > 0, "{}", value.escape_ascii());
        assert!(settings.same_site.is_none() || count(value, "samesite") > 0, "{}", value.escape_ascii());
        return;
    };
    let added = hardened.strip_prefix(value).expect("what the node sent stays as it is");
    assert!(!added.is_empty() && added.starts_with(b"; ") && added.is_ascii(), "{}", added.escape_ascii());
    assert_eq!(harden(&hardened, settings), None, "{}", hardened.escape_ascii());
    for (attribute, asked) in [("secure", settings.secure), ("samesite", settings.same_site.is_some())] {
        let (before, after) = (count(value, attribute), count(&hardened, attribute));
        let due = if asked && before == 0 { 1 } else { before };
        assert_eq!(after, due, "{attribute}: {}", hardened.escape_ascii());
    }
});

/// How often a browser finds an attribute (RFC 6265, 5.2): behind the first semicolon, up to the next one, the name up to
/// the equals sign, without the space around it.
fn count(cookie: &[u8], attribute: &str) -> usize {
    let mut found = 0;
    let mut rest = cookie;
    while let Some(at) = rest.iter().position(|byte| *byte == b';') {
        rest = &rest[at + 1..];
        let part = &rest[..rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len())];
        let name = &part[..part.iter().position(|byte| *byte == b'=').unwrap_or(part.len())];
        found += usize::from(String::from_utf8_lossy(name).trim_matches([' ', '\t']).eq_ignore_ascii_case(attribute));
    }
    found
}
