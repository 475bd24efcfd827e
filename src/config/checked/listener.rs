//! The checked form of a section under `listeners`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::ids::{Endpoint, ListenerName, PathMode, Role};

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Listener {
    /// Key under `listeners`.
    pub name: ListenerName,
    /// At least one; no other listener has one of them.
    pub bind: Vec<SocketAddr>,
    /// Whose pools the listener leads to.
    pub serves: Serves,
    /// Which port of the nodes the requests go to.
    pub endpoint: Endpoint,
    /// Certificate and key, or `None` for clear text.
    pub tls: Option<ListenerTls>,
    /// Clients that may use the listener.
    pub access: Access,
    /// What becomes of a path that two readers could understand differently.
    pub paths: PathMode,
    /// Who tells for which client a connection or a request is.
    pub origin: Origin,
    /// How long the listener waits for a client.
    pub timeouts: ClientTimeouts,
    /// How much a client may ask for.
    pub limits: ClientLimits,
    /// What is added to and taken from the answers of nodes.
    pub response: ResponseSettings,
}

/// Whose pools a listener leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Workers only: the public side.
    Worker,
    /// Managers only: the internal side.
    Manager,
    /// Both, which the operator had to confirm with `exposes_management: true`.
    Both,
}

impl Serves {
    /// Whether requests of `role` may come in here.
    pub const fn includes(self, role: Role) -> bool {
        matches!((self, role), (Serves::Both, _) | (Serves::Worker, Role::Worker) | (Serves::Manager, Role::Manager))
    }
}

/// PEM files that a listener identifies itself with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListenerTls {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Which addresses are let in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Access {
    /// Empty means everybody.
    pub allow: Vec<IpNet>,
    /// Wins over `allow`.
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether `address` is let in.
    pub fn admits(&self, address: IpAddr) -> bool {
        let has = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !has(&self.deny) && (self.allow.is_empty() || has(&self.allow))
    }
}

/// Who tells for which client a connection or a request is. Without either, the socket does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Origin {
    /// Load balancers whose connections begin with a PROXY protocol header. If there are any, nobody else may connect,
    /// and each connection must begin with one.
    pub proxy_protocol: Vec<IpNet>,
    /// HTTP proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they tell the client's address.
    pub client_address: AddressHeader,
}

impl Origin {
    /// Whether `address` is an HTTP proxy that is believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// The header in which a trusted proxy tells the address of its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How long a listener waits for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientTimeouts {
    /// A connection without a request is closed after this time.
    pub idle: Duration,
    /// For a whole header, from its first byte on.
    pub header: Duration,
    /// The longest pause between two reads of a request's body.
    pub read: Duration,
    /// The longest pause between two writes of a response.
    pub write: Duration,
    /// For a TLS handshake, and for a PROXY protocol header.
    pub handshake: Duration,
}

/// How much a client may ask for. `None`: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Bytes of a request's target (path and query).
    pub target: usize,
    /// Bytes of a header, the request line included.
    pub header: usize,
    /// Fields of a header.
    pub fields: usize,
    /// Bytes of a body.
    pub body: Option<u64>,
    /// Bytes a second that a client must send of a body, after some grace.
    pub body_rate: Option<u64>,
    /// Open connections.
    pub connections: Option<usize>,
    /// Open connections of one client: an IPv4 address, or a /64 network of IPv6.
    pub connections_per_client: Option<usize>,
    /// Requests that are not yet answered.
    pub requests: Option<usize>,
    /// Requests on one connection before it is closed.
    pub requests_per_connection: Option<u32>,
    /// Requests at a time on one HTTP/2 connection.
    pub streams: u32,
}

/// What is added to and taken from the answers of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ResponseSettings {
    /// The age in `Strict-Transport-Security`; sent to clients that came over TLS.
    pub hsts: Option<Duration>,
    /// `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// `X-Frame-Options`.
    pub frame_options: Option<FrameOptions>,
    /// `Referrer-Policy`.
    pub referrer_policy: Option<ReferrerPolicy>,
    /// Names of headers that clients do not get, in lower case.
    pub hide: Vec<String>,
    /// What cookies of managers get, for clients that came over TLS.
    pub cookies: CookieSettings,
}

/// What cookies get that the node did not give them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CookieSettings {
    /// `Secure`.
    pub secure: bool,
    /// `SameSite`.
    pub same_site: Option<SameSite>,
}

/// Declares an enumeration of words that stand in a header, and in lower case in the configuration.
macro_rules! header_words {
    ($(#[$doc:meta])+ $name:ident { $($(#[$variant_doc:meta])+ $variant:ident = $word:literal, $header:literal;)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name { $($(#[$variant_doc])+ $variant,)+ }

        impl $name {
            /// Each with the word that the configuration has for it.
            pub(crate) const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant),)+];

            /// The word in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// The value of the header or attribute.
            pub const fn in_header(self) -> &'static str {
                match self { $($name::$variant => $header,)+ }
            }
        }
    };
}

header_words! {
    /// Which pages may show an answer in a frame.
    FrameOptions {
        /// None.
        Deny = "deny", "DENY";
        /// Those of the same site.
        SameOrigin = "sameorigin", "SAMEORIGIN";
    }
}

header_words! {
    /// How much of a page's address its links tell.
    ReferrerPolicy {
        /// Nothing.
        NoReferrer = "no-referrer", "no-referrer";
        /// All of it, to the same site only.
        SameOrigin = "same-origin", "same-origin";
        /// The site, and nothing from TLS to clear text.
        StrictOrigin = "strict-origin", "strict-origin";
        /// All of it to the same site, the site to others.
        StrictOriginWhenCrossOrigin = "strict-origin-when-cross-origin", "strict-origin-when-cross-origin";
    }
}

header_words! {
    /// With which requests a browser sends a cookie.
    SameSite {
        /// Those that begin on the site itself, and links to it.
        Lax = "lax", "Lax";
        /// Those that begin on the site itself.
        Strict = "strict", "Strict";
        /// All; browsers want `Secure` with it.
        None = "none", "None";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_over_allow() {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        for (allow, deny, admitted, refused) in [
            (vec![], vec![], vec!["192.0.2.1", "2001:db8::1"], vec![]),
            (vec!["192.0.2.0/24"], vec![], vec!["192.0.2.1"], vec!["198.51.100.1", "2001:db8::1"]),
            (vec![], vec!["192.0.2.0/24"], vec!["198.51.100.1", "2001:db8::1"], vec!["192.0.2.1"]),
            (vec!["192.0.2.0/24"], vec!["192.0.2.7/32"], vec!["192.0.2.1"], vec!["192.0.2.7"]),
        ] {
            let access = Access { allow: networks(&allow), deny: networks(&deny) };
            assert_eq!(access.is_open(), allow.is_empty() && deny.is_empty());
            assert!(admitted.iter().all(|ip| access.admits(ip.parse().unwrap())), "{access:?}");
            assert!(!refused.iter().any(|ip: &&str| access.admits(ip.parse().unwrap())), "{access:?}");
        }
    }
}
