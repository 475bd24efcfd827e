//! Slow and greedy clients: how long the balancer waits for them, how much of it they get, and what the others notice.

mod attacks;
mod counts;
mod rates;
#[path = "../support/mod.rs"]
mod support;

use support::elb::Elb;

/// Connections of clients, without the one that asks for the metrics.
fn connections(elb: &Elb) -> f64 {
    elb.metrics().sum("carbon_elb_client_connections", &[]) - 1.0
}
