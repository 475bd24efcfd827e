//! The `Cookie` header, read as Tomcat reads it (its RFC 6265 processor, the one that it uses by default).
//!
//! Cookies are what stands between semicolons. Space around names and values does not count, quotes around a value
//! neither; a value may be missing. What has other bytes in its value than RFC 6265 allows (beyond ASCII all are) is no
//! cookie, and the ones around it are read all the same.

use smallvec::SmallVec;

/// Cookies of one request that are looked at; Tomcat takes no more either (`maxCookieCount`).
pub const MOST_COOKIES: usize = 200;

/// The values of the cookies called `name` in the values of all `Cookie` headers of a request, in their order. Names are
/// compared letter by letter.
pub fn values<'h, 'n>(
    headers: impl IntoIterator<Item = &'h [u8], IntoIter: 'n>,
    name: &'n str,
) -> impl Iterator<Item = &'h [u8]> + 'n
where
    'h: 'n,
{
    let cookies = headers.into_iter().flat_map(cookies).take(MOST_COOKIES);
    cookies.filter_map(move |cookie| value(cookie, name.as_bytes()))
}

/// What stands between the semicolons of a header.
fn cookies(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(header);
    std::iter::from_fn(move || {
        let rest = left?;
        let (cookie, behind) = rest.split_at(memchr::memchr(b';', rest).unwrap_or(rest.len()));
        left = behind.strip_prefix(b";");
        Some(cookie)
    })
}

/// What is left of a `Cookie` header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is on the stack for a moment, and a box would be an allocation")]
pub enum Stripped {
    /// The cookie was not there: the header stays as it is.
    Unchanged,
    /// The header is to have this value.
    Rest(Rest),
    /// Nothing is left: the header is to be taken out.
    Nothing,
}

/// A value that is in the making.
pub(super) type Rest = SmallVec<[u8; 512]>;

/// Takes all cookies whose name `is_one` out of the value of a `Cookie` header, malformed ones too, and leaves the others
/// as they are, byte for byte, with the separators between them. It allocates only if much is left.
///
/// A semicolon ends a cookie even in quotes, as RFC 6265 has it.
pub fn without(header: &[u8], is_one: impl Fn(&[u8]) -> bool) -> Stripped {
    let is_named = |cookie: &[u8]| is_one(split(cookie).0);
    if !cookies(header).any(is_named) {
        return Stripped::Unchanged;
    }
    let mut rest = SmallVec::new();
    for cookie in cookies(header).filter(|cookie| !is_named(cookie)) {
        if rest.is_empty() {
            // The space in front of it belonged to a separator that is gone.
            rest.extend_from_slice(cookie.trim_ascii_start());
        } else {
            rest.push(b';');
            rest.extend_from_slice(cookie);
        }
    }
    let is_blank = rest.iter().all(|byte| matches!(byte, b' ' | b'\t' | b';'));
    if is_blank { Stripped::Nothing } else { Stripped::Rest(rest) }
}

/// The value of a cookie if it is called `name`, and is one.
fn value<'h>(cookie: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let (found, value) = split(cookie);
    if found != name {
        return None;
    }
    let unquoted = value.strip_prefix(b"\"").map_or(Some(value), |value| value.strip_suffix(b"\""))?;
    unquoted.iter().all(is_octet).then_some(unquoted)
}

/// Name and value, without the space around them.
fn split(cookie: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b'=', cookie).unwrap_or(cookie.len());
    let (name, value) = cookie.split_at(at);
    (name.trim_ascii(), value.strip_prefix(b"=").unwrap_or_default().trim_ascii())
}

