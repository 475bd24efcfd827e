//! Tasks that are started, left alone and stopped as a changing list says.

use std::future::Future;
use std::hash::Hash;

use ahash::AHashMap;
use tokio::task::AbortHandle;

/// Tasks that run, each by what it is for. They end with this value.
#[derive(Debug)]
pub struct Tasks<K, S> {
    running: AHashMap<K, Running<S>>,
}

/// A task, with the settings that it was started with.
#[derive(Debug)]
struct Running<S> {
    settings: S,
    handle: AbortHandle,
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<K: Eq + Hash, S: PartialEq> Tasks<K, S> {
    /// Without any.
    pub fn new() -> Self {
        Tasks { running: AHashMap::new() }
    }

    /// Starts what is wanted and does not run, or ran with other settings; stops what is not wanted. The rest goes on
    /// undisturbed. It must be called where tasks can be started.
    pub fn follow<F>(&mut self, wanted: impl IntoIterator<Item = (K, S)>, mut start: impl FnMut(&K, &S) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut known = std::mem::take(&mut self.running);
        for (key, settings) in wanted {
            let same = |running: &Running<S>| running.settings == settings && !running.handle.is_finished();
            let running = match known.remove(&key).filter(same) {
                Some(running) => running,
                None => {
                    let handle = tokio::spawn(start(&key, &settings)).abort_handle();
                    Running { settings, handle }
                }
            };
            self.running.insert(key, running);
        }
    }
}

impl<K: Eq + Hash, S: PartialEq> Default for Tasks<K, S> {
    fn default() -> Self {
        Tasks::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    /// Runs a list after the other; a task lives as long as its token. Returns how many live of each, and how many were
    /// ever started.
    async fn follow(
        tasks: &mut Tasks<u8, char>,
        tokens: &mut BTreeMap<(u8, char), Vec<std::sync::Weak<()>>>,
        wanted: &[(u8, char)],
    ) -> Vec<(u8, char)> {
        tasks.follow(wanted.iter().copied(), |&key, &settings| {
            let token = Arc::new(());
            tokens.entry((key, settings)).or_default().push(Arc::downgrade(&token));
            async move {
                std::future::pending::<()>().await;
                drop(token);
            }
        });
        for _ in 0..3 {
            tokio::task::yield_now().await; // what was aborted is dropped when it is its turn
        }
        let lives = |tokens: &Vec<std::sync::Weak<()>>| tokens.iter().any(|token| token.strong_count() > 0);
        tokens.iter().filter(|(_, tokens)| lives(tokens)).map(|(name, _)| *name).collect()
    }

    #[tokio::test]
    async fn only_what_changes_is_disturbed() {
        let (mut tasks, mut tokens) = (Tasks::new(), BTreeMap::new());
        for (wanted, started) in [
            (&[(1, 'a'), (2, 'a')][..], 2),
            (&[(1, 'a'), (2, 'a')], 2),
            (&[(2, 'a'), (3, 'a')], 3),
            (&[(2, 'b'), (3, 'a')], 4),
            (&[], 4),
            (&[(3, 'a')], 5),
        ] {
            assert_eq!(follow(&mut tasks, &mut tokens, wanted).await, wanted);
            assert_eq!(tokens.values().map(Vec::len).sum::<usize>(), started, "{wanted:?}");
        }
        drop(tasks);
        tokio::task::yield_now().await;
        assert!(tokens.values().flatten().all(|token| token.strong_count() == 0), "they end with the list");
    }

    #[tokio::test]
    async fn a_task_that_has_ended_is_started_again() {
        let (mut tasks, mut started) = (Tasks::new(), 0);
        for expected in 1..4 {
            tasks.follow([(1, 'a')], |_, _| {
                started += 1;
                async {}
            });
            tokio::task::yield_now().await;
            assert_eq!(started, expected);
        }
    }
}
