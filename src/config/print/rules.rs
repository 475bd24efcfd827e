//! `rules`.

use serde_yaml::Value;

use super::{map, some, text};
use crate::config::checked::{BodyLimit, RateKey, RateLimit, Rule};
use crate::config::units::print_size;

pub(super) fn print(rule: &Rule) -> Value {
    let body = rule.body.map(|limit| match limit {
        BodyLimit::Off => text("off"),
        BodyLimit::Bytes(bytes) => text(print_size(bytes)),
    });
    some([
        ("listener", rule.listener.as_ref().map(text)),
        ("cluster", rule.cluster.as_ref().map(text)),
        ("role", rule.role.map(text)),
        ("path", rule.path.as_ref().map(text)),
        ("body", body),
        ("rate", rule.rate.as_ref().map(rate)),
        ("per", rule.rate.as_ref().map(per)),
    ])
}

fn rate(limit: &RateLimit) -> Value {
    let unit = match limit.window.as_secs() {
        1 => "s",
        60 => "m",
        _ => "h",
    };
    text(format!("{}/{unit}", limit.requests))
}

fn per(limit: &RateLimit) -> Value {
    match &limit.per {
        RateKey::Client => text("client"),
        RateKey::Tenant => text("tenant"),
        RateKey::All => text("all"),
        RateKey::Header(name) => map([("header", text(name))]),
    }
}
