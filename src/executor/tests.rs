//! Tables of single situations, and random histories in virtual time.

mod histories;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Memory;
use super::plan::{Limits, Step, Why, plan};
use super::world::{Health, Instance, Member, Place, Sessions, World};
use crate::ids::{Name, NodeId, Role};
use crate::member::AdminState;

const SECOND: Duration = Duration::from_secs(1);
const PREFIX: &str = "auto-";
const LIMITS: Limits =
    Limits { starts: 2, join: Duration::from_secs(60), drain: Duration::from_secs(30), renew: Duration::from_secs(5) };

fn id(text: &str) -> NodeId {
    Name::parse(text).unwrap()
}

fn place() -> Place {
    Place { address: "10.0.0.7".parse().unwrap(), ports: [None; 2] }
}

/// A worker that was registered and serves.
fn member() -> Member {
    Member {
        state: AdminState::Ready,
        health: Health::Up,
        busy: 0,
        sessions: None,
        manager: false,
        worker: true,
        registered: true,
        lapsed: false,
        unknown: false,
        differs: false,
    }
}

fn draining(left: usize) -> Member {
    let sessions = Some(Sessions { left, at_least: false });
    Member { state: AdminState::Draining, sessions, ..member() }
}

fn resting() -> Member {
    Member { state: AdminState::Maintenance, ..member() }
}

/// A world of running instances with their members; `None`: no member. Names that do not begin as instances do are of
/// others.
fn world(wanted: usize, members: &[(&str, Option<Member>)]) -> World {
    let named = members.iter().map(|(name, member)| (id(name), member.clone()));
    World {
        role: Role::Worker,
        wanted,
        max: 5,
        members: named.clone().filter_map(|(id, member)| Some((id, member?))).collect(),
        instances: named
            .filter(|(id, _)| id.as_str().starts_with(PREFIX))
            .map(|(id, _)| (id, Instance::Running(place())))
            .collect(),
        complete: true,
    }
}

/// What is done in a world that was just found, renewals left out.
fn steps(world: &World) -> Vec<Step> {
    let (mut memory, now) = (Memory::default(), Instant::now());
    memory.observe(world, now);
    steps_with(world, &memory, now)
}

fn steps_with(world: &World, memory: &Memory, now: Instant) -> Vec<Step> {
    let known = |step: &Step| matches!(step, Step::Register(id) if world.members.get(id).is_some_and(|m| !m.unknown));
    plan(world, memory, &LIMITS, PREFIX, now).into_iter().filter(|step| !known(step)).collect()
}

