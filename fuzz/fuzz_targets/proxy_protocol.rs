//! The PROXY protocol: nothing panics, what is complete stays so whatever follows, what is invalid stays so too, and a
//! header that is written by hand from the specification says the same.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use carbon_elb::edge::proxy_protocol::{Parsed, parse};
use libfuzzer_sys::fuzz_target;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    let decided =
        (0..received.len()).map(|end| (end, parse(&received[..end]))).find(|(_, early)| *early != Parsed::Partial);
    if let Some((end, early)) = decided {
        assert_eq!(early, whole, "{end} of {} bytes say something else", received.len());
    }
    let Parsed::Complete { client, len } = whole else { return };
    assert!(len <= received.len() && decided_at(received) == len, "{len} of {} bytes", received.len());
    let header = &received[..len];
    let expected = if header.starts_with(SIGNATURE) { version_2(header) } else { version_1(header) };
    let expected = expected.unwrap_or_else(|| panic!("accepted: {}", header.escape_ascii()));
    assert_eq!(client, expected, "{}", header.escape_ascii());
});

/// The first length at which something is known.
fn decided_at(received: &[u8]) -> usize {
    (0..=received.len()).find(|&end| parse(&received[..end]) != Parsed::Partial).unwrap_or(usize::MAX)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT` and a line end; `None` if it is not.
fn version_1(header: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(header.strip_suffix(b"\r\n")?).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let ("PROXY", family) = (*words.first()?, *words.get(1)?) else { return None };
    if family == "UNKNOWN" {
        return Some(None);
    }
    let [_, _, source, destination, source_port, destination_port] = words[..] else { return None };
    let is_of_family = |ip: &IpAddr| ip.is_ipv4() == (family == "TCP4");
    let source: IpAddr = source.parse().ok().filter(is_of_family)?;
    let _: IpAddr = destination.parse().ok().filter(is_of_family)?;
    let _: u16 = destination_port.parse().ok()?;
    matches!(family, "TCP4" | "TCP6").then_some(())?;
    Some(Some(SocketAddr::new(source.to_canonical(), source_port.parse().ok()?)))
}

/// Signature, version and command, family and transport, length, addresses.
fn version_2(header: &[u8]) -> Option<Option<SocketAddr>> {
    let (fixed, rest) = header.split_at_checked(16)?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest.len() != length || fixed[12] >> 4 != 2 {
        return None;
    }
    match (fixed[12] & 0xf, fixed[13] >> 4) {
        (0, _) => Some(None),
        (1, 1) => {
            let octets: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            Some(Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port(rest, 8)?)))
        }
        (1, 2) => {
            let octets: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            Some(Some(SocketAddr::new(IpAddr::from(Ipv6Addr::from(octets)).to_canonical(), port(rest, 32)?)))
        }
        _ => None,
    }
}

fn port(addresses: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(addresses.get(at..at + 2)?.try_into().ok()?))
}
