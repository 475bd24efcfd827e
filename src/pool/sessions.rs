//! What keeps a session on its member, for one pool.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use crate::affinity::{CookieAffinity, Found, RouteTable, Source, Stripped, hash};
use crate::config::{Affinity, Cluster, HashKey, Secret};
use crate::ids::Role;

/// How a pool tells which member has a session. Members are named by the position of their node in the cluster.
#[derive(Debug)]
pub struct Sessions {
    by: By,
    /// The positions of the nodes in the cluster, in the order in which the tables have them.
    nodes: Vec<usize>,
}

#[derive(Debug)]
enum By {
    Nothing,
    Cookie(CookieAffinity),
    Route(RouteTable),
    Hash(HashKey),
}

/// What a request tells of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// It has none.
    None,
    /// What its cookie or its session id tells.
    Found(Found),
    /// The hash that names its member.
    Hash(u64),
}

impl Sessions {
    /// For the pool of a role whose members are the nodes at these positions of the cluster.
    pub fn new(affinity: &Affinity, keys: &[Secret], cluster: &Cluster, role: Role, nodes: &[usize]) -> Self {
        let members = || nodes.iter().filter_map(|&node| cluster.nodes.get(node));
        let by = match affinity {
            Affinity::Off => By::Nothing,
            Affinity::Cookie(cookie) => {
                let ids = members().map(|node| &node.id);
                By::Cookie(CookieAffinity::new(cookie, keys, &cluster.name, role, ids))
            }
            Affinity::Route { cookie } => By::Route(RouteTable::new(cookie, members().map(|node| node.route.as_str()))),
            Affinity::Hash(key) => By::Hash(key.clone()),
        };
        Sessions { by, nodes: nodes.to_vec() }
    }

    /// What a request tells; `raw_path` is the path as it was received.
    pub fn find(&self, source: &Source<'_>, raw_path: &[u8]) -> Session {
        let cookies = || source.headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
        match &self.by {
            By::Nothing => Session::None,
            By::Cookie(cookie) => Session::Found(cookie.find(cookies())),
            By::Route(routes) => Session::Found(routes.find(cookies(), raw_path)),
            By::Hash(key) => Session::Hash(hash(key, source).hash),
        }
    }

    /// The node that has the session, by its position in the cluster.
    pub fn node(&self, session: Session) -> Option<usize> {
        match session {
            Session::Found(found) => self.nodes.get(found.position()?).copied(),
            Session::None | Session::Hash(_) => None,
        }
    }

    /// Whether a hash names the members.
    pub(super) fn by_hash(&self) -> bool {
        matches!(self.by, By::Hash(_))
    }

    /// The cookie that a client gets with an answer of a node; `None` if it needs none. `tls`: it came over TLS.
    pub fn set_cookie(&self, session: Session, node: usize, tls: bool) -> Option<&HeaderValue> {
        let (By::Cookie(cookie), Session::Found(found)) = (&self.by, session) else { return None };
        let position = self.nodes.iter().position(|&known| known == node)?;
        cookie.set_cookie(found, position, tls)
    }

    /// Takes our own cookie out of the headers for a node: it is no business of the nodes.
    pub fn strip(&self, headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
        let By::Cookie(cookie) = &self.by else { return None };
        let mut changed = false;
        let kept = |value: &HeaderValue| match cookie.strip(value.as_bytes()) {
            Stripped::Unchanged => Some(value.clone()),
            Stripped::Nothing => {
                changed = true;
                None
            }
            Stripped::Rest(rest) => {
                changed = true;
                // It is a part of a value that was one.
                HeaderValue::from_bytes(&rest).ok()
            }
        };
        let values: Vec<HeaderValue> = headers.get_all(COOKIE).into_iter().filter_map(kept).collect();
        changed.then_some(values)
    }
}