#[test]
fn each_situation_has_its_step() {
    let up = || Some(member());
    let down = || Some(Member { health: Health::Down, ..member() });
    let unknown = || Some(Member { health: Health::Unknown, ..member() });
    let unknown_to_one = |member: Member| Some(Member { unknown: true, ..member });
    let differs = |member: Member| Some(Member { differs: true, ..member });
    let drain = |name: &str| Step::Drain(id(name), Why::Spare);
    let rows: Vec<(&str, World, Vec<Step>)> = vec![
        ("as wanted", world(2, &[("auto-a", up()), ("static", up())]), vec![]),
        ("too few", world(2, &[("static", up())]), vec![Step::Start(1)]),
        ("far too few: not all at a time", world(5, &[]), vec![Step::Start(2)]),
        ("what starts counts", world(2, &[("auto-a", unknown()), ("static", up())]), vec![]),
        (
            "a static node that is down does not",
            world(2, &[("auto-a", up()), ("static", down())]),
            vec![Step::Start(1)],
        ),
        ("nor one that leaves", world(1, &[("static", Some(draining(0)))]), vec![Step::Start(1)]),
        ("never above max", world(9, &["a", "b", "c", "d", "e"].map(|name| (name, up()))), vec![]),
        ("what runs is a member", world(0, &[("auto-a", None)]), vec![Step::Register(id("auto-a"))]),
        ("of all balancers", world(1, &[("auto-a", unknown_to_one(member()))]), vec![Step::Register(id("auto-a"))]),
        (
            "one whose lease has ended is registered again",
            world(1, &[("auto-a", Some(Member { lapsed: true, unknown: true, ..member() }))]),
            vec![Step::Register(id("auto-a"))],
        ),
        ("too many", world(1, &[("auto-a", up()), ("auto-b", up())]), vec![drain("auto-b")]),
        (
            "as many as the balancer has decided on, which knows its `step_down`",
            world(1, &["auto-a", "auto-b", "auto-c", "auto-d"].map(|name| (name, up()))),
            vec![drain("auto-d"), drain("auto-c"), drain("auto-b")],
        ),
        (
            "the one with the least to do goes",
            world(1, &[("auto-a", up()), ("auto-b", Some(Member { busy: 3, ..member() }))]),
            vec![drain("auto-a")],
        ),
        (
            "one that is not up yet is missed less",
            world(1, &[("auto-a", unknown()), ("auto-b", up())]),
            vec![drain("auto-a")],
        ),
        ("only what was started from here", world(0, &[("static", up()), ("other", up())]), vec![]),
        ("a drain is waited for", world(1, &[("auto-a", up()), ("auto-b", Some(draining(3)))]), vec![]),
        (
            "and then it gets nothing",
            world(1, &[("auto-a", up()), ("auto-b", Some(draining(0)))]),
            vec![Step::Rest(id("auto-b"))],
        ),
        (
            "sessions that were not seen may be there",
            world(
                1,
                &[
                    ("auto-a", up()),
                    ("auto-b", Some(Member { sessions: Some(Sessions { left: 0, at_least: true }), ..draining(0) })),
                ],
            ),
            vec![],
        ),
        (
            "a member that is down has no sessions",
            world(0, &[("auto-b", Some(Member { health: Health::Down, ..draining(3) }))]),
            vec![Step::Rest(id("auto-b"))],
        ),
        ("seen idle once is not enough", world(0, &[("auto-a", Some(resting()))]), vec![]),
        (
            "another balancer still has it ready",
            world(0, &[("auto-a", differs(draining(3)))]),
            vec![Step::Drain(id("auto-a"), Why::Behind)],
        ),
        (
            "another balancer still lets it drain",
            world(0, &[("auto-a", differs(resting()))]),
            vec![Step::Rest(id("auto-a"))],
        ),
        (
            "another balancer still drains it",
            world(1, &[("auto-a", differs(member()))]),
            vec![Step::Keep(id("auto-a"))],
        ),
        (
            "another balancer drains it already, and it is one too many: it is not made ready first",
            world(0, &[("auto-a", differs(member()))]),
            vec![drain("auto-a")],
        ),
        (
            "a balancer that was started again drains what the others do",
            world(0, &[("auto-a", unknown_to_one(draining(3)))]),
            vec![Step::Register(id("auto-a")), Step::Drain(id("auto-a"), Why::Behind)],
        ),
    ];
    for (what, world, expected) in rows {
        assert_eq!(steps(&world), expected, "{what}: {world:?}");
    }
}

#[test]
fn what_has_ended_is_removed_and_replaced() {
    let mut world = world(2, &[("auto-a", Some(member())), ("auto-b", Some(member()))]);
    world.instances.insert(id("auto-a"), Instance::Ended);
    assert_eq!(steps(&world), [Step::Remove(id("auto-a")), Step::Start(1)]);
    // Removed, the member is still registered.
    world.instances.remove(&id("auto-a"));
    assert_eq!(steps(&world), [Step::Deregister(id("auto-a"))], "it counts as somebody's until it is gone");
    world.members.insert(id("auto-a"), Member { lapsed: true, ..member() });
    assert_eq!(steps(&world), [], "it goes by itself");
    // A node of the configuration with such a name is not ours.
    let configured = Member { registered: false, ..member() };
    world.members.insert(id("auto-a"), configured);
    assert_eq!(steps(&world), []);
}

#[test]
fn a_member_is_stopped_when_it_was_idle_twice() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let mut look = |member: Member, complete: bool, second: u32| {
        let mut world = world(0, &[("auto-a", Some(member))]);
        world.complete = complete;
        memory.observe(&world, begin + SECOND * second);
        steps_with(&world, &memory, begin + SECOND * second)
    };
    let stop = [Step::Stop(id("auto-a"))];
    assert_eq!(look(resting(), true, 0), []);
    assert_eq!(look(Member { busy: 1, ..resting() }, true, 1), [], "a request that came late");
    assert_eq!(look(resting(), true, 2), []);
    assert_eq!(look(resting(), false, 3), [], "a balancer does not tell");
    assert_eq!(look(resting(), true, 4), [], "the count begins again");
    assert_eq!(look(resting(), true, 5), stop);
}

#[test]
fn sessions_are_waited_for_and_not_for_ever() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let world = world(0, &[("auto-a", Some(draining(2)))]);
    for (second, expected) in [(0, vec![]), (29, vec![]), (30, vec![Step::Rest(id("auto-a"))])] {
        memory.observe(&world, begin + SECOND * second);
        assert_eq!(steps_with(&world, &memory, begin + SECOND * second), expected, "{second}");
    }
}

