//! The commands.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use http::StatusCode;
use log::{error, warn};

use crate::app::{self, App};
use crate::config;
use crate::demo;
use crate::discovery::docker::agent;
use crate::executor;
use crate::ids::{NAME_RULE, Name, Role};
use crate::node::StubNode;
use crate::probe;
use crate::simulate::Simulate;

/// An elastic load balancer for WSO2 Carbon worker/manager clusters.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the load balancer
    Run {
        /// The configuration file
        #[arg(long, short)]
        config: PathBuf,
    },
    /// Check configuration files and report every problem
    Check {
        /// Print the configuration with all presets and defaults filled in
        #[arg(long)]
        effective: bool,
        /// The configuration files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Say what a reload of NEW would change in a balancer that runs OLD; exit status 0: nothing, 1: something, 2: one of
    /// the files has mistakes
    Diff {
        /// A configuration file
        old: PathBuf,
        /// Another one
        new: PathBuf,
    },
    /// Run an embedded cluster, one manager and three workers, with the load balancer in front
    Demo {
        /// Where clients of services connect to
        #[arg(long, default_value = "127.0.0.1:8280")]
        public: SocketAddr,
        /// Where users of the management console connect to
        #[arg(long, default_value = "127.0.0.1:9443")]
        management: SocketAddr,
        /// Where health, readiness and metrics are
        #[arg(long, default_value = "127.0.0.1:9601")]
        admin: SocketAddr,
    },
    /// Run a stub node, which answers with JSON of what it received
    Node {
        /// What the node is: manager or worker
        #[arg(long, default_value = "worker", value_parser = role)]
        role: Role,
        /// The node's id
        #[arg(long, default_value = "node", value_parser = name)]
        id: Name,
        /// Where the node listens; port 0 lets the system choose
        #[arg(long, default_value = "127.0.0.1:9763")]
        listen: SocketAddr,
        /// The time from request to answer, such as 20ms
        #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
        delay: Duration,
        /// The status of every answer
        #[arg(long, default_value = "200")]
        status: StatusCode,
        /// A file to append a line to for each request that has an X-Request-Id
        #[arg(long)]
        record: Option<PathBuf>,
    },
    /// Start and stop nodes as a load balancer's autoscaler wants
    Scale {
        /// The configuration file: which balancers, which pools, and what starts nodes
        #[arg(long, short)]
        config: PathBuf,
    },
    /// Register the containers of a Docker Engine that have labels with running load balancers, as an agent beside them
    DockerSource {
        /// Where the Engine is: unix:///path/to/socket, or tcp://host:port
        #[arg(long, env = "CARBON_ELB_ENGINE", default_value = "unix:///var/run/docker.sock")]
        engine: String,
        /// The network on which load balancers reach containers that are on several
        #[arg(long)]
        network: Option<String>,
        /// The admin listener of a load balancer, as http://host:port; once for each
        #[arg(long, required = true)]
        admin: Vec<String>,
        /// A file with a token of these admin listeners
        #[arg(long)]
        token_file: PathBuf,
        /// How long a member stays one without being renewed, 3s to 1h; it is renewed three times as often
        #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
        lease: Duration,
    },
    /// Ask a running load balancer whether it is healthy; exit status 0 or 1
    Probe {
        /// The URL to ask, over HTTP
        #[arg(env = "CARBON_ELB_PROBE", default_value = "http://127.0.0.1:9601/healthz")]
        url: String,
    },
    /// Play a trace against a scaling policy and a model of a cluster, in virtual time
    Simulate(Simulate),
}

pub(crate) fn role(text: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| "allowed: manager, worker".to_owned())
}

pub(crate) fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).ok_or_else(|| format!("allowed: {NAME_RULE}"))
}

