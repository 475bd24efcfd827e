//! The agent beside the balancers: registers containers as members with all of them, and renews their leases.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use tokio::sync::watch;

use super::client::{Answer, Balancer, Token};
use super::engine::Engine;
use super::ledger::{Ledger, Outcome, Step, renewal};
use super::{Found, Key, Member};
use crate::discovery::ttl::Retry;

/// How long leases may last.
pub const LEASE: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(3600);

/// What the agent is told at its start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the Engine is: `unix:///path/to/socket` or `tcp://host:port`.
    pub engine: String,
    /// The network on which the balancers reach containers that are on several.
    pub network: Option<String>,
    /// Admin listeners of balancers: `http://host:port`.
    pub balancers: Vec<String>,
    /// The file with the token; it is read again whenever it is needed.
    pub token_file: PathBuf,
    /// How long a member stays one without being renewed, in [`LEASE`].
    pub lease: Duration,
    /// What random numbers begin with.
    pub seed: u64,
}

/// Runs until the process ends.
///
/// # Errors
/// One sentence: an option is not as it may be, or nothing can run.
pub fn run(options: Options) -> Result<(), String> {
    if !LEASE.contains(&options.lease) {
        return Err(format!("a lease of {:?} is out of range; allowed: 3s to 1h", options.lease));
    }
    let balancers = options.balancers.iter().map(|url| Balancer::new(url)).collect::<Result<Vec<_>, _>>()?;
    let engine = Engine::new(&options.engine, options.network)?;
    // Said at once, not when the first container comes.
    Token::read(&options.token_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e: io::Error| format!("cannot run: {e}"))?;
    runtime.block_on(async {
        let (told, heard) = watch::channel(None);
        let token_file: Arc<Path> = options.token_file.into();
        for balancer in balancers {
            info!("docker: members are registered with {balancer}");
            tokio::spawn(keep_told(balancer, heard.clone(), token_file.clone(), options.lease));
        }
        drop(heard);
        engine.follow(told, options.seed).await;
    });
    Ok(())
}

/// Keeps one balancer told of the members, until nobody watches them any more.
async fn keep_told(
    balancer: Balancer,
    mut heard: watch::Receiver<Option<Found>>,
    token_file: Arc<Path>,
    lease: Duration,
) {
    let mut ledger = Ledger::new(lease);
    let mut retry = Retry::new(renewal(lease));
    let mut said = Said::default();
    loop {
        let wanted = heard.borrow_and_update().as_ref().map(|found| found.members.clone());
        let pause = match wanted {
            // Nobody knows yet who is there.
            None => None,
            Some(wanted) => {
                if round(&balancer, &mut ledger, &wanted, &token_file, lease, &mut said).await {
                    retry.reset();
                    ledger.next().map(|next| next.saturating_duration_since(Instant::now()))
                } else {
                    Some(retry.pause())
                }
            }
        };
        let changed = heard.changed();
        let ended = match pause {
            None => changed.await.is_err(),
            // Time is up: there is something to say all the same.
            Some(pause) => tokio::time::timeout(pause, changed).await.is_ok_and(|changed| changed.is_err()),
        };
        if ended {
            return;
        }
    }
}

/// Tells a balancer what it should know now. Returns whether all of it was heard.
async fn round(
    balancer: &Balancer,
    ledger: &mut Ledger,
    wanted: &BTreeMap<Key, Member>,
    token_file: &Path,
    lease: Duration,
    said: &mut Said,
) -> bool {
    let steps = ledger.steps(wanted, Instant::now());
    if steps.is_empty() {
        return true;
    }
    let token = match Token::read(token_file) {
        Ok(token) => token,
        Err(why) => {
            said.failed(balancer, &why);
            return false;
        }
    };
    for step in steps {
        let Answer { outcome, why } = balancer.take(&step, lease, &token).await;
        match (&why, outcome) {
            (Some(why), Outcome::Failed) => said.failed(balancer, why),
            (Some(why), _) => said.refused(balancer, &step, why),
            (None, _) => said.done(balancer, &step),
        }
        ledger.record(step, outcome, Instant::now());
        if outcome == Outcome::Failed {
            // The next one would wait for the same.
            return false;
        }
    }
    said.answers(balancer);
    true
}

/// What the log says of a balancer, so that it says it once.
#[derive(Debug, Default)]
struct Said {
    failing: bool,
    refused: BTreeMap<Key, String>,
    members: BTreeMap<Key, Member>,
}

impl Said {
    fn failed(&mut self, balancer: &Balancer, why: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!("docker: {balancer} cannot be told: {why}");
        }
    }

    fn answers(&mut self, balancer: &Balancer) {
        if std::mem::take(&mut self.failing) {
            info!("docker: {balancer} can be told again");
        }
    }

    fn refused(&mut self, balancer: &Balancer, step: &Step, why: &str) {
        let (Step::Register(key, _) | Step::Deregister(key)) = step;
        if self.refused.insert(key.clone(), why.to_owned()).as_deref() != Some(why) {
            warn!("docker: {balancer} refuses {}/{}: {why}", key.0, key.1);
        }
    }

    fn done(&mut self, balancer: &Balancer, step: &Step) {
        match step {
            Step::Register(key, member) => {
                self.refused.remove(key);
                if self.members.insert(key.clone(), member.clone()).as_ref() != Some(member) {
                    info!("docker: {}/{} at {} is registered with {balancer}", key.0, key.1, member.address);
                }
            }
            Step::Deregister(key) => {
                self.refused.remove(key);
                self.members.remove(key);
                info!("docker: {}/{} is deregistered from {balancer}", key.0, key.1);
            }
        }
    }
}
