//! What nodes report of their load: with their answers ([`orca`]), or when they are asked on a port of their own
//! ([`agent`]). How long and how much a report of load counts is the matter of [`crate::select`].

pub mod agent;
pub mod orca;
