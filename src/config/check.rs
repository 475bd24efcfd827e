//! From what was written to what can run: presets and defaults are filled in, and everything is compared with
//! everything else.
//!
//! One mistake should be one problem. So a rule draws no conclusion from a part of the file that could not be read, and
//! a part that could not be checked is left out of the result; the result is not used if there were errors.

mod affinity;
mod binds;
mod cluster;
mod endpoint;
mod hosts;
mod listener;
mod nodes;
mod pool;
mod rules;
mod scaling;
pub(crate) mod sources;
mod tenants;
mod tokens;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checked::{AccessLog, Admin, Config, ServerSettings};
use super::decode::{At, Field};
use super::problem::Problems;
use super::raw::{RawConfig, RawServer, entries};

/// What the rules need besides the file itself.
pub(crate) struct Context<'a> {
    /// The folder that relative paths start from.
    pub(crate) base_dir: &'a Path,
    /// The built-in table of admin services.
    pub(crate) is_admin_service: &'a dyn Fn(&str) -> bool,
}

impl Context<'_> {
    fn path(&self, text: &str) -> PathBuf {
        self.base_dir.join(text)
    }

    /// The path of a file that must be readable now; what is in it is the business of the TLS code.
    fn readable(&self, file: &At<String>, problems: &mut Problems) -> PathBuf {
        const ALLOWED: &str = "a readable file; a relative path starts from the folder of the configuration file";
        let path = self.path(&file.value);
        match std::fs::metadata(&path) {
            // Opening something like a named pipe would block.
            Ok(metadata) if !metadata.is_file() => {
                problems.error(&file.at, format!("{} is not a file", path.display()), ALLOWED);
            }
            Ok(_) => {
                if let Err(error) = std::fs::File::open(&path) {
                    problems.error(&file.at, format!("{} can't be read: {error}", path.display()), ALLOWED);
                }
            }
            Err(error) => problems.error(&file.at, format!("{} can't be read: {error}", path.display()), ALLOWED),
        }
        path
    }
}

/// The checked configuration. It may be used only if `problems` has no errors.
pub(crate) fn check(raw: &RawConfig, context: &Context<'_>, problems: &mut Problems) -> Config {
    listener::some(raw, problems);
    cluster::some(raw, problems);
    let listeners: Vec<_> =
        entries(&raw.listeners).iter().map(|entry| listener::check(entry, context, problems)).collect();
    let rules = rules::check(raw, &listeners, problems);
    let led_to = listener::endpoints_led_to(raw);
    let clusters = entries(&raw.clusters).iter();
    let clusters = clusters.map(|entry| cluster::check(entry, context, led_to, problems)).collect();
    let config = Config {
        listeners,
        clusters,
        rules,
        affinity_keys: affinity::keys(raw, context, problems),
        admin: binds::admin(raw, context, problems),
        server: server(&raw.server, context),
    };
    binds::no_overlap(raw, &config.admin, problems);
    hosts::unique(raw, problems);
    hosts::behind_listeners(raw, problems);
    endpoint::names_to_verify(raw, &config, problems);
    sources::allowed_networks(raw, &config, problems);
    sources::names_to_verify(raw, &config, problems);
    sources::files(raw, &config, problems);
    config
}

fn server(raw: &Field<RawServer>, context: &Context<'_>) -> ServerSettings {
    let raw = raw.or_empty();
    let access_log = match raw.access_log.value().map(String::as_str) {
        None | Some("stdout") => AccessLog::Stdout,
        Some("off") => AccessLog::Off,
        Some(path) => AccessLog::File(context.path(path)),
    };
    ServerSettings {
        threads: raw.threads.or(None),
        grace: raw.grace.or(Duration::from_secs(30)),
        access_log,
        watch: raw.watch.or(None),
    }
}

impl Default for Admin {
    fn default() -> Self {
        Admin { bind: vec![std::net::SocketAddr::from(([127, 0, 0, 1], 9601))], allow: Vec::new(), tokens: Vec::new() }
    }
}
