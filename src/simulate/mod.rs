//! `carbon-elb simulate`: what a scaling policy makes of a trace, before it is trusted with nodes.
//!
//! A [`Trace`] is played against a [`Rule`], the balancer's own [`crate::autoscale::Scaler`] or one of those to hold it
//! against, and a [`Model`] of a cluster, in virtual time: a day takes seconds, and the same seed gives the same
//! [`Outcome`].

mod cluster;
mod command;
mod node;
mod outcome;
mod plot;
mod rules;
#[cfg(test)]
mod tests;
mod trace;

pub use self::cluster::{Model, play};
pub use self::command::Simulate;
pub use self::outcome::{Outcome, Point};
pub use self::plot::plot;
pub use self::rules::{Elb, ElbRates, Knative, KnativeSettings, Rule};
pub use self::trace::{Arrival, Selected, Trace};
