//! From the host of a request to the cluster it means.

use std::net::Ipv6Addr;

use ahash::AHashMap;

use super::Reason;
use crate::config::HostPattern;

/// More than any name in DNS has.
const LONGEST_HOST: usize = 255;

/// How closely a pattern matches; the greater the closer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// `"*"`.
    Any,
    /// A wildcard with this many bytes written out.
    Suffix(usize),
    /// The very name.
    Exact,
}

/// The hosts of one role, over all clusters. A look-up costs a hash for each label, however many hosts there are.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    names: AHashMap<Box<[u8]>, usize>,
    addresses: AHashMap<Ipv6Addr, usize>,
    suffixes: AHashMap<Box<[u8]>, usize>,
    any: Option<usize>,
}

impl HostTable {
    /// Adds a pattern. The configuration sees to it that none is there twice; if one is, the first stays.
    pub(super) fn insert(&mut self, pattern: &HostPattern, cluster: usize) {
        let key = |name: &str| name.to_ascii_lowercase().into_bytes().into_boxed_slice();
        match pattern {
            HostPattern::Any => _ = self.any.get_or_insert(cluster),
            HostPattern::Suffix(suffix) => _ = self.suffixes.entry(key(suffix)).or_insert(cluster),
            HostPattern::Exact(name) => match name.trim_matches(['[', ']']).parse() {
                Ok(address) => _ = self.addresses.entry(address).or_insert(cluster),
                Err(_) => _ = self.names.entry(key(name)).or_insert(cluster),
            },
        }
    }

    /// The cluster with the pattern that matches `host` most closely: the name itself, then the longest wildcard, then
    /// `"*"`.
    pub(super) fn find(&self, host: &Host) -> Option<(Closeness, usize)> {
        let known = match host {
            Host::Address(address) => self.addresses.get(address).map(|&cluster| (Closeness::Exact, cluster)),
            Host::Name(name) => self.find_name(name.as_bytes()),
        };
        known.or_else(|| self.any.map(|cluster| (Closeness::Any, cluster)))
    }

    fn find_name(&self, name: &[u8]) -> Option<(Closeness, usize)> {
        if let Some(&cluster) = self.names.get(name) {
            return Some((Closeness::Exact, cluster));
        }
        if self.suffixes.is_empty() {
            return None;
        }
        let dots = name.iter().enumerate().filter(|(_, b)| **b == b'.');
        let suffixes = dots.filter_map(|(dot, _)| name.get(dot + 1..));
        suffixes.into_iter().find_map(|s| self.suffixes.get(s).map(|&cluster| (Closeness::Suffix(s.len()), cluster)))
    }
}

/// The host of a request: without port and trailing dot, in lower case.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack for one request; a box would allocate")]
pub(super) enum Host {
    /// A name, or an IPv4 address.
    Name(LowerName),
    /// An IPv6 address; it can be written in several ways.
    Address(Ipv6Addr),
}

/// A name in lower case, on the stack.
#[derive(Debug)]
pub(super) struct LowerName {
    bytes: [u8; LONGEST_HOST],
    len: usize,
}

