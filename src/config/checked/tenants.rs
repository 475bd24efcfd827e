//! The checked form of `clusters.*.tenants`: which tenants have nodes of their own, and how much one may take.

use serde::Serialize;

use crate::ids::{Name, NodeId};

/// How the tenants of a cluster are told apart, and what they get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tenants {
    /// Host names that name the tenant in place of a `*`, such as `*.apps.example.com`; the part after `*.` is kept here.
    pub hosts: Vec<String>,
    /// Requests in flight for one tenant; `None`: any number.
    pub max_in_flight: Option<usize>,
    /// In the order of the file: the first that takes a tenant has it.
    pub partitions: Vec<Partition>,
}

/// Some tenants, and the nodes that are theirs alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Partition {
    /// Unique in the cluster.
    pub name: Name,
    /// Not empty.
    pub tenants: Vec<TenantPattern>,
    /// Not empty. A node that no partition names is for all tenants that no partition takes, and for requests without one.
    pub nodes: Vec<NodeId>,
}

/// Which tenants a partition takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantPattern {
    /// `*`: each of them.
    Any,
    /// `example.com`, in lower case.
    Exact(String),
    /// `*.example.com`: what ends with `.example.com` and has something before it. Holds `.example.com`.
    Suffix(String),
    /// `example-*`: what begins so. Holds `example-`.
    Prefix(String),
    /// `1-100`: a number from the first to the last, both included.
    Range(u64, u64),
}