#[test]
fn what_does_not_join_is_given_up_one_after_the_other() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let late = || Some(Member { health: Health::Down, ..member() });
    let mut world = world(3, &[("auto-a", late()), ("auto-b", late()), ("auto-c", Some(member()))]);
    memory.observe(&world, begin);
    assert_eq!(steps_with(&world, &memory, begin), []);
    let now = begin + LIMITS.join;
    memory.observe(&world, now);
    let expected = [Step::Drain(id("auto-b"), Why::NotJoined), Step::Start(2)];
    assert_eq!(steps_with(&world, &memory, now), expected, "and others take their place");
    world.members.insert(id("auto-b"), Member { health: Health::Down, ..draining(0) });
    memory.observe(&world, now);
    assert_eq!(steps_with(&world, &memory, now), [Step::Rest(id("auto-b")), Step::Start(2)], "a waits for its turn");
    // One that no balancer takes has no requests.
    let mut world = self::world(1, &[("auto-a", None)]);
    let mut memory = Memory::default();
    memory.observe(&world, begin);
    memory.observe(&world, now);
    assert!(steps_with(&world, &memory, now).contains(&Step::Stop(id("auto-a"))));
    world.complete = false;
    assert!(!steps_with(&world, &memory, now).contains(&Step::Stop(id("auto-a"))));
}

#[test]
fn one_that_was_spare_is_had_back() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let world = world(2, &[("auto-a", Some(member())), ("auto-b", Some(draining(4)))]);
    memory.observe(&world, begin);
    assert_eq!(steps_with(&world, &memory, begin), [Step::Start(1)], "an operator drains it");
    memory.drained(&id("auto-b"));
    memory.observe(&world, begin);
    assert_eq!(steps_with(&world, &memory, begin), [Step::Keep(id("auto-b"))]);
    // Of its sessions none may be left: it is had back all the same, and not let rest first.
    let idle = self::world(2, &[("auto-a", Some(member())), ("auto-b", Some(draining(0)))]);
    memory.observe(&idle, begin);
    assert_eq!(steps_with(&idle, &memory, begin), [Step::Keep(id("auto-b"))]);
}

/// A memory of members that were drained from here, and of which these were let rest.
fn memory_of(world: &World, resting: &[&str]) -> Memory {
    let mut memory = Memory::default();
    for name in world.members.keys() {
        memory.drained(name);
        if resting.contains(&name.as_str()) {
            memory.rested(name);
        }
    }
    memory
}

#[test]
fn one_that_rests_is_had_back_until_it_is_stopped() {
    let now = Instant::now();
    const A: &str = "auto-a";
    const B: &str = "auto-b";
    const C: &str = "auto-c";
    let keep = |name: &str| Step::Keep(id(name));
    let busy = || Some(Member { busy: 1, ..resting() });
    let down = || Some(Member { health: Health::Down, ..resting() });
    let differs = || Some(Member { differs: true, ..resting() });
    let rows: Vec<(&str, World, &[&str], Vec<Step>)> = vec![
        ("busy", world(1, &[(A, busy())]), &[A], vec![keep(A)]),
        ("idle", world(1, &[(A, Some(resting()))]), &[A], vec![keep(A)]),
        ("those that drain come first", world(1, &[(A, busy()), (B, Some(draining(3)))]), &[A], vec![keep(B)]),
        ("then those that rest", world(2, &[(A, busy()), (B, Some(draining(3)))]), &[A], vec![keep(A), keep(B)]),
        (
            "then new ones",
            world(4, &[(A, busy()), (B, Some(draining(3))), (C, busy())]),
            &[A, C],
            vec![keep(A), keep(B), keep(C), Step::Start(1)],
        ),
        ("not all balancers let it rest: they need not", world(1, &[(A, differs())]), &[A], vec![keep(A)]),
        ("one that is down is no help", world(1, &[(A, down())]), &[A], vec![Step::Start(1)]),
        ("an operator lets it rest", world(1, &[(A, busy())]), &[], vec![Step::Start(1)]),
        ("an operator drains one that has rested", world(1, &[(A, Some(draining(3)))]), &[A], vec![Step::Start(1)]),
        ("nobody is missed", world(0, &[(A, busy())]), &[A], vec![]),
    ];
    for (what, world, resting, expected) in rows {
        let mut memory = memory_of(&world, resting);
        memory.observe(&world, now);
        assert_eq!(steps_with(&world, &memory, now), expected, "{what}");
    }
}

#[test]
fn one_that_could_be_stopped_is_had_back() {
    let now = Instant::now();
    let mut world = world(0, &[("auto-a", Some(resting()))]);
    let mut memory = memory_of(&world, &["auto-a"]);
    memory.observe(&world, now);
    memory.observe(&world, now);
    assert_eq!(steps_with(&world, &memory, now), [Step::Stop(id("auto-a"))]);
    world.wanted = 1;
    assert_eq!(steps_with(&world, &memory, now), [Step::Keep(id("auto-a"))], "and not stopped");
    // What becomes of it after that is not our doing, even if we have not seen it ready in between.
    memory.kept(&id("auto-a"));
    memory.observe(&world, now);
    assert_eq!(steps_with(&world, &memory, now), [Step::Start(1)], "and it is to be idle twice again");
    // One that was given up is let rest, too, but not because there were too many.
    let mut given_up = Memory::default();
    given_up.rested(&id("auto-a"));
    given_up.observe(&world, now);
    assert_eq!(steps_with(&world, &given_up, now), [Step::Start(1)]);
}

