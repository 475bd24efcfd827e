//! Carries out what the balancer's autoscaler wants: `carbon-elb scale`, a process of its own, so that the one that faces
//! clients neither holds the Docker socket nor runs commands.
//!
//! ```text
//! balancers ─ GET /api/v1/scaling ─→ fleet ─┐
//!                                           ├→ world ─ plan ─→ steps ─→ balancers: register, state, deregister
//! provider ── list ─────────────────────────┘                      └─→ provider: start, stop
//! ```
//!
//! `plan` decides, and has all the rules; it is pure. Nothing has to be kept: after a crash, the provider still knows what
//! runs and the balancers what the members are, and `memory` has only what may begin anew. Each pool has a loop of its own.

mod balancer;
mod excerpt;
mod fleet;
mod memory;
mod plan;
mod provider;
mod publish;
mod run;
mod settings;
#[cfg(test)]
mod tests;
mod world;

use std::io;

use log::info;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::memory::Memory;
pub use self::plan::{Limits, Step, Why, plan};
pub use self::provider::{Fault, Provider};
pub use self::settings::{Commands, Container, PoolSettings, ProviderSettings, Settings};
pub use self::world::{Health, Instance, Member, Place, PoolName, Sessions, World};

use self::balancer::Balancer;
use self::run::Executor;

/// Scales the pools until SIGTERM or SIGINT. What was started stays.
///
/// # Errors
/// It cannot begin: certificates cannot be read, or there is no runtime.
pub fn run(settings: &Settings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(scale(settings))
}

async fn scale(settings: &Settings) -> io::Result<()> {
    let balancers = Balancer::all(settings).map_err(io::Error::other)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = watch::Sender::new(false);
    let mut pools = JoinSet::new();
    for pool in &settings.pools {
        let (balancers, poll, stopping) = (balancers.clone(), settings.poll, stop.subscribe());
        match provider::provider(pool).map_err(io::Error::other)? {
            Some(provider) => pools.spawn(Executor::new(pool.clone(), provider, balancers).run(poll, stopping)),
            None => pools.spawn(publish::run(pool.name.clone(), balancers, poll, stopping)),
        };
    }
    info!("scaling {} pools", settings.pools.len());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.send_replace(true);
    info!("stopping: what runs stays, and stays registered for as long as its lease lasts");
    // A pool that panics has said so; the others finish.
    while pools.join_next().await.is_some() {}
    Ok(())
}
