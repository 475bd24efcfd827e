//! The loop of one pool: look, decide, do.
//!
//! What takes long (a start, a stop) goes on beside it, so that leases are renewed meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::balancer::{Balancer, Trouble};
use super::fleet::{Fleet, fleet};
use super::memory::Memory;
use super::plan::{Limits, Step, Why, plan};
use super::provider::{Fault, Provider};
use super::settings::PoolSettings;
use super::world::{Instance, Member, Place, World};
use crate::autoscale::published::Scaling;
use crate::ids::{Name, NodeId};
use crate::member::AdminState;

/// How long starts and stops that are under way are waited for when the program is stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// The executor of one pool.
pub(super) struct Executor {
    settings: PoolSettings,
    provider: Arc<dyn Provider>,
    balancers: Vec<Arc<Balancer>>,
    /// Those of them that have answered in this round.
    answering: Vec<Arc<Balancer>>,
    memory: Memory,
    /// What is being started or stopped.
    under_way: BTreeMap<NodeId, Instance>,
    tasks: JoinSet<Done>,
    /// What ran when the provider was last asked and answered.
    running: BTreeMap<NodeId, Place>,
    said: Said,
}

/// What has come of a start or a stop.
enum Done {
    Started(NodeId, Result<Place, Fault>),
    Stopped(NodeId, Result<(), Fault>),
}

/// What was logged last of each thing that may last: it is said once, and when it is over.
#[derive(Default)]
struct Said(BTreeMap<String, String>);

impl Said {
    fn say(&mut self, name: &str, what: &str, now: Option<String>) {
        match now {
            Some(now) if self.0.get(what) == Some(&now) => {}
            Some(now) => {
                warn!("{name}: {what}: {now}");
                self.0.insert(what.to_owned(), now);
            }
            None if self.0.remove(what).is_some() => info!("{name}: {what}: good again"),
            None => {}
        }
    }
}

impl Said {
    /// Forgets what is said of an instance that is gone.
    fn forget(&mut self, id: &NodeId) {
        let of_it = format!("{id} at ");
        self.0.retain(|what, _| !what.starts_with(&of_it));
    }
}

impl Executor {
    pub(super) fn new(settings: PoolSettings, provider: Arc<dyn Provider>, balancers: Vec<Arc<Balancer>>) -> Self {
        Executor {
            settings,
            provider,
            answering: balancers.clone(),
            balancers,
            memory: Memory::default(),
            under_way: BTreeMap::new(),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            said: Said::default(),
        }
    }

    /// Looks at the pool every `poll`, and whenever a start or a stop is done, until it is told to stop.
    pub(super) async fn run(mut self, poll: Duration, mut stop: watch::Receiver<bool>) {
        loop {
            self.round().await;
            let done = tokio::select! {
                // An error means that whoever would tell is gone.
                _ = stop.wait_for(|stopping| *stopping) => break,
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => done.ok(),
                () = tokio::time::sleep(poll) => None,
            };
            done.into_iter().for_each(|done| self.take_in(done));
        }
        self.end().await;
    }

    /// What was begun is finished, and what runs stays, for as long as the leases last from now.
    async fn end(&mut self) {
        let finish = async {
            while let Some(done) = self.tasks.join_next().await {
                done.into_iter().for_each(|done| self.take_in(done));
            }
        };
        if tokio::time::timeout(PATIENCE, finish).await.is_err() {
            warn!("{}: what was begun is not finished, and found again by the next start", self.settings.name);
        }
        self.renew_all().await;
    }

    async fn round(&mut self) {
        while let Some(done) = self.tasks.try_join_next() {
            done.into_iter().for_each(|done| self.take_in(done));
        }
        let answers = self.ask().await;
        let fleet = fleet(&self.settings.name, &answers).map(|fleet| fleet.at_most(self.settings.max));
        self.memory.heard(answers.iter().map(Option::is_some).collect(), fleet.is_ok());
        let name = self.settings.name.to_string();
        self.said.say(&name, "acting", fleet.as_ref().err().map(|idle| idle.as_str().to_owned()));
        let listed = self.provider.list().await;
        self.said.say(&name, "provider", listed.as_ref().err().map(Fault::to_string));
        match (fleet, listed) {
            (Ok(fleet), Ok(listed)) => self.act(fleet, listed).await,
            (Err(_), Ok(listed)) => {
                self.running = places_of(&listed);
                self.renew_all().await;
            }
            (_, Err(_)) => self.renew_all().await,
        }
    }

