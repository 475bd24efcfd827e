//! What a configuration says of the requests of a listener.

use std::sync::Arc;

use super::harden::Harden;
use crate::config::{Config, Listener};
use crate::ids::ListenerName;
use crate::registry::Setup;
use crate::throttle::{ListenerRules, Throttle};

/// What a configuration says of the requests of a listener, made once for each configuration. A request goes by those
/// that it began with.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) listener: Listener,
    /// The limits under `rules`, and those of them that hold for the listener.
    pub(super) throttle: Arc<Throttle>,
    pub(super) rules: ListenerRules,
    pub(super) harden: Harden,
    config: Arc<Config>,
}

impl Terms {
    /// Those of a listener. `None` if the configuration has no such listener.
    pub(super) fn new(name: &ListenerName, setup: &Setup) -> Option<Self> {
        let listener = setup.config.listeners.iter().find(|listener| listener.name == *name)?.clone();
        Some(Terms {
            rules: setup.throttle.of_listener(&setup.config, &listener),
            harden: Harden::new(&listener.response),
            throttle: setup.throttle.clone(),
            config: setup.config.clone(),
            listener,
        })
    }

    /// Whether they are of this setup.
    pub(super) fn are_of(&self, setup: &Setup) -> bool {
        Arc::ptr_eq(&self.config, &setup.config)
    }
}
