//! Arguments, log, command.

use std::process::ExitCode;

use carbon_elb::cli::Cli;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The framework writes a line for each client that breaks off, on the thread that serves the others. What an operator
    // needs of that is in the access log and in the metrics.
    let filter = env_logger::Env::default()
        .default_filter_or("info,pingora=off,pingora_core=off,pingora_proxy=off,hickory=error");
    env_logger::Builder::from_env(filter).format_timestamp_millis().init();
    cli.execute()
}