impl LowerName {
    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Host {
    /// Reads a `Host` header or `:authority`.
    pub(super) fn parse(raw: Option<&[u8]>) -> Result<Self, Reason> {
        let raw = raw.ok_or(Reason::HostMissing)?;
        let host = match raw.strip_prefix(b"[") {
            Some(bracketed) => Host::address(bracketed),
            None => Host::name(raw),
        };
        host.ok_or(Reason::HostInvalid)
    }

    fn address(bracketed: &[u8]) -> Option<Self> {
        let end = bracketed.iter().position(|&b| b == b']')?;
        let (inside, after) = bracketed.split_at(end);
        match after {
            b"]" => {}
            [b']', b':', port @ ..] if is_port(port) => {}
            _ => return None,
        }
        std::str::from_utf8(inside).ok()?.parse().ok().map(Host::Address)
    }

    fn name(raw: &[u8]) -> Option<Self> {
        let name = match raw.iter().position(|&b| b == b':') {
            Some(colon) => {
                let (name, port) = raw.split_at(colon);
                port.get(1..).filter(|port| is_port(port)).map(|_| name)?
            }
            None => raw,
        };
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut bytes = [0; LONGEST_HOST];
        let lower = bytes.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        is_name(lower).then_some(Host::Name(LowerName { bytes, len: name.len() }))
    }
}

fn is_port(port: &[u8]) -> bool {
    matches!(port.len(), 1..=5) && port.iter().all(u8::is_ascii_digit)
}

/// Labels of letters, digits, `-` and `_`, none of them empty.
fn is_name(name: &[u8]) -> bool {
    let in_label = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    name.split(|&b| b == b'.').all(|label| !label.is_empty() && label.iter().all(in_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &[u8]) -> Result<String, Reason> {
        Host::parse(Some(raw)).map(|host| match host {
            Host::Name(name) => String::from_utf8(name.as_bytes().to_vec()).unwrap(),
            Host::Address(address) => address.to_string(),
        })
    }

    #[test]
    fn reads_names_and_addresses() {
        for (raw, host) in [
            ("esb.example.com", "esb.example.com"),
            ("ESB.Example.Com", "esb.example.com"),
            ("esb.example.com.", "esb.example.com"),
            ("esb.example.com:8243", "esb.example.com"),
            ("esb.example.com.:8243", "esb.example.com"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("my_host", "my_host"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]:9443", "::1"),
            ("[2001:DB8::A]", "2001:db8::a"),
        ] {
            assert_eq!(text(raw.as_bytes()).as_deref(), Ok(host), "{raw}");
        }
        assert_eq!(text(&[b'a'; 255]).map(|name| name.len()), Ok(255));
    }

    #[test]
    fn refuses_what_is_no_host() {
        for raw in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a:",
            "a:x",
            "a:123456",
            "a:80:80",
            "a b",
            "a/b",
            "a@b",
            "a,b",
            "a%41",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[::1]:x",
            "[fe80::1%25eth0]",
            "[]",
            "[a]",
            "ä",
            "a\0",
            "a\n",
        ] {
            assert_eq!(text(raw.as_bytes()), Err(Reason::HostInvalid), "{raw:?}");
        }
        assert_eq!(text(&[b'a'; 256]), Err(Reason::HostInvalid));
        assert_eq!(text(&[0xff]), Err(Reason::HostInvalid));
        assert_eq!(Host::parse(None).err(), Some(Reason::HostMissing));
    }

    #[test]
    fn the_closest_pattern_wins() {
        let mut table = HostTable::default();
        let suffix = |s: &str| HostPattern::Suffix(s.to_owned());
        let exact = |s: &str| HostPattern::Exact(s.to_owned());
        for (cluster, pattern) in
            [suffix("example.com"), suffix("esb.example.com"), exact("esb.example.com"), exact("::1")]
                .iter()
                .enumerate()
        {
            table.insert(pattern, cluster);
        }
        let find = |table: &HostTable, raw: &str| table.find(&Host::parse(Some(raw.as_bytes())).unwrap());
        for (raw, found) in [
            ("esb.example.com", Some((Closeness::Exact, 2))),
            ("a.esb.example.com", Some((Closeness::Suffix(15), 1))),
            ("a.b.esb.example.com", Some((Closeness::Suffix(15), 1))),
            ("other.example.com", Some((Closeness::Suffix(11), 0))),
            ("example.com", None),       // a wildcard needs a label before it
            ("evilexample.com", None),   // and that label ends with a dot
            ("esb.example.com.x", None), // nothing matches by prefix either
            ("[::1]", Some((Closeness::Exact, 3))),
            ("[::2]", None),
        ] {
            assert_eq!(find(&table, raw), found, "{raw}");
        }
        table.insert(&HostPattern::Any, 9);
        assert_eq!(find(&table, "example.com"), Some((Closeness::Any, 9)));
        assert_eq!(find(&table, "[::2]:80"), Some((Closeness::Any, 9)));
        assert_eq!(find(&table, "esb.example.com"), Some((Closeness::Exact, 2)));
    }
}
