//! A fleet in simulated time: requests come at random, the real selector picks a member for each, and members work them off
//! with a few workers each. One thread, no clock; the same seed gives the same outcome.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use carbon_elb::config::{Algorithm, PoolSettings};
use carbon_elb::ids::Role;
use carbon_elb::select::{Candidate, Draws, Gauge, InFlight, Moment, Pick, Selector};

/// Seconds that a request takes on a member of speed 1, in the mean.
pub(crate) const SERVICE: f64 = 0.2;

/// Requests that a member works on at a time; further ones wait in its queue.
pub(crate) const WORKERS: usize = 8;

/// Speeds of members, in turn.
pub(crate) const SPEEDS: [f64; 3] = [1.0, 0.7, 0.4];

/// Seconds between two times at which a member is slow, in the mean, and for how long it is.
pub(crate) const SLOW_EVERY: f64 = 60.0;
/// See [`SLOW_EVERY`].
pub(crate) const SLOW_FOR: f64 = 3.0;

/// Seconds between two reports of a member's load.
pub(crate) const REPORT_EVERY: f64 = 1.0;

/// Different keys of requests, for the algorithm that hashes them.
const KEYS: u64 = 10_000;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fleet {
    /// How many members there are.
    pub(crate) members: usize,
    /// Mean load, as a share of what all members together can do.
    pub(crate) load: f64,
    /// Whether the weights say how fast members are; otherwise all have the same one.
    pub(crate) weights_fit: bool,
    /// How many requests come.
    pub(crate) requests: usize,
    /// What all that is random begins with.
    pub(crate) seed: u64,
}

/// What came of it. Times are multiples of [`SERVICE`]; the first tenth of the requests does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Mean time from the arrival of a request to its end.
    pub(crate) mean: f64,
    /// 99 in 100 requests took no longer.
    pub(crate) p99: f64,
    /// 999 in 1,000 requests took no longer.
    pub(crate) p999: f64,
    /// Share of the time that the busiest member was busy, divided by the mean of all members.
    pub(crate) imbalance: f64,
}

/// Runs a fleet under an algorithm.
pub(crate) fn run(fleet: &Fleet, algorithm: Algorithm) -> Outcome {
    let mut simulation = Simulation::new(fleet, algorithm);
    while simulation.step() {}
    simulation.outcome()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    Done(usize),
    /// Becomes slow, or as fast as before.
    Slow(usize, bool),
    Report(usize),
}

struct Request {
    arrived: u64,
    counted: bool,
    /// What there is to do, in seconds on a member of speed 1.
    work: f64,
    in_flight: InFlight,
}

struct Member {
    gauge: Arc<Gauge>,
    speed: f64,
    slow: bool,
    queue: VecDeque<Request>,
    busy: usize,
    /// Since when `busy` has been what it is, and time by workers before: in all, and since the last report.
    since: u64,
    worked: u64,
    /// When the last report was made, and what had been worked by then.
    reported: (u64, u64),
}

/// Random numbers for one purpose each, so that every algorithm sees the same arrivals, work and slow times.
struct Random {
    arrivals: Draws,
    work: Draws,
    slow: Draws,
    keys: Draws,
    picks: Draws,
}

struct Simulation {
    /// Nanoseconds.
    now: u64,
    /// By time, then in the order of their making.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    made: u64,
    members: Vec<Member>,
    /// Requests that are worked on, by the number in [`Event::Done`], with their member; and numbers that are free.
    working: Vec<Option<(usize, Request)>>,
    free: Vec<usize>,
    selector: Selector,
    turn: AtomicUsize,
    random: Random,
    /// Seconds between two arrivals, in the mean.
    gap: f64,
    to_come: usize,
    not_counted: usize,
    times: Vec<u64>,
}

impl Simulation {
    fn new(fleet: &Fleet, algorithm: Algorithm) -> Self {
        let members: Vec<Member> = SPEEDS.iter().cycle().take(fleet.members).map(|&speed| Member::new(speed)).collect();
        let candidates = members.iter().zip(0..).map(|(member, identity)| Candidate {
            weight: if fleet.weights_fit { (member.speed * 10.0).round() as u32 } else { 1 },
            gauge: &member.gauge,
            identity,
        });
        let mut settings = PoolSettings::of(Role::Worker);
        settings.balance = algorithm;
        let selector = Selector::new(&settings, &candidates.collect::<Vec<_>>());
        // A member is slow, with half its speed, in some of the time.
        let fast = 1.0 - 0.5 * SLOW_FOR / (SLOW_EVERY + SLOW_FOR);
        let capacity = members.iter().map(|member| member.speed).sum::<f64>() * fast * WORKERS as f64 / SERVICE;
        let seeds = Draws::new(fleet.seed);
        let [arrivals, work, slow, keys, picks] = [(); 5].map(|()| Draws::new(seeds.draw()));
        let mut simulation = Simulation {
            now: 0,
            events: BinaryHeap::new(),
            made: 0,
            members,
            working: Vec::new(),
            free: Vec::new(),
            selector,
            turn: AtomicUsize::new(0),
            random: Random { arrivals, work, slow, keys, picks },
            gap: 1.0 / (capacity * fleet.load),
            to_come: fleet.requests,
            not_counted: fleet.requests / 10,
            times: Vec::with_capacity(fleet.requests),
        };
        simulation.after(0.0, Event::Arrival);
        for member in 0..fleet.members {
            let until = exponential(&simulation.random.slow, SLOW_EVERY);
            simulation.after(until, Event::Slow(member, true));
            // Not all at the same time.
            simulation.after(REPORT_EVERY * (1.0 + member as f64 / fleet.members as f64), Event::Report(member));
        }
        simulation
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.made += 1;
        self.events.push(Reverse((self.now + nanos(seconds), self.made, event)));
    }

