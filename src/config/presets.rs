//! What is known of a product: how its endpoints are reached, and what tells that a node is well.

use super::checked::{HealthProbe, ProbePort, Product};
use crate::ids::{Endpoint, Scheme};

/// How the product's nodes offer `endpoint` out of the box.
pub(crate) const fn scheme(endpoint: Endpoint) -> Scheme {
    match endpoint {
        // Consoles and portals are HTTPS only.
        Endpoint::Servlet => Scheme::Https,
        Endpoint::Passthrough => Scheme::Http,
    }
}

/// The port where the product offers `endpoint` with `scheme`.
pub(crate) const fn port(product: Product, endpoint: Endpoint, scheme: Scheme) -> u16 {
    match (product, endpoint, scheme) {
        // Micro Integrator runs with a port offset of 10; instead of a console it has a management API, whose
        // clear-text sibling on 9201 answers the probes.
        (Product::Mi, Endpoint::Servlet, Scheme::Https) => 9164,
        (Product::Mi, Endpoint::Servlet, Scheme::Http) => 9201,
        (Product::Mi, Endpoint::Passthrough, Scheme::Https) => 8253,
        (Product::Mi, Endpoint::Passthrough, Scheme::Http) => 8290,
        (_, Endpoint::Servlet, Scheme::Https) => 9443,
        (_, Endpoint::Servlet, Scheme::Http) => 9763,
        (_, Endpoint::Passthrough, Scheme::Https) => 8243,
        (_, Endpoint::Passthrough, Scheme::Http) => 8280,
    }
}

/// The probe that judges `endpoint`; `servlet` is how the cluster's servlet endpoint is reached.
///
/// A pass-through port accepts connections long before artifacts are deployed, so it is judged by the health path that
/// the product has on another port.
pub(crate) fn health(product: Product, endpoint: Endpoint, servlet: Scheme) -> HealthProbe {
    let port = match endpoint {
        Endpoint::Servlet => ProbePort::Own,
        Endpoint::Passthrough => ProbePort::Servlet,
    };
    match (product, endpoint) {
        (Product::Mi, _) => probe(Scheme::Http, ProbePort::Fixed(9201), "/healthz", &[200]),
        (Product::Apim, Endpoint::Passthrough) => {
            probe(servlet, port, "/api/am/gateway/v2/server-startup-healthcheck", &[200])
        }
        // Every Carbon server has it, whatever its role; releases of late 2025 and later answer 405, from the same
        // code. Identity Server's own health API would be off by default, and a control plane of API Manager has no
        // gateway to ask.
        (Product::Esb | Product::Is | Product::Apim | Product::As | Product::Carbon, _) => {
            probe(servlet, port, "/services/Version", &[200, 405])
        }
    }
}

/// The `Host` header of probes that name none: the default virtual host of a Carbon server.
pub(crate) const PROBE_HOST: &str = "localhost";

fn probe(scheme: Scheme, port: ProbePort, path: &str, expect: &[u16]) -> HealthProbe {
    HealthProbe::Http { scheme, port, path: path.to_owned(), host: PROBE_HOST.to_owned(), expect: expect.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_follow_the_products() {
        let cases = [
            (Product::Esb, Endpoint::Servlet, "https 9443 https Own /services/Version [200, 405]"),
            (Product::Esb, Endpoint::Passthrough, "http 8280 https Servlet /services/Version [200, 405]"),
            (Product::Mi, Endpoint::Servlet, "https 9164 http Fixed(9201) /healthz [200]"),
            (Product::Mi, Endpoint::Passthrough, "http 8290 http Fixed(9201) /healthz [200]"),
            (Product::Is, Endpoint::Servlet, "https 9443 https Own /services/Version [200, 405]"),
            (Product::Apim, Endpoint::Servlet, "https 9443 https Own /services/Version [200, 405]"),
            (
                Product::Apim,
                Endpoint::Passthrough,
                "http 8280 https Servlet /api/am/gateway/v2/server-startup-healthcheck [200]",
            ),
        ];
        for (product, endpoint, expected) in cases {
            let scheme = scheme(endpoint);
            let HealthProbe::Http { scheme: probed, port: at, path, expect, .. } =
                health(product, endpoint, Scheme::Https)
            else {
                panic!("{product:?} has no HTTP probe");
            };
            let port = port(product, endpoint, scheme);
            assert_eq!(format!("{scheme} {port} {probed} {at:?} {path} {expect:?}"), expected);
        }
    }
}
