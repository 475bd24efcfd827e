//! What is known of a member as a whole, and what share of new requests follows from it.

use std::time::Duration;

use crate::health::State;
use crate::health::panic::{Counts, Usable, usable};
use crate::health::passive;
use crate::member::AdminState;

/// What is known of a member as a whole. Of what holds at once, the first of: maintenance, down, draining, ejected or on
/// trial, joining or unknown, starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets its share.
    Ready,
    /// It has come up, and its share grows: so long ago.
    Starting(Duration),
    /// It was never probed.
    Unknown,
    /// It was never probed, and came while others served: it waits for its first good probe.
    Joining,
    /// Requests failed on it; it is not asked for a time.
    Ejected,
    /// Its ejection is over, and one request at a time may find out.
    Trial,
    /// It keeps its sessions and gets no new ones.
    Draining,
    /// Its probes fail, or its agent says so.
    Down,
    /// It gets nothing.
    Maintenance,
}

/// What the standing of a member is made of.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// What operators and the agent want.
    pub admin: AdminState,
    /// What the probes say.
    pub health: State,
    /// Whether the agent says that it is down.
    pub agent_down: bool,
    /// What its requests tell; `None` if nobody wants to know.
    pub passive: Option<passive::Standing>,
    /// How long ago it came up, if its share is to grow still.
    pub up_for: Option<Duration>,
}

impl Standing {
    /// Makes one of all that is known.
    pub fn of(facts: &Facts) -> Self {
        match facts {
            Facts { admin: AdminState::Maintenance, .. } => Standing::Maintenance,
            Facts { health: State::Down, .. } | Facts { agent_down: true, .. } => Standing::Down,
            Facts { admin: AdminState::Draining, .. } => Standing::Draining,
            Facts { passive: Some(passive::Standing::Ejected { .. }), .. } => Standing::Ejected,
            Facts { passive: Some(passive::Standing::HalfOpen), .. } => Standing::Trial,
            Facts { health: State::Unknown, .. } => Standing::Unknown,
            Facts { up_for: Some(up_for), .. } => Standing::Starting(*up_for),
            Facts { .. } => Standing::Ready,
        }
    }

    /// Whether requests of sessions that it has may go on to it. Sessions move only when their member is gone, down or in
    /// maintenance: on another one they would be lost. Who has just come has none.
    pub fn keeps_sessions(self) -> bool {
        !matches!(self, Standing::Down | Standing::Maintenance | Standing::Joining)
    }

    /// Whether the same follows from both for a pool with this `slow_start`.
    pub fn is_like(self, other: Standing, slow_start: Duration) -> bool {
        match (self, other) {
            (Standing::Starting(one), Standing::Starting(other)) => {
                growth(one, slow_start) == growth(other, slow_start)
            }
            _ => self == other,
        }
    }

    /// All that [`Standing::as_str`] returns.
    pub const WORDS: [&'static str; 9] =
        ["ready", "starting", "unknown", "joining", "ejected", "trial", "draining", "down", "maintenance"];

    /// The word used in logs, in metrics and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Standing::Ready => "ready",
            Standing::Starting(_) => "starting",
            Standing::Unknown => "unknown",
            Standing::Joining => "joining",
            Standing::Ejected => "ejected",
            Standing::Trial => "trial",
            Standing::Draining => "draining",
            Standing::Down => "down",
            Standing::Maintenance => "maintenance",
        }
    }
}

/// What decides about a member's share.
#[derive(Debug, Clone, Copy)]
pub struct Contender {
    /// What is known of it.
    pub standing: Standing,
    /// Whether it is to get no new sessions, whatever else is known of it.
    pub draining: bool,
    /// Whether it is asked only if no other member can be.
    pub backup: bool,
    /// Its weight, times what its agent says in percent.
    pub weight: u32,
}

/// How a pool treats its members.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// See [`crate::config::PoolSettings::panic`].
    pub panic: u8,
    /// See [`crate::config::PoolSettings::slow_start`].
    pub slow_start: Duration,
}

/// Steps in which the share of a starting member grows: each one means a new snapshot.
const STEPS: u32 = 10;

/// The share of each member of new requests: a weight, 0 for those that get none.
///
/// Members that were never probed count only if none is up, so that a start does not wait for the first probe; those that
/// are joining do not count at all. Backup members count only if no other one does.
pub fn shares(members: &[Contender], rules: &Rules) -> Vec<u32> {
    // An ejected member is better than nobody, but not better than a backup.
    let mut groups = [(false, true), (true, true), (false, false), (true, false)]
        .map(|(backup, some_good)| entitled(members, backup, some_good, rules.panic))
        .into_iter();
    let entitled = groups.find(|group| group.contains(&true)).unwrap_or_else(|| vec![false; members.len()]);
    // One request may find out about a member, whoever serves meanwhile; else it would never come back.
    let on_trial = |member: &Contender| member.standing == Standing::Trial && member.weight > 0;
    let entitled: Vec<bool> =
        members.iter().zip(entitled).map(|(member, entitled)| entitled || on_trial(member)).collect();
    let counted = || members.iter().zip(&entitled).filter(|(_, entitled)| **entitled).map(|(member, _)| member);
    // If all are new there is nobody who could do the rest.
    let somebody_is_warm = counted().any(|member| !matches!(member.standing, Standing::Starting(_)));
    let share = |(member, entitled): (&Contender, &bool)| match member.standing {
        _ if !entitled => 0,
        Standing::Starting(up_for) if somebody_is_warm => ramp(member.weight, up_for, rules.slow_start),
        _ => member.weight.saturating_mul(100),
    };
    members.iter().zip(&entitled).map(share).collect()
}

