//! A balancer whose classifier is switched off, for a test that has to fail with it: `unclassified run --config FILE`.
//!
//! Nothing that is shipped can be made to do this.

use std::env;
use std::process::ExitCode;

use carbon_elb::app::App;
use carbon_elb::config;

fn main() -> ExitCode {
    env_logger::Builder::new().filter_module("carbon_elb", log::LevelFilter::Info).init();
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [run, option, file] = &arguments[..] else {
        eprintln!("usage: unclassified run --config FILE");
        return ExitCode::FAILURE;
    };
    assert_eq!((run.as_str(), option.as_str()), ("run", "--config"));
    match config::load(file.as_ref()) {
        Ok(loaded) => App::unclassified(loaded.config).expect("it starts as the balancer does").run(),
        Err(problems) => panic!("{problems}"),
    }
    ExitCode::SUCCESS
}
