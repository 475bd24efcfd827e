//! The balancer in front of a cluster of real Tomcat servers, in both deployment patterns.

mod dual;
mod fleet;
mod outage;
mod reuse;
mod separated;
#[path = "../support/mod.rs"]
mod support;
