//! What the edge and the proxy tell each other about one request, besides its bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::http1::Fault;

tokio::task_local! {
    /// The exchange of the request that this task serves. The framework creates the proxy's own context and lets nothing
    /// else through.
    pub(super) static EXCHANGE: Arc<Exchange>;
}

/// What a client gets for free before the rate of its body is looked at.
pub(super) const BODY_GRACE: Duration = Duration::from_secs(10);

/// A request, as seen from both sides.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Index into [`Fault::ALL`], plus one; 0 if there is none.
    fault: AtomicU8,
    upgraded: AtomicBool,
    /// Bytes that the chunks of the body have announced so far. HTTP/1 only.
    announced: AtomicU64,
    /// Bytes that the body may have, plus one; 0 if there is no limit.
    body_limit: AtomicU64,
    /// Bytes of the body that came in so far, and whether more are awaited. HTTP/2 only.
    body: AtomicU64,
    awaits_body: AtomicBool,
    body_begun: Notify,
}

impl Exchange {
    /// That of the request which the running task serves; an unused one outside of the edge.
    pub fn current() -> Arc<Exchange> {
        EXCHANGE.try_with(Arc::clone).unwrap_or_default()
    }

    /// Why the edge broke off the request, if it did.
    pub fn fault(&self) -> Option<Fault> {
        let index = usize::from(self.fault.load(Ordering::Relaxed)).checked_sub(1)?;
        Fault::ALL.get(index).copied()
    }

    /// Tells that the node agreed to another protocol: what follows are no requests.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Tells that the body of an HTTP/2 request has to come in yet, and that somebody waits for it.
    pub fn await_body(&self) {
        self.awaits_body.store(true, Ordering::Relaxed);
        self.body_begun.notify_one();
    }

    /// Tells that so many bytes of the body came in, and whether that was all.
    pub fn received(&self, bytes: usize, all: bool) {
        self.body.fetch_add(bytes as u64, Ordering::Relaxed); // a usize has 64 bits at most
        if all {
            self.awaits_body.store(false, Ordering::Relaxed);
        }
    }

    /// Tells how large the body may be.
    pub fn limit_body(&self, most: u64) {
        self.body_limit.store(most.saturating_add(1), Ordering::Relaxed);
    }

    /// How large the body will be at least, as far as its chunks have told.
    pub fn announced(&self) -> u64 {
        self.announced.load(Ordering::Relaxed)
    }

    /// Tells how large the body will be at least. Returns whether that is allowed.
    pub(super) fn announce(&self, bytes: u64) -> bool {
        self.announced.store(bytes, Ordering::Relaxed);
        match self.body_limit.load(Ordering::Relaxed) {
            0 => true,
            above => bytes < above,
        }
    }

    /// Whether it has become another protocol.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    pub(super) fn break_off(&self, fault: Fault) {
        let index = Fault::ALL.iter().position(|known| *known == fault).and_then(|index| u8::try_from(index + 1).ok());
        self.fault.store(index.unwrap_or(u8::MAX), Ordering::Relaxed);
    }

    /// For the next request of the same connection.
    pub(super) fn reset(&self) {
        self.fault.store(0, Ordering::Relaxed);
        self.announced.store(0, Ordering::Relaxed);
        self.body_limit.store(0, Ordering::Relaxed);
    }

    /// Returns when the body comes in too slowly: when it pauses for `pause`, or when less than `rate` bytes a second
    /// have come in. Never returns if no body is awaited.
    pub(super) async fn body_too_slow(&self, pause: Duration, rate: Option<u64>) {
        self.body_begun.notified().await;
        let begun = Instant::now();
        let (mut last, mut last_bytes) = (begun, 0);
        loop {
            let bytes = self.body.load(Ordering::Relaxed);
            if bytes != last_bytes {
                (last, last_bytes) = (Instant::now(), bytes);
            }
            let by_rate = rate.map(|rate| begun + BODY_GRACE + allowance(bytes, rate));
            let deadline = by_rate.map_or(last + pause, |by_rate| by_rate.min(last + pause));
            if !self.awaits_body.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if Instant::now() >= deadline {
                return;
            }
            // The deadline itself. Bytes that come meanwhile move it; that is seen when it is over.
            tokio::time::sleep_until(deadline).await;
        }
    }
}

/// The time that `bytes` may take at `rate` bytes a second; at most a day, so that sums of it fit.
pub(super) fn allowance(bytes: u64, rate: u64) -> Duration {
    const MOST: Duration = Duration::from_secs(24 * 60 * 60);
    Duration::try_from_secs_f64(bytes as f64 / rate.max(1) as f64).unwrap_or(MOST).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told() {
        let exchange = Exchange::default();
        assert_eq!(exchange.fault(), None);
        for &fault in Fault::ALL {
            exchange.break_off(fault);
            assert_eq!(exchange.fault(), Some(fault));
        }
        exchange.reset();
        assert_eq!(exchange.fault(), None);
    }

    #[test]
    fn slower_clients_have_less_time() {
        assert_eq!(allowance(2_400, 240), Duration::from_secs(10));
        assert_eq!(allowance(0, 240), Duration::ZERO);
        assert_eq!(allowance(u64::MAX, 1), Duration::from_secs(86_400));
        assert_eq!(allowance(1, 0), Duration::from_secs(1));
    }
}