#[test]
fn managers_and_dual_nodes_stay() {
    let manager = || Member { manager: true, worker: false, ..member() };
    let idle = |mut world: World, role| {
        world.role = role;
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.observe(&world, now);
        memory.observe(&world, now);
        steps_with(&world, &memory, now)
    };
    let rows = [
        ("the last manager", Role::Manager, vec![("auto-a", manager())], vec![]),
        (
            "of two, one",
            Role::Manager,
            vec![("auto-a", manager()), ("auto-b", manager())],
            vec![Step::Drain(id("auto-b"), Why::Spare)],
        ),
        (
            "another one that is down does not count",
            Role::Manager,
            vec![("auto-a", manager()), ("m", Member { health: Health::Down, ..manager() })],
            vec![],
        ),
        ("a dual node", Role::Worker, vec![("auto-a", Member { manager: true, ..member() })], vec![]),
        (
            "the last manager, when an operator has drained it",
            Role::Manager,
            vec![("auto-a", Member { manager: true, worker: false, ..resting() })],
            vec![],
        ),
        (
            "there is another one by now",
            Role::Manager,
            vec![("auto-a", Member { manager: true, worker: false, ..resting() }), ("m", manager())],
            vec![Step::Stop(id("auto-a"))],
        ),
    ];
    for (what, role, members, expected) in rows {
        let members: Vec<_> = members.into_iter().map(|(name, member)| (name, Some(member))).collect();
        assert_eq!(idle(world(0, &members), role), expected, "{what}");
    }
}

#[test]
fn leases_are_renewed_and_failures_paused() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let world = world(1, &[("auto-a", Some(member()))]);
    let register = || vec![Step::Register(id("auto-a"))];
    let mut at = |second: u32, then: &dyn Fn(&mut Memory, Instant)| {
        let now = begin + SECOND * second;
        memory.observe(&world, now);
        let steps = plan(&world, &memory, &LIMITS, PREFIX, now);
        then(&mut memory, now);
        steps
    };
    let name = id("auto-a");
    let renewed = |memory: &mut Memory, now| memory.renewed(&name, now);
    assert_eq!(at(0, &renewed), register(), "at the start nobody knows when it was last");
    assert_eq!(at(4, &renewed), []);
    // Only the renewal at 4 counts, though it was not asked for.
    assert_eq!(at(9, &|memory, now| memory.failed(&name, now)), register());
    assert_eq!(at(10, &renewed), [], "not again at once");
    assert_eq!(at(15, &renewed), register());
}

#[test]
fn a_balancer_that_comes_back_is_told_of_all_at_once() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let world = world(1, &[("auto-a", Some(member()))]);
    let mut look = |answered: [bool; 2], decided: bool| {
        memory.heard(answered.to_vec(), decided);
        memory.observe(&world, begin);
        let steps = plan(&world, &memory, &LIMITS, PREFIX, begin);
        memory.renewed(&id("auto-a"), begin);
        steps
    };
    let register = [Step::Register(id("auto-a"))];
    let rows = [
        ("the first look", [true, true], true, true),
        ("as before", [true, true], true, false),
        ("the acting one was started again, and has decided nothing yet", [true, true], false, true),
        ("and still", [true, true], false, false),
        ("it has", [true, true], true, true),
        ("one is silent", [true, false], true, true),
        ("and still is", [true, false], true, false),
        ("the other one", [false, true], true, true),
        ("both are back", [true, true], true, true),
        ("as before", [true, true], true, false),
    ];
    for (what, answered, decided, told) in rows {
        assert_eq!(look(answered, decided) == register, told, "{what}");
    }
}

#[test]
fn starts_that_fail_are_tried_again_later_and_later() {
    let begin = Instant::now();
    let mut memory = Memory::default();
    let empty = world(1, &[]);
    let mut now = begin;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        memory.observe(&empty, now);
        assert_eq!(steps_with(&empty, &memory, now), [Step::Start(1)]);
        let pause = memory.start_failed(now);
        assert_eq!(steps_with(&empty, &memory, now + pause - Duration::from_millis(1)), []);
        pauses.push(pause.as_secs());
        now += pause;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    let joined = world(2, &[("auto-a", Some(member()))]);
    memory.observe(&joined, now);
    assert_eq!(memory.start_failed(now), SECOND, "one that joins makes up for it");
}
