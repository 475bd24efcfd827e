//! The cluster model: nodes that start, serve and drain, and a queue before them, in virtual time.
//!
//! Nodes are all alike. Each serves up to `slots` requests at a time; what finds no room waits in one queue, first come,
//! first served, bounded in length and time. Up to `cores` requests of a node run at full speed; more share it evenly
//! (processor sharing). A request goes to the ready node with the fewest in flight.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::node::{Job, Node, State};
use super::outcome::{Outcome, Tally};
use super::rules::Rule;
use super::trace::Trace;
use crate::autoscale::{Fleet, Sample, ScalePolicy, Steps};
use crate::select::Draws;

/// From one sample to the next, in seconds.
const SAMPLE: f64 = 0.25;

/// What a cluster is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Nodes that are ready when the trace begins.
    pub nodes: usize,
    /// Requests that a node serves at a time.
    pub slots: usize,
    /// Requests that a node serves at full speed.
    pub cores: usize,
    /// How long a node takes from its start to ready, in the mean.
    pub startup: Duration,
    /// By which share of that a start may be shorter or longer, 0 to 1.
    pub jitter: f64,
    /// The share of starts that never come to an end, 0 to 1.
    pub lost: f64,
    /// Requests that may wait.
    pub queue: usize,
    /// How long one may wait.
    pub wait: Duration,
    /// From a second on, how fast nodes are; 1 before the first one.
    pub speeds: Vec<(f64, f64)>,
    /// A request should not take longer, its wait included.
    pub goal: Duration,
    /// For everything that is random in the model.
    pub seed: u64,
}

impl Default for Model {
    fn default() -> Self {
        Model {
            nodes: 1,
            slots: 10,
            cores: 10,
            startup: Duration::from_secs(30),
            jitter: 0.2,
            lost: 0.0,
            queue: 1000,
            wait: Duration::from_secs(5),
            speeds: Vec::new(),
            goal: Duration::from_secs(4),
            seed: 1,
        }
    }
}

/// Plays the trace against the rule.
pub fn play(trace: &Trace, model: &Model, rule: &mut dyn Rule) -> Outcome {
    let mut cluster = Cluster::new(model, rule);
    for arrival in trace.arrivals() {
        cluster.run_until(arrival.at);
        cluster.arrive(Job { arrived: arrival.at, began: arrival.at, work: arrival.service });
    }
    cluster.finish(trace.end());
    cluster.tally.outcome()
}

/// What happens next, other than an arrival.
enum Event {
    Completion(usize),
    Ready(usize),
    Expiry,
    Sample,
    Decision,
}

struct Cluster<'a> {
    model: &'a Model,
    rule: &'a mut dyn Rule,
    now: f64,
    /// By the number in which they were started.
    nodes: BTreeMap<usize, Node>,
    started: usize,
    queue: VecDeque<Job>,
    next_sample: f64,
    next_decision: f64,
    speed: f64,
    seen: Sample,
    draws: Draws,
    tally: Tally,
}

impl<'a> Cluster<'a> {
    fn new(model: &'a Model, rule: &'a mut dyn Rule) -> Self {
        let nodes = (0..model.nodes).map(|number| (number, Node::ready(0.0))).collect();
        let next_decision = rule.interval().as_secs_f64();
        Cluster {
            model,
            rule,
            now: 0.0,
            nodes,
            started: model.nodes,
            queue: VecDeque::new(),
            next_sample: SAMPLE,
            next_decision,
            speed: 1.0,
            seen: Sample::default(),
            draws: Draws::new(model.seed),
            tally: Tally::new(model.goal),
        }
    }

    /// Lets everything happen that comes before `until`.
    fn run_until(&mut self, until: f64) {
        while let Some((at, event)) = self.next() {
            if at > until {
                break;
            }
            self.advance(at);
            self.happen(event);
        }
        self.advance(until);
    }

    /// Lets what is left finish, for as long as requests may take that are on nodes; no node is started for it.
    fn finish(&mut self, end: f64) {
        self.run_until(end);
        self.tally.close();
        let last = self.nodes.values().flat_map(Node::slowest).fold(0.0, f64::max);
        let longest = (last * self.model.slots as f64 / self.speed.max(0.01)).max(1.0);
        let patience = end + self.model.wait.as_secs_f64() + 2.0 * longest;
        while let Some((at, event)) = self.next().filter(|(at, _)| *at <= patience) {
            if self.queue.is_empty() && self.nodes.values().all(|node| node.in_flight() == 0) {
                break;
            }
            self.advance(at);
            match event {
                Event::Decision => self.next_decision = f64::INFINITY,
                event => self.happen(event),
            }
        }
    }

    /// The next event and its time.
    fn next(&self) -> Option<(f64, Event)> {
        let mut first = (self.next_sample, Event::Sample);
        let mut sooner = |at: f64, event: Event| {
            if at < first.0 {
                first = (at, event);
            }
        };
        sooner(self.next_decision, Event::Decision);
        if let Some(job) = self.queue.front() {
            sooner(job.arrived + self.model.wait.as_secs_f64(), Event::Expiry);
        }
        for (number, node) in &self.nodes {
            if let Some(at) = node.next_completion(self.model.cores, self.speed) {
                sooner(at, Event::Completion(*number));
            }
            if let State::Starting { ready_at } = node.state {
                sooner(ready_at, Event::Ready(*number));
            }
        }
        Some(first).filter(|(at, _)| at.is_finite())
    }

