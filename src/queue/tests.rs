//! The queue polled by hand against a model, over paused time, and from several threads.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Wake;

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn queue(length: usize) -> Queue {
    Queue::new(QueuePolicy { length, wait: 5 * SECOND })
}

/// Members that have room for so many requests.
#[derive(Debug, Default)]
struct Room {
    most: Cell<usize>,
    used: Cell<usize>,
}

impl Room {
    fn take(&self) -> Option<()> {
        let free = self.used.get() < self.most.get();
        self.used.set(self.used.get() + usize::from(free));
        free.then_some(())
    }

    fn free(&self) -> usize {
        self.most.get() - self.used.get()
    }
}

/// Whether a task has been woken and not been polled since.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A request in the queue, polled by hand.
struct Waiter<'a> {
    id: usize,
    woken: Arc<Woken>,
    future: Pin<Box<dyn Future<Output = Result<(), QueueError>> + 'a>>,
}

impl<'a> Waiter<'a> {
    fn new(id: usize, queue: &'a Queue, room: &'a Room) -> Self {
        Waiter { id, woken: Arc::default(), future: Box::pin(queue.line_up(|_| room.take().into())) }
    }

    fn poll(&mut self) -> Poll<Result<(), QueueError>> {
        self.woken.0.store(false, Ordering::SeqCst);
        self.future.as_mut().poll(&mut Context::from_waker(&self.woken.clone().into()))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

/// Full members, and `count` requests that wait.
fn line<'a>(queue: &'a Queue, room: &'a Room, count: usize) -> Vec<Waiter<'a>> {
    let mut waiters: Vec<_> = (0..count).map(|id| Waiter::new(id, queue, room)).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_pending()));
    waiters
}

fn woken(waiters: &[Waiter<'_>]) -> Vec<usize> {
    waiters.iter().filter(|waiter| waiter.is_woken()).map(|waiter| waiter.id).collect()
}

#[test]
fn a_request_that_finishes_wakes_exactly_one() {
    let (queue, room) = (queue(9), Room::default());
    let mut waiters = line(&queue, &room, 3);
    assert_eq!(woken(&waiters), [] as [usize; 0]);
    room.most.set(1);
    queue.released();
    assert_eq!(woken(&waiters), [0]);
    assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())));
    assert_eq!(woken(&waiters), [] as [usize; 0]);
    assert_eq!(queue.waiting(), 2);
}

/// A request that wants none of what there is room for, as long as `particular` says so.
fn passing<'a>(id: usize, queue: &'a Queue, room: &'a Room, particular: &'a Cell<bool>) -> Waiter<'a> {
    let pick = |_| if particular.get() { Try::Pass } else { room.take().into() };
    Waiter { id, woken: Arc::default(), future: Box::pin(queue.line_up(pick)) }
}