/// `weight` times the percent of its share that a member gets that came up so long ago.
fn ramp(weight: u32, up_for: Duration, slow_start: Duration) -> u32 {
    weight.saturating_mul(growth(up_for, slow_start) * 100 / STEPS)
}

/// How many tenths of its share a member gets that came up so long ago: one at least, so that it gets something to warm
/// up with.
pub fn growth(up_for: Duration, slow_start: Duration) -> u32 {
    let done = if slow_start.is_zero() { 1.0 } else { up_for.as_secs_f64() / slow_start.as_secs_f64() };
    (done * f64::from(STEPS)).clamp(1.0, f64::from(STEPS)) as u32 // 1 to 10
}

/// The share of each member of the sessions that a hash gives to members, for the [`shares`] of new requests.
///
/// Sessions move only if they must: a member that is ejected, on trial or starting has its whole share. Who drains has
/// none, since a hash cannot tell its sessions from new ones.
pub fn session_shares(members: &[Contender], shares: &[u32]) -> Vec<u32> {
    let backups = members.iter().zip(shares).all(|(member, &share)| share == 0 || member.backup);
    let share = |(member, &share): (&Contender, &u32)| match member.standing {
        Standing::Ejected | Standing::Trial | Standing::Starting(_) if member.backup == backups && !member.draining => {
            member.weight.saturating_mul(100)
        }
        standing if standing.keeps_sessions() => share,
        _ => 0,
    };
    let sessions: Vec<u32> = members.iter().zip(shares).map(share).collect();
    // Below the panic threshold all members may be down.
    if sessions.iter().any(|&share| share > 0) { sessions } else { shares.to_vec() }
}