/// What a value may have: `cookie-octet` of RFC 6265, and all that is beyond ASCII.
fn is_octet(byte: &u8) -> bool {
    !matches!(byte, 0..=b' ' | b'"' | b',' | b';' | b'\\' | 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn is_elb(name: &[u8]) -> bool {
        name == b"ELB"
    }

    fn found(headers: &[&str]) -> Vec<String> {
        let headers = headers.iter().map(|header| header.as_bytes());
        values(headers, "ELB").map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn cookies_are_found_as_tomcat_finds_them() {
        for (headers, expected) in [
            (&["ELB=1"] as &[_], &["1"] as &[&str]),
            (&["a=0; ELB=1; b=2"], &["1"]),
            (&["a=0;ELB=1;b=2"], &["1"]),
            (&["\t ELB \t=\t 1 \t; b=2"], &["1"]),
            (&["ELB=1; ELB=2", "ELB=3"], &["1", "2", "3"]),
            (&["ELB=\"1\""], &["1"]),
            (&["ELB=a=b=="], &["a=b=="]),
            (&["ELB=é"], &["é"]),
            (&["ELB", "ELB=", "ELB=\"\""], &["", "", ""]),
            (&["elb=1; XELB=1; ELBX=1; ELB X=1; \"ELB\"=1; =ELB; $ELB=1"], &[]),
            (&["ELB=a b; ELB=a,b; ELB=a\\b; ELB=a\"b; ELB=\"a; ELB=a\"; ELB=\"; ELB=2"], &["2"]),
            (&["", ";", ";;; ;", "; ;ELB=1;;"], &["1"]),
        ] {
            assert_eq!(found(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn only_so_many_cookies_are_looked_at_in_all_headers_together() {
        let filler = "a=1;".repeat(MOST_COOKIES / 2 - 1);
        let (first, last) = (format!("{filler}a=1"), format!("{filler}ELB=1"));
        assert_eq!(found(&[&first, &last]), ["1"]);
        assert_eq!(found(&[&first, "a=1", &last]), [""; 0]);
    }

    #[test]
    fn a_cookie_is_taken_out_and_the_others_stay_as_they_are() {
        let rest = |text: &str| Stripped::Rest(Rest::from_slice(text.as_bytes()));
        for (header, expected) in [
            ("a=1; b=2", Stripped::Unchanged),
            ("xELB=1; ELBx=2; a=ELB; elb=3", Stripped::Unchanged),
            ("", Stripped::Unchanged),
            ("ELB=1", Stripped::Nothing),
            (" ELB = 1 ;", Stripped::Nothing),
            ("ELB=1; ELB=2;\tELB", Stripped::Nothing),
            ("ELB=1; a=1", rest("a=1")),
            ("a=1; ELB=1", rest("a=1")),
            ("a=1; ELB=1; b=2", rest("a=1; b=2")),
            ("a=1;ELB=1;b=2", rest("a=1;b=2")),
            ("a=1 ;ELB=1,x ;  b=\"2\" ;", rest("a=1 ;  b=\"2\" ;")),
            ("ELB=1; a=1; ELB=2; =; ELB", rest("a=1; =")),
            ("ELB=a b; c", rest("c")),
        ] {
            assert_eq!(without(header.as_bytes(), is_elb), expected, "{header:?}");
        }
        assert_eq!(
            without(b"ELB=1; a=\xff\x80", is_elb),
            Stripped::Rest(Rest::from_slice(b"a=\xff\x80")),
            "no UTF-8 either"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_of_the_cookie_is_left_and_all_of_the_others_is(
            parts in vec(select(vec!["a=1", "ELB=1", " ELB", "\tb = \"2\"", "", " ", "c=ELB=", "=ELB", "é=é"]), 0..12),
        ) {
            let header = parts.join(";");
            let pairs = |header: &[u8]| -> Vec<Vec<u8>> {
                header.split(|&byte| byte == b';').map(|part| part.trim_ascii().to_vec())
                    .filter(|part| !part.is_empty()).collect()
            };
            let kept: Vec<_> = pairs(header.as_bytes()).into_iter().filter(|part| split(part).0 != b"ELB").collect();
            match without(header.as_bytes(), is_elb) {
                Stripped::Unchanged => prop_assert_eq!(kept, pairs(header.as_bytes())),
                Stripped::Nothing => prop_assert!(kept.is_empty()),
                Stripped::Rest(rest) => {
                    prop_assert!(!kept.is_empty());
                    prop_assert_eq!(&kept, &pairs(&rest));
                    prop_assert_eq!(without(&rest, is_elb), Stripped::Unchanged);
                }
            }
        }
    }
}
