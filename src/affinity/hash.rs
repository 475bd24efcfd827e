//! The hash that names a member: of a part of the request, and of the members themselves.
//!
//! All balancers must come to the same value, now and after an upgrade, on whatever machine. The hashes of the standard
//! library and of `ahash` promise no such thing, so here is one that is written down: FNV-1a in 64 bits (Fowler, Noll and
//! Vo; the draft `draft-eastlake-fnv`), byte by byte, so that the order of bytes in a word does not matter; then the last
//! step of SplitMix64 (Steele, Lea and Flood, 2014), because in FNV alone the last bytes hardly reach the upper bits.
//!
//! It is not made against attackers: whoever chooses the key of his requests can bring them all to one member. He could
//! do that with one key as well, and the bound on a member's share of requests ([`crate::config::HashSettings::bound`])
//! holds against both.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::COOKIE;

use super::header;
use crate::config::HashKey;
use crate::ids::{ClusterName, NodeId};

/// What a hash may look at.
#[derive(Debug, Clone, Copy)]
pub struct Source<'r> {
    /// The client's address, as it is believed.
    pub client: IpAddr,
    /// The headers of the request.
    pub headers: &'r HeaderMap,
    /// The tenant in path or host.
    pub tenant: Option<&'r str>,
    /// The canonical path.
    pub path: &'r [u8],
}

/// The hash of the part of a request that `key` says.
///
/// A request that does not have it (or has it empty) gets the hash of its client's address: the requests of one client
/// stay together, and those of all clients are spread. Of several headers or cookies of a name the first counts. An IPv6
/// address counts as a whole; an IPv4 address that is written as an IPv6 address is the IPv4 address. Letters of tenants
/// have no case.
pub fn hash(key: &HashKey, source: &Source<'_>) -> u64 {
    of_part(key, source).unwrap_or_else(|| of_address(source.client))
}

/// `None` if the request does not have it.
fn of_part(key: &HashKey, source: &Source<'_>) -> Option<u64> {
    match key {
        HashKey::Client => Some(of_address(source.client)),
        HashKey::Header(name) => source.headers.get(name).and_then(|value| of_bytes(2, value.as_bytes())),
        HashKey::Cookie(name) => {
            let headers = source.headers.get_all(COOKIE).into_iter().map(|value| value.as_bytes());
            header::values(headers, name).next().and_then(|value| of_bytes(3, value))
        }
        HashKey::Tenant => source.tenant.and_then(|tenant| of_bytes(4, tenant.as_bytes())),
        HashKey::PathSegment(number) => {
            let segment = source.path.split(|&byte| byte == b'/').nth(*number).filter(|_| *number > 0);
            segment.and_then(|segment| of_bytes(5, segment))
        }
    }
}

/// What a member is in rendezvous and ring hashing: the same number in every balancer and after every restart, whatever
/// the member's position. It does not depend on address or role.
pub fn member_identity(cluster: &ClusterName, id: &NodeId) -> u64 {
    // Names have no zero byte.
    let parts = cluster.as_str().bytes().chain([0]).chain(id.as_str().bytes());
    finish(parts.fold(start(6), step))
}

/// The hash of a text: what stands for it where it is too long.
pub fn hash_of_text(text: &str) -> u64 {
    finish(text.bytes().fold(start(7), step))
}

fn of_address(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => finish(address.octets().into_iter().fold(start(0), step)),
        IpAddr::V6(address) => finish(address.octets().into_iter().fold(start(1), step)),
    }
}

/// `kind` keeps equal bytes of different meaning apart. `None` if there are none.
fn of_bytes(kind: u8, bytes: &[u8]) -> Option<u64> {
    let lower = |byte: &u8| if kind == 4 { byte.to_ascii_lowercase() } else { *byte };
    (!bytes.is_empty()).then(|| finish(bytes.iter().map(lower).fold(start(kind), step)))
}

/// The offset basis of FNV, and a first byte.
fn start(kind: u8) -> u64 {
    step(0xcbf2_9ce4_8422_2325, kind)
}

