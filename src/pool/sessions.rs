//! What keeps a session on its member, for one pool.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use crate::affinity::{CookieAffinity, CookieValues, Found, OwnCookies, RouteTable, Source, hash};
use crate::config::{Affinity, HashKey, Node, Secret};
use crate::ids::{ClusterName, Name, Role};

/// How a pool tells which member has a session. Members are named by [`super::Member::index`].
#[derive(Debug)]
pub struct Sessions {
    by: By,
    /// Those of the members, in the order in which the tables have them: ascending.
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
    /// For the pool of a role and a tenant partition in a cluster, whose members are these, in ascending order of their
    /// numbers. `own` is the cluster's.
    pub fn new(
        affinity: &Affinity,
        keys: &[Secret],
        (cluster, role, partition): (&ClusterName, Role, Option<&Name>),
        members: &[(usize, &Node)],
        own: Arc<OwnCookies>,
    ) -> Self {
        let nodes = members.iter().map(|&(index, _)| index).collect();
        let members = || members.iter().map(|&(_, node)| node);
        let by = match affinity {
            Affinity::Off => By::Nothing,
            Affinity::Cookie(cookie) => {
                let (cookie, ids) = (cookie.in_partition(partition), members().map(|node| &node.id));
                By::Cookie(CookieAffinity::new(&cookie, keys, cluster, role, ids))
            }
            Affinity::Route { cookie } => By::Route(RouteTable::new(cookie, members().map(|node| node.route.as_str()))),
            Affinity::Hash(key) => By::Hash(key.clone()),
        };
        Sessions { by, nodes, own }
    }

    /// Whether nodes do not get to see the same cookies.
    pub fn hides(&self, own: &OwnCookies) -> bool {
        *self.own == *own
    }

    /// Whether it has to be made anew when members come and go.
    pub fn names_members(&self) -> bool {
        matches!(self.by, By::Cookie(_) | By::Route(_))
    }

    /// What a request has told another pool of its session, or this one with other members.
    pub fn translate(&self, session: Session, from: &Sessions) -> Session {
        let Session::Found(Found::Known { current, .. }) = session else { return session };
        let node = from.node(session);
        let position = node.and_then(|node| self.nodes.binary_search(&node).ok());
        Session::Found(position.map_or(Found::Gone, |position| Found::Known { position, current }))
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

    /// The member that has the session.
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
    pub fn strip(&self, headers: &HeaderMap) -> Option<CookieValues> {
        self.own.strip(headers)
    }
}
