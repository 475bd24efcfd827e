//! What nodes report of their load: with their answers ([`orca`]), or when they are asked on a port of their own
//! ([`agent`]); and how long a report counts ([`faded`]).

pub mod agent;
pub mod faded;
pub mod orca;

pub use self::faded::{Faded, LoadCell, weight_factor};
