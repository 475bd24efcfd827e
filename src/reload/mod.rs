//! Takes over another version of the configuration file while the balancer runs.
//!
//! Everything that can go wrong is found out before anything is changed: the file is read and checked, what it would
//! change is compared with what a running balancer can change, and certificates and keys are read. Then it is applied as
//! one snapshot, which connections and requests read: routing, limits and certificates. If something is wrong with it, all
//! stays as it was.

mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use log::{debug, error, info, warn};
use parking_lot::Mutex;

pub use self::watch::watch;
use crate::certificates::Certificates;
use crate::config::diff::{Difference, What, diff};
use crate::config::{self, Config, Problem};
use crate::listening::Listening;
use crate::membership::Membership;
use crate::observe::metrics::Metrics;
use crate::registry::{Files, Registry};
use crate::upstream::TrustStore;

/// What wants the file to be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// The signal SIGHUP.
    Signal,
    /// A request to the admin API, of this client.
    Api(String),
    /// The file has changed, and the configuration says that it is watched.
    Change,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trigger::Signal => f.write_str("SIGHUP"),
            Trigger::Api(client) => write!(f, "the admin API, {client}"),
            Trigger::Change => f.write_str("the file has changed"),
        }
    }
}

/// What a reload has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What is different now; empty if the file says the same as before.
    pub differences: Vec<Difference>,
    /// What the operator should know all the same, in lines.
    pub warnings: Vec<String>,
    /// Counts the configurations that were applied, that of the start included.
    pub configuration: u64,
}

/// Why a reload has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The configuration did not come from a file.
    NoFile,
    /// There are mistakes in the file, or in those that it names; a line for each.
    Bad(Vec<String>),
    /// It would change what only a start can: these.
    NeedsRestart(Vec<Difference>),
}

impl Refused {
    /// In one sentence.
    pub fn summary(&self) -> &'static str {
        match self {
            Refused::NoFile => "the configuration did not come from a file",
            Refused::Bad(_) => "the file has mistakes, and nothing was changed",
            Refused::NeedsRestart(_) => "the file changes what only a restart can change, and nothing was changed",
        }
    }

    /// A line for each reason.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Refused::NoFile => Vec::new(),
            Refused::Bad(lines) => lines.clone(),
            Refused::NeedsRestart(differences) => differences.iter().map(Difference::to_string).collect(),
        }
    }
}

/// Takes over another version of the configuration file.
pub struct Reloader {
    file: Option<PathBuf>,
    registry: Arc<Registry>,
    /// Adds to what the file says the members that come and go.
    membership: Arc<Membership>,
    metrics: Arc<Metrics>,
    listening: Vec<Listening>,
    /// Held from the reading to the end, so that one reload comes after the other.
    current: Mutex<Current>,
}

/// What is in force.
struct Current {
    /// What the file said.
    config: Arc<Config>,
    count: u64,
}

/// A version of the file with which nothing is wrong.
struct Prepared {
    config: Arc<Config>,
    differences: Vec<Difference>,
    warnings: Vec<String>,
    files: Files,
}

impl Reloader {
    /// For a configuration that is in force in `registry` and for these listeners, that came from `file`, and that
    /// `membership` adds members to.
    pub fn new(
        file: Option<PathBuf>,
        registry: Arc<Registry>,
        membership: Arc<Membership>,
        metrics: Arc<Metrics>,
        listening: Vec<Listening>,
    ) -> Self {
        let config = registry.config();
        metrics.configuration_loaded(1, SystemTime::now());
        let current = Mutex::new(Current { config, count: 1 });
        Reloader { file, registry, membership, metrics, listening, current }
    }

    /// The file that the configuration came from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What the file said when it was taken over.
    pub fn config(&self) -> Arc<Config> {
        self.current.lock().config.clone()
    }

    /// Reads the file again and takes over what it says, or says why not. It logs what it does, and takes as long as
    /// reading the file and those that it names.
    ///
    /// # Errors
    /// See [`Refused`]; then nothing has changed.
    pub fn reload(&self, trigger: &Trigger) -> Result<Done, Refused> {
        let mut current = self.current.lock();
        let outcome = self.prepare(&current.config).map(|prepared| self.take_over(&mut current, prepared));
        drop(current);
        self.tell(trigger, &outcome);
        outcome
    }

    /// Finds out all that could go wrong.
    fn prepare(&self, current: &Config) -> Result<Prepared, Refused> {
        let file = self.file.as_deref().ok_or(Refused::NoFile)?;
        let in_file = |problem: &Problem| problem.in_file(file).to_string();
        let loaded = config::load(file).map_err(|problems| Refused::Bad(problems.iter().map(in_file).collect()))?;
        let mut differences = diff(current, &loaded.config);
        let needs_restart: Vec<_> = differences.iter().filter(|one| one.needs_restart).cloned().collect();
        if !needs_restart.is_empty() {
            return Err(Refused::NeedsRestart(needs_restart));
        }
        let before = self.registry.snapshot().setup.files();
        let files = read_files(&loaded.config, &before).map_err(Refused::Bad)?;
        let shown = files.certificates.changed(&before.certificates, &loaded.config);
        differences.extend(shown.map(|listener| content(format!("listeners.{listener}.tls"))));
        differences.extend(files.trust.changed(&before.trust).map(|file| content(file.display().to_string())));
        let warnings = loaded.warnings.iter().map(in_file).collect();
        Ok(Prepared { config: Arc::new(loaded.config), differences, warnings, files })
    }

