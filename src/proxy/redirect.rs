//! Redirects that name a node are turned into redirects to what the client asked for.
//!
//! A Carbon server builds `Location` from its own host name, address and ports unless it was told its proxy's. A client
//! cannot follow such a redirect, and it would reveal the node.

use http::header::LOCATION;
use http::uri::Authority;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::headers;
use crate::ids::Scheme;
use crate::pool::Member;

/// Rewrites `Location`, if it names the node that answered.
pub(super) fn rewrite(session: &Session, response: &mut ResponseHeader, context: &Context) -> Result<()> {
    if !response.status.is_redirection() && response.status != http::StatusCode::CREATED {
        return Ok(());
    }
    let Some(location) = response.headers.get(LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
    else {
        return Ok(());
    };
    let Some((pool, member)) = context.asked() else { return Ok(()) };
    let Some(asked) = headers::host(session.req_header()).and_then(|host| std::str::from_utf8(host).ok()) else {
        return Ok(());
    };
    let client = Side { scheme: if context.secure { Scheme::Https } else { Scheme::Http }, host: asked };
    match for_client(location, pool.upstream.scheme, member, &client) {
        Some(rewritten) => response.insert_header(LOCATION, rewritten),
        None => Ok(()),
    }
}

/// How the client reached the balancer.
struct Side<'a> {
    scheme: Scheme,
    /// Host and port as in the request.
    host: &'a str,
}

/// The redirect that the client should see; `None` if it can stay as it is.
///
/// The node's scheme stands for the client's: a node that is asked over HTTP and names itself with `http` means "as you
/// came". If it names itself with `https` instead, it wants the client to use TLS, so `https` stays, without the port,
/// which is the node's.
fn for_client(location: &str, asked_over: Scheme, member: &Member, client: &Side<'_>) -> Option<String> {
    let (scheme, rest) = split_scheme(location)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority: Authority = authority.parse().ok()?;
    if !names_node(&authority, scheme, member, client) {
        return None;
    }
    let as_asked = scheme.is_none_or(|scheme| scheme == asked_over);
    let (scheme, host) = match scheme {
        Some(scheme) if !as_asked => (scheme, without_port(client.host)),
        _ => (client.scheme, client.host),
    };
    let rewritten = format!("{scheme}://{host}{path}");
    (rewritten != location).then_some(rewritten)
}

/// `https://x`, `http://x`, or `//x` (which means the scheme of the page). Anything else names no host.
fn split_scheme(location: &str) -> Option<(Option<Scheme>, &str)> {
    let starts = |prefix: &str| {
        let (head, rest) = location.split_at_checked(prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then_some(rest)
    };
    starts("https://")
        .map(|rest| (Some(Scheme::Https), rest))
        .or_else(|| starts("http://").map(|rest| (Some(Scheme::Http), rest)))
        .or_else(|| starts("//").map(|rest| (None, rest)))
}

/// Whether an authority is the node's: its configured host or its address with any port, or the host that the client
/// asked for with one of the node's ports (a node that trusts `Host` but adds its own port).
fn names_node(authority: &Authority, scheme: Option<Scheme>, member: &Member, client: &Side<'_>) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case(&member.host.to_text()) || host == member.address.ip().to_string() {
        return true;
    }
    if !host.eq_ignore_ascii_case(without_port(client.host).trim_start_matches('[').trim_end_matches(']')) {
        return false;
    }
    let port = authority.port_u16();
    let asked_port =
        headers::port(client.host.as_bytes()).and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    if port == asked_port {
        // The node took the host from the request; only the scheme can be wrong.
        return scheme == Some(Scheme::Http) && client.scheme == Scheme::Https;
    }
    port.is_some_and(|port| member.ports.contains(&port)) || port.is_none()
}

fn without_port(host: &str) -> &str {
    match headers::port(host.as_bytes()) {
        Some(port) => host.get(..host.len().saturating_sub(port.len() + 1)).unwrap_or(host),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::{NodeHost, QueuePolicy};
    use crate::ids::Name;
    use crate::member::Node;
    use crate::pool::Standing;
    use crate::queue::Queue;

    fn member() -> Member {
        let name = |text| Name::parse(text).unwrap();
        Member {
            node: Arc::new(Node::new(name("esb"), name("mgr-1"))),
            index: 0,
            host: NodeHost::Name("mgr-1.internal".to_owned()),
            address: "10.0.0.10:9443".parse().unwrap(),
            ports: [9443, 8280],
            standing: Standing::Ready,
            draining: false,
            backup: false,
            weight: 1,
            limit: None,
            recorder: None,
            queue: Arc::new(Queue::new(QueuePolicy { length: 0, wait: Duration::ZERO })),
            identity: 0,
        }
    }

    #[test]
    fn redirects_lead_back_to_the_balancer() {
        use Scheme::{Http, Https};
        let public = "https://mgt.example.com/carbon/";
        for (location, over, client, host, expected) in [
            // the node's address or name, with whatever port
            ("https://10.0.0.10:9443/carbon/", Https, Https, "mgt.example.com", Some(public)),
            ("https://mgr-1.internal:9443/carbon/", Https, Https, "mgt.example.com", Some(public)),
            ("HTTPS://MGR-1.internal/carbon/", Https, Https, "mgt.example.com", Some(public)),
            // the client's port is kept
            (
                "https://10.0.0.10:9443/a?b#c",
                Https,
                Https,
                "m.example.com:8443",
                Some("https://m.example.com:8443/a?b#c"),
            ),
            // TLS ends at the balancer: the node's http is the client's https
            ("http://10.0.0.10:8280/x", Http, Https, "esb.example.com", Some("https://esb.example.com/x")),
            ("http://esb.example.com/x", Http, Https, "esb.example.com", Some("https://esb.example.com/x")),
            // the node wants TLS: stays so, without its port
            ("https://10.0.0.10:9443/x", Http, Http, "esb.example.com:8080", Some("https://esb.example.com/x")),
            // the host is the client's, the port is the node's
            ("https://mgt.example.com:9443/carbon/", Https, Https, "mgt.example.com", Some(public)),
            (
                "https://mgt.example.com/carbon/",
                Https,
                Https,
                "mgt.example.com:444",
                Some("https://mgt.example.com:444/carbon/"),
            ),
            // without a scheme
            ("//10.0.0.10:9443/carbon/", Https, Https, "mgt.example.com", Some(public)),
            // already right
            ("https://mgt.example.com/carbon/", Https, Https, "mgt.example.com", None),
            ("/carbon/", Https, Https, "mgt.example.com", None),
            ("carbon/", Https, Https, "mgt.example.com", None),
            // somebody else
            ("https://login.example.org/x", Https, Https, "mgt.example.com", None),
            ("https://10.0.0.100:9443/x", Https, Https, "mgt.example.com", None),
            ("https://mgt.example.com:8444/x", Https, Https, "mgt.example.com", None),
            ("https://", Https, Https, "mgt.example.com", None),
            ("mailto:a@10.0.0.10", Https, Https, "mgt.example.com", None),
        ] {
            let rewritten = for_client(location, over, &member(), &Side { scheme: client, host });
            assert_eq!(rewritten.as_deref(), expected, "{location} for {host}");
        }
    }
}
