//! The mirror of `clusters.*.pools`.

use std::time::Duration;

use super::USUAL;
use crate::config::checked::Algorithm;
use crate::config::decode::{Field, Fields};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::Node;
use crate::config::values::{duration, number, word};
use crate::ids::Role;

/// `clusters.*.pools`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPools {
    worker: Field<RawPool>,
    manager: Field<RawPool>,
}

impl RawPools {
    pub(crate) fn of(&self, role: Role) -> &Field<RawPool> {
        match role {
            Role::Worker => &self.worker,
            Role::Manager => &self.manager,
        }
    }

    pub(super) fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let pools =
            RawPools { worker: fields.field("worker", RawPool::read), manager: fields.field("manager", RawPool::read) };
        fields.close();
        Some(pools)
    }
}

/// `clusters.*.pools.*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPool {
    pub(crate) balance: Field<Algorithm>,
    pub(crate) keepalive: Field<RawKeepalive>,
    pub(crate) timeouts: Field<RawTimeouts>,
    pub(crate) health: Field<RawHealthPolicy>,
}

impl RawPool {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let pool = RawPool {
            balance: fields.field("balance", word(&[("round_robin", Algorithm::RoundRobin)])),
            keepalive: fields.field("keepalive", RawKeepalive::read),
            timeouts: fields.field("timeouts", RawTimeouts::read),
            health: fields.field("health", RawHealthPolicy::read),
        };
        fields.close();
        Some(pool)
    }
}

/// `clusters.*.pools.*.keepalive`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawKeepalive {
    pub(crate) connections: Field<usize>,
    pub(crate) idle: Field<Duration>,
}

impl RawKeepalive {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let keepalive = RawKeepalive {
            connections: fields.field("connections", number(0..=65_536)),
            idle: fields.field("idle", duration(USUAL)),
        };
        fields.close();
        Some(keepalive)
    }
}

/// `clusters.*.pools.*.timeouts`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawTimeouts {
    pub(crate) connect: Field<Duration>,
    pub(crate) read: Field<Duration>,
    pub(crate) write: Field<Duration>,
}

impl RawTimeouts {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let timeouts = RawTimeouts {
            connect: fields.field("connect", duration(USUAL)),
            read: fields.field("read", duration(USUAL)),
            write: fields.field("write", duration(USUAL)),
        };
        fields.close();
        Some(timeouts)
    }
}

/// `clusters.*.pools.*.health`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawHealthPolicy {
    pub(crate) interval: Field<Duration>,
    pub(crate) timeout: Field<Duration>,
    pub(crate) rise: Field<u32>,
    pub(crate) fall: Field<u32>,
}

impl RawHealthPolicy {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        const RHYTHM: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);
        let mut fields = Fields::open(node, at, problems)?;
        let health = RawHealthPolicy {
            interval: fields.field("interval", duration(RHYTHM)),
            timeout: fields.field("timeout", duration(RHYTHM)),
            rise: fields.field("rise", number(1..=100)),
            fall: fields.field("fall", number(1..=100)),
        };
        fields.close();
        Some(health)
    }
}
