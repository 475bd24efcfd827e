//! The mirror of `clusters.*.pools`.

use std::time::Duration;

use ipnet::IpNet;

use super::affinity::{RawAffinity, RawHash};
use super::protect::{IN_FLIGHT, RHYTHM, RawLoad, RawOutliers, RawQueue, RawRetry};
use super::scaling::RawScale;
use super::{USUAL, networks};
use crate::config::checked::Algorithm;
use crate::config::decode::{Field, Fields, Items};
use crate::config::problem::{Problems, Spot};
use crate::config::tree::Node;
use crate::config::values::{duration, map_or_off, number, or_off, percent, word};
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

/// `clusters.*.pools.*`. An inner `None` is `off`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawPool {
    pub(crate) balance: Field<Algorithm>,
    pub(crate) hash: Field<RawHash>,
    pub(crate) affinity: Field<RawAffinity>,
    pub(crate) keepalive: Field<RawKeepalive>,
    pub(crate) timeouts: Field<RawTimeouts>,
    pub(crate) health: Field<RawHealthPolicy>,
    pub(crate) outliers: Field<Option<RawOutliers>>,
    pub(crate) panic: Field<u8>,
    pub(crate) retry: Field<Option<RawRetry>>,
    pub(crate) max_in_flight: Field<Option<usize>>,
    pub(crate) queue: Field<Option<RawQueue>>,
    pub(crate) slow_start: Field<Option<Duration>>,
    pub(crate) load: Field<RawLoad>,
    pub(crate) allowed_networks: Field<Items<IpNet>>,
    pub(crate) scale: Field<Option<RawScale>>,
}

impl RawPool {
    fn read(node: &Node, at: &Spot, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(node, at, problems)?;
        let pool = RawPool {
            balance: fields.field("balance", word(Algorithm::WORDS)),
            hash: fields.field("hash", RawHash::read),
            affinity: fields.field("affinity", RawAffinity::read),
            keepalive: fields.field("keepalive", RawKeepalive::read),
            timeouts: fields.field("timeouts", RawTimeouts::read),
            health: fields.field("health", RawHealthPolicy::read),
            outliers: fields.field("outliers", map_or_off(RawOutliers::read)),
            panic: fields.field("panic", percent(0..=100)),
            retry: fields.field("retry", map_or_off(RawRetry::read)),
            max_in_flight: fields.field("max_in_flight", or_off(number(IN_FLIGHT))),
            queue: fields.field("queue", map_or_off(RawQueue::read)),
            slow_start: fields.field("slow_start", or_off(duration(USUAL))),
            load: fields.field("load", RawLoad::read),
            allowed_networks: fields.field("allowed_networks", networks),
            scale: fields.field("scale", map_or_off(RawScale::read)),
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
