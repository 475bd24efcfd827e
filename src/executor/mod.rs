//! Carries out what the balancer's autoscaler wants: `carbon-elb scale`, a process of its own.

mod memory;
mod plan;
mod provider;
mod settings;
#[cfg(test)]
mod tests;
mod world;

pub use self::memory::Memory;
pub use self::plan::{Limits, Step, Why, plan};
pub use self::provider::{Fault, Provider, provider};
pub use self::settings::{Commands, Container, PoolSettings, ProviderSettings, Settings};
pub use self::world::{Health, Instance, Member, Place, PoolName, Sessions, World};
