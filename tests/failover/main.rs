//! What is promised when workers crash, hang, are restarted or are full: real processes, killed with real signals, under
//! load. What the clients sent, what the balancer counted and what the nodes wrote down is held against each other.

mod crashes;
mod hanging;
mod operator;
mod reload;
mod retries;
mod rolling;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tenants;
mod traffic;
mod waiting;
mod worker;
