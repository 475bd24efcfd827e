//! Random histories in virtual time: a cluster and a provider that behave as they do, and as they should not.

use proptest::prelude::*;

use super::*;

/// A cluster and a provider that behave as they do, and as they should not.
struct Simulated {
    random: u64,
    now: Instant,
    role: Role,
    members: BTreeMap<NodeId, Member>,
    /// Requests that were given to a member just before it got nothing any more: seen a look later.
    late: BTreeMap<NodeId, usize>,
    instances: BTreeMap<NodeId, (Instance, Duration)>,
    /// Members that operators have taken out: nobody else may bring them back.
    taken_out: BTreeSet<NodeId>,
    started: usize,
    wanted: usize,
    calm: bool,
    stopped: usize,
    /// Members that were let rest, and had back.
    had_back: usize,
}

const MAX: usize = 6;

impl Simulated {
    fn new(seed: u64, role: Role) -> Self {
        let other =
            Member { manager: role == Role::Manager, worker: role == Role::Worker, registered: false, ..member() };
        Simulated {
            random: seed,
            now: Instant::now(),
            role,
            members: BTreeMap::from([(id("static"), other)]),
            late: BTreeMap::new(),
            instances: BTreeMap::new(),
            taken_out: BTreeSet::new(),
            started: 0,
            wanted: 1,
            calm: false,
            stopped: 0,
            had_back: 0,
        }
    }

    /// A number below `below` (SplitMix64).
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    fn happens(&mut self, percent: u64) -> bool {
        !self.calm && self.draw(100) < percent
    }

    /// A second passes.
    fn pass(&mut self) {
        self.now += SECOND;
        if self.happens(5) {
            self.wanted = 1 + self.draw(MAX as u64) as usize;
        }
        if self.happens(1) {
            // The balancer is started again.
            self.members.retain(|_, member| !member.registered);
            self.late.clear();
            self.taken_out.clear();
        }
        for id in self.instances.keys().cloned().collect::<Vec<_>>() {
            self.age(&id);
        }
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.serve(&id);
        }
    }

    fn age(&mut self, id: &NodeId) {
        let (killed, takes) = (self.happens(2), self.draw(8));
        let (instance, age) = self.instances.get_mut(id).unwrap();
        *age += SECOND;
        match instance {
            Instance::Starting if age.as_secs() > takes => *instance = Instance::Running(place()),
            Instance::Running(_) if killed => *instance = Instance::Ended,
            Instance::Stopping => drop(self.instances.remove(id)),
            _ => {}
        }
    }

    fn serve(&mut self, id: &NodeId) {
        let (more, less, hangs) = (self.draw(3) as usize, self.draw(3) as usize, self.happens(1));
        let [drained_by_operator, put_to_rest_by_operator] = [self.happens(1), self.happens(1)];
        let dead = member_is_dead(&self.instances, id);
        let late = self.late.remove(id).unwrap_or(0);
        let member = self.members.get_mut(id).unwrap();
        member.busy += late;
        let ours = id.as_str().starts_with(PREFIX);
        if dead || (hangs && ours) {
            member.health = Health::Down;
        } else if member.health == Health::Unknown {
            member.health = Health::Up;
        }
        let gets_requests = member.health == Health::Up
            && match member.state {
                AdminState::Ready => true,
                AdminState::Draining => member.sessions.is_some_and(|sessions| sessions.left > 0),
                AdminState::Maintenance => false,
            };
        member.busy = member.busy.saturating_sub(less) + if gets_requests { more } else { 0 };
        if let Some(sessions) = &mut member.sessions {
            sessions.left = sessions.left.saturating_sub(less);
        }
        if drained_by_operator && member.state == AdminState::Ready && ours {
            member.state = AdminState::Draining;
            member.sessions = Some(Sessions { left: 2, at_least: false });
            self.taken_out.insert(id.clone());
        }
        if put_to_rest_by_operator && member.state != AdminState::Maintenance && ours {
            member.state = AdminState::Maintenance;
            member.sessions = None;
            self.taken_out.insert(id.clone());
        }
    }

    fn look(&mut self) -> World {
        let complete = !self.happens(10);
        World {
            role: self.role,
            wanted: self.wanted,
            max: MAX,
            members: self.members.clone(),
            instances: self.instances.iter().map(|(id, (instance, _))| (id.clone(), instance.clone())).collect(),
            complete,
        }
    }

    fn carry_out(&mut self, step: Step, memory: &mut Memory) {
        match step {
            Step::Register(id) => {
                let role = self.role;
                memory.renewed(&id, self.now);
                self.members.entry(id).or_insert(Member {
                    health: Health::Unknown,
                    manager: role == Role::Manager,
                    worker: role == Role::Worker,
                    ..member()
                });
            }
            Step::Start(count) => {
                for _ in 0..count {
                    if self.happens(20) {
                        memory.start_failed(self.now);
                        continue;
                    }
                    self.started += 1;
                    self.instances
                        .insert(id(&format!("{PREFIX}{}", self.started)), (Instance::Starting, Duration::ZERO));
                }
            }
            Step::Keep(id) => {
                assert!(!self.taken_out.contains(&id), "{id} is brought back, which an operator has taken out");
                let rests = self.members.get(&id).is_some_and(|member| member.state == AdminState::Maintenance);
                self.had_back += usize::from(rests);
                self.set(&id, AdminState::Ready);
                memory.kept(&id);
            }
            Step::Drain(id, why) => {
                self.set(&id, AdminState::Draining);
                if why == Why::Spare {
                    memory.drained(&id);
                }
            }
            Step::Rest(id) => {
                let late = self.draw(2) as usize;
                if self.members.get(&id).is_some_and(|member| member.state == AdminState::Draining) {
                    self.late.insert(id.clone(), late);
                }
                self.set(&id, AdminState::Maintenance);
                memory.rested(&id);
            }
            Step::Stop(id) => self.stop(&id),
            Step::Remove(id) => drop(self.instances.remove(&id)),
            Step::Deregister(id) => {
                self.members.remove(&id);
                self.taken_out.remove(&id);
            }
        }
    }

    fn set(&mut self, id: &NodeId, state: AdminState) {
        let left = self.draw(4) as usize;
        // The balancer may have been started again in between.
        let Some(member) = self.members.get_mut(id) else { return };
        member.sessions = (state == AdminState::Draining).then_some(Sessions { left, at_least: false });
        member.state = state;
    }

    /// Stops an instance: the moment that everything is about.
    fn stop(&mut self, id: &NodeId) {
        let in_flight = self.members.get(id).map_or(0, |member| member.busy) + self.late.get(id).unwrap_or(&0);
        assert_eq!(in_flight, 0, "{id} is stopped with requests in flight");
        let managers = self.members.iter().filter(|(other, member)| {
            *other != id && member.manager && !member.is_leaving() && member.health == Health::Up
        });
        let was_member = self.members.contains_key(id);
        assert!(self.role != Role::Manager || managers.count() > 0 || !was_member, "{id} is the last manager");
        self.stopped += 1;
        self.members.remove(id);
        self.taken_out.remove(id);
        self.instances.get_mut(id).unwrap().0 = Instance::Stopping;
    }

    /// What there will be when all that was started is up.
    fn counted(&self) -> usize {
        let leaves = |id: &NodeId| self.members.get(id).is_some_and(Member::is_leaving);
        let ours = self
            .instances
            .iter()
            .filter(|(id, (instance, _))| matches!(instance, Instance::Starting | Instance::Running(_)) && !leaves(id));
        ours.count() + self.members.iter().filter(|(id, m)| id.as_str() == "static" && !m.is_leaving()).count()
    }
}

