//! Rules for the endpoints of a cluster: how they are reached, verified and judged.

use super::{Context, nodes};
use crate::config::checked::{
    Cluster, Config, EndpointSettings, HealthProbe, NodeHost, ProbePort, Product, UpstreamTls,
};
use crate::config::decode::{At, Field};
use crate::config::presets;
use crate::config::problem::{Problems, Spot};
use crate::config::raw::{
    RawCluster, RawConfig, RawEndpoint, RawEndpoints, RawHealth, RawProbe, RawProbePort, RawUpstreamTls, entries,
};
use crate::ids::{Endpoint, Scheme};

/// What an endpoint needs to know of the servlet endpoint, which may be the one that answers its probe.
#[derive(Clone, Copy)]
struct Servlet {
    scheme: Scheme,
    port: u16,
}

/// By [`Endpoint::index`].
pub(super) fn check(raw: &RawCluster, context: &Context<'_>, problems: &mut Problems) -> [EndpointSettings; 2] {
    let endpoints = raw.endpoints.or_empty();
    let product = raw.product.or(Product::Carbon);
    let (scheme, port) = address(&endpoints.servlet.or_empty(), product, Endpoint::Servlet);
    let servlet = Servlet { scheme, port };
    Endpoint::ALL.map(|endpoint| {
        if let Some(given) = endpoints.of(endpoint).given().filter(|_| !product.has(endpoint)) {
            let what = format!("product {} has no {endpoint} endpoint", product.as_str());
            problems.error(&given.at, what, "endpoints that the product has");
        }
        let own = endpoints.of(endpoint).or_empty();
        let (scheme, port) = address(&own, product, endpoint);
        usual_scheme(&own, product, endpoint, problems);
        let health = match own.health.given() {
            None => presets::health(product, endpoint, servlet.scheme),
            Some(health) => Probe { endpoint, scheme, port, servlet }.check(health, &endpoints, problems),
        };
        EndpointSettings { scheme, port, tls: tls(&own, scheme, context, problems), health }
    })
}

fn address(raw: &RawEndpoint, product: Product, endpoint: Endpoint) -> (Scheme, u16) {
    let scheme = raw.scheme.or(presets::scheme(endpoint));
    (scheme, raw.port.or(presets::port(product, endpoint, scheme)))
}

/// A port that is known for the other scheme was probably written without thinking of the scheme.
fn usual_scheme(raw: &RawEndpoint, product: Product, endpoint: Endpoint, problems: &mut Problems) {
    let (Field::Absent, Some(port)) = (&raw.scheme, raw.port.given()) else { return };
    let preset = presets::scheme(endpoint);
    let other = if preset == Scheme::Http { Scheme::Https } else { Scheme::Http };
    if port.value == presets::port(product, endpoint, other) {
        let what =
            format!("{} is the usual port for {other}, and the scheme is {preset} unless you say it", port.value);
        problems.warning(&port.at, what);
    }
}

fn tls(raw: &RawEndpoint, scheme: Scheme, context: &Context<'_>, problems: &mut Problems) -> Option<UpstreamTls> {
    if let (Some(tls), Scheme::Http, false) = (raw.tls.given(), scheme, raw.scheme.is_bad()) {
        problems.error(&tls.at, "has no effect on an http endpoint", "scheme: https, or no tls section");
    }
    let tls = raw.tls.or_empty();
    let ca = tls.ca.given().map(|file| context.readable(file, problems));
    if let Some(At { value: false, at }) = tls.verify.given() {
        problems.warning(at, "whoever answers at a node's address is taken for the node");
    }
    (scheme == Scheme::Https).then(|| UpstreamTls {
        ca,
        server_name: tls.server_name.value().cloned(),
        verify: tls.verify.or(true),
    })
}

/// The endpoint that a written probe judges.
struct Probe {
    endpoint: Endpoint,
    scheme: Scheme,
    port: u16,
    servlet: Servlet,
}

impl Probe {
    fn check(&self, health: &At<RawHealth>, endpoints: &RawEndpoints, problems: &mut Problems) -> HealthProbe {
        let raw = match &health.value {
            RawHealth::Off => return HealthProbe::Off,
            RawHealth::Tcp => return HealthProbe::Tcp,
            RawHealth::Http(probe) => probe,
        };
        let port = match raw.port.value() {
            Some(RawProbePort::Fixed(port)) => ProbePort::Fixed(*port),
            Some(RawProbePort::Servlet) if self.endpoint != Endpoint::Servlet => ProbePort::Servlet,
            Some(RawProbePort::Servlet) | None => ProbePort::Own,
        };
        let bad = |endpoint: Endpoint| {
            let raw = endpoints.of(endpoint);
            raw.is_bad() || raw.value().is_some_and(|raw| raw.scheme.is_bad())
        };
        let known = !raw.scheme.is_bad() && !raw.port.is_bad() && !Endpoint::ALL.into_iter().any(bad);
        if let Some(scheme) = raw.scheme.given().filter(|_| known) {
            self.scheme_fits(scheme, port, problems);
        }
        let scheme = raw.scheme.or(self.scheme_at(port));
        HealthProbe::Http {
            scheme,
            port,
            path: raw.path.value().cloned().unwrap_or_default(),
            host: raw.host.value().map_or(presets::PROBE_HOST, String::as_str).to_owned(),
            expect: expect(raw, problems),
        }
    }

