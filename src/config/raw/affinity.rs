//! The mirror of what keeps a session, or a part of a request, on a member; and of the keys of its cookies.

use std::time::Duration;

use crate::config::checked::{HashKey, SameSite, Secret, Secure};
use crate::config::decode::{Field, Fields, Items, list_or_one, wrong_type};
use crate::config::problem::{Problems, Spot};
use crate::config::secrets::{KEY, variable};
use crate::config::tree::{Node, Value};
use crate::config::values::{
    COOKIE_PATH_RULE, COOKIE_RULE, HEADER_RULE, cookie_name, cookie_path, duration, file, header_name, number, or_off,
    parsed, percent, word,
};

/// `clusters.*.pools.*.hash`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawHash {
    pub(crate) by: Field<HashKey>,
    pub(crate) bound: Field<u16>,
}

impl RawHash {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let hash = RawHash { by: fields.field("by", hash_key), bound: fields.field("bound", percent(101..=1000)) };
        fields.close();
        Some(hash)
    }
}

/// `client`, `tenant`, or a map with one key.
fn hash_key(node: &Node, at: &Spot, problems: &mut Problems) -> Option<HashKey> {
    const ALLOWED: &str = "client, tenant, { header: NAME }, { cookie: NAME } or { path_segment: N }";
    /// Deeper paths are rare, and each segment is a step of a search.
    const SEGMENT: std::ops::RangeInclusive<usize> = 1..=32;
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "client" => Some(HashKey::Client),
        Value::Scalar(scalar) if scalar.text == "tenant" => Some(HashKey::Tenant),
        Value::Map(_) => {
            let mut fields = Fields::open(node, at, problems)?;
            let header = fields.field("header", parsed(HEADER_RULE, header_name));
            let cookie = fields.field("cookie", parsed(COOKIE_RULE, cookie_name));
            let segment = fields.field("path_segment", number(SEGMENT));
            fields.close();
            let keys = [
                header.value().cloned().map(HashKey::Header),
                cookie.value().cloned().map(HashKey::Cookie),
                segment.value().copied().map(HashKey::PathSegment),
            ];
            only_one(node, at, ALLOWED, problems)?;
            keys.into_iter().flatten().next()
        }
        _ => {
            wrong_type(node, at, ALLOWED, problems);
            None
        }
    }
}

/// Reports a map that has not exactly one key.
fn only_one(node: &Node, at: &Spot, allowed: &str, problems: &mut Problems) -> Option<()> {
    let Value::Map(entries) = &node.value else { return Some(()) };
    let what = match entries.len() {
        0 => "found an empty map",
        1 => return Some(()),
        _ => "found a map with more than one key",
    };
    problems.error(at, what, allowed);
    None
}

/// `clusters.*.pools.*.affinity`.
#[derive(Debug, Clone)]
pub(crate) enum RawAffinity {
    Off,
    Cookie(Box<RawAffinityCookie>),
    Route { cookie: Field<String> },
    Hash(HashKey),
}

impl RawAffinity {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const ALLOWED: &str = "off, cookie, route, or a map with one of cookie, route, hash";
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "off" => Some(RawAffinity::Off),
            Value::Scalar(scalar) if scalar.text == "cookie" => Some(RawAffinity::Cookie(Box::default())),
            Value::Scalar(scalar) if scalar.text == "route" => Some(RawAffinity::Route { cookie: Field::Absent }),
            Value::Map(_) => {
                let mut fields = Fields::open(node, at, problems)?;
                let cookie = fields.field("cookie", RawAffinityCookie::read);
                let route = fields.field("route", route);
                let hash = fields.field("hash", hash_key);
                fields.close();
                let ways = [
                    cookie.value().cloned().map(|cookie| RawAffinity::Cookie(Box::new(cookie))),
                    route.value().cloned().map(|cookie| RawAffinity::Route { cookie }),
                    hash.value().cloned().map(RawAffinity::Hash),
                ];
                only_one(node, at, ALLOWED, problems)?;
                ways.into_iter().flatten().next()
            }
            _ => {
                wrong_type(node, at, ALLOWED, problems);
                None
            }
        }
    }
}

/// The cookie whose value ends with the route.
fn route(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Field<String>> {
    let mut fields = Fields::open(node, at, problems)?;
    let cookie = fields.field("cookie", parsed(COOKIE_RULE, cookie_name));
    fields.close();
    Some(cookie)
}

/// `clusters.*.pools.*.affinity.cookie`. An inner `None`: no `SameSite`, or as long as the browser runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAffinityCookie {
    pub(crate) name: Field<String>,
    pub(crate) path: Field<String>,
    pub(crate) secure: Field<Secure>,
    pub(crate) same_site: Field<Option<SameSite>>,
    pub(crate) lifetime: Field<Option<Duration>>,
}

impl RawAffinityCookie {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const SECURE: &[(&str, Secure)] =
            &[("auto", Secure::Auto), ("always", Secure::Always), ("never", Secure::Never)];
        let mut fields = Fields::open(node, at, problems)?;
        let cookie = RawAffinityCookie {
            name: fields.field("name", parsed(COOKIE_RULE, cookie_name)),
            path: fields.field("path", parsed(COOKIE_PATH_RULE, cookie_path)),
            secure: fields.field("secure", word(SECURE)),
            same_site: fields.field("same_site", or_off(word(SameSite::WORDS))),
            lifetime: fields.field("lifetime", lifetime),
        };
        fields.close();
        Some(cookie)
    }
}

fn lifetime(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Option<Duration>> {
    /// Browsers keep no cookie for longer than 400 days; `Max-Age` counts in seconds.
    const AGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(400 * 24 * 60 * 60);
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "session" => Some(None),
        _ => duration(AGE)(node, at, problems).map(Some),
    }
}

/// `affinity`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAffinityKeys {
    pub(crate) keys: Field<Items<Secret>>,
    pub(crate) key_file: Field<String>,
}

impl RawAffinityKeys {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let keys = RawAffinityKeys {
            keys: fields.field("keys", list_or_one("a list of keys", variable(&KEY))),
            key_file: fields.field("key_file", file),
        };
        fields.close();
        Some(keys)
    }
}