#[test]
fn who_passes_holds_up_nobody_and_keeps_its_place() {
    let (queue, room, particular) = (queue(9), Room::default(), Cell::new(true));
    room.most.set(1);
    let mut first = passing(0, &queue, &room, &particular);
    assert_eq!(first.poll(), Poll::Pending);
    let mut waiters: Vec<_> = (1..4).map(|id| Waiter::new(id, &queue, &room)).collect();
    assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())), "what the first did not want was there for the next to come");
    assert_eq!((waiters[1].poll(), waiters[2].poll()), (Poll::Pending, Poll::Pending));
    room.used.set(0);
    queue.released();
    assert_eq!((first.is_woken(), woken(&waiters)), (true, vec![]), "the first one is asked first");
    assert_eq!(first.poll(), Poll::Pending);
    assert_eq!(woken(&waiters), [2]);
    assert_eq!(waiters[1].poll(), Poll::Ready(Ok(())));
    room.used.set(0);
    particular.set(false);
    queue.released();
    assert!(first.is_woken());
    assert_eq!(first.poll(), Poll::Ready(Ok(())));
    assert_eq!(woken(&waiters), [] as [usize; 0], "the try was used");
    drop(first);
    room.used.set(0);
    queue.released();
    assert_eq!(waiters[2].poll(), Poll::Ready(Ok(())));
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn all_may_pass_and_a_newcomer_takes_what_they_left() {
    let (queue, room, particular) = (queue(9), Room::default(), Cell::new(true));
    room.most.set(2);
    let mut waiters: Vec<_> = (0..3).map(|id| passing(id, &queue, &room, &particular)).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.poll().is_pending()));
    assert_eq!(woken(&waiters), [] as [usize; 0], "passing does not go round in circles");
    let mut newcomer = Waiter::new(3, &queue, &room);
    assert_eq!(newcomer.poll(), Poll::Ready(Ok(())));
    drop(waiters.remove(0));
    let mut newcomer = Waiter::new(4, &queue, &room);
    assert_eq!(newcomer.poll(), Poll::Ready(Ok(())), "there is room for two");
    drop(waiters);
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn two_that_finish_at_once_let_two_go_on_in_order() {
    let (queue, room) = (queue(9), Room::default());
    let mut waiters = line(&queue, &room, 3);
    room.most.set(2);
    queue.released();
    queue.released();
    assert_eq!(waiters[1].poll(), Poll::Pending, "the second one does not overtake, even if it is polled");
    assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())));
    assert_eq!(woken(&waiters), [1]);
    assert_eq!(waiters[1].poll(), Poll::Ready(Ok(())));
    assert_eq!(woken(&waiters), [] as [usize; 0]);
}

#[test]
fn whoever_is_beaten_to_it_stays_the_first() {
    let (queue, room) = (queue(9), Room::default());
    let mut waiters = line(&queue, &room, 2);
    queue.released(); // but somebody else has taken the room
    assert_eq!(waiters[0].poll(), Poll::Pending);
    assert_eq!(woken(&waiters), [] as [usize; 0]);
    room.most.set(1);
    queue.released();
    assert_eq!(woken(&waiters), [0]);
    assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())));
}

#[test]
fn whoever_leaves_hands_its_wake_up_on() {
    let (queue, room) = (queue(9), Room::default());
    let mut waiters = line(&queue, &room, 4);
    room.most.set(1);
    queue.released();
    drop(waiters.remove(0)); // woken, and gone before it was polled
    assert_eq!(woken(&waiters), [1]);
    drop(waiters.remove(1));
    assert_eq!((woken(&waiters), queue.waiting()), (vec![1], 2), "from the middle");
    assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())));
    waiters.clear();
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_request_that_finishes_before_the_queue_is_announced_is_noticed() {
    let (queue, room) = (queue(9), Room::default());
    // Two requests find the members full; then both places become free, while nobody waits who could be told.
    let mut first = queue.enter().unwrap();
    let mut second = Waiter::new(1, &queue, &room);
    assert_eq!(second.poll(), Poll::Pending);
    room.most.set(2);
    assert_eq!(first.poll_turn(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
    assert_eq!(room.take(), Some(()));
    first.leave_served();
    assert!(second.is_woken());
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
}

#[test]
fn more_room_lets_as_many_go_on_as_fit() {
    let (queue, room) = (queue(9), Room::default());
    let mut waiters = line(&queue, &room, 4);
    room.most.set(2);
    queue.changed();
    for id in 0..2 {
        assert_eq!(woken(&waiters), [id]);
        assert_eq!(waiters[id].poll(), Poll::Ready(Ok(())));
    }
    assert_eq!(woken(&waiters), [2], "it finds out that there is no more");
    assert_eq!(waiters[2].poll(), Poll::Pending);
    assert_eq!(woken(&waiters), [] as [usize; 0]);
}

#[test]
fn no_more_wait_than_may() {
    for length in [0, 1, 3] {
        let (queue, room) = (queue(length), Room::default());
        let mut waiters = line(&queue, &room, length);
        assert_eq!(Waiter::new(9, &queue, &room).poll(), Poll::Ready(Err(QueueError::Full)));
        assert_eq!(queue.waiting(), length);
        if waiters.pop().is_some() {
            assert_eq!(Waiter::new(9, &queue, &room).poll(), Poll::Pending, "there is a place again");
        }
    }
}

#[test]
fn retry_after_is_whole_seconds() {
    for (wait, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (5_000, 5), (u64::MAX, u64::MAX / 1_000 + 1)] {
        let policy = QueuePolicy { length: 1, wait: Duration::from_millis(wait) };
        assert_eq!(Queue::new(policy).retry_after(), expected, "{wait} ms");
    }
    assert_eq!(Queue::new(QueuePolicy { length: 1, wait: Duration::MAX }).retry_after(), u64::MAX);
}

/// What may happen to a queue.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request arrives.
    Arrive,
    /// A request takes room without asking the queue.
    Barge,
    /// A request finishes.
    Release,
    /// A client leaves, or has waited as long as it may.
    Leave(usize),
    /// A task that was woken is polled.
    Run(usize),
    /// A task is polled that was not woken.
    Spurious(usize),
    /// Limits are raised.
    Grow(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Arrive),
        1 => Just(Step::Barge),
        4 => Just(Step::Release),
        2 => (0..8_usize).prop_map(Step::Leave),
        5 => (0..8_usize).prop_map(Step::Run),
        1 => (0..8_usize).prop_map(Step::Spurious),
        1 => (0..3_usize).prop_map(Step::Grow),
    ];
    prop::collection::vec(step, 0..200)
}

