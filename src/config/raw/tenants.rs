//! The mirror of `clusters.*.tenants`.

use super::protect::IN_FLIGHT;
use crate::config::checked::{HostPattern, TenantPattern};
use crate::config::decode::{Field, Fields, Items, list, set};
use crate::config::problem::{Problems, Spot, quoted};
use crate::config::tree::Node;
use crate::config::values::{host_pattern, name, number, or_off, parsed};
use crate::ids::Name;

const HOST_RULE: &str = "\"*.\" and a host name, such as \"*.apps.example.com\"";
const TENANT_RULE: &str = "\"*\", a domain (example.com), \"*.\" and a domain, the beginning of one and \"*\" \
                           (example-*), a number, or two numbers (1-100)";

/// `clusters.*.tenants`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawTenants {
    /// Each without its `*.`.
    pub(crate) hosts: Field<Items<String>>,
    pub(crate) max_in_flight: Field<Option<usize>>,
    pub(crate) partitions: Field<Items<RawPartition>>,
}

impl RawTenants {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let tenants = RawTenants {
            hosts: fields.field("hosts", set("a list of host names that begin with \"*.\"", parsed(HOST_RULE, host))),
            max_in_flight: fields.field("max_in_flight", or_off(number(IN_FLIGHT))),
            partitions: fields.field("partitions", list("a list of partitions", RawPartition::read)),
        };
        fields.close();
        Some(tenants)
    }
}

/// The part after `*.`.
fn host(text: &str) -> Result<String, String> {
    match host_pattern(text)? {
        HostPattern::Suffix(suffix) => Ok(suffix),
        HostPattern::Any | HostPattern::Exact(_) => {
            Err(format!("{} has no \"*.\" in place of the tenant", quoted(text)))
        }
    }
}

/// An item of `clusters.*.tenants.partitions`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPartition {
    pub(crate) name: Field<Name>,
    pub(crate) tenants: Field<Items<TenantPattern>>,
    pub(crate) nodes: Field<Items<Name>>,
}

impl RawPartition {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let partition = RawPartition {
            name: fields.required("name", "a name, unique in the cluster", name),
            tenants: fields.required(
                "tenants",
                "a list of tenants",
                list("a list of tenants", parsed(TENANT_RULE, tenant)),
            ),
            nodes: fields.required("nodes", "a list of ids of nodes", set("a list of ids of nodes", name)),
        };
        fields.close();
        Some(partition)
    }
}

/// Which tenants an entry of a partition takes.
fn tenant(text: &str) -> Result<TenantPattern, String> {
    let wrong = |why: &str| Err(format!("{} {why}", quoted(text)));
    if text == "*" {
        return Ok(TenantPattern::Any);
    }
    if let Some(range) = range(text) {
        return match range {
            Some((first, last)) if first <= last => Ok(TenantPattern::Range(first, last)),
            Some(_) => wrong("ends before it begins"),
            None => wrong("is out of range"),
        };
    }
    let suffix = text.strip_prefix('*').filter(|rest| rest.starts_with('.'));
    let (part, pattern): (&str, fn(String) -> TenantPattern) = if let Some(suffix) = suffix {
        (suffix, TenantPattern::Suffix)
    } else if let Some(prefix) = text.strip_suffix('*') {
        (prefix, TenantPattern::Prefix)
    } else {
        (text, TenantPattern::Exact)
    };
    if part.contains('*') {
        return wrong("has a '*' that stands neither before a dot nor at the end");
    }
    // What the path of a request can name, see `classify`.
    let character = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'@' | b'+');
    if !(1..=255).contains(&part.len()) || part == "." || !part.bytes().all(character) {
        return wrong("can't be a tenant");
    }
    Ok(pattern(part.to_ascii_lowercase()))
}

/// A number, or two with `-` between them; an inner `None` if one is too large.
fn range(text: &str) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(first) && digits(last)).then(|| Some((first.parse().ok()?, last.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_named_in_six_ways() {
        let long = "x".repeat(256);
        let cases = [
            ("*", Ok("Any")),
            ("Example.com", Ok("Exact(\"example.com\")")),
            ("*.Example.com", Ok("Suffix(\".example.com\")")),
            ("Example-*", Ok("Prefix(\"example-\")")),
            ("10.*", Ok("Prefix(\"10.\")")),
            ("1-100", Ok("Range(1, 100)")),
            ("7", Ok("Range(7, 7)")),
            ("18446744073709551615", Ok("Range(18446744073709551615, 18446744073709551615)")),
            ("1-a", Ok("Exact(\"1-a\")")),
            ("1-2-3", Ok("Exact(\"1-2-3\")")),
            ("18446744073709551616", Err("out of range")),
            ("100-1", Err("ends before it begins")),
            ("", Err("can't be a tenant")),
            ("*.", Err("can't be a tenant")),
            ("a/b", Err("can't be a tenant")),
            ("bücher.example", Err("can't be a tenant")),
            ("**", Err("has a '*'")),
            ("*example.com", Err("has a '*'")),
            ("*.example.*", Err("has a '*'")),
            ("a*b", Err("has a '*'")),
            (&long, Err("can't be a tenant")),
        ];
        for (text, expected) in cases {
            match (tenant(text), expected) {
                (Ok(pattern), Ok(expected)) => assert_eq!(format!("{pattern:?}"), expected, "{text}"),
                (Err(what), Err(expected)) => assert!(what.contains(expected), "{text}: {what}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }
}
