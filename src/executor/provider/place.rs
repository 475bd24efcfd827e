//! Where an instance is, as a command says it.

use std::net::{IpAddr, SocketAddr};

use crate::executor::world::Place;
use crate::ids::Endpoint;

/// Reads `ADDRESS`, `ADDRESS:PORT` (of both endpoints), or `ADDRESS servlet=PORT passthrough=PORT` with one or both of them.
/// What is not said is as in the cluster. Names are not taken: what they stand for may change.
pub(super) fn parse_place(text: &str) -> Option<Place> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let mut place = match first.parse::<IpAddr>() {
        Ok(address) => Place { address, ports: [None; 2] },
        Err(_) => {
            let address: SocketAddr = first.parse().ok()?;
            Place { address: address.ip(), ports: [Some(real(address.port())?); 2] }
        }
    };
    for word in words {
        let (name, port) = word.split_once('=')?;
        let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.as_str() == name)?;
        place.ports[endpoint.index()] = Some(real(port.parse().ok()?)?); // an index below 2
    }
    Some(place)
}

/// Nobody can be reached at port 0.
fn real(port: u16) -> Option<u16> {
    (port > 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (text, expected) in [
            ("10.0.0.5", Some(("10.0.0.5", [None, None]))),
            (" ::1 ", Some(("::1", [None, None]))),
            ("10.0.0.5:9763", Some(("10.0.0.5", [Some(9763), Some(9763)]))),
            ("[::1]:80", Some(("::1", [Some(80), Some(80)]))),
            ("10.0.0.5 servlet=9763", Some(("10.0.0.5", [Some(9763), None]))),
            ("10.0.0.5 passthrough=8280 servlet=9763", Some(("10.0.0.5", [Some(9763), Some(8280)]))),
            ("10.0.0.5:1 passthrough=2", Some(("10.0.0.5", [Some(1), Some(2)]))),
            ("", None),
            ("wk-1", None),
            ("10.0.0.5:0", None),
            ("10.0.0.5 servlet=0", None),
            ("10.0.0.5 servlet", None),
            ("10.0.0.5 admin=1", None),
            ("10.0.0.5 servlet=65536", None),
        ] {
            let expected = expected.map(|(address, ports)| Place { address: address.parse().unwrap(), ports });
            assert_eq!(parse_place(text), expected, "{text}");
        }
    }
}
