//! The queue over paused time against a simulation, and from several threads.

use super::*;

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