    /// What each balancer tells; `None`: it does not answer, which is logged once.
    async fn ask(&mut self) -> Vec<Option<Scaling>> {
        let mut asked = JoinSet::new();
        for (position, balancer) in self.balancers.iter().cloned().enumerate() {
            asked.spawn(async move { (position, balancer.scaling().await) });
        }
        let mut answers = vec![None; self.balancers.len()];
        let name = self.settings.name.to_string();
        while let Some(done) = asked.join_next().await {
            let Ok((position, answer)) = done else { continue }; // a panic: no answer
            let Some(balancer) = self.balancers.get(position) else { continue };
            self.said.say(&name, &balancer.to_string(), answer.as_ref().err().map(Trouble::to_string));
            if let Some(slot) = answers.get_mut(position) {
                *slot = answer.ok();
            }
        }
        let answered = self.balancers.iter().zip(&answers).filter(|(_, answer)| answer.is_some());
        self.answering = answered.map(|(balancer, _)| balancer.clone()).collect();
        answers
    }

    async fn act(&mut self, fleet: Fleet, mut instances: BTreeMap<NodeId, Instance>) {
        self.running = places_of(&instances);
        instances.extend(self.under_way.clone());
        let world = World {
            role: self.settings.name.role,
            wanted: fleet.wanted,
            max: fleet.max,
            members: fleet.members,
            instances,
            complete: fleet.complete,
        };
        let now = Instant::now();
        self.memory.observe(&world, now);
        let limits = Limits { join: fleet.startup_limit, ..self.settings.limits };
        for step in plan(&world, &self.memory, &limits, &self.settings.prefix, now) {
            self.carry_out(step, &world, &fleet.because, now).await;
        }
    }

    async fn carry_out(&mut self, step: Step, world: &World, because: &str, now: Instant) {
        let name = self.settings.name.clone();
        match step {
            Step::Register(id) => self.register(&id, now).await,
            Step::Start(count) => {
                for _ in 0..count {
                    self.start(world, because, now);
                }
            }
            Step::Keep(id) => {
                match world.members.get(&id).is_some_and(Member::is_leaving) {
                    true => info!("{name}: {id} is wanted again: {because}"),
                    false => info!("{name}: {id} is made ready: {}", Why::Behind.as_str()),
                }
                if self.set(&id, AdminState::Ready, now).await {
                    self.memory.kept(&id);
                }
            }
            Step::Drain(id, why) => self.drain(&id, why, because, now).await,
            Step::Rest(id) => {
                info!("{name}: {id} gets no requests any more, of its sessions neither");
                if self.set(&id, AdminState::Maintenance, now).await {
                    self.memory.rested(&id);
                }
            }
            Step::Stop(id) => {
                let (told, busy) = match world.members.get(&id) {
                    Some(member) => ("idle", member.busy),
                    None => ("no member", 0),
                };
                info!("{name}: {id} is stopped: {told}, {busy} requests in flight");
                self.stop(id);
            }
            Step::Remove(id) => {
                warn!("{name}: {id} has ended, and not by order: it is removed");
                self.stop(id);
            }
            Step::Deregister(id) => {
                warn!("{name}: nothing is left of {id}: it is deregistered");
                if !self
                    .tell(&id, |balancer| async move { balancer.0.deregister(&balancer.1, &balancer.2).await })
                    .await
                {
                    self.memory.failed(&id, now);
                }
            }
        }
    }

    async fn drain(&mut self, id: &NodeId, why: Why, because: &str, now: Instant) {
        let name = &self.settings.name;
        match why {
            Why::Spare => info!("{name}: {id} is drained, {}: {because}", why.as_str()),
            Why::NotJoined => warn!("{name}: {id} is given up: {}", why.as_str()),
            Why::Behind => debug!("{name}: {id} is drained: {}", why.as_str()),
        }
        if why == Why::NotJoined && !self.memory.has_joined(id) {
            let pause = self.memory.start_failed(now);
            info!("{name}: no other one is started for {}", humantime::format_duration(pause));
        }
        let done = self.set(id, AdminState::Draining, now).await;
        if done && why == Why::Spare {
            self.memory.drained(id);
        }
    }

    fn start(&mut self, world: &World, because: &str, now: Instant) {
        let name = &self.settings.name;
        let Some(id) = new_id(&self.settings.prefix).filter(|id| !world.instances.contains_key(id)) else {
            self.memory.start_failed(now);
            return;
        };
        let there = world.members.len();
        info!("{name}: {id} is started, as {} are wanted and {there} are members: {because}", world.wanted);
        self.under_way.insert(id.clone(), Instance::Starting);
        let provider = self.provider.clone();
        self.tasks.spawn(async move {
            let place = provider.start(&id).await;
            Done::Started(id, place)
        });
    }

