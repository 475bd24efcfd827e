//! What keeps a session on its member, for one pool.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use crate::affinity::{CookieAffinity, Found, OwnCookies, RouteTable, Source, hash};
use crate::config::{Affinity, Cluster, HashKey, Secret};
use crate::ids::{Name, Role};

/// How a pool tells which member has a session. Members are named by the position of their node in the cluster.
#[derive(Debug)]
pub struct Sessions {
    by: By,
    /// The positions of the nodes in the cluster, in the order in which the tables have them: ascending.
    nodes: Vec<usize>,
    /// What nodes do not get to see.
    own: Arc<OwnCookies>,
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
    /// For the pool of a role and a tenant partition, whose members are the nodes at these positions of the cluster.
    /// `own` is the cluster's.
    pub fn new(
        cluster: &Cluster,
        role: Role,
        partition: Option<&Name>,
        mut nodes: Vec<usize>,
        keys: &[Secret],
        own: Arc<OwnCookies>,
    ) -> Self {
        nodes.sort_unstable();
        let members = || nodes.iter().filter_map(|&node| cluster.nodes.get(node));
        let by = match &cluster.pools[role.index()].affinity {
            Affinity::Off => By::Nothing,
            Affinity::Cookie(cookie) => {
                let (cookie, ids) = (cookie.in_partition(partition), members().map(|node| &node.id));
                By::Cookie(CookieAffinity::new(&cookie, keys, &cluster.name, role, ids))
            }
            Affinity::Route { cookie } => By::Route(RouteTable::new(cookie, members().map(|node| node.route.as_str()))),
            Affinity::Hash(key) => By::Hash(key.clone()),
        };
        Sessions { by, nodes, own }
    }

    /// What a request tells; `raw_path` is the path as it was received.
    pub fn find(&self, source: &Source<'_>, raw_path: &[u8]) -> Session {
        let cookies = || source.headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
        match &self.by {
            By::Nothing => Session::None,
            By::Cookie(cookie) => Session::Found(cookie.find(cookies())),
            By::Route(routes) => Session::Found(routes.find(cookies(), raw_path)),
            By::Hash(key) => Session::Hash(hash(key, source)),
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
        // Most often it is the member that the client has named.
        let named = found.position().filter(|&position| self.nodes.get(position) == Some(&node));
        let position = named.or_else(|| self.nodes.binary_search(&node).ok())?;
        cookie.set_cookie(found, position, tls)
    }

    /// The values of the `Cookie` headers for a node, if they are not those of the request: without the affinity cookies of
    /// the cluster, whichever pool they are for.
    pub fn strip(&self, headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
        self.own.strip(headers)
    }
}
