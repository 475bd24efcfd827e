//! An elastic load balancer for WSO2 Carbon worker/manager clusters.
//!
//! # The life of a request
//!
//! 1. [`edge`] accepts the connection on a socket of the thread that will serve it, reads the PROXY protocol, does the TLS
//!    handshake, and reads one request after another. [`http1`] checks each HTTP/1 header and the framing of each body
//!    before the framework sees a byte of it. What is refused here is told to the [`proxy::Door`] of the listener.
//! 2. [`proxy`] takes over: each listener has its own [`proxy::Proxy`], which knows whose pools the listener leads to.
//!    [`origin`] says for which client the request is; [`classify`] decides, from host, path, query and whether it may be
//!    SOAP, which cluster and role it is for, or why it is refused. It is pure: no clock, no I/O, no state.
//!    [`admin_services`] has the names of what no worker may be asked for. [`throttle`] holds it against the rules on bodies
//!    and rates, and [`tenant`] says whose partition it is for.
//! 3. [`registry`] holds the newest snapshot of all pools. The request takes it, and a newer one for each further attempt.
//! 4. [`affinity`] finds the member that has its session; otherwise [`pool`] chooses one through an algorithm of [`select`].
//!    The request is counted on the member's node with a [`member::Lease`], or waits in a [`queue`] while all are full.
//! 5. [`proxy`] connects to the node as [`upstream`] says how, or takes an idle connection, sends the request on with the
//!    forwarding headers set (`room` makes their values), and streams the answer back. If an attempt fails, [`retry`] says
//!    whether another one is made, and [`health::passive`] what that tells of the member. Cookies of managers are hardened
//!    as [`cookies`] says.
//! 6. [`observe`] turns the outcome into a line of the access log and into metrics. The lease ends.
//!
//! # What the requests are routed by
//!
//! [`config`] reads the YAML file into types that cannot be wrong. [`health`] watches the nodes, [`discovery`] finds where
//! they are and who else is one, [`report`] reads what nodes say of themselves, and all tell the [`registry`], which is the
//! only writer and publishes whole snapshots. [`membership`] adds the members that come and go to what the file says.
//! [`admin`] shows the state to operators, and takes in what they want and who registers.
//! [`control`] runs what reports to the registry. [`reload`] takes over another version of the configuration file, as one
//! snapshot. [`listening`] reads there how a listener receives its connections now, with which of the [`certificates`].
//!
//! # How many nodes there are
//!
//! [`autoscale`] decides from the requests how many nodes a role should have, and posts it. [`executor`] carries that out,
//! in a process of its own that speaks to the admin API; [`membership`] makes members of what it starts. [`simulate`] plays
//! all that in virtual time.
//!
//! [`app`] wires all of this; [`cli`] has the commands, among them a [`demo`] with stub [`node`]s and the [`probe`] that a
//! container's health check uses. [`limits`] fits the process to what the system lets it have.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admin_services;
pub mod affinity;
pub mod app;
pub mod autoscale;
pub mod certificates;
pub mod classify;
pub mod cli;
pub mod config;
pub mod control;
pub mod cookies;
pub mod demo;
pub mod discovery;
pub mod edge;
pub mod executor;
pub mod health;
pub mod http1;
pub mod ids;
pub mod limits;
pub mod listening;
pub mod member;
pub mod membership;
pub mod node;
pub mod observe;
pub mod origin;
pub mod pool;
pub mod probe;
pub mod proxy;
pub mod queue;
pub mod registry;
pub mod reload;
pub mod report;
pub mod retry;
mod room;
pub mod select;
pub mod sessions;
pub mod simulate;
pub mod tasks;
pub mod tenant;
pub mod throttle;
pub mod upstream;
