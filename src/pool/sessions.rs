//! What keeps a session on its member, for one pool.

use http::HeaderValue;
use http::header::{COOKIE, HeaderMap};

use crate::affinity::{CookieAffinity, Found, RouteTable, Source, Stripped, hash};
use crate::config::{Affinity, HashKey, Node, Secret};
use crate::ids::{ClusterName, Role};

/// How a pool tells which member has a session. Members are named by [`super::Member::index`].
#[derive(Debug)]
pub struct Sessions {
    by: By,
    /// Those of the members, in the order in which the tables have them.
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
    /// For the pool of a role in a cluster whose members are these.
    pub fn new(
        affinity: &Affinity,
        keys: &[Secret],
        cluster: &ClusterName,
        role: Role,
        members: &[(usize, &Node)],
    ) -> Self {
        let nodes = members.iter().map(|&(index, _)| index).collect();
        let members = || members.iter().map(|&(_, node)| node);
        let by = match affinity {
            Affinity::Off => By::Nothing,
            Affinity::Cookie(cookie) => {
                let ids = members().map(|node| &node.id);
                By::Cookie(CookieAffinity::new(cookie, keys, cluster, role, ids))
            }
            Affinity::Route { cookie } => By::Route(RouteTable::new(cookie, members().map(|node| node.route.as_str()))),
            Affinity::Hash(key) => By::Hash(key.clone()),
        };
        Sessions { by, nodes }
    }

    /// Whether it has to be made anew when members come and go.
    pub fn names_members(&self) -> bool {
        matches!(self.by, By::Cookie(_) | By::Route(_))
    }

    /// What a request has told another pool of its session, or this one with other members.
    pub fn translate(&self, session: Session, from: &Sessions) -> Session {
        let Session::Found(Found::Known { current, .. }) = session else { return session };
        let node = from.node(session);
        let position = node.and_then(|node| self.nodes.iter().position(|&known| known == node));
        Session::Found(position.map_or(Found::Gone, |position| Found::Known { position, current }))
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
