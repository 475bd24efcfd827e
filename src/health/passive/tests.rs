//! Ejection in tables and stories, and random operations against the rules.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> OutlierPolicy {
    OutlierPolicy {
        consecutive: 3,
        error_percent: 0,
        latency_percent: 0,
        requests: 10,
        interval: 10 * SECOND,
        eject_for: 10 * SECOND,
        eject_at_most: 35 * SECOND,
        max_ejected: 50,
    }
}

/// A pool with a clock.
struct Pool {
    outliers: Outliers<usize>,
    start: Instant,
    now: Instant,
}

impl Pool {
    fn new(policy: OutlierPolicy, members: usize) -> Self {
        let now = Instant::now();
        let mut outliers = Outliers::new(policy, now);
        assert_eq!(outliers.retain(0..members), []);
        Pool { outliers, start: now, now }
    }

    fn recorder(&self, member: usize) -> Arc<Recorder> {
        self.outliers.recorder(&member).unwrap().clone()
    }

    /// Records outcomes (`+` good, `-` gateway error), deciding when told to.
    fn record(&mut self, member: usize, outcomes: &str) -> Vec<Change<usize>> {
        let recorder = self.recorder(member);
        let outcome = |c| if c == '+' { Outcome::Good } else { Outcome::GatewayError };
        let mut changes = Vec::new();
        for c in outcomes.chars() {
            if recorder.record(outcome(c), Duration::ZERO) {
                changes.extend(self.outliers.decide(&member, self.now));
            }
        }
        changes
    }

    fn ticks_at(&mut self, seconds: u32) -> Vec<Change<usize>> {
        self.now = self.start + seconds * SECOND;
        self.outliers.tick(self.now)
    }

    /// Lets a request through on trial and decides about its outcome.
    fn try_member(&mut self, member: usize, outcome: Outcome) -> Option<Change<usize>> {
        assert!(self.recorder(member).try_trial().unwrap().end(outcome));
        self.outliers.decide(&member, self.now)
    }

    /// `A` active, `e` ejected, `h` half open.
    fn standings(&self) -> String {
        let letter = |known: &Member| match known.standing {
            Standing::Active => 'A',
            Standing::Ejected { .. } => 'e',
            Standing::HalfOpen => 'h',
        };
        self.outliers.members.values().map(letter).collect()
    }

