//! Whether a request that failed on a member is tried again, and where.
//!
//! [`decide`] is the whole rule, without clock or I/O. Trying again is right only if it cannot do something twice, and
//! it must not make a bad time worse: [`Budget`] limits how much of a pool's load may be retries.
//!
//! # The rules, and why
//!
//! 1. Nothing is tried again once the answer has begun: the client may have a part of it.
//! 2. What has been read of the body must still be there, or the node would get a shorter one.
//! 3. A request that could not get a connection goes to another member, whatever it is: no node has seen it. This is
//!    outside of attempts and budget, as it puts no load on a node, and ends when each member has been asked once.
//! 4. A request of which something has been sent is tried again only if its method is idempotent. RFC 9110, section
//!    9.2.2: "A proxy MUST NOT automatically retry non-idempotent requests", since nobody can tell whether the node has
//!    acted on it before it failed. With PUT, DELETE and the safe methods, twice is as good as once. A part of a
//!    request counts as the whole: what has been handed to the system may be with the node.
//! 5. An idle connection may have been closed by the node at any time, and what is sent into it is lost (RFC 9112,
//!    section 9.3.1). So the first break of a reused connection says nothing against the member: the request goes to
//!    the same member, which has its session, over a new connection, and no attempt is counted. Once for each request,
//!    so that a node that breaks every connection cannot hold it for ever.
//! 6. Everything else costs one of the policy's attempts and a pass of the budget, and goes to another member, if one
//!    is ready: the one that failed is the least likely to do better.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::RetryPolicy;

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection to the member.
    Connect,
    /// The connection broke before the first byte of the answer.
    Broken,
    /// The first byte of the answer did not come in time.
    TooSlow,
    /// Something went wrong after the first byte of the answer.
    AnswerBegun,
}

/// The members that a request may still be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// There is a ready member that the request has not been given to.
    Untried,
    /// Besides the member that failed, only members are ready that the request has been given to before.
    Tried,
    /// No other member is ready.
    None,
}

/// An attempt that failed, and the request that it was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How.
    pub failure: Failure,
    /// Whether the connection had been used before.
    pub reused: bool,
    /// Whether an earlier attempt of the request was tried again as [`Place::SameAnew`].
    pub tried_anew: bool,
    /// Whether the request's method is idempotent: [`http::Method::is_idempotent`].
    pub idempotent: bool,
    /// Whether any byte of the request has been written in this attempt, header included.
    pub sent: bool,
    /// Whether all that has been read of the body can be sent again. True for a request without a body.
    pub body_kept: bool,
    /// Attempts that count, this one included if it does. Connections that could not be made do not count, and neither
    /// does an attempt that was followed by [`Place::SameAnew`].
    pub attempts: usize,
    /// The members that are left.
    pub others: Others,
}

/// What is done about an attempt that failed. `P` is the pass that a retry has from the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<P> {
    /// The request is tried again.
    Retry {
        /// Where.
        place: Place,
        /// To be kept while the retry lasts. `None` if it does not count.
        pass: Option<P>,
    },
    /// The client gets an error, or the answer ends here.
    GiveUp(GiveUp),
}

/// Where a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At another member, one that has not been tried if there is one.
    Other,
    /// At the same member, as no other one is ready.
    Same,
    /// At the same member, over a new connection: the one that broke had been idle.
    SameAnew,
}

/// Why a request is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveUp {
    /// The client may have a part of the answer.
    AnswerBegun,
    /// A part of the body is gone.
    BodyGone,
    /// No connection could be made to any member.
    NoOtherMember,
    /// A node may have acted on it, and its method is not idempotent.
    NotIdempotent,
    /// The policy allows no more attempts.
    Attempts,
    /// Too much of the pool's load are retries.
    Budget,
}

impl GiveUp {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            GiveUp::AnswerBegun => "answer_begun",
            GiveUp::BodyGone => "body_gone",
            GiveUp::NoOtherMember => "no_other_member",
            GiveUp::NotIdempotent => "not_idempotent",
            GiveUp::Attempts => "no_attempts_left",
            GiveUp::Budget => "retry_budget_used_up",
        }
    }
}

