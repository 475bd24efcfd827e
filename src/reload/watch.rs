//! Looks at the configuration file, and at the files that it names, and reloads when they have changed.
//!
//! What the files hold is looked at, and not when they were written or what they are called on the disk: so it makes no
//! difference whether a file is written, replaced by another one, or a symbolic link that leads elsewhere now. A change
//! is believed when two looks in a row have found the same, so that a file which is being written is not read half.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::RandomState;

use super::{Reloader, Trigger};
use crate::config::Config;

/// Watches while the configuration says so. It never returns, and is to be dropped.
pub async fn watch(reloader: Arc<Reloader>) {
    let Some(file) = reloader.file().map(Path::to_owned) else { return std::future::pending().await };
    let mut configurations = reloader.registry.configurations();
    let mut seen = Seen::new(look(&file, &reloader.config()));
    loop {
        let interval = reloader.config().server.watch;
        let Some(interval) = interval else {
            // Until there is another configuration, which may say that the file is watched.
            if configurations.changed().await.is_err() {
                return std::future::pending().await;
            }
            // What members bring is no reason to read files that nobody wants watched.
            let config = reloader.config();
            if config.server.watch.is_some() {
                seen = Seen::new(look(&file, &config));
            }
            continue;
        };
        tokio::time::sleep(interval).await;
        if seen.has_changed(look(&file, &reloader.config())) {
            // What comes of it is in the log. A bad file is not tried again before it has changed again.
            let _ = reloader.reload(&Trigger::Change);
        }
    }
}

/// What the looks have found.
#[derive(Debug)]
struct Seen {
    hasher: RandomState,
    /// What the last reload went by, or the start.
    known: Option<u64>,
    last: Option<u64>,
}

impl Seen {
    fn new(first: Contents) -> Self {
        let hasher = RandomState::new();
        let known = first.hash(&hasher);
        Seen { hasher, known, last: known }
    }

    /// Whether a look has found, for the second time in a row, something else than what is known. That is known then.
    fn has_changed(&mut self, contents: Contents) -> bool {
        let found = contents.hash(&self.hasher);
        let same = std::mem::replace(&mut self.last, found) == found;
        let changed = found.is_some() && same && found != self.known;
        if changed {
            self.known = found;
        }
        changed
    }
}

/// What the files held; `None` for one that could not be read.
#[derive(Debug)]
struct Contents(Vec<Option<Vec<u8>>>);

impl Contents {
    /// `None` if the configuration file itself cannot be read: it is being replaced, say.
    fn hash(&self, hasher: &RandomState) -> Option<u64> {
        self.0.first()?.as_ref()?;
        Some(hasher.hash_one(&self.0))
    }
}

fn look(file: &Path, config: &Config) -> Contents {
    Contents(std::iter::once(file.to_owned()).chain(named(config)).map(|file| std::fs::read(file).ok()).collect())
}

/// The files that a configuration names and that are read when it is loaded.
fn named(config: &Config) -> Vec<PathBuf> {
    let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let mut files: Vec<PathBuf> = listeners.flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]).collect();
    let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
    files.extend(endpoints.filter_map(|endpoint| endpoint.tls.as_ref()?.ca.clone()));
    let tokens = config.admin.tokens.iter().map(|token| &token.secret);
    files.extend(config.affinity_keys.iter().chain(tokens).filter_map(|secret| secret.file().cloned()));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(text: &str) -> Contents {
        Contents(text.split(',').map(|part| (part != "-").then(|| part.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_change_is_believed_when_it_was_seen_twice() {
        for (looks, expected) in [
            ("a a a", "..."),
            ("b b b", ".!."),
            ("b c c c", "..!."), // it was being written
            ("b a a", "..."),
            ("- - a a", "...."), // it was being replaced by the same
            ("- b b", "..!"),
            ("b b - b b", ".!..."),
            ("b b a a", ".!.!"),
            ("a,x a,x a,x", ".!."), // a file that it names
            ("a,- a,- a,y a,y", ".!.!"),
        ] {
            let mut seen = Seen::new(contents("a"));
            let told = looks.split(' ').map(|look| if seen.has_changed(contents(look)) { '!' } else { '.' });
            assert_eq!(told.collect::<String>(), expected, "{looks}");
        }
    }
}