    fn take_over(&self, current: &mut Current, prepared: Prepared) -> Done {
        let Prepared { config, differences, warnings, files } = prepared;
        if differences.is_empty() && *config == *current.config {
            return Done { differences, warnings, configuration: current.count };
        }
        current.config = config;
        current.count += 1;
        let now = Instant::now();
        self.listening.iter().for_each(|open| open.prepare(&current.config));
        let publish = |effective| self.registry.apply(effective, Some(files), now);
        self.membership.reload(current.config.clone(), now, publish);
        self.listening.iter().for_each(|open| open.clear(&current.config));
        self.metrics.configuration_loaded(current.count, SystemTime::now());
        Done { differences, warnings, configuration: current.count }
    }

    /// Logs and counts what has become of a reload.
    fn tell(&self, trigger: &Trigger, outcome: &Result<Done, Refused>) {
        let word = match outcome {
            Ok(done) => {
                done.warnings.iter().for_each(|warning| warn!("{warning}"));
                match done.differences.as_slice() {
                    // The files that it names are others, say.
                    [] if *trigger == Trigger::Change => debug!("reload ({trigger}): no differences"),
                    [] => info!("reload ({trigger}): no differences"),
                    [one] => info!("reload ({trigger}): {one}"),
                    all => {
                        info!("reload ({trigger}): {} differences", all.len());
                        all.iter().for_each(|one| info!("reload: {one}"));
                    }
                }
                "good"
            }
            Err(refused) => {
                error!("reload ({trigger}): {}", refused.summary());
                refused.problems().iter().for_each(|problem| error!("reload: {problem}"));
                match refused {
                    Refused::NoFile | Refused::Bad(_) => "bad",
                    Refused::NeedsRestart(_) => "needs_restart",
                }
            }
        };
        self.metrics.reloaded(word);
    }
}

/// Reads the files that a configuration names.
///
/// # Errors
/// Every one that cannot be used, one sentence each.
fn read_files(config: &Config, before: &Files) -> Result<Files, Vec<String>> {
    match (Certificates::load(config, &before.certificates), TrustStore::load(config, &before.trust)) {
        (Ok(certificates), Ok(trust)) => Ok(Files { trust: Arc::new(trust), certificates: Arc::new(certificates) }),
        (certificates, trust) => Err([certificates.err(), trust.err()].into_iter().flatten().flatten().collect()),
    }
}

/// A file that is called as before and holds something else.
fn content(path: String) -> Difference {
    Difference { path, what: What::Hidden, needs_restart: false }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::membership::Registration;
    use crate::registry::Setup;

    const FILE: &str = "
listeners: { web: { bind: ['127.0.0.1:0'], role: worker } }
clusters: { esb: { product: esb, hosts: { worker: ['*'] }, endpoints: { servlet: { scheme: http } },
  nodes: [{ id: wk-1, host: 192.0.2.1 }], pools: { worker: { allowed_networks: [192.0.2.0/24] } } } }
";

    fn ids(config: &Config) -> Vec<String> {
        config.clusters[0].nodes.iter().map(|node| node.id.to_string()).collect()
    }

    #[test]
    fn members_that_registered_outlive_a_reload() {
        let path = std::env::temp_dir().join(format!("carbon-elb-reload-{}.yaml", std::process::id()));
        std::fs::write(&path, FILE).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let setup = Setup::new(config::load(&path).unwrap().config, TrustStore::default(), &metrics);
        let membership = Arc::new(Membership::new(setup.config.clone(), metrics.clone()));
        let registry = Arc::new(Registry::new(setup, metrics.clone(), Vec::new(), Instant::now(), 1));
        let reloader = Reloader::new(Some(path.clone()), registry.clone(), membership.clone(), metrics, Vec::new());

        let name = |text: &str| crate::ids::Name::parse(text).unwrap();
        let registration = Registration {
            address: "192.0.2.200".parse().unwrap(),
            roles: Vec::new(),
            weight: 1,
            ports: [None; 2],
            backup: false,
            max_in_flight: None,
            route: None,
            lease: Duration::from_secs(60),
        };
        let may = |_: &[crate::ids::Role]| Ok::<(), ()>(());
        membership.register(&name("esb"), &name("more"), &registration, Instant::now(), may).unwrap();
        std::fs::write(&path, FILE.replace("wk-1, host: 192.0.2.1", "wk-2, host: 192.0.2.2")).unwrap();
        let done = reloader.reload(&Trigger::Signal).unwrap();
        assert_eq!((done.differences.len(), done.configuration), (2, 2), "what was added is no difference");
        assert_eq!(ids(&registry.config()), ["wk-2", "more"]);
        assert_eq!(ids(&reloader.config()), ["wk-2"], "the file does not have it");
        let key = registry.node(&name("esb"), &name("more"));
        assert_eq!(reloader.reload(&Trigger::Signal).unwrap().differences, []);
        std::fs::write(&path, FILE).unwrap();
        assert_eq!(reloader.reload(&Trigger::Signal).unwrap().configuration, 3);
        assert_eq!(registry.node(&name("esb"), &name("more")), key, "it is the node that it was");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(reloader.reload(&Trigger::Signal), Err(Refused::Bad(_))));
        assert_eq!(ids(&registry.config()), ["wk-1", "more"], "nothing has changed");
    }
}
