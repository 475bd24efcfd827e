//! The PROXY protocol, versions 1 and 2: a load balancer in front of this one tells for which client a connection is.
//!
//! Source: HAProxy's specification, "The PROXY protocol", versions 1 and 2.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes of the longest header of version 1.
const LONGEST_V1: usize = 107;

/// How a header of version 1 begins.
const LINE: &[u8] = b"PROXY ";
/// How a header of version 2 begins.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2 may hold further fields, of which none are used here.
const LONGEST: usize = 4096;

/// What a header tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The client, or `None` if the connection is the sender's own, such as a health check.
    pub(super) client: Option<SocketAddr>,
    /// What came behind the header.
    pub(super) behind: Vec<u8>,
}

/// What is known after some bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More must come.
    Partial,
    /// A whole header.
    Complete {
        /// The client, if the connection is for one.
        client: Option<SocketAddr>,
        /// Bytes of the header.
        len: usize,
    },
    /// No header, or one that tells nothing usable.
    Invalid,
}

/// Reads the header that must come first.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Told, &'static str> {
    let mut received = Vec::with_capacity(256);
    loop {
        match stream.read_buf(&mut received).await {
            Ok(0) => return Err("proxy_protocol_missing"),
            Ok(_) => {}
            Err(_) => return Err("proxy_protocol_broken_off"),
        }
        match parse(&received) {
            // The header is within what was received.
            Parsed::Complete { client, len } => return Ok(Told { client, behind: received.split_off(len) }),
            Parsed::Partial if received.len() < LONGEST => {}
            Parsed::Partial | Parsed::Invalid => return Err("proxy_protocol_invalid"),
        }
    }
}

/// Reads a header from the first bytes of a connection.
pub fn parse(received: &[u8]) -> Parsed {
    let may_be = |header: &[u8]| header.iter().zip(received).all(|(wanted, byte)| wanted == byte);
    if !may_be(LINE) && !may_be(SIGNATURE) {
        // The library takes `P`, with which `POST` begins as well, for the beginning of a line.
        return Parsed::Invalid;
    }
    let line = received.starts_with(LINE);
    let ends = received.windows(2).take(LONGEST_V1).any(|window| window == b"\r\n");
    if line && received.len() < LONGEST_V1 && !ends {
        // The library takes some beginnings of a line for a malformed line.
        return Parsed::Partial;
    }
    let result = HeaderResult::parse(received);
    if result.is_incomplete() {
        // And some whole lines for the beginning of a line.
        return if line { Parsed::Invalid } else { Parsed::Partial };
    }
    match result {
        HeaderResult::V1(Ok(header)) => version_1(&header),
        HeaderResult::V2(Ok(header)) => version_2(&header),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Parsed::Invalid,
    }
}

fn version_1(header: &v1::Header<'_>) -> Parsed {
    if !header.header.ends_with("\r\n") {
        // The library ends a line at any CR and the character behind it.
        return Parsed::Invalid;
    }
    let client = match header.addresses {
        v1::Addresses::Tcp4(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Tcp6(tcp) => Some((tcp.source_address, tcp.source_port).into()),
        v1::Addresses::Unknown => None,
    };
    complete(client, header.header.len())
}

fn version_2(header: &v2::Header<'_>) -> Parsed {
    let client = match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
        // A client without an internet address, whom no address list can judge.
        (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => return Parsed::Invalid,
    };
    complete(client, header.len())
}

fn complete(client: Option<SocketAddr>, len: usize) -> Parsed {
    let client = client.map(|client: SocketAddr| SocketAddr::new(client.ip().to_canonical(), client.port()));
    Parsed::Complete { client, len }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[0x20 | command, family], &length, addresses].concat()
    }

    #[test]
    fn clients_are_told() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let v6: Vec<u8> =
            [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0x30, 0x39, 0x01, 0xbb]].concat();
        let mapped: Vec<u8> =
            [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 15], &[1], &[0x30, 0x39, 0x01, 0xbb]].concat();
        let with_fields: Vec<u8> = [&v4[..], &[0x04, 0, 1, 0]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 443\r\n".to_vec(), Some("192.0.2.1:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 443\r\n".to_vec(), Some("[2001:db8::1]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(1, 0x11, &v4), Some("192.0.2.1:12345")),
            (v2(1, 0x11, &with_fields), Some("192.0.2.1:12345")),
            (v2(1, 0x21, &v6), Some("[2001:db8::1]:12345")),
            (v2(1, 0x21, &mapped), Some("192.0.2.1:12345")),
            (v2(0, 0x00, &[]), None), // the sender's own health check
            (v2(0, 0x11, &v4), None),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            let expected = Parsed::Complete { client, len: header.len() };
            assert_eq!(parse(&header), expected, "{header:?}");
            assert_eq!(parse(&[&header[..], b"GET / HTTP/1.1\r\n"].concat()), expected, "{header:?} and more");
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Parsed::Partial, "{end} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn anything_else_is_invalid() {
        let unix = v2(1, 0x31, &[0; 216]);
        let unspecified = v2(1, 0x00, &[]);
        let short = v2(1, 0x11, &[192, 0, 2, 1]);
        let version_3 = [SIGNATURE, &[0x31, 0x11, 0, 0]].concat();
        for header in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
            b"PROXY TCP4 192.0.2.300 10.0.0.1 12345 443\r\n",
            b"PROXY TCP4 2001:db8::1 ::1 12345 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 123456 443\r\n",
            b"PROXY TCP4  192.0.2.1 10.0.0.1 12345 443\r\n",
            b"proxy TCP4 192.0.2.1 10.0.0.1 12345 443\r\n",
            &unix,
            &unspecified,
            &short,
            &version_3,
        ] {
            assert_eq!(parse(header), Parsed::Invalid, "{:?}", String::from_utf8_lossy(header));
        }
    }
}
