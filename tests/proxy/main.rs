//! The balancer as a whole, in front of stub nodes and of nodes that a test plays itself.

mod admin_api;
mod admin_members;
mod commands;
mod connections;
mod failures;
mod headers;
mod health;
mod latency;
mod load_reports;
mod observing;
mod origin;
mod patience;
mod routing;
mod stopping;
mod streaming;
#[path = "../support/mod.rs"]
mod support;