/// Decides about an attempt that failed. `pass` asks the budget, and is called only if nothing else stands against a
/// retry that counts; see [`Budget::pass`].
pub fn decide<P>(failed: &Failed, policy: &RetryPolicy, pass: impl FnOnce() -> Option<P>) -> Decision<P> {
    let free = |place| Decision::Retry { place, pass: None };
    if failed.failure == Failure::AnswerBegun {
        return Decision::GiveUp(GiveUp::AnswerBegun);
    }
    if !failed.body_kept {
        return Decision::GiveUp(GiveUp::BodyGone);
    }
    if failed.failure == Failure::Connect {
        return match failed.others {
            Others::Untried => free(Place::Other),
            Others::Tried | Others::None => Decision::GiveUp(GiveUp::NoOtherMember),
        };
    }
    if failed.sent && !failed.idempotent {
        return Decision::GiveUp(GiveUp::NotIdempotent);
    }
    if failed.failure == Failure::Broken && failed.reused && !failed.tried_anew {
        return free(Place::SameAnew);
    }
    if failed.attempts >= policy.attempts {
        return Decision::GiveUp(GiveUp::Attempts);
    }
    let place = if failed.others == Others::None { Place::Same } else { Place::Other };
    match pass() {
        Some(pass) => Decision::Retry { place, pass: Some(pass) },
        None => Decision::GiveUp(GiveUp::Budget),
    }
}

/// How long an attempt may take to its first byte, beside what the timeouts say. `None` if no attempt may follow: an
/// answer that comes late is better than none.
///
/// `attempts` are those that count, the one that begins included. `repeatable`: the method is idempotent, and the whole
/// body can be kept.
pub fn try_timeout(policy: &RetryPolicy, attempts: usize, repeatable: bool) -> Option<Duration> {
    policy.try_timeout.filter(|_| repeatable && attempts < policy.attempts)
}

/// How many requests of a pool may be retries at a time: a share of its requests in flight, so that a pool in trouble
/// gets a little more load and not a multiple of it (the idea is Envoy's and Finagle's "retry budget").
#[derive(Debug)]
pub struct Budget {
    percent: u8,
    floor: usize,
    retries: AtomicUsize,
}

/// A retry that is in flight, for as long as it lives.
#[derive(Debug)]
#[must_use]
pub struct RetryPass(Arc<Budget>);

impl Budget {
    /// The budget that a policy gives to a pool.
    pub fn new(policy: &RetryPolicy) -> Self {
        Budget { percent: policy.budget, floor: policy.budget_floor, retries: AtomicUsize::new(0) }
    }

    /// Lets a retry go on, if there are not too many for a pool with so many requests in flight (the one that is to be
    /// retried among them).
    ///
    /// A request has at most one pass: if the attempt that failed was a retry itself, its pass is handed on, as in
    /// `|| held.take().or_else(|| budget.pass(in_flight))`.
    pub fn pass(self: &Arc<Self>, in_flight: usize) -> Option<RetryPass> {
        let most = (in_flight.saturating_mul(usize::from(self.percent)) / 100).max(self.floor);
        let more = |retries| if retries < most { Some(retries + 1) } else { None };
        self.retries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(RetryPass(self.clone()))
    }
}

