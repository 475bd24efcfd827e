//! Rules for the tokens of `admin`.

use super::Context;
use crate::config::checked::{PoolPattern, Scope, Token};
use crate::config::decode::{Field, Items};
use crate::config::problem::Problems;
use crate::config::raw::{RawAdmin, RawConfig, RawScope, complete, entries};
use crate::config::secrets::{self, TOKEN};
use crate::ids::Role;

/// The tokens of a list or of a file; those of a file are good for everything.
pub(super) fn check(raw: &RawConfig, section: &RawAdmin, context: &Context<'_>, problems: &mut Problems) -> Vec<Token> {
    let written = section.tokens.map_items(|token| token.secret.clone());
    let names = ["tokens", "token_file"];
    let secrets = secrets::either((&written, &section.token_file), names, |path| context.path(path), &TOKEN, problems);
    let items = section.tokens.value().map_or(&[] as &[_], |tokens| tokens.items.as_slice());
    let scopes: Vec<Option<Scope>> =
        items.iter().map(|item| item.value.scope.as_ref().map(|scope| check_scope(scope, raw, problems))).collect();
    let scope = |index: usize| scopes.get(index).cloned().flatten().unwrap_or_else(Scope::unlimited);
    secrets.into_iter().enumerate().map(|(index, secret)| Token { secret, scope: scope(index) }).collect()
}

fn check_scope(scope: &RawScope, raw: &RawConfig, problems: &mut Problems) -> Scope {
    if scope.may.value.items.is_empty() && scope.may.value.complete {
        problems.error(&scope.may.at, "the token is good for nothing", "at least one of read, operate, register");
    }
    let pools = match &scope.pools {
        // Managers have to be named.
        Field::Absent | Field::Bad => vec![PoolPattern::of_role(Role::Worker)],
        Field::Given(pools) => {
            if pools.value.items.is_empty() && pools.value.complete {
                problems.error(&pools.at, "no pools", "at least one pool; without this key, \"*/worker\"");
            }
            known_clusters(&pools.value, raw, problems);
            pools.value.values()
        }
    };
    Scope { may: scope.may.value.values(), pools }
}

fn known_clusters(pools: &Items<PoolPattern>, raw: &RawConfig, problems: &mut Problems) {
    if !complete(&raw.clusters) {
        return;
    }
    let clusters: Vec<&str> = entries(&raw.clusters).iter().map(|entry| entry.value.0.as_str()).collect();
    for pool in &pools.items {
        if let Some(cluster) = pool.value.cluster.as_ref().filter(|name| !clusters.contains(&name.as_str())) {
            problems.error(&pool.at, format!("there is no cluster {cluster}"), clusters.join(", "));
        }
    }
}
