//! How many requests one tenant may have in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use super::in_lower_case;

/// Parts of the table, each with a lock of its own, so that threads seldom meet.
const SHARDS: usize = 64;

/// A cap on the requests in flight of each tenant.
///
/// The counts are exact. There is an entry only for tenants that have a request in flight, so the table is never larger
/// than what is in flight. It takes a lock for the time of one look-up, and allocates when a tenant gets its entry; there
/// need be none of it where no cap is configured.
pub struct TenantCap {
    limit: AtomicUsize,
    shards: [Mutex<Counts>; SHARDS],
    hasher: RandomState,
}

/// Names in lower case, and never 0.
type Counts = AHashMap<Arc<str>, usize>;

/// A request in flight. It counts until it is dropped.
#[must_use = "it counts only as long as it is kept"]
pub struct TenantPass {
    cap: Arc<TenantCap>,
    tenant: Arc<str>,
}

impl TenantCap {
    /// At most `limit` requests for each tenant.
    pub fn new(limit: usize) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(TenantCap { limit: AtomicUsize::new(limit), shards, hasher: RandomState::new() })
    }

    /// Counts a request of `tenant`. `None` if it has as many as it may.
    pub fn admit(self: &Arc<Self>, tenant: &str) -> Option<TenantPass> {
        let limit = self.limit();
        if limit == 0 {
            return None;
        }
        in_lower_case(tenant, |tenant| {
            let mut counts = self.shard(tenant).lock();
            let tenant = match counts.get_key_value(tenant) {
                Some((known, _)) => known.clone(),
                None => Arc::from(tenant),
            };
            let count = counts.entry(tenant.clone()).or_insert(0);
            if *count >= limit {
                return None;
            }
            *count += 1;
            Some(TenantPass { cap: self.clone(), tenant })
        })
    }

    /// Lets each tenant have so many from here on. What is in flight stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Tenants with requests in flight.
    fn tenants(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    fn shard(&self, tenant: &str) -> &Mutex<Counts> {
        // The remainder fits, and is in bounds.
        &self.shards[(self.hasher.hash_one(tenant) % SHARDS as u64) as usize]
    }
}

impl Drop for TenantPass {
    fn drop(&mut self) {
        let mut counts = self.cap.shard(&self.tenant).lock();
        if let Some(count) = counts.get_mut(&*self.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&*self.tenant);
            }
        }
        if counts.is_empty() && counts.capacity() > SHARDS {
            // What a flood of tenants has left.
            *counts = Counts::default();
        }
    }
}

impl std::fmt::Debug for TenantCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TenantCap").field("limit", &self.limit()).field("tenants", &self.tenants()).finish()
    }
}

impl std::fmt::Debug for TenantPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TenantPass").field(&self.tenant).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    impl TenantCap {
        fn in_flight(&self, tenant: &str) -> usize {
            in_lower_case(tenant, |tenant| self.shard(tenant).lock().get(tenant).copied().unwrap_or(0))
        }
    }

    #[test]
    fn a_tenant_has_no_more_than_its_share_and_leaves_nothing() {
        let cap = TenantCap::new(2);
        let first = cap.admit("acme.com").unwrap();
        let second = cap.admit("ACME.com").unwrap();
        assert!(cap.admit("acme.com").is_none() && cap.admit("Acme.Com").is_none());
        let other = cap.admit("example.com").unwrap();
        assert_eq!((cap.in_flight("Acme.com"), cap.in_flight("x"), cap.tenants()), (2, 0, 2));
        drop(first);
        assert_eq!(cap.in_flight("acme.com"), 1);
        let third = cap.admit("acme.com").unwrap();
        assert!(cap.admit("acme.com").is_none());
        drop((second, third));
        assert_eq!((cap.in_flight("acme.com"), cap.tenants()), (0, 1));
        drop(other);
        assert_eq!(cap.tenants(), 0);

        let none = TenantCap::new(0);
        assert!(none.admit("a").is_none());
        assert_eq!(none.tenants(), 0, "a refusal leaves no entry");
    }

    #[test]
    fn a_flood_of_tenants_leaves_no_memory_behind() {
        let cap = TenantCap::new(1);
        let passes: Vec<_> = (0..20_000).filter_map(|tenant| cap.admit(&tenant.to_string())).collect();
        assert_eq!((passes.len(), cap.tenants()), (20_000, 20_000));
        drop(passes);
        assert_eq!(cap.tenants(), 0);
        assert!(cap.shards.iter().all(|shard| shard.lock().capacity() <= SHARDS));
    }

    #[test]
    fn threads_never_get_more_than_the_cap_together() {
        const THREADS: usize = 8;
        let cap = TenantCap::new(3);
        let held: [AtomicUsize; 4] = Default::default();
        let admitted = AtomicUsize::new(0);
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (cap, held, admitted, start) = (&cap, &held, &admitted, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut passes = Vec::new();
                    for turn in 0..5_000 {
                        let tenant = (turn * 7 + thread) % held.len();
                        if let Some(pass) = cap.admit(&tenant.to_string()) {
                            let before = held[tenant].fetch_add(1, Ordering::SeqCst);
                            assert!(before < 3, "{before} before this one");
                            admitted.fetch_add(1, Ordering::SeqCst);
                            passes.push((tenant, pass));
                        }
                        if turn % 3 == 0
                            && let Some((tenant, pass)) = passes.pop()
                        {
                            held[tenant].fetch_sub(1, Ordering::SeqCst);
                            drop(pass);
                        }
                    }
                    for (tenant, pass) in passes {
                        held[tenant].fetch_sub(1, Ordering::SeqCst);
                        drop(pass);
                    }
                });
            }
        });
        assert!(admitted.into_inner() >= THREADS);
        assert_eq!(cap.tenants(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Each step admits a request of a tenant, or ends one of those that are there.
        #[test]
        fn counts_are_those_of_a_plain_list(limit in 1..4_usize, steps in vec((any::<bool>(), 0..5_usize), 0..60)) {
            let cap = TenantCap::new(limit);
            let mut passes: Vec<(usize, TenantPass)> = Vec::new();
            for (come, which) in steps {
                let of = |tenant, passes: &[(usize, TenantPass)]| passes.iter().filter(|(of, _)| *of == tenant).count();
                if come {
                    let before = of(which, &passes);
                    let pass = cap.admit(&which.to_string());
                    prop_assert_eq!(pass.is_some(), before < limit);
                    passes.extend(pass.map(|pass| (which, pass)));
                } else if !passes.is_empty() {
                    drop(passes.swap_remove(which % passes.len()));
                }
                for tenant in 0..5 {
                    prop_assert_eq!(cap.in_flight(&tenant.to_string()), of(tenant, &passes));
                }
                prop_assert_eq!(cap.tenants(), (0..5).filter(|tenant| of(*tenant, &passes) > 0).count());
            }
        }
    }
}
