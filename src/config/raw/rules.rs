//! The mirror of `rules` and of `clusters.*.access`.

use std::time::Duration;

use ipnet::IpNet;

use super::listener::MOST_BYTES;
use super::networks;
use crate::config::checked::{BodyLimit, RateKey};
use crate::config::decode::{Field, Fields, Items, wrong_type};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::{Node, Value};
use crate::config::values::{
    HEADER_RULE, PATH_RULE, RATE_RULE, header_name, name, or_off, parsed, path, rate, size, word,
};
use crate::ids::{Name, Role};

/// A section under `rules`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawRule {
    pub(crate) listener: Field<Name>,
    pub(crate) cluster: Field<Name>,
    pub(crate) role: Field<Role>,
    pub(crate) path: Field<String>,
    pub(crate) body: Field<BodyLimit>,
    /// Requests, and in how long.
    pub(crate) rate: Field<(u32, Duration)>,
    pub(crate) per: Field<RateKey>,
}

impl RawRule {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const ROLES: &[(&str, Role)] = &[("worker", Role::Worker), ("manager", Role::Manager)];
        let mut fields = Fields::open(node, at, problems)?;
        let rule = RawRule {
            listener: fields.field("listener", name),
            cluster: fields.field("cluster", name),
            role: fields.field("role", word(ROLES)),
            path: fields.field("path", parsed(PATH_RULE, path)),
            body: fields.field("body", body),
            rate: fields.field("rate", parsed(RATE_RULE, rate)),
            per: fields.field("per", rate_key),
        };
        fields.close();
        Some(rule)
    }
}

fn body(node: &Node, at: &Spot, problems: &mut Problems) -> Option<BodyLimit> {
    let bytes = or_off(size(0..=MOST_BYTES))(node, at, problems)?;
    Some(bytes.map_or(BodyLimit::Off, BodyLimit::Bytes))
}

/// `client`, `tenant`, `all`, or a map with a header.
fn rate_key(node: &Node, at: &Spot, problems: &mut Problems) -> Option<RateKey> {
    const ALLOWED: &str = "client, tenant, all, or { header: NAME }";
    match &node.value {
        Value::Scalar(scalar) => match scalar.text.as_str() {
            "client" => Some(RateKey::Client),
            "tenant" => Some(RateKey::Tenant),
            "all" => Some(RateKey::All),
            _ => {
                wrong_type(node, at, ALLOWED, problems);
                None
            }
        },
        Value::Map(_) => {
            let mut fields = Fields::open(node, at, problems)?;
            let header = fields.required("header", HEADER_RULE, parsed(HEADER_RULE, header_name));
            fields.close();
            header.value().cloned().map(RateKey::Header)
        }
        _ => {
            wrong_type(node, at, ALLOWED, problems);
            None
        }
    }
}

/// `clusters.*.access`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAccess {
    worker: Field<RawAllowDeny>,
    manager: Field<RawAllowDeny>,
}

/// `clusters.*.access.*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAllowDeny {
    pub(crate) allow: Field<Items<IpNet>>,
    pub(crate) deny: Field<Items<IpNet>>,
}

impl RawAccess {
    pub(crate) fn of(&self, role: Role) -> &Field<RawAllowDeny> {
        match role {
            Role::Worker => &self.worker,
            Role::Manager => &self.manager,
        }
    }

    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let access = RawAccess {
            worker: fields.field("worker", RawAllowDeny::read),
            manager: fields.field("manager", RawAllowDeny::read),
        };
        fields.close();
        Some(access)
    }
}

impl RawAllowDeny {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let lists = RawAllowDeny { allow: fields.field("allow", networks), deny: fields.field("deny", networks) };
        fields.close();
        Some(lists)
    }
}
