//! The management boundary, against real Tomcat servers: a client of the workers does not reach what is for managers,
//! however the address is written, and every ordinary address arrives as it was sent.
//!
//! `CARBON_ELB_CORPUS` sets how many mutated management URLs are sent in each combination.

mod corpus;
mod fleet;
mod holds;
#[path = "../support/mod.rs"]
mod support;
