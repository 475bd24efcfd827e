//! The tenant in a host name: `acme.com.apps.example.com` is for `acme.com` if hosts `*.apps.example.com` are for tenants.

use crate::config::Tenants;

/// Bytes of a name in DNS.
const LONGEST: usize = 255;

/// The host names that name a tenant.
#[derive(Debug, Default)]
pub struct TenantHosts {
    /// What follows `*.`, the longest first.
    suffixes: Vec<Box<str>>,
}

impl TenantHosts {
    /// Those of a cluster.
    pub fn new(tenants: &Tenants) -> Self {
        let mut suffixes: Vec<Box<str>> = tenants.hosts.iter().map(|host| host.as_str().into()).collect();
        suffixes.sort_by_key(|suffix| std::cmp::Reverse(suffix.len()));
        TenantHosts { suffixes }
    }

    /// The tenant that a `Host` header or `:authority` names, with or without port, in the case in which it is written.
    ///
    /// The domain of a tenant has dots of its own, so all labels in front of the suffix are the tenant's. If several
    /// suffixes fit, the longest does. `None` if none fits, or if what stands in front is no domain: letters, digits,
    /// `-` and `_`, in labels that are not empty.
    pub fn tenant<'h>(&self, host: &'h [u8]) -> Option<&'h str> {
        if self.suffixes.is_empty() {
            return None;
        }
        let host = without_port(host);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let tenant = self.suffixes.iter().find_map(|suffix| in_front_of(suffix.as_bytes(), host))?;
        let is_label = |label: &[u8]| !label.is_empty() && label.iter().all(is_letter);
        let is_domain = tenant.len() <= LONGEST && tenant.split(|&byte| byte == b'.').all(is_label);
        std::str::from_utf8(tenant).ok().filter(|_| is_domain)
    }
}

/// What stands in front of `.suffix`.
fn in_front_of<'h>(suffix: &[u8], host: &'h [u8]) -> Option<&'h [u8]> {
    let (front, end) = host.split_at_checked(host.len().checked_sub(suffix.len())?)?;
    front.strip_suffix(b".").filter(|_| end.eq_ignore_ascii_case(suffix))
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) => host.get(..colon).unwrap_or(host),
        None => host,
    }
}

fn is_letter(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant<'h>(hosts: &[&str], host: &'h str) -> Option<&'h str> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        TenantHosts::new(&Tenants { hosts, ..Tenants::default() }).tenant(host.as_bytes())
    }

    #[test]
    fn tenants_are_what_stands_in_front() {
        let hosts = ["example.com", "apps.example.com", "example.org"];
        let long = format!("{}.apps.example.com", "x".repeat(LONGEST + 1));
        for (host, expected) in [
            ("acme.apps.example.com", Some("acme")),
            ("acme.com.apps.example.com", Some("acme.com")),
            ("a-b_c.0.apps.example.com:8243", Some("a-b_c.0")),
            ("acme.apps.example.com.", Some("acme")),
            ("acme.apps.example.com.:80", Some("acme")),
            ("Acme.APPS.Example.com", Some("Acme")),
            ("acme.example.com", Some("acme")),
            ("acme.example.org", Some("acme")),
            ("apps.example.com", Some("apps")), // of the shorter suffix
            ("example.org", None),
            (".example.org", None),
            ("a..example.org", None),
            (".a.example.org", None),
            ("a b.example.org", None),
            ("a/b.example.org", None),
            ("ä.example.org", None),
            ("a:1.example.org", None),
            ("acmeexample.org", None),
            ("acme.example.org.evil.test", None),
            ("192.0.2.1", None),
            ("[2001:db8::1]", None),
            ("[2001:db8::1]:80", None),
            ("", None),
            (":", None),
            (long.as_str(), None),
        ] {
            assert_eq!(tenant(&hosts, host), expected, "{host}");
        }
        assert_eq!(tenant(&[], "acme.example.com"), None);
    }
}