/// Polls a waiter; it may get a member only if it is the first.
fn run(waiters: &mut VecDeque<Waiter<'_>>, index: usize) -> Result<(), TestCaseError> {
    let Some(waiter) = waiters.get_mut(index) else { return Ok(()) };
    if let Poll::Ready(outcome) = waiter.poll() {
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(index, 0, "request {} has overtaken", waiter.id);
        waiters.pop_front();
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Against the model: the waiters in a deque. After each step, if there is room, the first one has been woken.
    #[test]
    fn nobody_is_lost_or_overtaken(steps in steps(), length in 0..6_usize, most in 0..4_usize) {
        let (queue, room) = (queue(length), Room::default());
        room.most.set(most);
        let mut waiters = VecDeque::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                // As the proxy does it, polled once.
                Step::Arrive if queue.waiting() == 0 && room.take().is_some() => prop_assert!(waiters.is_empty()),
                Step::Arrive => {
                    let mut waiter = Waiter::new(id, &queue, &room);
                    let full = Poll::Ready(Err(QueueError::Full));
                    let expected = if waiters.len() < length { Poll::Pending } else { full };
                    prop_assert_eq!(waiter.poll(), expected);
                    if expected.is_pending() {
                        waiters.push_back(waiter);
                    }
                }
                Step::Barge => drop(room.take()),
                Step::Release if room.used.get() > 0 => {
                    room.used.set(room.used.get() - 1);
                    let before = waiters.iter().filter(|waiter| waiter.is_woken()).count();
                    queue.released();
                    let after = waiters.iter().filter(|waiter| waiter.is_woken()).count();
                    prop_assert!(after <= before + 1);
                }
                Step::Release => {}
                Step::Leave(index) => drop(waiters.remove(index)),
                Step::Run(nth) => {
                    let index = (0..waiters.len()).filter(|&index| waiters[index].is_woken()).nth(nth);
                    run(&mut waiters, index.unwrap_or(usize::MAX))?;
                }
                Step::Spurious(index) => run(&mut waiters, index)?,
                Step::Grow(more) => {
                    room.most.set(room.most.get() + more);
                    queue.changed();
                }
            }
            prop_assert_eq!(queue.waiting(), waiters.len());
            prop_assert!(waiters.len() <= length);
            if let Some(first) = waiters.front() {
                prop_assert!(room.free() == 0 || first.is_woken(), "a wake-up is lost after {:?}", step);
            }
        }
        // If every request finishes, every waiter gets a member.
        while !waiters.is_empty() && room.most.get() > 0 {
            if room.free() == 0 {
                room.used.set(room.used.get() - 1);
                queue.released();
            }
            prop_assert!(waiters[0].is_woken());
            run(&mut waiters, 0)?;
        }
    }
}

