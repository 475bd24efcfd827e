//! From a tenant to its partition: the nodes that are its own.

use ahash::AHashMap;

use super::in_lower_case;
use crate::config::{TenantPattern, Tenants};

/// Which partition takes which tenants.
///
/// The first pattern in the order of the configuration that takes a tenant decides. Exact names, of which there may be
/// thousands, cost one look-up together; the other patterns are tried one after the other.
#[derive(Debug, Default)]
pub struct Partitions {
    /// The first partition that has the name.
    exact: AHashMap<Box<str>, usize>,
    /// All but exact names, in the order of the configuration.
    patterns: Vec<(Pattern, usize)>,
}

/// Text in lower case.
#[derive(Debug)]
enum Pattern {
    Any,
    Suffix(Box<str>),
    Prefix(Box<str>),
    Range(u64, u64),
}

impl Partitions {
    /// The partitions of a cluster; their indexes are those in [`Tenants::partitions`].
    pub fn new(tenants: &Tenants) -> Self {
        let mut built = Partitions::default();
        let lower = |text: &str| text.to_ascii_lowercase().into_boxed_str();
        for (index, partition) in tenants.partitions.iter().enumerate() {
            for pattern in &partition.tenants {
                let pattern = match pattern {
                    TenantPattern::Exact(name) => {
                        built.exact.entry(lower(name)).or_insert(index);
                        continue;
                    }
                    TenantPattern::Any => Pattern::Any,
                    TenantPattern::Suffix(suffix) => Pattern::Suffix(lower(suffix)),
                    TenantPattern::Prefix(prefix) => Pattern::Prefix(lower(prefix)),
                    TenantPattern::Range(first, last) => Pattern::Range(*first, *last),
                };
                built.patterns.push((pattern, index));
            }
        }
        built
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    /// The partition that takes a tenant. `None`: it is for the nodes that no partition names, as are requests without a
    /// tenant.
    pub fn of(&self, tenant: &str) -> Option<usize> {
        if self.is_empty() {
            return None; // as in most clusters
        }
        in_lower_case(tenant, |tenant| {
            let exact = self.exact.get(tenant).copied();
            let number = number(tenant);
            // Within one partition it does not matter which pattern takes it.
            let earlier = self.patterns.iter().take_while(|(_, index)| exact.is_none_or(|exact| *index < exact));
            let found = earlier.into_iter().find(|(pattern, _)| pattern.takes(tenant, number));
            found.map(|(_, index)| *index).or(exact)
        })
    }
}

impl Pattern {
    /// `tenant` is in lower case, and `number` is what it says if it is a number.
    fn takes(&self, tenant: &str, number: Option<u64>) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Suffix(suffix) => tenant.len() > suffix.len() && tenant.ends_with(&**suffix),
            Pattern::Prefix(prefix) => tenant.starts_with(&**prefix),
            Pattern::Range(first, last) => number.is_some_and(|number| (*first..=*last).contains(&number)),
        }
    }
}

