//! The cookies of our own, which are no business of the nodes.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};
use smallvec::SmallVec;

use super::header::{Stripped, without};
use crate::config::{Affinity, Cluster};
use crate::room;

/// Values of `Cookie` headers; HTTP/1 allows one.
pub type CookieValues = SmallVec<[HeaderValue; 1]>;

/// The names of all affinity cookies of a cluster. A browser sends the cookies of all its pools to each of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnCookies(Vec<Box<[u8]>>);

impl OwnCookies {
    /// Those of all pools of a cluster: of both roles, with and without a tenant partition.
    pub fn of(cluster: &Cluster) -> Self {
        let cookies = cluster.pools.iter().filter_map(|settings| match &settings.affinity {
            Affinity::Cookie(cookie) => Some(cookie),
            Affinity::Off | Affinity::Route { .. } | Affinity::Hash(_) => None,
        });
        let partitions = || cluster.tenants.partitions.iter().map(|partition| Some(&partition.name));
        let pools = || std::iter::once(None).chain(partitions());
        let names = cookies.flat_map(|cookie| pools().map(|partition| cookie.in_partition(partition).name));
        let mut names: Vec<_> = names.map(|name| name.into_bytes().into_boxed_slice()).collect();
        names.sort_unstable();
        names.dedup();
        OwnCookies(names)
    }

    /// There are a few, and comparing them costs less than a hash.
    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| **own == *name)
    }

    /// The values of the `Cookie` headers without these cookies. `None` if none of them is there.
    pub fn strip(&self, headers: &HeaderMap) -> Option<CookieValues> {
        let values = || headers.get_all(COOKIE).into_iter();
        let mut kept: Option<CookieValues> = None;
        for (position, value) in values().enumerate() {
            match (without(value.as_bytes(), |name| self.has(name)), &mut kept) {
                (Stripped::Unchanged, None) => {}
                (Stripped::Unchanged, Some(kept)) => kept.push(value.clone()),
                (stripped, kept) => {
                    let kept = kept.get_or_insert_with(|| values().take(position).cloned().collect());
                    if let Stripped::Rest(rest) = stripped {
                        // It is a part of a value that was one.
                        kept.extend(room::value(&rest));
                    }
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Those of a cluster with these pools, and the partitions `gold` and `s.1`.
    fn of(pools: &str) -> OwnCookies {
        let partition = |name, node| format!("{{ name: {name}, tenants: [{name}], nodes: [{node}] }}");
        let yaml = format!(
            "
listeners: {{ web: {{ bind: ['127.0.0.1:0'], role: worker }} }}
clusters: {{ esb: {{ product: esb, hosts: {{ worker: [esb.test], manager: [mgt.esb.test] }},
  nodes: [{{ id: a, host: a }}, {{ id: b, host: b }}, {{ id: c, host: c }}, {{ id: m, host: m, roles: [manager] }}],
  endpoints: {{ servlet: {{ scheme: http }} }}, pools: {{ {pools} }},
  tenants: {{ partitions: [{}, {}] }} }} }}",
            partition("gold", "a"),
            partition("s.1", "b"),
        );
        let loaded = crate::config::parse(&yaml, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
        OwnCookies::of(&loaded.config.clusters[0])
    }

    fn names(own: &OwnCookies) -> Vec<&str> {
        let mut names: Vec<_> = own.0.iter().map(|name| std::str::from_utf8(name).unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn each_pool_has_a_name_of_its_own() {
        let managers = ["CARBON_ELB", "CARBON_ELB.gold", "CARBON_ELB.s.1"];
        assert_eq!(names(&of("")), managers);
        let both = of("worker: { affinity: cookie }");
        assert_eq!(
            names(&both),
            [&managers[..], &["CARBON_ELB_WORKER", "CARBON_ELB_WORKER.gold", "CARBON_ELB_WORKER.s.1"]].concat()
        );
        let worker = of("worker: { affinity: { cookie: { name: S } } }, manager: { affinity: route }");
        assert_eq!(names(&worker), ["S", "S.gold", "S.s.1"]);
        assert_eq!(names(&of("manager: { affinity: off }")), [""; 0]);
    }

    #[test]
    fn nodes_see_none_of_them_and_all_others() {
        let own = of("worker: { affinity: cookie }");
        for (cookies, expected) in [
            (&[][..], None),
            (&["a=1", "carbon_elb=1; CARBON_ELB.x=1; CARBON_ELB_WORKER.gold.=1; XCARBON_ELB=1"], None),
            (&["a=1; CARBON_ELB=x", "b=2"], Some(&["a=1", "b=2"][..])),
            (
                &["a=1", "CARBON_ELB_WORKER=x", "b=2; CARBON_ELB.gold; CARBON_ELB_WORKER.s.1=\"", "c=3"],
                Some(&["a=1", "b=2", "c=3"]),
            ),
            (&["CARBON_ELB=x; CARBON_ELB=y"], Some(&[])),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(COOKIE, HeaderValue::from_static(cookie));
            }
            let left = own.strip(&headers);
            let left: Option<Vec<_>> = left.as_ref().map(|left| left.iter().map(|v| v.to_str().unwrap()).collect());
            assert_eq!(left.as_deref(), expected, "{cookies:?}");
        }
    }
}
