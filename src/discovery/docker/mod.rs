//! Members that are containers of a Docker Engine: they say by labels whose members they are.
//!
//! Whoever holds the Engine's socket is root on its host. So the process that clients talk to does not hold it: an agent
//! of its own (`carbon-elb docker-source`) watches the containers and registers them over the admin API, with leases
//! that it renews. `labels` says what a container is; `engine` watches; `ledger` decides what a balancer has to be
//! told, and [`agent`] tells it.
//!
//! If the Engine does not answer, members stay and are renewed: it is not the Engine that serves requests. If the agent
//! ends, members stay until their leases do.

pub mod agent;
mod client;
mod engine;
mod labels;
mod ledger;

pub use self::labels::{Container, Found, Key, Member, members};