    /// The scheme of the endpoint that is probed.
    fn scheme_at(&self, port: ProbePort) -> Scheme {
        match port {
            ProbePort::Own => self.scheme,
            ProbePort::Servlet => self.servlet.scheme,
            ProbePort::Fixed(port) if port != self.port && port == self.servlet.port => self.servlet.scheme,
            ProbePort::Fixed(_) => self.scheme,
        }
    }

    fn scheme_fits(&self, scheme: &At<Scheme>, port: ProbePort, problems: &mut Problems) {
        let natural = self.scheme_at(port);
        match port {
            ProbePort::Own | ProbePort::Servlet if scheme.value != natural => {
                problems.error(&scheme.at, format!("the probed port speaks {natural}"), natural.as_str());
            }
            ProbePort::Fixed(_)
                if scheme.value == Scheme::Https && [self.scheme, self.servlet.scheme] == [Scheme::Http; 2] =>
            {
                let what = "an https probe without TLS settings: no endpoint of the cluster is https";
                problems.error(&scheme.at, what, "http, or tcp as the health check");
            }
            ProbePort::Own | ProbePort::Servlet | ProbePort::Fixed(_) => {}
        }
    }
}

fn expect(raw: &RawProbe, problems: &mut Problems) -> Vec<u16> {
    let Some(expect) = raw.expect.given() else { return vec![200] };
    if expect.value.items.is_empty() && expect.value.complete {
        problems.error(&expect.at, "no status codes", "at least one of 100 to 599");
    }
    expect.value.values()
}

/// A certificate names a host, not an address. Where nodes are given by address, the operator has to say which name
/// their certificates carry, unless nobody ever connects there.
pub(super) fn names_to_verify(raw: &RawConfig, config: &Config, problems: &mut Problems) {
    for (entry, cluster) in entries(&raw.clusters).iter().zip(&config.clusters) {
        for endpoint in Endpoint::ALL {
            let verified = |tls: &&UpstreamTls| tls.verify && tls.server_name.is_none();
            let Some(tls) = cluster.endpoints[endpoint.index()].tls.as_ref().filter(verified) else { continue };
            let Some(written) = written_tls(&entry.value.1, endpoint) else { continue };
            let Some(host) = address_to_verify(&entry.value.1, config, cluster, tls) else { continue };
            let line = written.as_ref().map_or(host.line, |tls| tls.at.line);
            let at = ["endpoints", endpoint.as_str(), "tls", "server_name"];
            let at = at.iter().fold(entry.at.clone(), |at, key| at.key(key, line));
            let what = format!(
                "is missing: the node on line {} has an address, which its certificate does not name",
                host.line
            );
            problems.error(&at, what, "the name in the nodes' certificates, such as localhost, or verify: false");
        }
    }
}

/// Whether everything that the file says under `tls` of the endpoints could be read.
pub(super) fn tls_is_known(raw: &RawCluster) -> bool {
    Endpoint::ALL.into_iter().all(|endpoint| written_tls(raw, endpoint).is_some())
}

/// What the file says under `tls` of the endpoint; `None` if a part of it could not be read.
fn written_tls(raw: &RawCluster, endpoint: Endpoint) -> Option<Option<At<RawUpstreamTls>>> {
    if raw.endpoints.is_bad() || raw.product.is_bad() {
        return None;
    }
    let endpoints = raw.endpoints.or_empty();
    if endpoints.of(endpoint).is_bad() {
        return None;
    }
    let endpoint = endpoints.of(endpoint).or_empty();
    let tls = endpoint.tls.or_empty();
    let bad = endpoint.scheme.is_bad() || endpoint.tls.is_bad() || tls.server_name.is_bad() || tls.verify.is_bad();
    (!bad).then(|| endpoint.tls.given().cloned())
}

/// The first node that is given by address and would be verified with `tls`, for a request or a probe.
fn address_to_verify<'a>(
    raw: &'a RawCluster,
    config: &Config,
    cluster: &Cluster,
    tls: &UpstreamTls,
) -> Option<&'a Spot> {
    let used_by = |endpoint: Endpoint| {
        let requests = cluster.endpoints[endpoint.index()].tls.as_ref();
        [requests, cluster.probe_tls(endpoint)].into_iter().flatten().any(|used| std::ptr::eq(used, tls))
    };
    let nodes = raw.nodes.value()?;
    nodes.items.iter().find_map(|node| {
        let host = node.value.host.given().filter(|host| matches!(host.value, NodeHost::Address(_)))?;
        let roles = nodes::roles_of(&node.value)?;
        let mut ways = roles.iter().flat_map(|role| Endpoint::ALL.map(|endpoint| (*role, endpoint)));
        let reached = ways.any(|(role, endpoint)| used_by(endpoint) && config.leads_to(cluster, role, endpoint));
        reached.then_some(&host.at)
    })
}
