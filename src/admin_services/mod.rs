//! Carbon's admin services, by name: what the configuration must not list as an operator's own, and what no worker may be
//! asked for.

mod names;

use ahash::AHashMap;
use smallvec::SmallVec;

use self::names::ADMIN_SERVICES;

/// Room for a folded segment on the stack.
pub(crate) type Folded = SmallVec<[u8; 128]>;

/// Whether `name`, without regard to case, is one of the built-in admin services or one of its endpoints
/// (`NAME.NAMEHttpsSoap11Endpoint`).
pub fn is_known_admin_service(name: &str) -> bool {
    let known = |part: &[u8]| ADMIN_SERVICES.iter().any(|service| service.as_bytes().eq_ignore_ascii_case(part));
    parts(&fold(name.as_bytes())).any(known)
}

/// Names of admin services, found without regard to case.
#[derive(Debug)]
pub(crate) struct AdminTable {
    /// From the folded name to the name as written.
    names: AHashMap<Box<[u8]>, Box<[u8]>>,
}

impl AdminTable {
    /// The built-in names.
    pub(crate) fn built_in() -> Self {
        AdminTable::of(ADMIN_SERVICES.iter().copied())
    }

    pub(crate) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        AdminTable { names: names.map(|name| (fold(name.as_bytes())[..].into(), name.as_bytes().into())).collect() }
    }

    /// The name as written in the table, if a part of `folded` is in it.
    pub(crate) fn find(&self, folded: &[u8]) -> Option<&[u8]> {
        if self.names.is_empty() {
            return None;
        }
        parts(folded).find_map(|part| self.names.get(part)).map(|name| &name[..])
    }
}

/// The form in which a segment is looked up in a table that denies: in lower case as Java sees it, and cut at a decoded
/// `?` or `#`, which a second reader would take for the end of the path.
pub(crate) fn fold(segment: &[u8]) -> Folded {
    lower(segment.split(|b| matches!(b, b'?' | b'#')).next().unwrap_or_default())
}

/// `text` in lower case as Java sees it.
///
/// Java's `equalsIgnoreCase` and `toLowerCase` take the Kelvin sign for `k`, `ſ` for `s`, `İ` and `ı` for `i`. No other
/// character outside ASCII becomes an ASCII letter.
pub(crate) fn lower(text: &[u8]) -> Folded {
    let mut folded = Folded::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, taken) = match rest {
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

/// The candidates for a service name in a segment: all of it, each part between other characters than letters, digits,
/// `_` and `-`, and the latter without the ending of an endpoint.
pub(crate) fn parts(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let separator = |b: &u8| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let whole = Some(segment).filter(|segment| segment.iter().any(separator));
    let parts = segment.split(separator).flat_map(|part| [Some(part), without_endpoint(part)]).flatten();
    parts.chain(whole)
}

/// `NAME` of `NAMEHttpsSoap11Endpoint`; case does not matter.
fn without_endpoint(part: &[u8]) -> Option<&[u8]> {
    let part = strip_suffix(part, b"endpoint")?;
    let part = strip_suffix(part, b"soap11").or_else(|| strip_suffix(part, b"soap12")).unwrap_or(part);
    strip_suffix(part, b"https").or_else(|| strip_suffix(part, b"http"))
}

fn strip_suffix<'p>(part: &'p [u8], suffix: &[u8]) -> Option<&'p [u8]> {
    let (name, end) = part.split_at_checked(part.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_admin_services_are_found_in_any_case_and_form() {
        for name in [
            "UserAdmin",
            "useradmin",
            "LogViewer",
            "logviewer.LogViewerHttpsSoap12Endpoint",
            "LOGVIEWERHTTPENDPOINT",
            "TierCacheService",
        ] {
            assert!(is_known_admin_service(name), "{name}");
        }
        // The last two are Carbon's, but are for clients, or called like an operator's own might be.
        for name in ["echo", "Version", "LogViewers", "MyAdminThing", "", "wso2carbon-sts", "RegistrationService"] {
            assert!(!is_known_admin_service(name), "{name}");
        }
    }

    #[test]
    fn the_built_in_names_are_names_and_no_two_are_the_same() {
        let table = AdminTable::built_in();
        assert_eq!(table.names.len(), ADMIN_SERVICES.len());
        assert!(ADMIN_SERVICES.iter().all(|name| !name.is_empty() && name.is_ascii() && !name.contains('/')));
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
        }
    }
}