impl Drop for RetryPass {
    fn drop(&mut self) {
        self.0.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    const POLICY: RetryPolicy = RetryPolicy { attempts: 3, try_timeout: None, budget: 20, budget_floor: 2 };

    const FAILURES: [Failure; 4] = [Failure::Connect, Failure::Broken, Failure::TooSlow, Failure::AnswerBegun];
    const OTHERS: [Others; 3] = [Others::Untried, Others::Tried, Others::None];
    const BOTH: [bool; 2] = [false, true];

    /// Every combination, with one attempt and with as many as there may be.
    fn all() -> impl Iterator<Item = Failed> {
        let bits = |i: usize| move |bit: usize| i >> bit & 1 == 1;
        FAILURES.into_iter().flat_map(move |failure| {
            OTHERS.into_iter().flat_map(move |others| {
                (0..1 << 6).map(bits).map(move |bit| Failed {
                    failure,
                    others,
                    reused: bit(0),
                    tried_anew: bit(1),
                    idempotent: bit(2),
                    sent: bit(3),
                    body_kept: bit(4),
                    attempts: if bit(5) { POLICY.attempts } else { 1 },
                })
            })
        })
    }

    /// A row of the table: `None` is anything.
    struct Row {
        failure: Option<Failure>,
        /// Reused and not yet tried anew.
        stale: Option<bool>,
        idempotent: Option<bool>,
        sent: Option<bool>,
        body_kept: Option<bool>,
        attempts_left: Option<bool>,
        budget: Option<bool>,
        others: Option<Others>,
        expected: Result<(Place, bool), GiveUp>,
    }

    const ANY: Row = Row {
        failure: None,
        stale: None,
        idempotent: None,
        sent: None,
        body_kept: None,
        attempts_left: None,
        budget: None,
        others: None,
        expected: Err(GiveUp::AnswerBegun),
    };

    impl Row {
        fn holds_for(&self, failed: &Failed, budget: bool) -> bool {
            fn fits<T: PartialEq>(wanted: &Option<T>, is: T) -> bool {
                wanted.as_ref().is_none_or(|wanted| *wanted == is)
            }
            fits(&self.failure, failed.failure)
                && fits(&self.stale, failed.reused && !failed.tried_anew)
                && fits(&self.idempotent, failed.idempotent)
                && fits(&self.sent, failed.sent)
                && fits(&self.body_kept, failed.body_kept)
                && fits(&self.attempts_left, failed.attempts < POLICY.attempts)
                && fits(&self.budget, budget)
                && fits(&self.others, failed.others)
        }
    }

    /// The rules again, as rows that do not overlap: each combination is in exactly one.
    #[rustfmt::skip]
    fn table() -> Vec<Row> {
        use Failure::{AnswerBegun, Broken, Connect, TooSlow};
        let (yes, no) = (Some(true), Some(false));
        let mut rows = vec![
            Row { failure: Some(AnswerBegun), ..ANY },
            // No connection: any method, any number of attempts, any budget.
            Row { failure: Some(Connect), body_kept: no, expected: Err(GiveUp::BodyGone), ..ANY },
            Row { failure: Some(Connect), body_kept: yes, others: Some(Others::Untried), expected: Ok((Place::Other, false)), ..ANY },
            Row { failure: Some(Connect), body_kept: yes, others: Some(Others::Tried), expected: Err(GiveUp::NoOtherMember), ..ANY },
            Row { failure: Some(Connect), body_kept: yes, others: Some(Others::None), expected: Err(GiveUp::NoOtherMember), ..ANY },
        ];
        for failure in [Broken, TooSlow].map(Some) {
            rows.push(Row { failure, body_kept: no, expected: Err(GiveUp::BodyGone), ..ANY });
            // A POST that a node may have read.
            rows.push(Row { failure, body_kept: yes, sent: yes, idempotent: no, expected: Err(GiveUp::NotIdempotent), ..ANY });
            // What may be repeated: an idempotent method, or nothing that a node could have read.
            for (sent, idempotent) in [(yes, yes), (no, yes), (no, no)] {
                let may = Row { failure, body_kept: yes, sent, idempotent, ..ANY };
                let stale = if failure == Some(Broken) {
                    rows.push(Row { stale: yes, expected: Ok((Place::SameAnew, false)), ..may });
                    no
                } else {
                    None
                };
                rows.push(Row { stale, attempts_left: no, expected: Err(GiveUp::Attempts), ..may });
                rows.push(Row { stale, attempts_left: yes, budget: no, expected: Err(GiveUp::Budget), ..may });
                for (others, place) in OTHERS.into_iter().zip([Place::Other, Place::Other, Place::Same]) {
                    rows.push(Row { stale, attempts_left: yes, budget: yes, others: Some(others), expected: Ok((place, true)), ..may });
                }
            }
        }
        rows
    }

    #[test]
    fn every_combination_is_decided_as_the_table_says() {
        let (table, mut seen) = (table(), 0);
        for (failed, budget) in all().flat_map(|failed| BOTH.map(|budget| (failed, budget))) {
            let rows: Vec<&Row> = table.iter().filter(|row| row.holds_for(&failed, budget)).collect();
            assert_eq!(rows.len(), 1, "{failed:?}");
            let mut asked = false;
            let decision = decide(&failed, &POLICY, || {
                asked = true;
                budget.then_some(())
            });
            let expected = match rows[0].expected {
                Ok((place, counts)) => Decision::Retry { place, pass: counts.then_some(()) },
                Err(reason) => Decision::GiveUp(reason),
            };
            assert_eq!(decision, expected, "{failed:?}, budget {budget}");
            let counts = matches!(decision, Decision::Retry { pass: Some(()), .. } | Decision::GiveUp(GiveUp::Budget));
            assert_eq!(asked, counts, "the budget is asked last, and only for what counts: {failed:?}");
            seen += 1;
        }
        assert_eq!(seen, 4 * 3 * 64 * 2);
    }

    #[test]
    fn a_post_is_never_sent_twice() {
        for failed in all().filter(|failed| !failed.idempotent && failed.sent && failed.failure != Failure::Connect) {
            assert!(matches!(decide(&failed, &POLICY, || Some(())), Decision::GiveUp(_)), "{failed:?}");
        }
        // The framework's list is that of the RFC.
        for (methods, idempotent) in
            [(&["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"][..], true), (&["POST", "PATCH", "LOCK"], false)]
        {
            for method in methods {
                assert_eq!(Method::from_bytes(method.as_bytes()).unwrap().is_idempotent(), idempotent, "{method}");
            }
        }
    }

    #[test]
    fn a_request_is_not_tried_for_ever() {
        // A pool of five whose members break each connection, and one whose members cannot be reached.
        for (failure, most) in [(Failure::Broken, POLICY.attempts + 1), (Failure::Connect, 5)] {
            let mut failed = Failed {
                failure,
                reused: true,
                tried_anew: false,
                idempotent: true,
                sent: true,
                body_kept: true,
                attempts: usize::from(failure == Failure::Broken),
                others: Others::Untried,
            };
            let (mut given, mut tried) = (1, 1);
            while let Decision::Retry { place, pass } = decide(&failed, &POLICY, || Some(())) {
                given += 1;
                assert!(given < 20, "no end");
                failed.attempts += usize::from(pass.is_some());
                failed.tried_anew |= place == Place::SameAnew;
                tried += usize::from(place == Place::Other);
                failed.others = if tried < 5 { Others::Untried } else { Others::Tried };
            }
            assert_eq!(given, most, "{failure:?}");
        }
    }

    #[test]
    fn an_attempt_has_its_own_time_while_another_one_may_follow() {
        let second = Duration::from_secs(1);
        let policy = RetryPolicy { try_timeout: Some(second), ..POLICY };
        for (policy, attempts, repeatable, expected) in [
            (&policy, 1, true, Some(second)),
            (&policy, 2, true, Some(second)),
            (&policy, 3, true, None), // the last one
            (&policy, 9, true, None),
            (&policy, 1, false, None), // a POST
            (&POLICY, 1, true, None),
        ] {
            assert_eq!(try_timeout(policy, attempts, repeatable), expected, "{attempts}, {repeatable}");
        }
    }

    fn in_flight_of(budget: &Budget) -> usize {
        budget.retries.load(Ordering::Relaxed)
    }

    #[test]
    fn retries_are_a_share_of_what_is_in_flight() {
        for (percent, floor, in_flight, most) in [
            (20, 3, 0, 3), // the floor
            (20, 3, 15, 3),
            (20, 3, 19, 3), // rounded down
            (20, 3, 20, 4),
            (20, 3, 100, 20),
            (0, 0, 100, 0),
            (0, 1, 100, 1),
            (100, 0, 7, 7),
            (200, 2, usize::MAX, 50), // no overflow
        ] {
            let policy = RetryPolicy { budget: percent, budget_floor: floor, ..POLICY };
            let budget = Arc::new(Budget::new(&policy));
            let passes: Vec<RetryPass> = (0..50).map_while(|_| budget.pass(in_flight)).collect();
            assert_eq!(
                (passes.len(), in_flight_of(&budget)),
                (most, most),
                "{percent} % of {in_flight}, {floor} always"
            );
            drop(passes);
            assert_eq!(in_flight_of(&budget), 0);
            assert_eq!(budget.pass(in_flight).is_some(), most > 0, "there is room again");
        }
    }

    #[test]
    fn threads_do_not_exceed_the_budget() {
        let budget = Arc::new(Budget::new(&POLICY));
        // In flight at the same time: what each thread has got is counted while all of it is held.
        let held: Vec<Vec<RetryPass>> = std::thread::scope(|scope| {
            let takes = || (0..1_000).filter_map(|_| budget.pass(20)).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(takes)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((held.iter().flatten().count(), in_flight_of(&budget)), (4, 4));
        drop(held);
        assert_eq!(in_flight_of(&budget), 0);
    }
}