/// A pool over paused time.
#[derive(Debug)]
struct Pool {
    queue: Queue,
    free: AtomicUsize,
}

/// Room that a request has taken.
struct Taken(Arc<Pool>);

impl Pool {
    fn new(policy: QueuePolicy, free: usize) -> Arc<Self> {
        Arc::new(Pool { queue: Queue::new(policy), free: AtomicUsize::new(free) })
    }

    fn take(self: &Arc<Self>) -> Option<Taken> {
        let less = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(Taken(self.clone()))
    }

    /// As the proxy does it: at once if nobody waits and there is room, else by waiting as long as the policy says.
    async fn admit(self: &Arc<Self>) -> Result<Taken, QueueError> {
        let at_once = if self.queue.waiting() == 0 { self.take() } else { None };
        let limit = self.queue.line.lock().policy.wait;
        match at_once {
            Some(taken) => Ok(taken),
            None => self.queue.wait(limit, |_| self.take().into()).await,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
        self.0.queue.released();
    }
}

/// Runs over time that passes as soon as nobody has anything to do.
fn over_paused_time<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn a_waiter_gives_up_in_time() {
    over_paused_time(async {
        let pool = Pool::new(QueuePolicy { length: 5, wait: 3 * SECOND }, 1);
        let start = Instant::now();
        let taken = pool.admit().await.ok().unwrap();
        assert_eq!(pool.admit().await.err(), Some(QueueError::TimedOut));
        assert_eq!(start.elapsed(), 3 * SECOND);
        assert_eq!(pool.queue.wait(SECOND, |_| pool.take().into()).await.err(), Some(QueueError::TimedOut));
        assert_eq!((start.elapsed(), pool.queue.waiting()), (4 * SECOND, 0));
        drop(taken);
        assert!(pool.admit().await.is_ok());
        assert_eq!(start.elapsed(), 4 * SECOND);
    });
}

#[test]
fn an_arrival_does_not_overtake_even_if_there_is_room() {
    over_paused_time(async {
        let pool = Pool::new(QueuePolicy { length: 5, wait: 3 * SECOND }, 0);
        let place = pool.queue.enter().unwrap();
        pool.free.store(1, Ordering::Relaxed);
        assert_eq!(pool.admit().await.err(), Some(QueueError::TimedOut));
        drop(place);
        assert!(pool.admit().await.is_ok());
    });
}

/// A request of the simulation, in milliseconds.
#[derive(Debug, Clone, Copy)]
struct Plan {
    arrives: u64,
    serves: u64,
    /// When its client leaves if it has no answer, counted from its arrival.
    leaves: u64,
}

/// What became of it, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Served { from: u64, to: u64 },
    Refused { at: u64, error: QueueError },
    Left { at: u64 },
}