    fn until(&self, member: usize) -> u64 {
        match self.outliers.standing(&member) {
            Some(Standing::Ejected { until }) => (until - self.start).as_secs(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn errors_in_a_row_eject() {
    let mut pool = Pool::new(policy(), 4);
    assert_eq!(pool.record(1, "--+--+"), []);
    let until = pool.now + 10 * SECOND;
    let (from, to) = (Standing::Active, Standing::Ejected { until });
    assert_eq!(pool.record(1, "----"), [Change { member: 1, from, to, why: Why::Consecutive(3), ejections: 1 }]);
    assert_eq!(pool.standings(), "AeAA");
    assert_eq!(pool.outliers.standing(&9), None);
    assert_eq!(pool.outliers.decide(&9, pool.now), None);
}

#[test]
fn what_nobody_decided_is_decided_at_the_next_tick() {
    let mut pool = Pool::new(policy(), 2);
    let recorder = pool.recorder(0);
    let told = (0..5).filter(|_| recorder.record(Outcome::GatewayError, Duration::ZERO)).count();
    assert_eq!(told, 1);
    assert_eq!(pool.ticks_at(1)[0].why, Why::Consecutive(5));
    pool.ticks_at(11);
    assert!(recorder.try_trial().unwrap().end(Outcome::Good));
    assert_eq!(pool.ticks_at(12)[0].why, Why::TrialGood);
    assert_eq!(pool.standings(), "AA");
}

#[test]
fn each_failed_trial_ejects_for_longer() {
    let mut pool = Pool::new(policy(), 2);
    pool.record(0, "---");
    // 10, 20 and 30 s, then 35 at most.
    for (until, next) in [(10, 30), (30, 60), (60, 95), (95, 130)] {
        assert_eq!(pool.until(0), until);
        pool.ticks_at(u32::try_from(until).unwrap() - 1);
        assert_eq!(pool.standings(), "eA");
        let changes = pool.ticks_at(u32::try_from(until).unwrap());
        assert_eq!((changes[0].to, changes[0].why), (Standing::HalfOpen, Why::TimeOver));
        let change = pool.try_member(0, Outcome::GatewayError).unwrap();
        assert_eq!((change.why, pool.until(0)), (Why::TrialFailed, next));
    }
    pool.ticks_at(130);
    let change = pool.try_member(0, Outcome::Good).unwrap();
    assert_eq!((change.to, change.why, change.ejections), (Standing::Active, Why::TrialGood, 4), "the count is kept");
    pool.record(0, "---");
    assert_eq!(pool.until(0), 165);
}

#[test]
fn good_intervals_make_ejections_shorter_again() {
    let mut pool = Pool::new(policy(), 2);
    pool.record(0, "---");
    pool.ticks_at(10);
    pool.try_member(0, Outcome::GatewayError);
    pool.ticks_at(30);
    pool.try_member(0, Outcome::Good);
    let ejections = |pool: &Pool| pool.outliers.members[&0].ejections;
    for (seconds, outcomes, expected) in [
        (35, "+", 2),  // the interval has not ended
        (40, "", 2),   // it was not active for all of it: it came back when the interval had begun
        (50, "-", 2),  // errors have begun
        (60, "-+", 1), // and ended; nobody has to ask
        (70, "", 0),
        (80, "", 0),
    ] {
        pool.record(0, outcomes);
        pool.ticks_at(seconds);
        assert_eq!(ejections(&pool), expected, "at {seconds}");
    }
    pool.record(0, "---");
    assert_eq!(pool.until(0), 90);
}

#[test]
fn no_more_than_a_part_of_the_pool_is_ejected() {
    for (members, max_ejected, expected) in [
        (1, 100, "A"), // the only member
        (2, 0, "eA"),  // one always, if there is another
        (2, 50, "eA"),
        (2, 100, "ee"),
        (3, 50, "eAA"), // rounded down
        (3, 66, "eAA"),
        (3, 67, "eeA"),
        (5, 10, "eAAAA"),
        (5, 255, "eeeee"),
    ] {
        let mut pool = Pool::new(OutlierPolicy { max_ejected, ..policy() }, members);
        (0..members).for_each(|member| drop(pool.record(member, "---")));
        assert_eq!(pool.standings(), expected, "{max_ejected} % of {members}");
        pool.ticks_at(1);
        assert_eq!(pool.standings(), expected, "and no more at the tick");
    }
}

#[test]
fn a_member_on_trial_takes_up_room_and_one_that_is_back_makes_room() {
    let mut pool = Pool::new(policy(), 2);
    pool.record(0, "---");
    pool.record(1, "---");
    pool.ticks_at(10);
    assert_eq!(pool.standings(), "hA");
    pool.try_member(0, Outcome::Good);
    assert_eq!(pool.standings(), "AA");
    pool.ticks_at(11);
    assert_eq!(pool.standings(), "Ae", "its errors have not ended");
}

#[test]
fn members_come_and_go() {
    let mut pool = Pool::new(policy(), 4);
    pool.record(1, "---");
    pool.now += SECOND;
    pool.record(2, "---");
    let kept = pool.recorder(2);
    assert_eq!(pool.outliers.retain([1, 2, 3, 7]), []);
    assert_eq!(pool.standings(), "eeAA", "those that stay are what they were");
    assert!(Arc::ptr_eq(&kept, &pool.recorder(2)));
    let changes = pool.outliers.retain([1, 2, 3]);
    assert_eq!((changes.len(), changes[0].member, changes[0].why), (1, 1, Why::SmallerPool));
    assert_eq!(pool.standings(), "AeA", "the one whose time would end next is back");
    assert_eq!(pool.outliers.retain([2])[0].member, 2);
    assert_eq!(pool.standings(), "A", "the only member");
    assert_eq!(pool.outliers.retain([]), []);
    assert_eq!(pool.outliers.recorder(&2).map(Arc::strong_count), None);
    pool.outliers.retain([1, 2]);
    assert_eq!(pool.outliers.members[&2].ejections, 0, "whoever comes back is new");
    assert!(kept.try_trial().is_none(), "and the old recorder does no harm");
}

#[test]
fn a_smaller_pool_brings_the_one_on_trial_back_first() {
    let mut pool = Pool::new(policy(), 4);
    pool.record(1, "---");
    pool.ticks_at(10);
    pool.record(0, "---");
    assert_eq!(pool.standings(), "ehAA");
    let trial = pool.recorder(1).try_trial().unwrap();
    assert_eq!(pool.outliers.retain([0, 1, 2])[0].member, 1);
    assert!(!trial.end(Outcome::GatewayError), "nobody waits for the trial any more");
    pool.ticks_at(11);
    assert_eq!(pool.standings(), "eAA");
}

#[test]
fn a_member_can_be_forgotten() {
    let mut pool = Pool::new(policy(), 2);
    pool.record(0, "---");
    let change = pool.outliers.forget(&0).unwrap();
    assert_eq!((change.to, change.why, change.ejections), (Standing::Active, Why::Forgotten, 0));
    pool.record(0, "--");
    assert_eq!(pool.outliers.forget(&0), None);
    pool.record(0, "--");
    assert_eq!(pool.standings(), "AA", "the errors before do not count");
    let before = pool.recorder(0);
    assert_eq!(pool.outliers.forget(&0), None);
    (0..9).for_each(|_| _ = before.record(Outcome::GatewayError, Duration::ZERO));
    assert_eq!((pool.ticks_at(1), pool.ticks_at(10)), (vec![], vec![]), "nor do those of requests that began before");
    assert_eq!(pool.outliers.forget(&9), None);
}

#[test]
fn a_share_of_errors_in_an_interval_ejects() {
    // (outcomes by member, standings); more than 40 percent are too many, and ten requests are enough.
    for (outcomes, expected) in [
        (["+-+-+-+-+-", "++++++++++", ""], "eAA"),
        (["+-+-+-+-++", "++++++++++", ""], "AAA"),   // exactly 40 percent
        (["+-+-+-+-+", "++++++++++", ""], "AAA"),    // too few requests
        (["+-+-+-+-+-", "--+--+--+--+", ""], "AeA"), // the worst first, where there is room for one
        (["-+-+-+-+-+", "-+-+-+-+-+", ""], "eAA"),
    ] {
        let policy = OutlierPolicy { error_percent: 40, ..policy() };
        let mut pool = Pool::new(policy, 3);
        (0..3).for_each(|member| assert_eq!(pool.record(member, outcomes[member]), []));
        assert_eq!(pool.ticks_at(9), []);
        let changes = pool.ticks_at(10);
        assert_eq!(pool.standings(), expected, "{outcomes:?}");
        assert!(changes.iter().all(|change| matches!(change.why, Why::Errors(50..=66))), "{changes:?}");
        let ended = pool.standings();
        pool.ticks_at(19);
        assert_eq!(pool.standings(), ended, "an interval that has ended counts no more");
    }
}

#[test]
fn a_member_slower_than_the_median_is_ejected() {
    // (milliseconds, standings); three times the median is too slow.
    for (latencies, expected) in [
        (&[10, 10, 31][..], "AAe"),
        (&[10, 10, 30], "AAA"), // exactly three times as slow
        (&[10, 31], "Ae"),      // the median of two is the faster one
        (&[1000], "A"),         // compared with nobody
        (&[0, 0, 1], "AAe"),
        (&[10, 10, 10, 10, 50, 90], "AAAAee"),
        (&[10, 10, 90, 50], "AAee"),
        (&[10, 90, 80, 70], "AAAA"), // most are slow: that is how the pool is
    ] {
        let policy = OutlierPolicy { latency_percent: 300, ..policy() };
        let mut pool = Pool::new(policy, latencies.len());
        for (member, &latency) in latencies.iter().enumerate() {
            let recorder = pool.recorder(member);
            (0..10).for_each(|_| assert!(!recorder.record(Outcome::Good, Duration::from_millis(latency))));
        }
        let changes = pool.ticks_at(10);
        assert_eq!(pool.standings(), expected, "{latencies:?}");
        assert!(changes.iter().all(|change| matches!(change.why, Why::Slow { .. })), "{changes:?}");
    }
}

#[test]
fn members_with_few_requests_and_fast_errors_say_nothing_of_latency() {
    // Even the one that is left is not slow, compared with itself.
    let policy = OutlierPolicy { latency_percent: 50, consecutive: 0, ..policy() };
    let mut pool = Pool::new(policy, 3);
    let plan = [(10, Outcome::Good, 50), (9, Outcome::Good, 1), (100, Outcome::GatewayError, 1)];
    for (member, (requests, outcome, latency)) in plan.into_iter().enumerate() {
        let recorder = pool.recorder(member);
        (0..requests).for_each(|_| assert!(!recorder.record(outcome, Duration::from_millis(latency))));
    }
    assert_eq!(pool.ticks_at(10), []);
}

#[test]
fn what_comes_during_an_ejection_does_not_count_after_it() {
    let mut pool = Pool::new(OutlierPolicy { error_percent: 40, ..policy() }, 2);
    pool.record(0, "---");
    pool.ticks_at(10);
    pool.record(0, "--------------------"); // of requests that were on their way
    pool.try_member(0, Outcome::Good);
    pool.record(0, "++--++--");
    assert_eq!(pool.ticks_at(20), [], "eight requests are too few");
    assert_eq!(pool.standings(), "AA");
}

#[test]
fn intervals_that_nobody_looked_at_are_not_made_up_for() {
    let mut pool = Pool::new(OutlierPolicy { eject_for: 3 * SECOND, ..policy() }, 2);
    let interval_end = |pool: &Pool| (pool.outliers.interval_end - pool.start).as_secs();
    assert_eq!(interval_end(&pool), 10);
    pool.ticks_at(4);
    pool.record(0, "---");
    pool.ticks_at(7);
    assert_eq!((interval_end(&pool), pool.standings().as_str()), (10, "hA"), "a trial has no end");
    pool.ticks_at(1_000);
    assert_eq!(interval_end(&pool), 1_010);
}

/// When a tick has something to do again.
fn next_tick(outliers: &Outliers<usize>) -> Instant {
    let ends = outliers.members.values().filter_map(|known| match known.standing {
        Standing::Ejected { until } => Some(until),
        Standing::Active | Standing::HalfOpen => None,
    });
    ends.fold(outliers.interval_end, Instant::min)
}

/// What may happen to a pool of up to six members.
#[derive(Debug, Clone)]
enum Step {
    Record { member: usize, good: bool, latency: u64, decide: bool },
    StartTrial { member: usize },
    EndTrial { trial: usize, good: Option<bool>, decide: bool },
    Tick { millis: u32 },
    Retain { members: Vec<bool> },
    Forget { member: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0..6_usize, any::<bool>(), 0..200_u64, any::<bool>())
            .prop_map(|(member, good, latency, decide)| Step::Record { member, good, latency, decide }),
        4 => (0..6_usize).prop_map(|member| Step::StartTrial { member }),
        4 => (0..3_usize, any::<Option<bool>>(), any::<bool>())
            .prop_map(|(trial, good, decide)| Step::EndTrial { trial, good, decide }),
        6 => (0..8_000_u32).prop_map(|millis| Step::Tick { millis }),
        1 => prop::collection::vec(any::<bool>(), 6).prop_map(|members| Step::Retain { members }),
        1 => (0..6_usize).prop_map(|member| Step::Forget { member }),
    ];
    prop::collection::vec(step, 1..200)
}

fn policies() -> impl Strategy<Value = OutlierPolicy> {
    (0..4_u32, 0..101_u8, 0..300_u32, 0..5_u32, 0..12_u32, 0..40_u32, 0..=100_u8).prop_map(
        |(consecutive, error_percent, latency_percent, requests, eject_for, eject_at_most, max_ejected)| {
            OutlierPolicy {
                consecutive,
                error_percent,
                latency_percent,
                requests,
                interval: 10 * SECOND,
                eject_for: eject_for * SECOND,
                eject_at_most: eject_at_most * SECOND,
                max_ejected,
            }
        },
    )
}

/// The rules that hold after every step.
fn check(pool: &Pool, policy: &OutlierPolicy, trials: &[(usize, Arc<Recorder>, Trial)]) -> Result<(), TestCaseError> {
    let members = &pool.outliers.members;
    let ejected = members.values().filter(|known| known.standing != Standing::Active).count();
    let most = match members.len() {
        0 | 1 => 0,
        n => (n * usize::from(policy.max_ejected) / 100).max(1),
    };
    prop_assert!(ejected <= most, "{ejected} of {} are ejected", members.len());
    for (member, known) in members {
        let here = trials.iter().filter(|(_, recorder, _)| Arc::ptr_eq(recorder, &known.recorder)).count();
        match known.standing {
            Standing::Active => prop_assert!(!known.recorder.awaits_trial()),
            Standing::Ejected { until } => {
                prop_assert!(!known.recorder.awaits_trial() && until <= pool.now + policy.eject_at_most);
                prop_assert!(known.ejections > 0 || policy.eject_at_most.is_zero(), "member {member}");
            }
            Standing::HalfOpen => {
                let open = known.recorder.awaits_trial() || known.recorder.verdict().is_some() || here > 0;
                prop_assert!(open, "nobody could end the trial of member {member}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, the rules hold, and changes are told exactly when they happen.
    #[test]
    fn the_rules_hold(policy in policies(), steps in steps(), members in 0..6_usize) {
        let mut pool = Pool::new(policy, members);
        let mut trials: Vec<(usize, Arc<Recorder>, Trial)> = Vec::new();
        for step in steps {
            let before: BTreeMap<usize, Standing> =
                pool.outliers.members.iter().map(|(&member, known)| (member, known.standing)).collect();
            let mut changes = Vec::new();
            match step {
                Step::Record { member, good, latency, decide } => {
                    let outcome = if good { Outcome::Good } else { Outcome::GatewayError };
                    let Some(recorder) = pool.outliers.recorder(&member).cloned() else { continue };
                    if recorder.record(outcome, Duration::from_millis(latency)) && decide {
                        changes.extend(pool.outliers.decide(&member, pool.now));
                    }
                }
                Step::StartTrial { member } => {
                    let Some(recorder) = pool.outliers.recorder(&member).cloned() else { continue };
                    let trial = recorder.try_trial();
                    prop_assert!(trial.is_none() || before[&member] == Standing::HalfOpen);
                    trials.extend(trial.map(|trial| (member, recorder, trial)));
                }
                Step::EndTrial { trial, good, decide } => {
                    if trial >= trials.len() { continue }
                    let (member, _, trial) = trials.swap_remove(trial);
                    let Some(good) = good else { continue };
                    if trial.end(if good { Outcome::Good } else { Outcome::GatewayError }) && decide {
                        changes.extend(pool.outliers.decide(&member, pool.now));
                    }
                }
                Step::Tick { millis } => {
                    pool.now += Duration::from_millis(millis.into());
                    changes = pool.outliers.tick(pool.now);
                    let no_time = policy.eject_for.is_zero() || policy.eject_at_most.is_zero();
                    prop_assert!(next_tick(&pool.outliers) > pool.now || no_time);
                }
                Step::Retain { members } => {
                    changes = pool.outliers.retain((0..6).filter(|&member| members[member]));
                }
                Step::Forget { member } => changes.extend(pool.outliers.forget(&member)),
            }
            let mut told = before.clone();
            for change in &changes {
                prop_assert_eq!(told.insert(change.member, change.to), Some(change.from));
                prop_assert_ne!(change.to, change.from);
            }
            for (member, known) in &pool.outliers.members {
                prop_assert_eq!(told.get(member).copied().unwrap_or(Standing::Active), known.standing);
            }
            check(&pool, &policy, &trials)?;
        }
    }
}
