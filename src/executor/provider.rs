//! What starts and stops instances: one contract, and who keeps it.

mod docker;
mod exec;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::docker::Docker;
use self::exec::Exec;
use self::place::parse_place;
use super::settings::{PoolSettings, ProviderSettings};
use super::world::{Instance, Place, PoolName};
use crate::ids::NodeId;

/// The names of the variables that every instance, and every command, finds in its environment.
const MEMBER: &str = "CARBON_ELB_MEMBER";
const CLUSTER: &str = "CARBON_ELB_CLUSTER";
const ROLE: &str = "CARBON_ELB_ROLE";
const ADDRESS: &str = "CARBON_ELB_ADDRESS";

/// Starts and stops the instances of one pool, and knows what there is of them, after a restart of this program too.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What there is. Only this says what is an instance: what is registered under such an id may be somebody else's.
    ///
    /// # Errors
    /// It cannot be found out now.
    async fn list(&self) -> Result<BTreeMap<NodeId, Instance>, Fault>;

    /// Starts an instance. It runs when this returns, but need not serve yet.
    ///
    /// # Errors
    /// It could not be started, and nothing of it is left, as far as that can be helped.
    async fn start(&self, id: &NodeId) -> Result<Place, Fault>;

    /// Stops an instance, lets it finish in peace, and removes what is left of it. To stop what is not there is no error.
    ///
    /// # Errors
    /// It may still run.
    async fn stop(&self, id: &NodeId, place: Option<&Place>) -> Result<(), Fault>;
}

/// Why a provider could not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

/// The provider of a pool; `None` if nothing is to be started or stopped.
///
/// # Errors
/// The address of an Engine cannot be used.
pub(super) fn provider(settings: &PoolSettings) -> Result<Option<Arc<dyn Provider>>, Fault> {
    let name = settings.name.clone();
    Ok(match &settings.provider {
        ProviderSettings::Docker(container) => Some(Arc::new(Docker::new(name, container.clone())?)),
        ProviderSettings::Exec(commands) => Some(Arc::new(Exec::new(name, commands.clone()))),
        ProviderSettings::None => None,
    })
}

/// What every instance is told of itself.
fn told(pool: &PoolName, id: &NodeId) -> [(&'static str, String); 3] {
    let [cluster, role] = told_of(pool);
    [(MEMBER, id.to_string()), cluster, role]
}

fn told_of(pool: &PoolName) -> [(&'static str, String); 2] {
    [(CLUSTER, pool.cluster.to_string()), (ROLE, pool.role.to_string())]
}