async fn simulate(plans: &[Plan], policy: QueuePolicy, members: usize) -> Vec<Fate> {
    let (pool, start) = (Pool::new(policy, members), Instant::now());
    let now = move || u64::try_from(start.elapsed().as_millis()).unwrap();
    let tasks: Vec<_> = plans
        .iter()
        .map(|&plan| {
            let pool = pool.clone();
            tokio::spawn(async move {
                sleep(Duration::from_millis(plan.arrives)).await;
                let patience = Duration::from_millis(plan.leaves);
                let admitted = tokio::time::timeout(patience, pool.admit()).await;
                match admitted {
                    Err(_) => Fate::Left { at: now() },
                    Ok(Err(error)) => Fate::Refused { at: now(), error },
                    Ok(Ok(_taken)) => {
                        let from = now();
                        sleep(Duration::from_millis(plan.serves)).await;
                        Fate::Served { from, to: now() }
                    }
                }
            })
        })
        .collect();
    let mut fates = Vec::new();
    for task in tasks {
        fates.push(task.await.unwrap());
    }
    assert_eq!((pool.queue.waiting(), pool.free.load(Ordering::Relaxed)), (0, members), "nothing is left");
    fates
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = (0..60_u64, 1..30_u64, 1..60_u64);
    prop::collection::vec(plan, 1..25).prop_map(|mut plans| {
        plans.sort_unstable();
        plans.into_iter().map(|(arrives, serves, leaves)| Plan { arrives, serves, leaves }).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Over time: in order, in time, and no member is idle while somebody waits.
    #[test]
    fn waiting_is_fair_and_ends(plans in plans(), length in 0..6_usize, wait in 1..40_u64, members in 1..4_usize) {
        let policy = QueuePolicy { length, wait: Duration::from_millis(wait) };
        let fates = over_paused_time(simulate(&plans, policy, members));
        let is_served = |fate: &Fate, at: u64| matches!(*fate, Fate::Served { from, to } if (from..to).contains(&at));
        let busy = |at: u64| fates.iter().filter(|fate| is_served(fate, at)).count();
        let waits = |plan: &Plan, fate: &Fate, at: u64| match *fate {
            Fate::Served { from: end, .. } | Fate::Refused { at: end, .. } | Fate::Left { at: end } => {
                (plan.arrives..end).contains(&at)
            }
        };
        let mut last = 0;
        for (plan, fate) in plans.iter().zip(&fates) {
            match *fate {
                Fate::Served { from, to } => {
                    prop_assert!(from >= last && from <= plan.arrives + wait && to == from + plan.serves);
                    last = from;
                }
                Fate::Refused { at, error: QueueError::TimedOut } => prop_assert_eq!(at, plan.arrives + wait),
                Fate::Refused { at, error: QueueError::Full } => prop_assert_eq!(at, plan.arrives),
                Fate::Left { at } => prop_assert_eq!(at, plan.arrives + plan.leaves),
            }
        }
        for at in 0..200 {
            let waiting = plans.iter().zip(&fates).filter(|(plan, fate)| waits(plan, fate, at)).count();
            prop_assert!(busy(at) <= members && waiting <= length, "at {}", at);
            prop_assert!(waiting == 0 || busy(at) == members, "{} wait at {}, and there is room", waiting, at);
        }
    }
}

/// Runs a future on this thread. A minute without a wake-up is a lost one.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Thread(std::thread::Thread, AtomicBool);
    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.1.store(true, Ordering::SeqCst);
            self.0.unpark();
        }
    }
    let thread = Arc::new(Thread(std::thread::current(), AtomicBool::new(false)));
    let (waker, mut future) = (Waker::from(thread.clone()), std::pin::pin!(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        while !thread.1.swap(false, Ordering::SeqCst) {
            let parked = std::time::Instant::now();
            std::thread::park_timeout(60 * SECOND);
            assert!(parked.elapsed() < 60 * SECOND, "a wake-up is lost");
        }
    }
}

#[test]
fn threads_lose_no_wake_up() {
    let pool = Pool::new(QueuePolicy { length: 10, wait: SECOND }, 2);
    let running = AtomicUsize::new(6);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (pool, running) = (&pool, &running);
            scope.spawn(move || {
                for round in 0..1_500 {
                    let room = || pool.take();
                    let try_room = |_| Try::from(room());
                    if (round + thread) % 7 == 0 {
                        // Comes, is polled once, and leaves.
                        let mut future = std::pin::pin!(pool.queue.line_up(try_room));
                        let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    } else {
                        let direct = if pool.queue.waiting() == 0 { room() } else { None };
                        // One thread passes at times, as long as there are others that give it another turn.
                        let mut passes = usize::from(thread == 0);
                        let particular = |ticket| {
                            let passing = passes > 0 && running.load(Ordering::SeqCst) > 1;
                            passes -= usize::from(passing);
                            if passing { Try::Pass } else { try_room(ticket) }
                        };
                        let taken = direct.or_else(|| block_on(pool.queue.line_up(particular)).ok());
                        assert!(taken.is_some());
                    }
                }
                running.fetch_sub(1, Ordering::SeqCst);
                pool.queue.changed();
            });
        }
    });
    assert_eq!((pool.queue.waiting(), pool.free.load(Ordering::Relaxed)), (0, 2));
}