    /// Goes on to the next event; `false` if all requests have come.
    fn step(&mut self) -> bool {
        let Some(Reverse((now, _, event))) = self.events.pop() else { return false };
        self.now = now;
        match event {
            Event::Arrival => return self.arrive(),
            Event::Done(number) => self.finish(number),
            Event::Slow(member, slow) => {
                self.members[member].slow = slow;
                let lasts = if slow { SLOW_FOR } else { exponential(&self.random.slow, SLOW_EVERY) };
                self.after(lasts, Event::Slow(member, !slow));
            }
            Event::Report(member) => {
                self.members[member].report(now);
                self.after(REPORT_EVERY, Event::Report(member));
            }
        }
        true
    }

    /// A request comes and is given to a member. The simulation ends with the last one: what is in queues then counts as
    /// long as it has waited, or an overloaded member would look better than it is.
    fn arrive(&mut self) -> bool {
        if self.to_come == 0 {
            let waiting = self.members.iter().flat_map(|member| &member.queue).filter(|request| request.counted);
            self.times.extend(waiting.map(|request| self.now - request.arrived));
            return false;
        }
        self.to_come -= 1;
        let now = Moment::after(Duration::from_nanos(self.now));
        let key = self.random.keys.draw() % KEYS;
        let picked = self.selector.pick(&Pick { now, turn: &self.turn, draws: &self.random.picks, key }, |_| true);
        let index = picked.expect("all members are usable");
        let in_flight = self.members[index].gauge.try_start(None, now).expect("there is no limit");
        let work = exponential(&self.random.work, SERVICE);
        let counted = self.not_counted == 0;
        self.not_counted = self.not_counted.saturating_sub(1);
        self.members[index].queue.push_back(Request { arrived: self.now, counted, work, in_flight });
        self.work(index);
        let gap = exponential(&self.random.arrivals, self.gap);
        self.after(gap, Event::Arrival);
        true
    }

    /// A member begins with the next request, if a worker is free.
    fn work(&mut self, index: usize) {
        let member = &mut self.members[index];
        if member.busy == WORKERS {
            return;
        }
        let Some(request) = member.queue.pop_front() else { return };
        member.account(self.now);
        member.busy += 1;
        let takes = request.work / if member.slow { member.speed / 2.0 } else { member.speed };
        let number = self.free.pop().unwrap_or_else(|| {
            self.working.push(None);
            self.working.len() - 1
        });
        self.working[number] = Some((index, request));
        self.after(takes, Event::Done(number));
    }

    fn finish(&mut self, number: usize) {
        let (index, mut request) = self.working[number].take().expect("it is worked on");
        self.free.push(number);
        request.in_flight.answered(Moment::after(Duration::from_nanos(self.now)));
        if request.counted {
            self.times.push(self.now - request.arrived);
        }
        self.members[index].account(self.now);
        self.members[index].busy -= 1;
        self.work(index);
    }

    fn outcome(mut self) -> Outcome {
        self.times.sort_unstable();
        let relative = |nanos: f64| nanos / (SERVICE * 1e9);
        let quantile = |share: f64| relative(self.times[(self.times.len() as f64 * share) as usize] as f64);
        let worked: Vec<f64> = self.members.iter().map(|member| member.worked as f64).collect();
        let mean_worked = worked.iter().sum::<f64>() / worked.len() as f64;
        Outcome {
            mean: relative(self.times.iter().map(|&time| time as f64).sum::<f64>() / self.times.len() as f64),
            p99: quantile(0.99),
            p999: quantile(0.999),
            imbalance: worked.iter().copied().fold(0.0, f64::max) / mean_worked,
        }
    }
}

impl Member {
    fn new(speed: f64) -> Self {
        let (gauge, queue) = (Arc::new(Gauge::new()), VecDeque::new());
        Member { gauge, speed, slow: false, queue, busy: 0, since: 0, worked: 0, reported: (0, 0) }
    }

    /// Adds up the time that workers have worked until now.
    fn account(&mut self, now: u64) {
        self.worked += (now - self.since) * self.busy as u64;
        self.since = now;
    }

    /// Reports the share of its workers that were busy since the last report, as a processor would.
    fn report(&mut self, now: u64) {
        self.account(now);
        let (last, worked) = std::mem::replace(&mut self.reported, (now, self.worked));
        let busy = (self.worked - worked) as f64 / ((now - last) as f64 * WORKERS as f64);
        self.gauge.report(busy as f32, Moment::after(Duration::from_nanos(now)));
    }
}

/// A random time with this mean, as between events that do not depend on each other.
fn exponential(draws: &Draws, mean: f64) -> f64 {
    let unit = ((draws.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -unit.ln() * mean
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