fn member_is_dead(instances: &BTreeMap<NodeId, (Instance, Duration)>, id: &NodeId) -> bool {
    let running = matches!(instances.get(id), Some((Instance::Running(_), _)));
    id.as_str().starts_with(PREFIX) && !running
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: nothing with a request is stopped, neither is the last manager, the limits hold, and when it is
    /// calm again there is what is wanted and nothing is done any more.
    #[test]
    fn no_history_stops_a_member_with_requests(seed: u64, manager: bool) {
        let mut simulated = Simulated::new(seed, if manager { Role::Manager } else { Role::Worker });
        let mut memory = Memory::default();
        for second in 0..400 {
            simulated.calm = second >= 250;
            simulated.pass();
            if simulated.happens(1) {
                memory = Memory::default(); // the executor is started again
            }
            let world = simulated.look();
            memory.observe(&world, simulated.now);
            let steps = plan(&world, &memory, &LIMITS, PREFIX, simulated.now);
            let before = simulated.counted();
            for step in &steps {
                prop_assert!(world.complete || !matches!(step, Step::Stop(_)), "{:?} while a balancer is silent", step);
                if let Step::Start(count) = step {
                    let starting = world.instances.values().filter(|i| **i == Instance::Starting).count();
                    prop_assert!(count + starting <= LIMITS.starts && before + count <= MAX, "{:?} in {:?}", step, world);
                }
            }
            // The world goes on while this is done.
            for step in steps {
                simulated.carry_out(step, &mut memory);
            }
        }
        let world = simulated.look();
        memory.observe(&world, simulated.now);
        let steps = steps_with(&world, &memory, simulated.now);
        prop_assert_eq!(&steps, &[], "{:?}", world);
        prop_assert_eq!(simulated.counted(), simulated.wanted, "{:?}", world);
    }
}

/// The histories above do stop members, and have some back, or they would prove nothing.
#[test]
fn the_histories_are_not_idle() {
    let mut simulated = Simulated::new(7, Role::Worker);
    let mut memory = Memory::default();
    for _ in 0..2_000 {
        simulated.pass();
        let world = simulated.look();
        memory.observe(&world, simulated.now);
        for step in plan(&world, &memory, &LIMITS, PREFIX, simulated.now) {
            simulated.carry_out(step, &mut memory);
        }
    }
    let Simulated { stopped, started, had_back, .. } = simulated;
    assert!(stopped > 50 && started > 100 && had_back > 5, "{stopped} {started} {had_back}");
}
