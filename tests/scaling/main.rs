//! `carbon-elb scale` with real processes: nodes come and go with the load, and no request notices.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod grows;
mod nodes;
mod outages;
mod stage;
