//! The queue polled by hand against a model, over paused time, and from several threads.

mod time;

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
