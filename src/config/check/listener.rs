//! Rules for a section under `listeners`.

use std::time::Duration;

use super::Context;
use super::binds::is_loopback;
use crate::config::checked::{ClientTimeouts, Listener, ListenerTls, Serves};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawClientTimeouts, RawConfig, RawListener, RawListenerTls};
use crate::ids::{Endpoint, Name};

/// There must be a listener.
pub(super) fn some(raw: &RawConfig, problems: &mut Problems) {
    if let Some(At { at, value: Items { items, complete: true } }) = raw.listeners.given()
        && items.is_empty()
    {
        problems.error(at, "no listeners", "at least one listener");
    }
}

/// By [`Endpoint::index`]: whether some listener leads there. One that could not be read leads nowhere.
pub(super) fn endpoints_led_to(raw: &RawConfig) -> [bool; 2] {
    let listeners = super::entries(&raw.listeners);
    Endpoint::ALL.map(|endpoint| {
        listeners.iter().any(|entry| entry.value.1.endpoint.known_or(Endpoint::Servlet) == Some(endpoint))
    })
}

pub(super) fn check(entry: &At<(Name, RawListener)>, context: &Context<'_>, problems: &mut Problems) -> Listener {
    let (name, raw) = &entry.value;
    if let Some(At { at, value: Items { items, complete: true } }) = raw.bind.given()
        && items.is_empty()
    {
        problems.error(at, "no addresses", "at least one address with port");
    }
    exposure(raw, &entry.at, problems);
    Listener {
        name: name.clone(),
        bind: raw.bind.given().map(|bind| bind.value.values()).unwrap_or_default(),
        serves: raw.role.or(Serves::Worker),
        endpoint: raw.endpoint.or(Endpoint::Servlet),
        tls: tls(&raw.tls, context, problems),
        allow: raw.allow.given().map(|allow| allow.value.values()).unwrap_or_default(),
        timeouts: timeouts(&raw.timeouts.or_empty()),
    }
}

/// Management must not be opened by accident.
fn exposure(raw: &RawListener, at: &Spot, problems: &mut Problems) {
    let Some(role) = raw.role.given() else { return };
    match (role.value, &raw.exposes_management) {
        (_, Field::Bad) | (Serves::Both, Field::Given(At { value: true, .. })) => {}
        (Serves::Both, _) => {
            let what = "management and services behind one listener";
            problems.error(&role.at, what, "role both only with exposes_management: true");
        }
        (Serves::Worker | Serves::Manager, Field::Given(exposes @ At { value: true, .. })) => {
            problems.error(
                &exposes.at,
                format!("has no effect with role {}", role_text(role.value)),
                "only with role both",
            );
        }
        (Serves::Worker | Serves::Manager, _) => {}
    }
    if role.value == Serves::Worker {
        return;
    }
    let outside = |item: &&At<std::net::SocketAddr>| !is_loopback(&item.value);
    let Some(bind) = raw.bind.given().and_then(|bind| bind.value.items.iter().find(outside)) else { return };
    let open_to_all = raw.allow.absent_or(|allow| allow.items.is_empty() && allow.complete);
    if open_to_all {
        problems.warning(at, format!("management is open to everybody who reaches {}: no allow list", bind.value));
    }
    if matches!(raw.tls, Field::Absent) {
        problems.warning(at, format!("management passwords cross the network in clear text at {}: no tls", bind.value));
    }
}

fn role_text(serves: Serves) -> &'static str {
    match serves {
        Serves::Worker => "worker",
        Serves::Manager => "manager",
        Serves::Both => "both",
    }
}

fn tls(raw: &Field<RawListenerTls>, context: &Context<'_>, problems: &mut Problems) -> Option<ListenerTls> {
    let raw = raw.value()?;
    let certificate = raw.certificate.given().map(|file| context.readable(file, problems));
    let key = raw.key.given().map(|file| context.readable(file, problems));
    Some(ListenerTls { certificate: certificate?, key: key? })
}

fn timeouts(raw: &RawClientTimeouts) -> ClientTimeouts {
    ClientTimeouts {
        idle: raw.idle.or(Duration::from_secs(75)),
        read: raw.read.or(Duration::from_secs(60)),
        write: raw.write.or(Duration::from_secs(60)),
    }
}
