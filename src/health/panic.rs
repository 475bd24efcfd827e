//! Which members of a pool may be asked when few are well: the panic threshold.
//!
//! A pool of which most members are down or ejected does not serve better by giving the whole load to the few that are
//! left: they fall over, too. And when most members fail their checks at the same time, the checks are often what is
//! wrong. So below a share that the operator sets, the difference between well and unwell is not made any more (the idea
//! is Envoy's "panic threshold").

/// The members of a pool that are neither in maintenance nor draining, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    /// Those that are neither down nor ejected.
    pub good: usize,
    /// Those that are not down, but ejected (or on trial after that).
    pub ejected: usize,
}

/// Which members of a pool may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usable {
    /// Those that are neither down nor ejected. There may be none.
    Good,
    /// Those that are ejected: nobody else is left, and a member that fails some requests is better than a 503.
    Ejected,
    /// All that are not in maintenance and not draining, down or not.
    All,
}

/// Says which members may be asked. `threshold` is the percent of good members below which all are; 0: never.
pub fn usable(members: Counts, threshold: u8) -> Usable {
    let Counts { total, good, ejected } = members;
    if total > 0 && good.saturating_mul(100) < total.saturating_mul(usize::from(threshold)) {
        Usable::All
    } else if good == 0 && ejected > 0 {
        Usable::Ejected
    } else {
        Usable::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_good_members_are_not_left_alone() {
        use Usable::{All, Ejected, Good};
        for (threshold, total, good, ejected, expected) in [
            (0, 0, 0, 0, Good), // there is nobody
            (50, 0, 0, 0, Good),
            (0, 4, 4, 0, Good),
            (0, 4, 1, 1, Good),
            (0, 4, 0, 0, Good),    // all are down, and without a threshold they are believed to be
            (0, 4, 0, 1, Ejected), // of three that are down and one that is ejected, the latter
            (0, 1, 0, 1, Ejected),
            (50, 4, 4, 0, Good),
            (50, 4, 2, 2, Good), // exactly at the threshold
            (50, 4, 1, 0, All),
            (50, 4, 1, 3, All), // ejected members count as not good
            (50, 4, 0, 4, All),
            (50, 3, 1, 0, All), // 33 percent
            (33, 3, 1, 0, Good),
            (34, 3, 1, 0, All),
            (1, 200, 1, 0, All), // half a percent
            (100, 4, 3, 1, All),
            (100, 4, 4, 0, Good),
        ] {
            let counts = Counts { total, good, ejected };
            assert_eq!(usable(counts, threshold), expected, "{counts:?}, threshold {threshold}");
        }
    }
}
