//! Members that sources tell of: a real name server (dnsmasq) whose records change, files that are replaced, and an Engine
//! that the test plays.

mod dnsmasq;
mod engine;
mod followed;
mod records;
#[path = "../support/mod.rs"]
mod support;
mod under_load;
mod workers;
