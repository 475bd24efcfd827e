//! Addresses to listen on.

use std::net::{IpAddr, SocketAddr};

use super::{Context, tokens};
use crate::config::checked::Admin;
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{RawConfig, entries};

/// `admin`, with its warnings.
pub(super) fn admin(raw: &RawConfig, context: &Context<'_>, problems: &mut Problems) -> Admin {
    let section = raw.admin.or_empty();
    let allow = section.allow.given().map(|allow| allow.value.values()).unwrap_or_default();
    let tokens = tokens::check(raw, &section, context, problems);
    let Some(bind) = section.bind.given() else { return Admin { allow, tokens, ..Admin::default() } };
    for item in bind.value.items.iter().filter(|item| !is_loopback(&item.value)) {
        let address = item.value;
        if allow.is_empty() {
            let what = format!(
                "without allow, {address} tells everybody whether it is healthy, and only this machine metrics"
            );
            problems.warning(&item.at, what);
        }
        if !tokens.is_empty() {
            problems.warning(&item.at, format!("tokens cross the network in clear text at {address}"));
        }
    }
    Admin { bind: bind.value.values(), allow, tokens }
}

/// Whether only this machine can connect to the address.
pub(super) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// No address may be asked for twice, not even by way of `0.0.0.0` or `[::]`.
pub(super) fn no_overlap(raw: &RawConfig, admin: &Admin, problems: &mut Problems) {
    let section = raw.admin.or_empty();
    let written = section.bind.given();
    // A bind that was not written has no line of its own; it comes first, and so never is the one that is reported.
    let mut taken: Vec<(SocketAddr, Option<Spot>)> = match written {
        Some(_) => Vec::new(),
        None if section.bind.is_bad() || raw.admin.is_bad() => Vec::new(),
        None => admin.bind.iter().map(|address| (*address, None)).collect(),
    };
    let listeners = entries(&raw.listeners).iter().filter_map(|entry| entry.value.1.bind.given());
    for item in listeners.chain(written).flat_map(|bind| &bind.value.items) {
        if let Some((other, spot)) = taken.iter().find(|(other, _)| overlap(*other, item.value)) {
            let whose = match spot {
                Some(spot) => format!("{other} on line {}", spot.line),
                None => format!("{other}, the default of admin.bind"),
            };
            problems.error(&item.at, format!("{} overlaps {whose}", item.value), "each address and port once");
        }
        taken.push((item.value, Some(item.at.clone())));
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 lets the system choose a free one.
    a.port() == b.port() && a.port() != 0 && ips_overlap(a.ip().to_canonical(), b.ip().to_canonical())
}

fn ips_overlap(a: IpAddr, b: IpAddr) -> bool {
    // [::] takes IPv4 connections too, unless the system is told otherwise.
    let covers = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_if_one_socket_would_refuse_the_other() {
        let cases = [
            ("0.0.0.0:443", "127.0.0.1:443", true),
            ("0.0.0.0:443", "[::]:443", true),
            ("[::]:443", "10.0.0.1:443", true),
            ("[::]:443", "[::1]:443", true),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1:443", true),
            ("10.0.0.1:443", "10.0.0.1:443", true),
            ("0.0.0.0:443", "[::1]:443", false),
            ("10.0.0.1:443", "10.0.0.2:443", false),
            ("0.0.0.0:443", "0.0.0.0:444", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (a, b, expected) in cases {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(overlap(a, b), expected, "{a} {b}");
            assert_eq!(overlap(b, a), expected, "{b} {a}");
        }
    }
}
