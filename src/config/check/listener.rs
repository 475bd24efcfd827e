//! Rules for a section under `listeners`.

use std::time::Duration;

use super::Context;
use super::binds::is_loopback;
use super::rules::access;
use crate::config::checked::{
    AddressHeader, ClientLimits, ClientTimeouts, CookieSettings, Listener, ListenerTls, Origin, ResponseSettings,
    Serves,
};
use crate::config::decode::{At, Field, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{
    RawClientTimeouts, RawConfig, RawCookies, RawLimits, RawListener, RawListenerTls, RawResponse,
};
use crate::ids::{Endpoint, Name, PathMode};

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
        access: access(&raw.allow, &raw.deny),
        paths: raw.paths.or(PathMode::Strict),
        origin: origin(raw, problems),
        timeouts: timeouts(&raw.timeouts.or_empty()),
        limits: limits(&raw.limits.or_empty(), problems),
        response: response(raw, problems),
    }
}

/// Who tells for whom a connection is.
fn origin(raw: &RawListener, problems: &mut Problems) -> Origin {
    if let Some(header) = raw.client_address.given()
        && raw.trusted_proxies.absent_or(|proxies| proxies.items.is_empty() && proxies.complete)
    {
        problems.error(&header.at, "has no effect without trusted_proxies", "only with trusted_proxies");
    }
    for (field, what) in [
        (&raw.trusted_proxies, "everybody can speak for any client"),
        (&raw.proxy_protocol, "everybody can say to be any client"),
    ] {
        let networks = field.value().map_or(&[][..], |networks| &networks.items);
        for network in networks.iter().filter(|network| network.value.prefix_len() == 0) {
            problems.warning(&network.at, format!("{what}: {} is every address", network.value));
        }
    }
    let networks = |field: &Field<Items<ipnet::IpNet>>| field.value().map(Items::values).unwrap_or_default();
    Origin {
        proxy_protocol: networks(&raw.proxy_protocol),
        trusted_proxies: networks(&raw.trusted_proxies),
        client_address: raw.client_address.or(AddressHeader::XForwardedFor),
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
    if raw.allow.absent_or(|allow| allow.items.is_empty() && allow.complete) {
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
        header: raw.header.or(Duration::from_secs(30)),
        read: raw.read.or(Duration::from_secs(60)),
        write: raw.write.or(Duration::from_secs(60)),
        handshake: raw.handshake.or(Duration::from_secs(10)),
    }
}

fn limits(raw: &RawLimits, problems: &mut Problems) -> ClientLimits {
    // The readers' limits fit into any usize.
    let bytes = |field: &Field<u64>, default: usize| {
        field.value().map_or(default, |&bytes| usize::try_from(bytes).unwrap_or(default))
    };
    let limits = ClientLimits {
        // What a login by SAML needs, whose request stands in the query.
        target: bytes(&raw.target, 16 << 10),
        header: bytes(&raw.header, 64 << 10),
        fields: raw.fields.or(100),
        body: raw.body.or(Some(1 << 30)),
        body_rate: raw.body_rate.or(Some(240)),
        connections: raw.connections.or(None),
        connections_per_client: raw.connections_per_client.or(None),
        requests: raw.requests.or(None),
        requests_per_connection: raw.requests_per_connection.or(None),
        streams: raw.streams.or(100),
    };
    if let Some(given) = raw.target.given().or(raw.header.given())
        && !raw.target.is_bad()
        && !raw.header.is_bad()
        && limits.target >= limits.header
    {
        problems.error(&given.at, "a target of that size fits into no header", "target less than header");
    }
    limits
}

fn response(raw: &RawListener, problems: &mut Problems) -> ResponseSettings {
    let never_tls = matches!(raw.tls, Field::Absent)
        && raw.trusted_proxies.absent_or(|proxies| proxies.items.is_empty() && proxies.complete);
    let raw = raw.response.or_empty();
    let cookies = raw.cookies.or_empty();
    if never_tls {
        needs_tls(&raw, &cookies, problems);
    }
    ResponseSettings {
        hsts: raw.hsts.or(None),
        nosniff: raw.nosniff.or(false),
        frame_options: raw.frame_options.or(None),
        referrer_policy: raw.referrer_policy.or(None),
        hide: raw.hide.value().map(Items::values).unwrap_or_default(),
        cookies: CookieSettings { secure: cookies.secure.or(false), same_site: cookies.same_site.or(None) },
    }
}

/// What only clients over TLS get must not be asked for where there are none.
fn needs_tls(response: &RawResponse, cookies: &RawCookies, problems: &mut Problems) {
    let places = [
        response.hsts.given().filter(|hsts| hsts.value.is_some()).map(|given| &given.at),
        cookies.secure.given().filter(|secure| secure.value).map(|given| &given.at),
        cookies.same_site.given().filter(|same_site| same_site.value.is_some()).map(|given| &given.at),
    ];
    for at in places.into_iter().flatten() {
        let allowed = "only on a listener with tls, or behind trusted_proxies that have it";
        problems.error(at, "has no effect on clear text", allowed);
    }
}
