//! For which client a request is, if it comes through an HTTP proxy that is trusted.
//!
//! The header is read from its end, since each proxy adds to it: what a trusted proxy added is believed, and the first
//! address that is no trusted proxy's is the client's. What stands before it came from there, and is not looked at.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use pingora::http::RequestHeader;
use serde::{Serialize, Serializer};

use crate::config::{AddressHeader, Origin};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client, and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; a proxy need not tell it.
    pub port: Option<u16>,
    /// The proxy that told of it, if one did that is trusted.
    pub via: Option<IpAddr>,
}

/// A trusted proxy sent a header that tells no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Client {
    /// The client of a request that came in from `peer`.
    ///
    /// # Errors
    /// `peer` is trusted, and its header cannot be read up to the client's address.
    pub fn of(origin: &Origin, peer: SocketAddr, request: &RequestHeader) -> Result<Self, Unreadable> {
        let direct = Client { ip: peer.ip(), port: Some(peer.port()), via: None };
        if !origin.trusts(peer.ip()) {
            return Ok(direct);
        }
        let mut client = Client { via: Some(peer.ip()), ..direct };
        let name = match origin.client_address {
            AddressHeader::XForwardedFor => &X_FORWARDED_FOR,
            AddressHeader::Forwarded => &FORWARDED,
        };
        for value in request.headers.get_all(name).iter().rev() {
            for element in value.as_bytes().rsplit(|&byte| byte == b',') {
                let (ip, port) = match origin.client_address {
                    AddressHeader::XForwardedFor => address(element.trim_ascii()),
                    AddressHeader::Forwarded => forwarded_for(element).and_then(address),
                }
                .ok_or(Unreadable)?;
                client = Client { ip, port, ..client };
                if !origin.trusts(ip) {
                    return Ok(client);
                }
            }
        }
        Ok(client)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4711`.
fn address(text: &[u8]) -> Option<(IpAddr, Option<u16>)> {
    let text = std::str::from_utf8(text).ok()?;
    let (ip, port) = match text.parse::<IpAddr>() {
        Ok(ip) => (ip, None),
        Err(_) => match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            Some(inside) => (IpAddr::V6(inside.parse().ok()?), None),
            None => text.parse::<SocketAddr>().map(|address| (address.ip(), Some(address.port()))).ok()?,
        },
    };
    Some((ip.to_canonical(), port))
}

/// The value of `for` in an element of `Forwarded` (RFC 7239, 4). A comma within quotes would cut the element apart, and
/// then it cannot be read: no address has one.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    for pair in element.split(|&byte| byte == b';') {
        let mut parts = pair.splitn(2, |&byte| byte == b'=').map(<[u8]>::trim_ascii);
        let (name, value) = (parts.next()?, parts.next()?);
        let value = match value {
            [b'"', inside @ .., b'"'] if !inside.contains(&b'"') => inside,
            value if value.contains(&b'"') => return None,
            value => value,
        };
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: AddressHeader, peer: &str, values: &[&str]) -> Result<String, Unreadable> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let origin = Origin { trusted_proxies: trusted.into(), client_address: header, ..Origin::default() };
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        // The other header is the client's own, and must not be believed.
        let (name, other) = match header {
            AddressHeader::XForwardedFor => ("X-Forwarded-For", "Forwarded"),
            AddressHeader::Forwarded => ("Forwarded", "X-Forwarded-For"),
        };
        request.append_header(other, "for=203.0.113.66").unwrap();
        values.iter().for_each(|value| _ = request.append_header(name, *value).unwrap());
        let client = Client::of(&origin, peer.parse().unwrap(), &request)?;
        Ok(format!("{client}{}", client.via.map(|via| format!(" via {via}")).unwrap_or_default()))
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_clients() {
        for (peer, values, expected) in [
            ("192.0.2.1:99", vec!["203.0.113.1"], Ok("192.0.2.1:99")), // not trusted, not believed
            ("10.0.0.1:99", vec![], Ok("10.0.0.1:99 via 10.0.0.1")),   // the proxy's own request
            ("10.0.0.1:99", vec!["203.0.113.1"], Ok("203.0.113.1 via 10.0.0.1")),
            ("10.0.0.1:99", vec!["203.0.113.1:4711"], Ok("203.0.113.1:4711 via 10.0.0.1")),
            ("10.0.0.1:99", vec!["198.51.100.1, 203.0.113.1 , 10.0.0.2"], Ok("203.0.113.1 via 10.0.0.1")),
            ("10.0.0.1:99", vec!["198.51.100.1", "203.0.113.1", "10.0.0.2"], Ok("203.0.113.1 via 10.0.0.1")),
            ("10.0.0.1:99", vec!["garbage, 203.0.113.1"], Ok("203.0.113.1 via 10.0.0.1")), // the client's garbage
            ("10.0.0.1:99", vec!["10.0.0.3, 10.0.0.2"], Ok("10.0.0.3 via 10.0.0.1")),      // an inner client
            ("[fd00::1]:99", vec!["2001:db8::1"], Ok("2001:db8::1 via fd00::1")),
            ("[fd00::1]:99", vec!["[2001:db8::1]:4711"], Ok("[2001:db8::1]:4711 via fd00::1")),
            ("10.0.0.1:99", vec!["::ffff:203.0.113.1"], Ok("203.0.113.1 via 10.0.0.1")),
            ("10.0.0.1:99", vec!["203.0.113.1, garbage"], Err(Unreadable)),
            ("10.0.0.1:99", vec!["unknown"], Err(Unreadable)),
            ("10.0.0.1:99", vec![""], Err(Unreadable)),
            ("10.0.0.1:99", vec!["203.0.113.1,"], Err(Unreadable)),
            ("10.0.0.1:99", vec!["203.0.113.300"], Err(Unreadable)),
        ] {
            let found = client(AddressHeader::XForwardedFor, peer, &values);
            assert_eq!(found.as_deref(), expected.as_deref(), "{peer} {values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_its_standard_has_it() {
        for (values, expected) in [
            (vec!["for=203.0.113.1"], Ok("203.0.113.1 via 10.0.0.1")),
            (vec!["proto=https;For=\"203.0.113.1:4711\" ; by=10.0.0.1"], Ok("203.0.113.1:4711 via 10.0.0.1")),
            (vec!["for=198.51.100.1, for=\"[2001:db8::1]\";proto=http"], Ok("2001:db8::1 via 10.0.0.1")),
            (vec!["for=\"[2001:db8::1]:4711\"", "for=10.0.0.2"], Ok("[2001:db8::1]:4711 via 10.0.0.1")),
            (vec!["proto=https"], Err(Unreadable)),
            (vec!["for=unknown"], Err(Unreadable)),
            (vec!["for=_hidden"], Err(Unreadable)),
            (vec!["for=203.0.113.1;for=203.0.113.2"], Err(Unreadable)),
            (vec!["for=\"203.0.113.1"], Err(Unreadable)),
            (vec!["for"], Err(Unreadable)),
            (vec!["for=203.0.113.1;by=\"a,b\""], Err(Unreadable)),
        ] {
            let found = client(AddressHeader::Forwarded, "10.0.0.1:99", &values);
            assert_eq!(found.as_deref(), expected.as_deref(), "{values:?}");
        }
    }
}
