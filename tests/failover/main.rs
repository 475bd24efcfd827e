//! What is promised when workers crash, hang, are restarted or are full: real processes, killed with real signals, under
//! load. What the clients sent, what the balancer counted and what the nodes wrote down is held against each other.

mod at_once;
mod backups;
mod crashes;
mod hanging;
mod latency;
mod operator;
mod reload;
mod retries;
mod rolling;
mod sessions;
mod slow_start;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
mod traffic;
mod waiting;
mod worker;
