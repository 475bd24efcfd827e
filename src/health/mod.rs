//! Health of one endpoint of one node: from single probe outcomes to *up* and *down*.
//!
//! [`Health::record`] is the whole rule, without clock or I/O; [`active`] asks the nodes and feeds it. [`agent`] asks what
//! the nodes say of themselves.
//! [`passive`] draws its own conclusions from requests that fail, and [`mod@panic`] says who may be asked if few are
//! well.

pub mod active;
pub mod agent;
pub mod outliers;
pub mod panic;
pub mod passive;

use std::net::IpAddr;
use std::time::Duration;

use crate::config::HealthPolicy;
use crate::registry::{NodeKey, Registry};

/// How often a node without an address is looked at again.
const UNRESOLVED_PAUSE: Duration = Duration::from_millis(100);

/// What is known of an endpoint of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No probe has ended yet.
    Unknown,
    /// May get requests.
    Up,
    /// Gets no requests.
    Down,
}

impl State {
    /// The word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// A change of [`State`], for the caller to log once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
}

/// The state of an endpoint and the run of outcomes that speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    state: State,
    /// Outcomes in a row that contradict `state`.
    against: u32,
    /// Whether outcomes will come.
    probed: bool,
    /// Whether it has come while others serve, and was not up so far.
    joining: bool,
}

impl Health {
    /// An endpoint that is probed, before its first probe.
    pub const fn unknown() -> Self {
        Health { state: State::Unknown, against: 0, probed: true, joining: false }
    }

    /// An endpoint that comes while others serve, and that is probed.
    pub const fn joining() -> Self {
        Health { joining: true, ..Health::unknown() }
    }

    /// Whether it waits for its first good probe, having come while others serve.
    pub const fn is_joining(self) -> bool {
        self.joining && matches!(self.state, State::Unknown)
    }

    /// An endpoint that is never probed: up for good.
    pub const fn unprobed() -> Self {
        Health { state: State::Up, against: 0, probed: false, joining: false }
    }

    /// The same endpoint, now that outcomes will come or will not come any more. Who was up without being asked is so
    /// until a probe says otherwise.
    pub const fn probed(self, probed: bool) -> Self {
        if probed { Health { probed, ..self } } else { Health::unprobed() }
    }

    /// The same endpoint at another address: nothing is known, unless it is never probed.
    pub const fn forget(self) -> Self {
        if self.probed { Health::unknown() } else { self }
    }

    /// What is known now.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Takes in the outcome of a probe.
    ///
    /// The first outcome decides at once, so that a start does not wait for `rise` probes; after that `rise` good
    /// answers in a row bring the endpoint up and `fall` bad ones take it down. One that is joining may be starting still,
    /// and is down only after `fall` bad ones, too.
    pub fn record(&mut self, good: bool, policy: &HealthPolicy) -> Option<Transition> {
        let (agrees, needed) = match self.state {
            State::Unknown if self.joining && !good => (false, policy.fall),
            State::Unknown => (false, 1),
            State::Up => (good, policy.fall),
            State::Down => (!good, policy.rise),
        };
        if agrees {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < needed {
            return None;
        }
        let from = self.state;
        *self = Health { state: if good { State::Up } else { State::Down }, against: 0, joining: false, ..*self };
        Some(Transition { from, to: self.state })
    }
}

/// Where a node is, as soon as that is known.
async fn first_address(registry: &Registry, key: NodeKey) -> IpAddr {
    loop {
        match registry.address(key) {
            Some(address) => return address,
            // The resolver has its own rhythm, and tells nobody; nothing can be asked before it has an answer.
            None => tokio::time::sleep(UNRESOLVED_PAUSE).await,
        }
    }
}

/// When the one with a number is asked the second time, after the first time, which is at once: so all are spread over
/// the interval, whatever numbers there are. Multiples of the golden ratio leave no gap much larger than the others.
fn offset(interval: Duration, number: usize) -> Duration {
    let share = (number as f64 * 0.618_033_988_749_894_9).fract(); // below 1, and exact enough for any number
    interval.mul_f64(share).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HealthPolicy =
        HealthPolicy { interval: Duration::from_secs(5), timeout: Duration::from_secs(2), rise: 2, fall: 3 };

    /// Plays outcomes (`+` good, `-` bad) and returns the state after each.
    fn play(outcomes: &str) -> String {
        play_from(Health::unknown(), outcomes)
    }

    fn play_from(mut health: Health, outcomes: &str) -> String {
        outcomes
            .chars()
            .map(|outcome| {
                let before = health.state();
                let transition = health.record(outcome == '+', &POLICY);
                assert_eq!(
                    transition.is_some(),
                    before != health.state(),
                    "a transition is told exactly when it happens"
                );
                match health.state() {
                    State::Unknown => '?',
                    State::Up => 'U',
                    State::Down => 'd',
                }
            })
            .collect()
    }

    #[test]
    fn rise_and_fall() {
        for (outcomes, states) in [
            ("+", "U"),                 // the first outcome decides
            ("-", "d"),                 // in both directions
            ("+--+---", "UUUUUUd"),     // a good answer starts the count again
            ("-+-++", "ddddU"),         // two in a row bring it up
            ("+---++---", "UUUddUUUd"), // and so on
        ] {
            assert_eq!(play(outcomes), states, "{outcomes}");
        }
    }

    #[test]
    fn who_is_joining_has_time_to_start() {
        for (outcomes, states) in [("+", "U"), ("--+", "??U"), ("---", "??d"), ("---+++---", "??ddUUUUd")] {
            assert_eq!(play_from(Health::joining(), outcomes), states, "{outcomes}");
        }
        assert!(Health::joining().is_joining() && !Health::unknown().is_joining());
        assert!(!Health::joining().forget().is_joining(), "at another address it is as any other");
    }

    #[test]
    fn probes_are_spread_over_the_interval() {
        let second = Duration::from_secs(1);
        for (first, count) in [(1, 10), (1000, 100), (77, 3)] {
            let mut offsets: Vec<_> = (first..first + count).map(|number| offset(second, number)).collect();
            offsets.sort();
            let even = second / u32::try_from(count).unwrap();
            let gaps = offsets.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.max().unwrap() < 2 * even, "{offsets:?}");
            assert!(offsets.iter().all(|offset| *offset < second));
        }
    }

    #[test]
    fn who_was_up_without_being_asked_stays_so_until_a_probe_says_otherwise() {
        let mut health = Health::unprobed().probed(true);
        assert_eq!(health.state(), State::Up);
        assert_eq!((0..POLICY.fall).filter_map(|_| health.record(false, &POLICY)).count(), 1);
        assert_eq!(health.forget().state(), State::Unknown);
        assert_eq!(health.probed(false), Health::unprobed());
    }

    #[test]
    fn an_unprobed_endpoint_is_up() {
        assert_eq!(Health::unprobed().state(), State::Up);
    }
}
