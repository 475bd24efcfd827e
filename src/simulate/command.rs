//! The command line of `carbon-elb simulate`.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::rules::{Elb, ElbRates, Knative, KnativeSettings, Rule};
use super::{Model, Outcome, Selected, Trace, play, plot};
use crate::autoscale::{ScalePolicy, Scaler};
use crate::config::{self, Config, PoolSettings};
use crate::ids::{Name, Role};

/// The target of a node without another one, as the configuration has it: percent of its slots.
const TARGET_PERCENT: usize = 80;

/// What to play, against what.
#[derive(Debug, Args)]
pub struct Simulate {
    /// The trace: an access log of the balancer, or CSV with arrival and service in seconds (if its name ends with .csv)
    trace: PathBuf,
    /// A configuration file, whose policy and queue are simulated
    #[arg(long, short, requires = "cluster")]
    config: Option<PathBuf>,
    /// The cluster, in the configuration and in the access log
    #[arg(long, value_parser = crate::cli::name)]
    cluster: Option<Name>,
    /// The role, in the configuration and in the access log
    #[arg(long, default_value = "worker", value_parser = crate::cli::role)]
    role: Role,
    /// The rule that decides
    #[arg(long, value_enum, default_value_t = Which::Policy)]
    rule: Which,
    /// Nodes that are ready at the beginning; at least `min`
    #[arg(long)]
    nodes: Option<usize>,
    /// The most nodes, in place of the policy's
    #[arg(long)]
    max: Option<usize>,
    /// Requests that a node serves at a time [default: max_in_flight of the configuration, or 10]
    #[arg(long)]
    slots: Option<usize>,
    /// Requests that a node serves at full speed; more share it [default: as slots]
    #[arg(long)]
    cores: Option<usize>,
    /// How long a node takes to start, in the mean
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    startup: Duration,
    /// By how many percent a start may be shorter or longer
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=100))]
    jitter: u8,
    /// Percent of the starts that never come to an end
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    lost: u8,
    /// A request should not take longer, its wait included
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    goal: Duration,
    /// The seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write a plot of load, wanted and ready nodes, as SVG
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// A rule that can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// The policy of the configuration, or the default
    Policy,
    /// Knative's rule with its defaults
    Knative,
    /// The older algorithm of the WSO2 ELB
    Elb,
    /// That of ELB 2.0.5
    Elb205,
}

impl Simulate {
    /// Plays the trace and returns what to print.
    ///
    /// # Errors
    /// What is wrong with trace, configuration or plot.
    pub fn run(&self) -> Result<String, String> {
        let settings = self.settings()?;
        let trace = self.trace()?;
        let (policy, model) = self.setting(settings.as_ref())?;
        let outcome = play(&trace, &model, &mut *self.rule(policy, &model, &trace));
        if let Some(file) = &self.plot {
            plot(&outcome, &format!("{} ({})", self.trace.display(), self.name()), file)?;
        }
        Ok(Report { outcome, trace: &trace, goal: model.goal }.to_string())
    }