impl Cli {
    /// Does what the command says, and returns the exit status of the process.
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::Run { config } => run(&config),
            Command::Check { effective, files } => check(&files, effective),
            Command::Diff { old, new } => diff(&old, &new),
            Command::Demo { public, management, admin } => demo(&demo::Addresses { public, management, admin }),
            Command::Node { role, id, listen, delay, status, record } => {
                let node = StubNode::new(id, role, delay, status);
                let node = match &record {
                    Some(file) => node.recording(file),
                    None => Ok(node),
                };
                match node {
                    Ok(node) => started(App::nodes([(listen, node)])),
                    Err(e) => {
                        error!("--record: {e}");
                        ExitCode::FAILURE
                    }
                }
            }
            Command::Scale { config } => scale(&config),
            Command::DockerSource { engine, network, admin, token_file, lease } => {
                let seed = app::seed();
                let options = agent::Options { engine, network, balancers: admin, token_file, lease, seed };
                match agent::run(options) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(e) => {
                        error!("{e}");
                        ExitCode::FAILURE
                    }
                }
            }
            Command::Simulate(simulate) => match simulate.run() {
                Ok(report) => {
                    print!("{report}");
                    ExitCode::SUCCESS
                }
                Err(e) => {
                    eprintln!("{e}");
                    ExitCode::FAILURE
                }
            },
            Command::Probe { url } => match probe::probe(&url) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => {
                    eprintln!("{url}: {e}");
                    ExitCode::FAILURE
                }
            },
        }
    }
}

fn run(file: &Path) -> ExitCode {
    match config::load(file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                warn!("{}", warning.in_file(file));
            }
            started(App::balancer_of_file(loaded.config, file))
        }
        Err(problems) => {
            print_problems(file, problems.iter());
            ExitCode::FAILURE
        }
    }
}

fn scale(file: &Path) -> ExitCode {
    match executor::Settings::load(file) {
        Ok((settings, warnings)) => {
            for warning in &warnings {
                warn!("{}", warning.in_file(file));
            }
            match executor::run(&settings) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => {
                    error!("{e}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(problems) => {
            print_problems(file, problems.iter());
            ExitCode::FAILURE
        }
    }
}

fn started<E: std::fmt::Display>(app: Result<App, E>) -> ExitCode {
    match app {
        Ok(app) => {
            app.run();
            ExitCode::SUCCESS
        }
        Err(e) => {
            error!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn check(files: &[PathBuf], effective: bool) -> ExitCode {
    let mut good = true;
    for file in files {
        // `None`: it is of a kind that has nothing to print.
        let checked = match executor::Settings::is_one(file) {
            true => executor::Settings::load(file).map(|(_, warnings)| (None, warnings)),
            false => config::load(file).map(|loaded| (Some(config::effective(&loaded.config)), loaded.warnings)),
        };
        match checked {
            Ok((printed, warnings)) => {
                print_problems(file, warnings.iter());
                match printed.filter(|_| effective) {
                    Some(text) => print!("{text}"),
                    None => println!("{}: good, {} warnings", file.display(), warnings.len()),
                }
            }
            Err(problems) => {
                good = false;
                print_problems(file, problems.iter());
                let errors = problems.iter().filter(|problem| problem.severity == config::Severity::Error).count();
                println!("{}: {errors} errors", file.display());
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// As the command `diff` of the system does: 0 if there are no differences, 1 if there are, 2 in trouble.
fn diff(old: &Path, new: &Path) -> ExitCode {
    let load = |file: &Path| {
        let loaded = config::load(file).inspect_err(|problems| print_problems(file, problems.iter()));
        loaded.map(|loaded| loaded.config).ok()
    };
    let (old, new) = (load(old), load(new));
    let (Some(old), Some(new)) = (old, new) else { return ExitCode::from(2) };
    let differences = config::diff::diff(&old, &new);
    differences.iter().for_each(|difference| println!("{difference}"));
    ExitCode::from(u8::from(!differences.is_empty()))
}

fn print_problems<'a>(file: &Path, problems: impl Iterator<Item = &'a config::Problem>) {
    for problem in problems {
        eprintln!("{}", problem.in_file(file));
    }
}

/// The nodes run on a thread of their own, which ends with the process.
fn demo(addresses: &demo::Addresses) -> ExitCode {
    let nodes = match demo::nodes() {
        Ok(nodes) => nodes,
        Err(e) => {
            error!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let open = nodes.open().to_vec();
    let config = match demo::config(addresses, &open) {
        Ok(config) => config,
        Err(problems) => {
            print_problems(Path::new("demo"), problems.iter());
            return ExitCode::FAILURE;
        }
    };
    let balancer = match App::balancer(config) {
        Ok(balancer) => balancer,
        Err(e) => {
            error!("{e}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", demo::welcome(&open, balancer.open()));
    // A closed terminal is no reason to stop.
    let _ = std::io::stdout().flush();
    std::thread::spawn(move || nodes.run());
    balancer.run();
    ExitCode::SUCCESS
}