/// The number that a name is, written the one way in which numbers are written: `007` is another tenant than `7`, and no
/// number.
fn number(name: &str) -> Option<u64> {
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = name == "0" || !name.starts_with('0');
    name.parse().ok().filter(|_| digits && canonical)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::config::Partition;
    use crate::ids::Name;

    fn tenants(partitions: Vec<Vec<TenantPattern>>) -> Tenants {
        let name = |text: String| Name::parse(&text).unwrap();
        let partition = |(index, tenants)| Partition {
            name: name(format!("p{index}")),
            tenants,
            nodes: vec![name("n".to_owned())],
        };
        let partitions = partitions.into_iter().enumerate().map(partition).collect();
        Tenants { hosts: Vec::new(), max_in_flight: None, partitions }
    }

    fn exact(text: &str) -> TenantPattern {
        TenantPattern::Exact(text.to_owned())
    }

    fn suffix(text: &str) -> TenantPattern {
        TenantPattern::Suffix(text.to_owned())
    }

    fn prefix(text: &str) -> TenantPattern {
        TenantPattern::Prefix(text.to_owned())
    }

    #[test]
    fn each_pattern_takes_its_tenants() {
        let partitions = Partitions::new(&tenants(vec![
            vec![exact("acme.com")],
            vec![suffix(".example.com"), prefix("dev-")],
            vec![TenantPattern::Range(1, 100), TenantPattern::Range(u64::MAX, u64::MAX)],
        ]));
        for (tenant, expected) in [
            ("acme.com", Some(0)),
            ("ACME.com", Some(0)),
            ("x.acme.com", None),
            ("a.example.com", Some(1)),
            ("A.B.EXAMPLE.COM", Some(1)),
            (".example.com", None),
            ("example.com", None),
            ("dev-1", Some(1)),
            ("DEV-", Some(1)),
            ("dev", None),
            ("1", Some(2)),
            ("100", Some(2)),
            ("18446744073709551615", Some(2)),
            ("18446744073709551616", None),
            ("0", None),
            ("101", None),
            ("007", None),
            ("+7", None),
            ("7.0", None),
            ("٧", None),
            ("", None),
        ] {
            assert_eq!(partitions.of(tenant), expected, "{tenant}");
        }
        assert!(!partitions.is_empty());
    }

    #[test]
    fn the_first_that_takes_a_tenant_has_it() {
        let any = || TenantPattern::Any;
        for (partitions, tenant, expected) in [
            (vec![vec![any()], vec![exact("a")]], "a", Some(0)),
            (vec![vec![exact("a")], vec![any()]], "a", Some(0)),
            (vec![vec![exact("a")], vec![any()]], "b", Some(1)),
            (vec![vec![exact("b")], vec![prefix("a")], vec![exact("a")]], "a", Some(1)),
            (vec![vec![exact("a")], vec![exact("a")]], "a", Some(0)),
            (vec![vec![TenantPattern::Range(5, 9)], vec![exact("7")]], "7", Some(0)),
            (vec![vec![exact("7")], vec![TenantPattern::Range(5, 9)]], "8", Some(1)),
            (vec![], "a", None),
        ] {
            assert_eq!(Partitions::new(&tenants(partitions.clone())).of(tenant), expected, "{partitions:?}");
        }
        assert!(Partitions::new(&tenants(vec![])).is_empty());
    }

    /// As the configuration describes it, and nothing else.
    fn model(partitions: &[Vec<TenantPattern>], tenant: &str) -> Option<usize> {
        partitions.iter().position(|patterns| {
            patterns.iter().any(|pattern| match pattern {
                TenantPattern::Any => true,
                TenantPattern::Exact(name) => name == tenant,
                TenantPattern::Suffix(suffix) => tenant.strip_suffix(&**suffix).is_some_and(|rest| !rest.is_empty()),
                TenantPattern::Prefix(prefix) => tenant.strip_prefix(&**prefix).is_some(),
                TenantPattern::Range(first, last) => (*first..=*last).any(|number| number.to_string() == tenant),
            })
        })
    }

    fn any_pattern() -> impl Strategy<Value = TenantPattern> {
        prop_oneof![
            1 => Just(TenantPattern::Any),
            6 => select(vec!["a", "a.b", "b.b", "12", "ab"]).prop_map(exact),
            2 => select(vec![".b", "b", ".a.b"]).prop_map(suffix),
            2 => select(vec!["a", "a.", "1"]).prop_map(prefix),
            2 => (0..30_u64, 0..30_u64).prop_map(|(a, b)| TenantPattern::Range(a.min(b), a.max(b))),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn partitions_are_as_the_model_says(partitions in vec(vec(any_pattern(), 1..4), 0..6)) {
            let built = Partitions::new(&tenants(partitions.clone()));
            for tenant in ["a", "a.b", "b.b", "a.a.b", "ab", "b", ".b", "0", "1", "12", "29", "30", "012", "x"] {
                prop_assert_eq!(built.of(tenant), model(&partitions, tenant), "{}", tenant);
            }
        }
    }
}