    /// Stops an instance, or removes what is left of it, and then tells the balancers.
    fn stop(&mut self, id: NodeId) {
        self.under_way.insert(id.clone(), Instance::Stopping);
        let (provider, place) = (self.provider.clone(), self.running.get(&id).cloned());
        let (balancers, name) = (self.balancers.clone(), self.settings.name.clone());
        self.tasks.spawn(async move {
            let stopped = provider.stop(&id, place.as_ref()).await;
            if stopped.is_ok() {
                for balancer in &balancers {
                    // If this fails, the member is found without an instance later.
                    let _ = balancer.deregister(&name, &id).await;
                }
            }
            Done::Stopped(id, stopped)
        });
    }

    fn take_in(&mut self, done: Done) {
        let (name, now) = (&self.settings.name, Instant::now());
        match done {
            Done::Started(id, Ok(place)) => {
                info!("{name}: {id} runs at {}", place.address);
                self.under_way.remove(&id);
            }
            Done::Started(id, Err(fault)) => {
                let pause = self.memory.start_failed(now);
                let pause = humantime::format_duration(pause);
                warn!("{name}: {id} could not be started, and no other one is for {pause}: {fault}");
                self.under_way.remove(&id);
            }
            Done::Stopped(id, Ok(())) => {
                info!("{name}: {id} is gone");
                self.under_way.remove(&id);
                self.running.remove(&id);
                self.said.forget(&id);
            }
            Done::Stopped(id, Err(fault)) => {
                warn!("{name}: {id} could not be stopped: {fault}");
                self.memory.failed(&id, now);
                self.under_way.remove(&id);
            }
        }
    }

    /// Renews the lease of an instance with all balancers, or makes it a member.
    async fn register(&mut self, id: &NodeId, now: Instant) {
        let Some(place) = self.running.get(id).cloned() else { return };
        let (weight, lease) = (self.settings.weight, self.settings.lease);
        let all = self.tell(id, |(balancer, name, id)| {
            let place = place.clone();
            async move { balancer.register(&name, &id, &place, weight, lease).await }
        });
        match all.await {
            true => self.memory.renewed(id, now),
            false => self.memory.failed(id, now),
        }
    }

    /// Renews the lease of everything that ran when it was last known: what cannot be looked at is not given up.
    async fn renew_all(&mut self) {
        if self.answering.is_empty() {
            return; // not a failure of the instances, which would be paused beyond the return of a balancer
        }
        let now = Instant::now();
        let stays = |id: &&NodeId| !self.under_way.contains_key(*id);
        let running: Vec<NodeId> = self.running.keys().filter(stays).cloned().collect();
        for id in &running {
            if self.memory.is_renewal_due(id, self.settings.limits.renew, now) && self.memory.may_try(id, now) {
                self.register(id, now).await;
            }
        }
    }

    async fn set(&mut self, id: &NodeId, state: AdminState, now: Instant) -> bool {
        let done =
            self.tell(id, |(balancer, name, id)| async move { balancer.set_state(&name, &id, state).await }).await;
        if !done {
            self.memory.failed(id, now);
        }
        done
    }

    /// Tells the balancers something of a member; who does not answer is not asked, and is behind when it does again.
    /// Returns whether somebody was told, and all of them have taken it; who has not is logged once.
    async fn tell<F, R>(&mut self, id: &NodeId, say: F) -> bool
    where
        F: Fn((Arc<Balancer>, super::PoolName, NodeId)) -> R,
        R: Future<Output = Result<(), Trouble>>,
    {
        let name = self.settings.name.clone();
        let mut all = !self.answering.is_empty();
        for balancer in self.answering.clone() {
            let told = say((balancer.clone(), name.clone(), id.clone())).await;
            all &= told.is_ok();
            self.said.say(
                &name.to_string(),
                &format!("{id} at {balancer}"),
                told.err().map(|trouble| trouble.to_string()),
            );
        }
        all
    }
}

fn places_of(instances: &BTreeMap<NodeId, Instance>) -> BTreeMap<NodeId, Place> {
    let place = |(id, instance): (&NodeId, &Instance)| match instance {
        Instance::Running(place) => Some((id.clone(), place.clone())),
        _ => None,
    };
    instances.iter().filter_map(place).collect()
}

/// A name that nobody has: 32 random bits behind the prefix.
fn new_id(prefix: &str) -> Option<NodeId> {
    let mut random = [0; 4];
    let got = rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty());
    got.ok().filter(|got| *got == random.len())?;
    Name::parse(&format!("{prefix}{:08x}", u32::from_ne_bytes(random)))
}
