//! The mirror of a section under `listeners`.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::{BINDS, ENDPOINTS, USUAL, networks};
use crate::config::checked::{AddressHeader, FrameOptions, ReferrerPolicy, SameSite, Serves};
use crate::config::decode::{Field, Fields, Items, list_or_one, set};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::Node;
use crate::config::units::DAY;
use crate::config::values::{
    BIND_RULE, HIDE_RULE, bind, boolean, duration, file, hideable, number, or_off, parsed, size, word,
};
use crate::ids::{Endpoint, PathMode};

/// The largest body, and anything else that is counted in bytes: 1 TiB.
pub(super) const MOST_BYTES: u64 = 1 << 40;

/// A section under `listeners`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawListener {
    pub(crate) bind: Field<Items<SocketAddr>>,
    pub(crate) role: Field<Serves>,
    pub(crate) endpoint: Field<Endpoint>,
    pub(crate) tls: Field<RawListenerTls>,
    pub(crate) exposes_management: Field<bool>,
    pub(crate) allow: Field<Items<IpNet>>,
    pub(crate) deny: Field<Items<IpNet>>,
    pub(crate) paths: Field<PathMode>,
    pub(crate) proxy_protocol: Field<Items<IpNet>>,
    pub(crate) trusted_proxies: Field<Items<IpNet>>,
    pub(crate) client_address: Field<AddressHeader>,
    pub(crate) timeouts: Field<RawClientTimeouts>,
    pub(crate) limits: Field<RawLimits>,
    pub(crate) response: Field<RawResponse>,
}

impl RawListener {
    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const ROLES: &[(&str, Serves)] =
            &[("worker", Serves::Worker), ("manager", Serves::Manager), ("both", Serves::Both)];
        const MODES: &[(&str, PathMode)] = &[("strict", PathMode::Strict), ("canonicalize", PathMode::Canonicalize)];
        const HEADERS: &[(&str, AddressHeader)] =
            &[("x-forwarded-for", AddressHeader::XForwardedFor), ("forwarded", AddressHeader::Forwarded)];
        let mut fields = Fields::open(node, at, problems)?;
        let listener = RawListener {
            bind: fields.required("bind", BINDS, list_or_one(BINDS, parsed(BIND_RULE, bind))),
            role: fields.required("role", "worker, manager, both", word(ROLES)),
            endpoint: fields.field("endpoint", word(ENDPOINTS)),
            tls: fields.field("tls", RawListenerTls::read),
            exposes_management: fields.field("exposes_management", boolean),
            allow: fields.field("allow", networks),
            deny: fields.field("deny", networks),
            paths: fields.field("paths", word(MODES)),
            proxy_protocol: fields.field("proxy_protocol", networks),
            trusted_proxies: fields.field("trusted_proxies", networks),
            client_address: fields.field("client_address", word(HEADERS)),
            timeouts: fields.field("timeouts", RawClientTimeouts::read),
            limits: fields.field("limits", RawLimits::read),
            response: fields.field("response", RawResponse::read),
        };
        fields.close();
        Some(listener)
    }
}

/// `listeners.*.tls`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawListenerTls {
    pub(crate) certificate: Field<String>,
    pub(crate) key: Field<String>,
}

impl RawListenerTls {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let tls = RawListenerTls {
            certificate: fields.required("certificate", "the path of a PEM file", file),
            key: fields.required("key", "the path of a PEM file", file),
        };
        fields.close();
        Some(tls)
    }
}

/// `listeners.*.timeouts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawClientTimeouts {
    pub(crate) idle: Field<Duration>,
    pub(crate) header: Field<Duration>,
    pub(crate) read: Field<Duration>,
    pub(crate) write: Field<Duration>,
    pub(crate) handshake: Field<Duration>,
}

impl RawClientTimeouts {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let timeouts = RawClientTimeouts {
            idle: fields.field("idle", duration(Duration::from_secs(1)..=DAY)),
            header: fields.field("header", duration(USUAL)),
            read: fields.field("read", duration(USUAL)),
            write: fields.field("write", duration(USUAL)),
            handshake: fields.field("handshake", duration(USUAL)),
        };
        fields.close();
        Some(timeouts)
    }
}

/// `listeners.*.limits`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawLimits {
    pub(crate) target: Field<u64>,
    pub(crate) header: Field<u64>,
    pub(crate) fields: Field<usize>,
    pub(crate) body: Field<Option<u64>>,
    pub(crate) body_rate: Field<Option<u64>>,
    pub(crate) connections: Field<Option<usize>>,
    pub(crate) connections_per_client: Field<Option<usize>>,
    pub(crate) requests: Field<Option<usize>>,
    pub(crate) requests_per_connection: Field<Option<u32>>,
    pub(crate) streams: Field<u32>,
}

impl RawLimits {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        /// The framework reads no more fields than 256, and some are added on the way.
        const FIELDS: std::ops::RangeInclusive<usize> = 8..=200;
        const COUNT: std::ops::RangeInclusive<usize> = 1..=10_000_000;
        let mut fields = Fields::open(node, at, problems)?;
        let limits = RawLimits {
            // A URI of the framework has less than 64 KiB.
            target: fields.field("target", size(256..=60 << 10)),
            header: fields.field("header", size(1 << 10..=512 << 10)),
            fields: fields.field("fields", number(FIELDS)),
            body: fields.field("body", or_off(size(0..=MOST_BYTES))),
            body_rate: fields.field("body_rate", or_off(size(1..=MOST_BYTES))),
            connections: fields.field("connections", or_off(number(COUNT))),
            connections_per_client: fields.field("connections_per_client", or_off(number(COUNT))),
            requests: fields.field("requests", or_off(number(COUNT))),
            requests_per_connection: fields.field("requests_per_connection", or_off(number(1..=1_000_000_000))),
            streams: fields.field("streams", number(1..=10_000)),
        };
        fields.close();
        Some(limits)
    }
}

/// `listeners.*.response`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawResponse {
    pub(crate) hsts: Field<Option<Duration>>,
    pub(crate) nosniff: Field<bool>,
    pub(crate) frame_options: Field<Option<FrameOptions>>,
    pub(crate) referrer_policy: Field<Option<ReferrerPolicy>>,
    pub(crate) hide: Field<Items<String>>,
    pub(crate) cookies: Field<RawCookies>,
}

impl RawResponse {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        /// Two years is what lists of preloaded sites ask for at most.
        const AGE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(730 * 24 * 60 * 60);
        let mut fields = Fields::open(node, at, problems)?;
        let response = RawResponse {
            hsts: fields.field("hsts", or_off(duration(AGE))),
            nosniff: fields.field("nosniff", boolean),
            frame_options: fields.field("frame_options", or_off(word(FrameOptions::WORDS))),
            referrer_policy: fields.field("referrer_policy", or_off(word(ReferrerPolicy::WORDS))),
            hide: fields.field("hide", set("a list of names of headers", parsed(HIDE_RULE, hideable))),
            cookies: fields.field("cookies", RawCookies::read),
        };
        fields.close();
        Some(response)
    }
}

/// `listeners.*.response.cookies`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawCookies {
    pub(crate) secure: Field<bool>,
    pub(crate) same_site: Field<Option<SameSite>>,
}

impl RawCookies {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let cookies = RawCookies {
            secure: fields.field("secure", boolean),
            same_site: fields.field("same_site", or_off(word(SameSite::WORDS))),
        };
        fields.close();
        Some(cookies)
    }
}
