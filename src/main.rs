//! Arguments, log, command.

use std::process::ExitCode;

use carbon_elb::cli::Cli;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The framework's own lines are for its developers; what an operator needs is logged by this program.
    let filter =
        env_logger::Env::default().default_filter_or("info,pingora=error,pingora_core=error,pingora_proxy=error");
    env_logger::Builder::from_env(filter).format_timestamp_millis().init();
    cli.execute()
}
