//! Cookies of managers, hardened: `Secure` and `SameSite` where the node did not say otherwise.

use crate::config::CookieSettings;
use crate::http1::trim;

/// The value of `Set-Cookie` with what `settings` ask for; `None` if it has that already. `value` is as the node sent
/// it, and nothing in it is changed or taken away.
pub fn harden(value: &[u8], settings: CookieSettings) -> Option<Vec<u8>> {
    let secure = settings.secure && !has_attribute(value, b"secure");
    let same_site = settings.same_site.filter(|_| !has_attribute(value, b"samesite"));
    if !secure && same_site.is_none() {
        return None;
    }
    // An empty value, or one that ends with `;`, stays what it is: an attribute more does no harm.
    let mut hardened = Vec::with_capacity(value.len() + 32);
    hardened.extend_from_slice(value);
    if secure {
        hardened.extend_from_slice(b"; Secure");
    }
    if let Some(same_site) = same_site {
        hardened.extend_from_slice(b"; SameSite=");
        hardened.extend_from_slice(same_site.in_header().as_bytes());
    }
    Some(hardened)
}

/// Whether a cookie has an attribute (its name in lower case). Browsers take everything behind the first `;` for
/// attributes, quotes or not (RFC 6265, 5.2).
fn has_attribute(value: &[u8], attribute: &[u8]) -> bool {
    value.split(|&byte| byte == b';').skip(1).any(|part| {
        let name = part.split(|&byte| byte == b'=').next().unwrap_or_default();
        trim(name).eq_ignore_ascii_case(attribute)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SameSite;

    #[test]
    fn cookies_get_what_they_lack() {
        let both = CookieSettings { secure: true, same_site: Some(SameSite::Lax) };
        let secure = CookieSettings { secure: true, same_site: None };
        for (settings, value, expected) in [
            (
                both,
                "JSESSIONID=1; Path=/carbon; HttpOnly",
                Some("JSESSIONID=1; Path=/carbon; HttpOnly; Secure; SameSite=Lax"),
            ),
            (both, "a=1", Some("a=1; Secure; SameSite=Lax")),
            (both, "a=1; secure", Some("a=1; secure; SameSite=Lax")),
            (both, "a=1;SAMESITE = Strict", Some("a=1;SAMESITE = Strict; Secure")),
            (both, "a=1; Secure; SameSite=None", None), // the node knows better
            (both, "secure=1", Some("secure=1; Secure; SameSite=Lax")), // a cookie of that name
            (secure, "a=1; SameSite=Lax", Some("a=1; SameSite=Lax; Secure")),
            (secure, "a=1; Secure", None),
            (CookieSettings::default(), "a=1", None),
        ] {
            let hardened = harden(value.as_bytes(), settings);
            assert_eq!(hardened.as_deref(), expected.map(str::as_bytes), "{value}");
        }
    }
}
