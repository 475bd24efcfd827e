//! Members from a real name server (dnsmasq), whose records change.

mod dnsmasq;
mod followed;
mod records;
#[path = "../support/mod.rs"]
mod support;