/// Who gets a share of the backup members, or of the others. Nobody if `some_good` has to be among them and none is.
///
/// An agent's weight of 0 means that the member gets nothing new, whatever else is known of it.
fn entitled(members: &[Contender], backup: bool, some_good: bool, panic: u8) -> Vec<bool> {
    let is_in = |member: &Contender| member.backup == backup && member.weight > 0 && !member.draining;
    let group = || members.iter().filter(|member| is_in(member));
    let up = |standing| matches!(standing, Standing::Ready | Standing::Starting(_));
    let some_up = group().any(|member| up(member.standing));
    let good = |standing| up(standing) || (standing == Standing::Unknown && !some_up);
    let is_ejected = |standing| matches!(standing, Standing::Ejected | Standing::Trial);
    let wanted = |standing| !matches!(standing, Standing::Maintenance | Standing::Draining | Standing::Joining);
    let count = |which: &dyn Fn(Standing) -> bool| group().filter(|member| which(member.standing)).count();
    let counts = Counts { total: count(&wanted), good: count(&good), ejected: count(&is_ejected) };
    let entitled = |standing| match usable(counts, panic) {
        _ if some_good && counts.good == 0 => false,
        Usable::Good => good(standing),
        Usable::Ejected => is_ejected(standing),
        Usable::All => wanted(standing),
    };
    members.iter().map(|member| is_in(member) && entitled(member.standing)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn contender(letter: char) -> Contender {
        let standing = match letter.to_ascii_uppercase() {
            'R' => Standing::Ready,
            'S' => Standing::Starting(Duration::from_secs(2)),
            'U' => Standing::Unknown,
            'J' => Standing::Joining,
            'E' => Standing::Ejected,
            'T' => Standing::Trial,
            'D' => Standing::Draining,
            'X' => Standing::Down,
            _ => Standing::Maintenance,
        };
        let draining = standing == Standing::Draining;
        Contender { standing, draining, backup: letter.is_ascii_lowercase(), weight: 2 }
    }

    #[test]
    fn every_standing_has_a_word_of_its_own() {
        let words = "RSUJETDXM".chars().map(|letter| contender(letter).standing.as_str());
        assert_eq!(words.collect::<Vec<_>>(), Standing::WORDS);
    }

    #[test]
    fn shares_follow_from_what_is_known() {
        for (members, panic, expected) in [
            ("RRR", 0, [200, 200, 200]),
            ("RUM", 0, [200, 0, 0]),   // never probed, while another one is up
            ("RJJ", 100, [200, 0, 0]), // joining: neither asked, nor a reason to panic
            ("JJX", 0, [0, 0, 0]),
            ("UJX", 0, [200, 0, 0]),
            ("UUM", 0, [200, 200, 0]),
            ("RDX", 0, [200, 0, 0]),
            ("RSE", 0, [200, 40, 0]),  // two of ten seconds
            ("SSX", 0, [200, 200, 0]), // nobody else could do the rest
            ("RTE", 0, [200, 200, 0]),
            ("XEE", 0, [0, 200, 200]), // better than a 503
            ("XXM", 0, [0, 0, 0]),
            ("RXX", 50, [200, 200, 200]),
            ("RRX", 50, [200, 200, 0]),
            ("RXM", 51, [200, 200, 0]),
            ("XDM", 100, [200, 0, 0]),
            // Small letters are backups.
            ("Rrr", 0, [200, 0, 0]),
            ("Xrr", 0, [0, 200, 200]),
            ("Xrx", 0, [0, 200, 0]),
            ("Drx", 0, [0, 200, 0]),
            ("Err", 0, [0, 200, 200]), // a backup is better than an ejected member
            ("Exx", 0, [200, 0, 0]),
            ("Trr", 0, [200, 200, 200]), // on trial besides those that serve
            ("Rtt", 0, [200, 200, 200]),
            ("Xrr", 30, [0, 200, 200]), // backups that are well are better than members that are down
            ("Xxx", 30, [200, 0, 0]),
        ] {
            let rules = Rules { panic, slow_start: Duration::from_secs(10) };
            let members: Vec<_> = members.chars().map(contender).collect();
            assert_eq!(shares(&members, &rules), expected, "{members:?} {panic}");
        }
    }

    #[test]
    fn who_has_no_weight_gets_nothing_and_hides_no_backup() {
        let rules = Rules { panic: 0, slow_start: Duration::ZERO };
        let members = [Contender { weight: 0, ..contender('R') }, contender('r')];
        assert_eq!(shares(&members, &rules), [0, 200]);
        let members = [Contender { weight: 0, ..contender('T') }, contender('R')];
        assert_eq!(shares(&members, &rules), [0, 200]);
    }

    #[test]
    fn who_drains_gets_nothing_new_even_if_it_is_down_in_a_panic() {
        let rules = Rules { panic: 100, slow_start: Duration::ZERO };
        let members = [contender('X'), Contender { draining: true, ..contender('X') }];
        assert_eq!(shares(&members, &rules), [200, 0]);
    }

    #[test]
    fn sessions_by_hash_move_only_if_they_must() {
        for (members, panic, expected) in [
            ("RRR", 0, [200, 200, 200]),
            ("RSE", 0, [200, 200, 200]),
            ("RTE", 0, [200, 200, 200]),
            ("RUD", 0, [200, 0, 0]),
            ("RXM", 0, [200, 0, 0]),
            ("RXM", 100, [200, 0, 0]), // a session is lost on a member that is down
            ("XXM", 100, [200, 200, 0]),
            ("Rre", 0, [200, 0, 0]),
            ("Xre", 0, [0, 200, 200]),
            ("Ere", 0, [0, 200, 200]), // the whole load has moved to the backups
        ] {
            let rules = Rules { panic, slow_start: Duration::from_secs(10) };
            let members: Vec<_> = members.chars().map(contender).collect();
            assert_eq!(session_shares(&members, &shares(&members, &rules)), expected, "{members:?} {panic}");
        }
    }

    #[test]
    fn a_share_grows_from_a_tenth() {
        let slow_start = Duration::from_secs(10);
        for (seconds, expected) in [(0, 40), (1, 40), (5, 200), (10, 400), (60, 400)] {
            assert_eq!(ramp(4, Duration::from_secs(seconds), slow_start), expected);
        }
        assert_eq!(ramp(4, Duration::ZERO, Duration::ZERO), 400);
    }

    #[test]
    fn the_most_serious_fact_counts() {
        let ready =
            Facts { admin: AdminState::Ready, health: State::Up, agent_down: false, passive: None, up_for: None };
        let ejected = Some(passive::Standing::Ejected { until: Instant::now() });
        for (facts, expected) in [
            (ready, Standing::Ready),
            (Facts { up_for: Some(Duration::ZERO), ..ready }, Standing::Starting(Duration::ZERO)),
            (Facts { passive: Some(passive::Standing::Active), ..ready }, Standing::Ready),
            (Facts { passive: ejected, ..ready }, Standing::Ejected),
            (Facts { passive: Some(passive::Standing::HalfOpen), ..ready }, Standing::Trial),
            (Facts { passive: ejected, admin: AdminState::Draining, ..ready }, Standing::Draining),
            (Facts { health: State::Unknown, ..ready }, Standing::Unknown),
            (Facts { health: State::Down, admin: AdminState::Draining, ..ready }, Standing::Down),
            (Facts { agent_down: true, ..ready }, Standing::Down),
            (Facts { health: State::Down, admin: AdminState::Maintenance, ..ready }, Standing::Maintenance),
        ] {
            assert_eq!(Standing::of(&facts), expected, "{facts:?}");
            let moves = matches!(expected, Standing::Down | Standing::Maintenance);
            assert_eq!(expected.keeps_sessions(), !moves);
        }
    }
}
