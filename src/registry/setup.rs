//! What a configuration says of connections and requests, compiled once for each configuration.

use std::sync::Arc;

use crate::certificates::Certificates;
use crate::classify::Classifier;
use crate::config::Config;
use crate::observe::metrics::Metrics;
use crate::throttle::Throttle;
use crate::upstream::TrustStore;

/// What is in the files that a configuration names.
#[derive(Debug, Clone)]
pub struct Files {
    /// Certificates to verify nodes with.
    pub trust: Arc<TrustStore>,
    /// What listeners show to clients.
    pub certificates: Arc<Certificates>,
}

/// What a configuration says of connections and requests, besides the state of its nodes.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The configuration itself.
    pub config: Arc<Config>,
    /// Says which cluster and role a request is for.
    pub classifier: Arc<Classifier>,
    /// Certificates to verify nodes with.
    pub trust: Arc<TrustStore>,
    /// What listeners show to clients.
    pub certificates: Arc<Certificates>,
    /// The limits under `rules`.
    pub throttle: Arc<Throttle>,
}

impl Setup {
    /// Compiles the first configuration of a process, for listeners without certificates.
    pub fn new(config: Config, trust: TrustStore, metrics: &Metrics) -> Self {
        let (classifier, throttle) = (Classifier::new(&config), Throttle::new(&config, metrics));
        Setup {
            config: Arc::new(config),
            classifier: Arc::new(classifier),
            trust: Arc::new(trust),
            certificates: Arc::default(),
            throttle: Arc::new(throttle),
        }
    }

    /// What is in the files that the configuration names.
    pub fn files(&self) -> Files {
        Files { trust: self.trust.clone(), certificates: self.certificates.clone() }
    }

    /// Compiles the next one. What does not change is shared, and rules that do not change go on counting.
    pub(super) fn next(&self, config: Arc<Config>, files: Files, metrics: &Metrics) -> Self {
        let before = &self.config;
        let classifier = match Classifier::is_same(before, &config) {
            true => self.classifier.clone(),
            false => Arc::new(Classifier::new(&config)),
        };
        let names = |config: &Config| config.clusters.iter().map(|cluster| cluster.name.clone()).collect::<Vec<_>>();
        let throttle = match before.rules == config.rules && names(before) == names(&config) {
            true => self.throttle.clone(),
            false => Arc::new(self.throttle.renewed(before, &config, metrics)),
        };
        let Files { trust, certificates } = files;
        Setup { config, classifier, trust, certificates, throttle }
    }
}
