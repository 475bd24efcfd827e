//! `provider: none`: what is wanted is only said.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::sync::watch;

use super::PoolName;
use super::balancer::Balancer;
use super::excerpt::{SENTENCE, excerpt};
use crate::autoscale::published::{ScaledPool, Scaling};

/// Logs what each balancer wants of a pool whenever that changes, until it is told to stop.
pub(super) async fn run(
    name: PoolName,
    balancers: Vec<Arc<Balancer>>,
    poll: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut said: Vec<Option<String>> = vec![None; balancers.len()];
    loop {
        for (balancer, said) in balancers.iter().zip(&mut said) {
            let answer = balancer.scaling().await;
            let now = match &answer {
                Ok(scaling) => sentence(&name, scaling),
                Err(trouble) => trouble.to_string(),
            };
            // The figures of the reason change with each look: what counts is how it begins.
            let same = said.as_deref() == Some(beginning(&now));
            if !same {
                match answer {
                    Ok(_) => info!("{name}: {balancer}: {now}"),
                    Err(_) => warn!("{name}: {balancer}: {now}"),
                }
                *said = Some(beginning(&now).to_owned());
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(poll) => {}
        }
    }
}

fn sentence(name: &PoolName, scaling: &Scaling) -> String {
    let of_pool = |pool: &&ScaledPool| pool.cluster == name.cluster && pool.role == name.role;
    match scaling.pools.iter().find(of_pool) {
        Some(pool) => format!("{} wanted, {} there: {}", pool.wanted, pool.current, excerpt(&pool.because, SENTENCE)),
        None => "it is not scaled".to_owned(),
    }
}

fn beginning(sentence: &str) -> &str {
    sentence.split(": ").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_make_no_news() {
        let load = |wanted, load| format!("{wanted} wanted, 2 there: {load} requests in the mean of 60s need 3 nodes");
        assert_eq!(beginning(&load(3, 21.2)), beginning(&load(3, 22.4)));
        assert_ne!(beginning(&load(3, 21.2)), beginning(&load(4, 21.2)));
        assert_eq!(beginning("it is not scaled"), "it is not scaled");
    }
}
