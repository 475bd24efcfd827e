//! `listeners`.

use serde_yaml::Value;

use super::{durations, map, number, or_off, some, text, texts};
use crate::config::checked::{AddressHeader, ClientLimits, Listener, ResponseSettings, Serves};
use crate::config::units::{print_duration, print_size};

pub(super) fn print(listener: &Listener) -> Value {
    let role = match listener.serves {
        Serves::Worker => "worker",
        Serves::Manager => "manager",
        Serves::Both => "both",
    };
    let tls = listener
        .tls
        .as_ref()
        .map(|tls| map([("certificate", text(tls.certificate.display())), ("key", text(tls.key.display()))]));
    let origin = &listener.origin;
    let address = match origin.client_address {
        AddressHeader::XForwardedFor => "x-forwarded-for",
        AddressHeader::Forwarded => "forwarded",
    };
    let timeouts = &listener.timeouts;
    let timeouts = [
        ("idle", timeouts.idle),
        ("header", timeouts.header),
        ("read", timeouts.read),
        ("write", timeouts.write),
        ("handshake", timeouts.handshake),
    ];
    some([
        ("bind", Some(texts(&listener.bind))),
        ("role", Some(text(role))),
        ("endpoint", Some(text(listener.endpoint))),
        ("tls", tls),
        ("exposes_management", Some(Value::Bool(listener.serves == Serves::Both))),
        ("allow", Some(texts(&listener.access.allow))),
        ("deny", Some(texts(&listener.access.deny))),
        ("paths", Some(text(listener.paths.as_str()))),
        ("proxy_protocol", Some(texts(&origin.proxy_protocol))),
        ("trusted_proxies", Some(texts(&origin.trusted_proxies))),
        ("client_address", Some(text(address)).filter(|_| !origin.trusted_proxies.is_empty())),
        ("timeouts", Some(durations(timeouts))),
        ("limits", Some(limits(&listener.limits))),
        ("response", Some(response(&listener.response))),
    ])
}

fn limits(limits: &ClientLimits) -> Value {
    let size = |bytes: u64| text(print_size(bytes));
    // A usize of this program fits into 64 bits.
    let bytes = |bytes: usize| size(u64::try_from(bytes).unwrap_or(u64::MAX));
    map([
        ("target", bytes(limits.target)),
        ("header", bytes(limits.header)),
        ("fields", number(limits.fields)),
        ("body", or_off(limits.body.map(size))),
        ("body_rate", or_off(limits.body_rate.map(size))),
        ("connections", or_off(limits.connections.map(number))),
        ("connections_per_client", or_off(limits.connections_per_client.map(number))),
        ("requests", or_off(limits.requests.map(number))),
        ("requests_per_connection", or_off(limits.requests_per_connection.map(number))),
        ("streams", number(limits.streams)),
    ])
}

fn response(response: &ResponseSettings) -> Value {
    let cookies = &response.cookies;
    map([
        ("hsts", or_off(response.hsts.map(|age| text(print_duration(age))))),
        ("nosniff", Value::Bool(response.nosniff)),
        ("frame_options", or_off(response.frame_options.map(|word| text(word.as_str())))),
        ("referrer_policy", or_off(response.referrer_policy.map(|word| text(word.as_str())))),
        ("hide", texts(&response.hide)),
        (
            "cookies",
            map([
                ("secure", Value::Bool(cookies.secure)),
                ("same_site", or_off(cookies.same_site.map(|word| text(word.as_str())))),
            ]),
        ),
    ])
}