/// FNV-1a: the byte first, then the prime.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The last step of SplitMix64.
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderValue;

    use super::*;
    use crate::ids::Name;

    /// The names are those of headers, the last of two with the same name comes second.
    fn hashed(key: &HashKey, client: &str, headers: &[(&'static str, &str)], tenant: Option<&str>, path: &str) -> u64 {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| _ = map.append(*name, HeaderValue::from_str(value).unwrap()));
        let source = Source { client: client.parse().unwrap(), headers: &map, tenant, path: path.as_bytes() };
        hash(key, &source)
    }

    fn client(address: &str) -> u64 {
        hashed(&HashKey::Client, address, &[], None, "/")
    }

    #[test]
    fn values_stay_the_same_from_version_to_version() {
        // Of FNV-1a in 64 bits, as published: the empty text, "a", "foobar".
        let fnv = |text: &str| text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
        assert_eq!(
            [fnv(""), fnv("a"), fnv("foobar")],
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
        // The first value of SplitMix64 from the seed 0: the state is then its increment.
        assert_eq!(finish(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);

        let identity = member_identity(&Name::parse("esb").unwrap(), &Name::parse("wk-1").unwrap());
        let tenant = hashed(&HashKey::Tenant, "192.0.2.1", &[], Some("example.com"), "/");
        assert_eq!(
            [client("192.0.2.1"), client("2001:db8::1"), tenant, identity],
            [0x5931_fa67_de0e_58ee, 0x653b_0695_714b_2f72, 0x7f1b_8e7f_d5f0_f08e, 0x4a59_35b8_0870_0b0c]
        );
    }

    #[test]
    fn each_key_looks_at_its_part_and_without_it_at_the_client() {
        let header = HashKey::Header("x-user".to_owned());
        let cookie = HashKey::Cookie("sid".to_owned());
        let segment = HashKey::PathSegment;
        let request = |key: &HashKey, headers: &[(&'static str, &str)], tenant: Option<&str>, path: &str| {
            let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|ip| hashed(key, ip, headers, tenant, path));
            assert!(here == there || [here, there] == ["192.0.2.1", "192.0.2.2"].map(client), "{key:?}");
            (here == there).then_some(here)
        };
        let differ = |hashes: &[Option<u64>]| {
            assert!(hashes.iter().all(Option::is_some), "{hashes:?}");
            assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), hashes.len(), "{hashes:?}");
        };
        let with = |value| request(&header, &[("x-user", value)], None, "/");
        differ(&[with("a"), with("b"), with("A")]);
        assert_eq!(request(&header, &[("x-user", "a"), ("x-user", "b")], None, "/"), with("a"));
        assert_eq!([with(""), request(&header, &[("x-other", "a")], None, "/")], [None, None]);

        let with = |value| request(&cookie, &[("cookie", value)], None, "/");
        differ(&[with("sid=a"), with("sid=b")]);
        assert_eq!(with("x=1; sid=a; sid=b"), with("sid=a"));
        assert_eq!(request(&cookie, &[("cookie", "x=1"), ("cookie", "sid=a")], None, "/"), with("sid=a"));
        assert_eq!([with("sid="), with("x=1"), with("SID=a")], [None; 3]);

        let with = |tenant| request(&HashKey::Tenant, &[], tenant, "/");
        differ(&[with(Some("a.com")), with(Some("b.com"))]);
        assert_eq!(with(Some("A.Com")), with(Some("a.com")));
        assert_eq!([with(None), with(Some(""))], [None, None]);

        let with = |number, path| request(&segment(number), &[], None, path);
        differ(&[with(1, "/a/b"), with(2, "/a/b"), with(1, "/A/b")]);
        assert_eq!(with(2, "/x/a/y"), with(1, "/a"));
        assert_eq!([with(0, "/a"), with(1, "/"), with(3, "/a/b"), with(2, "/a/"), with(1, "")], [None; 5]);

        // The same bytes in different places.
        let everywhere = [("x-user", "a"), ("cookie", "sid=a")];
        differ(
            &[&header, &cookie, &HashKey::Tenant, &segment(1)].map(|key| request(key, &everywhere, Some("a"), "/a")),
        );
    }

    #[test]
    fn addresses_count_as_a_whole() {
        let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:1::1", "::c000:201"];
        assert_eq!(addresses.map(client).into_iter().collect::<BTreeSet<_>>().len(), addresses.len());
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[test]
    fn all_bits_are_used() {
        let hashes: Vec<u64> = (0..=255).map(|last| client(&format!("192.0.2.{last}"))).collect();
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| *hash >> bit & 1 == 1).count();
            assert!((90..=166).contains(&ones), "bit {bit}: {ones} of 256");
        }
    }

    #[test]
    fn members_are_told_apart_by_cluster_and_id() {
        let identity = |cluster, id| member_identity(&Name::parse(cluster).unwrap(), &Name::parse(id).unwrap());
        let members = [("a", "bc"), ("ab", "c"), ("a", "b"), ("b", "a")];
        assert_eq!(members.map(|(c, i)| identity(c, i)).into_iter().collect::<BTreeSet<_>>().len(), members.len());
    }
}