    fn name(&self) -> String {
        self.rule.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn trace(&self) -> Result<Trace, String> {
        let wrong = |error: &dyn fmt::Display| format!("{}: {error}", self.trace.display());
        let file = File::open(&self.trace).map_err(|error| wrong(&error))?;
        let csv = self.trace.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let trace = if csv {
            Trace::from_csv(BufReader::new(file))
        } else {
            let cluster = self.cluster.as_ref().map(|cluster| cluster.as_str().to_owned());
            let selected = Selected { cluster, role: Some(self.role.as_str().to_owned()) };
            Trace::from_access_log(BufReader::new(file), &selected)
        };
        trace.map_err(|error| wrong(&error))
    }

    /// The settings of the pool, if there is a configuration.
    fn settings(&self) -> Result<Option<PoolSettings>, String> {
        let (Some(file), Some(cluster)) = (&self.config, &self.cluster) else { return Ok(None) };
        let loaded = config::load(file).map_err(|problems| problems.in_file(file).to_string())?;
        pool(loaded.config, cluster, self.role, file).map(Some)
    }

    fn setting(&self, pool: Option<&PoolSettings>) -> Result<(ScalePolicy, Model), String> {
        let defaults = Model::default();
        let slots = self.slots.or(pool.and_then(|pool| pool.max_in_flight)).unwrap_or(defaults.slots).max(1);
        let mut policy =
            pool.and_then(|pool| pool.scale).unwrap_or_else(|| ScalePolicy::of((slots * TARGET_PERCENT / 100).max(1)));
        if let Some(max) = self.max {
            policy.max = max;
        }
        if policy.max < policy.min {
            return Err(format!("--max {}: the policy wants at least {}", policy.max, policy.min));
        }
        let model = Model {
            nodes: self.nodes.unwrap_or(policy.min).clamp(policy.min, policy.max),
            slots,
            cores: self.cores.unwrap_or(slots).max(1),
            startup: self.startup,
            jitter: f64::from(self.jitter) / 100.0,
            lost: f64::from(self.lost) / 100.0,
            queue: pool.map_or(defaults.queue, |pool| pool.queue.length),
            wait: pool.map_or(defaults.wait, |pool| pool.queue.wait),
            goal: self.goal,
            seed: self.seed,
            ..defaults
        };
        Ok((policy, model))
    }

    fn rule(&self, policy: ScalePolicy, model: &Model, trace: &Trace) -> Box<dyn Rule> {
        let slots = model.slots as f64;
        match self.rule {
            Which::Policy => Box::new(Scaler::new(policy)),
            Which::Knative => Box::new(Knative::new(KnativeSettings::of(slots), &policy)),
            Which::Elb => Box::new(Elb::older(policy.target as f64, &policy)),
            Which::Elb205 => {
                let rps = slots / trace.mean_service().max(f64::EPSILON);
                Box::new(Elb::newer(ElbRates::of(rps), &policy))
            }
        }
    }
}

fn pool(config: Config, cluster: &Name, role: Role, file: &Path) -> Result<PoolSettings, String> {
    let names: Vec<_> = config.clusters.iter().map(|cluster| cluster.name.to_string()).collect();
    let found = config.clusters.into_iter().find(|found| found.name == *cluster);
    let missing = || format!("{}: no cluster {cluster}; there is {}", file.display(), names.join(", "));
    let settings = found.ok_or_else(missing)?.pools.into_iter().nth(role.index());
    match settings {
        Some(settings) if settings.scale.is_some() => Ok(settings),
        _ => Err(format!("{}: clusters.{cluster}.pools.{role} has no scale", file.display())),
    }
}

/// What a run came to, for people.
struct Report<'a> {
    outcome: Outcome,
    trace: &'a Trace,
    goal: Duration,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { node_hours, requests, over_goal, refused, p99, queue_peak, steps_up, steps_down, flaps, .. } =
            &self.outcome;
        let share = *over_goal as f64 * 100.0 / (*requests).max(1) as f64;
        let goal = humantime::format_duration(self.goal);
        let mut row = |name: &str, value: String| writeln!(f, "{name:<24}{value}");
        row("trace", format!("{requests} requests in {:.0} s", self.trace.end()))?;
        row("node-hours", format!("{node_hours:.2}"))?;
        row("over the goal", format!("{over_goal} ({share:.2}%) took longer than {goal} or were refused"))?;
        row("refused", refused.to_string())?;
        row("p99", format!("{p99:.3} s"))?;
        row("queue peak", queue_peak.to_string())?;
        row("steps", format!("{steps_up} up, {steps_down} down"))?;
        row("flapping", format!("{flaps} steps undid the one before within 3 minutes"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        simulate: Simulate,
    }

    const CONFIG: &str = "listeners: { api: { bind: [\"127.0.0.1:0\"], role: worker, endpoint: passthrough } }\n\
        clusters:\n  esb:\n    product: esb\n    hosts: { worker: [esb.example.com] }\n    services: [echo]\n    \
        endpoints: { servlet: { tls: { verify: false } } }\n    \
        nodes: [{ id: wk-1, host: 127.0.0.1, roles: [worker] }]\n    \
        pools: { worker: { max_in_flight: 4, queue: { length: 5 }, scale: { max: 3 } } }\n";

    /// A folder with a trace and a configuration, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("carbon-elb-simulate-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let line = |second: usize| format!("{},0.9\n", second as f64 / 10.0);
            std::fs::write(folder.join("trace.csv"), (0..3_000).map(line).collect::<String>()).unwrap();
            std::fs::write(folder.join("conf.yaml"), CONFIG).unwrap();
            Folder(folder)
        }

        /// The outcome of the command with these arguments, in which `@` stands for the folder.
        fn run(&self, line: &str) -> Result<String, String> {
            let folder = format!("{}/", self.0.display());
            let words = line.split_whitespace().map(|word| word.replace('@', &folder));
            let line = Line::try_parse_from(std::iter::once("simulate".to_owned()).chain(words));
            line.map_err(|error| error.to_string())?.simulate.run()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_trace_is_played_and_plotted() {
        let folder = Folder::new("plays");
        let report = folder.run("@trace.csv --plot @plot.svg --nodes 2").unwrap();
        assert!(
            report.starts_with("trace                   3000 requests in 300 s\nnode-hours              0."),
            "{report}"
        );
        assert!(report.contains("over the goal           0 (0.00%) took longer than 2s or were refused"), "{report}");
        assert_eq!(folder.run("@trace.csv --nodes 2"), Ok(report.clone()), "the same seed, the same outcome");
        let plot = std::fs::read_to_string(folder.0.join("plot.svg")).unwrap();
        assert!(plot.contains("wanted") && plot.contains("trace.csv (policy)"), "{plot}");
        let lost = folder.run("@trace.csv --nodes 1 --slots 5 --lost 100").unwrap();
        assert!(!lost.contains("over the goal           0 "), "{lost}");
        for rule in ["knative", "elb", "elb205"] {
            assert!(folder.run(&format!("@trace.csv --rule {rule}")).is_ok_and(|text| text.contains("3000 requests")));
        }
    }

    #[test]
    fn the_policy_of_a_configuration_is_simulated() {
        let folder = Folder::new("configured");
        // Nine in flight at a time: three nodes for four each are the most, and two too few.
        let report = folder.run("@trace.csv --config @conf.yaml --cluster esb --nodes 3").unwrap();
        assert!(report.contains("refused                 0\n"), "{report}");
        let fewer = folder.run("@trace.csv --config @conf.yaml --cluster esb --nodes 2 --max 2").unwrap();
        assert!(fewer.contains("queue peak              5\n"), "{fewer}");
        let refused = [
            ("@none.csv", "none.csv: No such file"),
            ("@conf.yaml", "conf.yaml: line 1: "),
            ("@trace.csv --config @conf.yaml", "--cluster <CLUSTER>"),
            ("@trace.csv --config @none.yaml --cluster esb", "none.yaml: can't be read"),
            ("@trace.csv --config @conf.yaml --cluster es", "no cluster es; there is esb"),
            ("@trace.csv --config @conf.yaml --cluster esb --role manager", "clusters.esb.pools.manager has no scale"),
            ("@trace.csv --max 0", "--max 0: the policy wants at least 1"),
            ("@trace.csv --plot @none/plot.svg", "plot.svg: No such file"),
            ("@trace.csv --jitter 101", "101"),
        ];
        for (line, expected) in refused {
            let error = folder.run(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
