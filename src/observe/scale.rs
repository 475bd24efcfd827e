//! What the autoscaler has decided, for Prometheus: and through it for a Kubernetes HPA.

use parking_lot::Mutex;
use prometheus::{IntGaugeVec, Opts, Registry as Collected};

use crate::autoscale::Posted;
use crate::ids::{ClusterName, Role};

/// Numbers of nodes by cluster and role.
#[derive(Debug)]
pub struct ScaleMetrics {
    wanted: IntGaugeVec,
    current: IntGaugeVec,
    ready: IntGaugeVec,
    starting: IntGaugeVec,
    draining: IntGaugeVec,
    min: IntGaugeVec,
    max: IntGaugeVec,
    acts: IntGaugeVec,
    /// 1 for the reason of the last decision; no other one is there.
    reason: IntGaugeVec,
    /// What is shown as the reason now.
    reasons: Mutex<Vec<[String; 3]>>,
}

impl ScaleMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// Two metrics of one name, which would be a mistake in this file.
    pub(super) fn new(collected: &Collected) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            collected.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let nodes = |name: &str, help: &str| gauge(name, help, &["cluster", "role"]);
        Ok(ScaleMetrics {
            wanted: nodes("scale_wanted", "Nodes that the autoscaler wants.")?,
            current: nodes("scale_current", "Nodes that serve requests, or are starting and may join in time.")?,
            ready: nodes("scale_ready", "Nodes that serve requests.")?,
            starting: nodes("scale_starting", "Nodes that have not joined yet.")?,
            draining: nodes("scale_draining", "Nodes that are drained.")?,
            min: nodes("scale_min", "The fewest nodes that the policy allows.")?,
            max: nodes("scale_max", "The most nodes that the policy allows.")?,
            acts: nodes("scale_acts", "1 if this balancer's decisions are to be carried out.")?,
            reason: gauge("scale_reason", "1 for the reason of the last decision.", &["cluster", "role", "reason"])?,
            reasons: Mutex::default(),
        })
    }

    /// Shows a decision.
    pub fn show(&self, cluster: &ClusterName, role: Role, posted: &Posted) {
        let Posted { decision, fleet, policy, acts, .. } = posted;
        for (gauge, number) in [
            (&self.wanted, decision.wanted),
            (&self.current, fleet.present(policy)),
            (&self.ready, fleet.ready),
            (&self.starting, fleet.starting.len()),
            (&self.draining, fleet.draining),
            (&self.min, policy.min),
            (&self.max, policy.max),
            (&self.acts, usize::from(*acts)),
        ] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            gauge.with_label_values(&[cluster.as_str(), role.as_str()]).set(number);
        }
        let mut reasons = self.reasons.lock();
        self.clear(&mut reasons, cluster, role);
        let labels = [cluster.as_str(), role.as_str(), decision.reason.as_str()];
        self.reason.with_label_values(&labels).set(1);
        reasons.push(labels.map(str::to_owned));
    }

    /// Shows nothing of a role any more.
    pub fn forget(&self, cluster: &ClusterName, role: Role) {
        let gauges = [
            &self.wanted,
            &self.current,
            &self.ready,
            &self.starting,
            &self.draining,
            &self.min,
            &self.max,
            &self.acts,
        ];
        for gauge in gauges {
            // An error means that it was not shown.
            let _ = gauge.remove_label_values(&[cluster.as_str(), role.as_str()]);
        }
        self.clear(&mut self.reasons.lock(), cluster, role);
    }

    fn clear(&self, reasons: &mut Vec<[String; 3]>, cluster: &ClusterName, role: Role) {
        reasons.retain(|shown| {
            let [of, role_of, _] = shown;
            let stays = *of != cluster.as_str() || *role_of != role.as_str();
            if !stays {
                let _ = self.reason.remove_label_values(&shown.each_ref().map(String::as_str)); // as above
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::autoscale::{Decision, Fleet, Reason, ScalePolicy, Why};
    use crate::ids::Name;
    use crate::observe::metrics::Metrics;

    fn posted(why: Why) -> Posted {
        let reason = Reason { why, limit: None };
        let (policy, at) = (ScalePolicy::of(10), SystemTime::now());
        let fleet = Fleet { ready: 2, starting: vec![Duration::ZERO, policy.startup_limit], draining: 1 };
        Posted { decision: Decision { wanted: 3, reason }, fleet, policy, acts: true, at, moment: Instant::now() }
    }

    #[test]
    fn one_reason_is_shown_and_nothing_of_what_is_gone() {
        let metrics = Metrics::new().unwrap();
        let esb = Name::parse("esb").unwrap();
        metrics.scale().show(&esb, Role::Worker, &posted(Why::NoSamples));
        metrics.scale().show(&esb, Role::Manager, &posted(Why::NoSamples));
        metrics.scale().show(&esb, Role::Worker, &posted(Why::FromZero { queued: 1 }));
        let text = metrics.render().unwrap();
        for line in [
            r#"carbon_elb_scale_wanted{cluster="esb",role="worker"} 3"#,
            r#"carbon_elb_scale_current{cluster="esb",role="worker"} 3"#,
            r#"carbon_elb_scale_ready{cluster="esb",role="worker"} 2"#,
            r#"carbon_elb_scale_starting{cluster="esb",role="worker"} 2"#,
            r#"carbon_elb_scale_draining{cluster="esb",role="worker"} 1"#,
            r#"carbon_elb_scale_max{cluster="esb",role="manager"} 5"#,
            r#"carbon_elb_scale_acts{cluster="esb",role="worker"} 1"#,
            r#"carbon_elb_scale_reason{cluster="esb",reason="from_zero",role="worker"} 1"#,
            r#"carbon_elb_scale_reason{cluster="esb",reason="no_samples",role="manager"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert_eq!(text.matches("carbon_elb_scale_reason{").count(), 2, "{text}");
        metrics.scale().forget(&esb, Role::Worker);
        let text = metrics.render().unwrap();
        assert!(!text.lines().any(|line| line.contains("scale_") && line.contains(r#"role="worker""#)), "{text}");
        assert!(text.contains(r#"carbon_elb_scale_wanted{cluster="esb",role="manager"} 3"#));
    }
}
