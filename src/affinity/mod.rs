//! What keeps a session on its member: a cookie of our own, the route that Tomcat adds to its session ids, or a hash.
//!
//! All of it is pure. The tables are built when the members of a pool are known, and then only read; a request costs one
//! look-up and allocates nothing. Nothing is shared between balancers: whoever has the same keys and the same members
//! comes to the same result.
//!
//! The tables are to be built from **all** members of a pool, whatever their state: then [`Found::Gone`] means that a
//! member has left the pool, not that it is down for a minute.

mod cookie;
mod hash;
mod header;
mod own;
mod route;
mod token;

pub use self::cookie::CookieAffinity;
pub use self::hash::{Source, hash, hash_of_text, member_identity};
pub use self::header::{MOST_COOKIES, Stripped, values, without};
pub use self::own::{CookieValues, OwnCookies};
pub use self::route::RouteTable;
pub use self::token::{TokenTable, TokenText};

/// What a request tells about the member that its session is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is on a member of the pool.
    Known {
        /// The member's position among those that the table was built from.
        position: usize,
        /// Whether the client holds what a new session would get. `false`: it was made with an older key, and the client
        /// should get a new one before that key goes.
        current: bool,
    },
    /// It was on a member that is in the pool no more.
    Gone,
    /// The client holds something that none of our keys has made for this cluster and role.
    Forged,
    /// The client holds nothing.
    Absent,
}

impl Found {
    /// The member's position, if it is known.
    pub fn position(self) -> Option<usize> {
        match self {
            Found::Known { position, .. } => Some(position),
            Found::Gone | Found::Forged | Found::Absent => None,
        }
    }

    /// The one that tells more; `self` if both tell as much. A member that is there counts more than one that has left,
    /// and that more than a forgery: a client that has several cookies of a name may have one of each.
    fn or(self, other: Found) -> Found {
        let tells = |found: &Found| match found {
            Found::Known { .. } => 3,
            Found::Gone => 2,
            Found::Forged => 1,
            Found::Absent => 0,
        };
        if tells(&other) > tells(&self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_tells_more_counts_and_else_the_first() {
        let known = |position| Found::Known { position, current: true };
        let rising = [Found::Absent, Found::Forged, Found::Gone, known(1)];
        for (low, less) in rising.iter().enumerate() {
            for more in &rising[low..] {
                assert_eq!((less.or(*more), more.or(*less)), (*more, *more));
            }
        }
        assert_eq!(known(1).or(known(2)).position(), Some(1));
        assert_eq!(Found::Gone.position(), None);
    }
}