    fn advance(&mut self, to: f64) {
        self.tally.time(self.nodes.len(), to - self.now);
        self.now = to;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Completion(number) => self.complete(number),
            Event::Ready(number) => self.ready(number),
            Event::Expiry => {
                if self.queue.pop_front().is_some() {
                    self.tally.refused();
                }
            }
            Event::Sample => self.sample(),
            Event::Decision => self.decide(),
        }
    }

    fn arrive(&mut self, job: Job) {
        self.seen.arrivals += 1;
        self.queue.push_back(job);
        self.serve();
        if self.queue.len() > self.model.queue {
            self.queue.pop_back();
            self.tally.refused();
        }
        self.tally.queue(self.queue.len());
    }

    /// Gives what waits to nodes with room.
    fn serve(&mut self) {
        while !self.queue.is_empty() {
            let room = |node: &&mut Node| matches!(node.state, State::Ready) && node.in_flight() < self.model.slots;
            let Some(node) = self.nodes.values_mut().filter(room).min_by_key(|node| node.in_flight()) else { break };
            let Some(job) = self.queue.pop_front() else { break };
            node.begin(Job { began: self.now, ..job }, self.now, self.model.cores, self.speed);
        }
    }

    fn complete(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        if let Some(job) = node.complete(self.now, self.model.cores, self.speed) {
            self.seen.completions += 1;
            self.seen.time_on_nodes += Duration::from_secs_f64((self.now - job.began).max(0.0));
            self.tally.finished(self.now - job.arrived);
        }
        if matches!(node.state, State::Draining) && node.in_flight() == 0 {
            self.nodes.remove(&number);
        }
        self.serve();
    }

    fn ready(&mut self, number: usize) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.state = State::Ready;
        let took = Duration::from_secs_f64((self.now - node.started).max(0.0));
        self.rule.joined(took);
        self.serve();
    }

    fn sample(&mut self) {
        self.next_sample += SAMPLE;
        let speed = self.model.speeds.iter().rev().find(|(from, _)| *from <= self.now).map_or(1.0, |(_, speed)| *speed);
        for node in self.nodes.values_mut() {
            node.advance(self.now, self.model.cores, self.speed);
        }
        self.speed = speed;
        let in_flight: usize = self.nodes.values().map(Node::in_flight).sum();
        let ready = self.count(|state| matches!(state, State::Ready));
        let full = (ready * self.model.slots).max(1) as f64;
        let sample = Sample {
            at: Duration::from_secs_f64(self.now),
            in_flight,
            queued: self.queue.len(),
            node_load: (ready > 0).then(|| in_flight as f64 / full),
            ..self.seen
        };
        self.rule.observe(&sample);
        self.seen = Sample::default();
        self.tally.sample(self.now, in_flight + self.queue.len(), ready);
    }

    fn count(&self, state: impl Fn(&State) -> bool) -> usize {
        self.nodes.values().filter(|node| state(&node.state)).count()
    }

    fn decide(&mut self) {
        self.next_decision += self.rule.interval().as_secs_f64().max(SAMPLE);
        let age = |node: &Node| Duration::from_secs_f64((self.now - node.started).max(0.0));
        let starting = |node: &&Node| matches!(node.state, State::Starting { .. });
        let fleet = Fleet {
            ready: self.count(|state| matches!(state, State::Ready)),
            starting: self.nodes.values().filter(starting).map(age).collect(),
            draining: self.count(|state| matches!(state, State::Draining)),
        };
        let wanted = self.rule.wanted(&fleet, Duration::from_secs_f64(self.now));
        let policy = *self.rule.policy();
        let steps = fleet.steps(wanted, &policy);
        self.carry_out(&steps, &policy);
        self.tally.wanted(self.now, wanted);
        self.serve();
    }

    fn carry_out(&mut self, steps: &Steps, policy: &ScalePolicy) {
        let now = self.now;
        let limit = policy.startup_limit.as_secs_f64();
        let is_starting = |node: &Node| matches!(node.state, State::Starting { .. });
        let late = |node: &Node| is_starting(node) && now - node.started >= limit;
        for number in self.numbers(|node| late(node)).into_iter().take(steps.give_up) {
            self.nodes.remove(&number);
        }
        for number in self.numbers(|node| matches!(node.state, State::Draining)).into_iter().rev().take(steps.resume) {
            if let Some(node) = self.nodes.get_mut(&number) {
                node.state = State::Ready;
            }
        }
        for _ in 0..steps.start {
            let ready_at = now + self.startup();
            self.nodes.insert(self.started, Node::starting(now, ready_at));
            self.started += 1;
        }
        for number in self.numbers(is_starting).into_iter().rev().take(steps.cancel) {
            self.nodes.remove(&number);
        }
        let mut ready = self.numbers(|node| matches!(node.state, State::Ready));
        // The fewest in flight, and of those the one that started last.
        ready.sort_by_key(|number| (self.nodes.get(number).map_or(0, Node::in_flight), std::cmp::Reverse(*number)));
        for number in ready.into_iter().take(steps.drain) {
            match self.nodes.get_mut(&number) {
                Some(node) if node.in_flight() > 0 => node.state = State::Draining,
                _ => drop(self.nodes.remove(&number)),
            }
        }
    }

    /// The numbers of some nodes, those that started first in front.
    fn numbers(&self, which: impl Fn(&Node) -> bool) -> Vec<usize> {
        self.nodes.iter().filter(|(_, node)| which(node)).map(|(number, _)| *number).collect()
    }

    /// How long the next start takes.
    fn startup(&mut self) -> f64 {
        let around = 1.0 + self.model.jitter * (2.0 * unit(&self.draws) - 1.0);
        let lost = unit(&self.draws) <= self.model.lost && self.model.lost > 0.0;
        if lost { f64::INFINITY } else { self.model.startup.as_secs_f64() * around }
    }
}

/// A number above 0 and up to 1.
fn unit(draws: &Draws) -> f64 {
    ((draws.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64 // both exact
}
