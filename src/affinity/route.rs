//! The route that Tomcat adds to its session ids (`jvmRoute`): the session knows its member, and needs no cookie of ours.
//!
//! A session id is `ID.ROUTE`. Tomcat makes no dots in `ID`, but an operator may have put some in `ROUTE`, and a node that
//! takes a session over may add its own route to the one that is there. So what stands behind a dot is looked up from the
//! first dot on, the longest text first: `X.a.b` is on `a.b` if there is such a node, else on `b`, the last that had it.

use ahash::AHashMap;

use super::{Found, header};

/// Dots of a session id that are looked at.
const MOST_DOTS: usize = 8;

/// Which member has which route.
#[derive(Debug)]
pub struct RouteTable {
    cookie: String,
    /// What the path parameter is called that has the session id of clients without cookies.
    parameter: String,
    positions: AHashMap<Box<[u8]>, usize>,
}

impl RouteTable {
    /// For members with these routes, whose positions are those in the iterator. Of two with the same route the first has
    /// it. `cookie` is what the nodes call their session cookie. Its path parameter is called the same, but `jsessionid`
    /// if the nodes leave the name as it is (`JSESSIONID`).
    pub fn new<'r>(cookie: &str, routes: impl IntoIterator<Item = &'r str>) -> Self {
        let parameter = if cookie == "JSESSIONID" { "jsessionid" } else { cookie };
        let mut positions = AHashMap::new();
        for (position, route) in routes.into_iter().enumerate() {
            positions.entry(route.as_bytes().into()).or_insert(position);
        }
        RouteTable { cookie: cookie.to_owned(), parameter: parameter.to_owned(), positions }
    }

    /// What a request tells, by the values of all its `Cookie` headers and its raw path. The first session id with a
    /// known route counts, cookies before the path as in Tomcat. [`Found::Forged`] does not come: a route can be had by
    /// anybody. A session id without a route tells nothing.
    pub fn find<'h>(&self, cookies: impl IntoIterator<Item = &'h [u8]>, path: &'h [u8]) -> Found {
        let mut ids = header::values(cookies, &self.cookie).chain(parameters(path, &self.parameter));
        let mut found = Found::Absent;
        // No more than a header can have, or a path.
        while found.position().is_none()
            && let Some(id) = ids.next()
        {
            found = found.or(self.member_of(id));
        }
        found
    }

    fn member_of(&self, session: &[u8]) -> Found {
        let dots = session.iter().enumerate().filter(|(_, byte)| **byte == b'.').take(MOST_DOTS);
        let mut routes =
            dots.filter_map(|(dot, _)| session.get(dot + 1..)).filter(|route| !route.is_empty()).peekable();
        if routes.peek().is_none() {
            return Found::Absent;
        }
        let position = routes.find_map(|route| self.positions.get(route).copied());
        position.map_or(Found::Gone, |position| Found::Known { position, current: true })
    }
}

/// The values of the path parameters called `name`: `;name=value` in any segment. A query is not looked at.
fn parameters<'p>(path: &'p [u8], name: &str) -> impl Iterator<Item = &'p [u8]> {
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let segments = path.split(|&byte| byte == b'/');
    let parameters = segments.flat_map(|segment| segment.split(|&byte| byte == b';').skip(1));
    parameters.filter_map(move |parameter| parameter.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(cookies: &[&str], path: &str) -> Found {
        let table = RouteTable::new("JSESSIONID", ["wk-1", "wk-2", "wk.3", "3", "wk-2"]);
        table.find(cookies.iter().map(|cookie| cookie.as_bytes()), path.as_bytes())
    }

    #[test]
    fn sessions_tell_their_member() {
        let on = |position| Found::Known { position, current: true };
        for (cookie, path, expected) in [
            ("JSESSIONID=0A1B.wk-1", "/", on(0)),
            ("JSESSIONID=0A1B.wk-2", "/", on(1)), // the first that has it
            ("a=1; JSESSIONID=\"0A1B.wk-2\"", "/", on(1)),
            ("JSESSIONID=0A1B.wk.3", "/", on(2)), // not of node 3
            ("JSESSIONID=0A1B.x.3", "/", on(3)),
            ("JSESSIONID=0A1B.wk-1.wk-2", "/", on(1)), // taken over
            ("JSESSIONID=0A1B.gone.wk-2", "/", on(1)),
            ("JSESSIONID=.wk-1", "/", on(0)),
            ("JSESSIONID=0A1B.gone", "/", Found::Gone),
            ("JSESSIONID=0A1B.wk-1.gone", "/", Found::Gone), // wk-1 has it no more
            ("JSESSIONID=0A1B.WK-1", "/", Found::Gone),
            ("JSESSIONID=0A1B", "/", Found::Absent),
            ("JSESSIONID=0A1B.", "/", Found::Absent),
            ("JSESSIONID=wk-1", "/", Found::Absent),
            ("JSESSIONID=", "/", Found::Absent),
            ("jsessionid=0A1B.wk-1", "/", Found::Absent),
            ("", "/", Found::Absent),
            ("JSESSIONID=a.gone; JSESSIONID=b.wk-2; JSESSIONID=c.wk-1", "/", on(1)),
            ("", "/carbon;jsessionid=0A1B.wk-2", on(1)),
            ("", "/carbon;x=1;jsessionid=0A1B.wk-2;y/admin/index.jsp", on(1)),
            ("", "/carbon;jsessionid=0A1B.gone/x;jsessionid=0A1B.wk-2", on(1)),
            ("", "/carbon;jsessionid=0A1B.wk-2?x", on(1)),
            ("", "/carbon?x;jsessionid=0A1B.wk-2", Found::Absent),
            ("", "/jsessionid=0A1B.wk-2", Found::Absent),
            ("", "/carbon;JSESSIONID=0A1B.wk-2", Found::Absent),
            ("", "/carbon;jsessionid", Found::Absent),
            ("JSESSIONID=a.wk-1", "/;jsessionid=b.wk-2", on(0)),
            ("JSESSIONID=a.gone", "/;jsessionid=b.wk-2", on(1)),
            ("JSESSIONID=a", "/;jsessionid=b.gone", Found::Gone),
        ] {
            assert_eq!(find(&[cookie], path), expected, "{cookie} {path}");
        }
        assert_eq!(find(&["JSESSIONID=x", "JSESSIONID=0A1B.wk-1"], "/"), on(0));
    }

    #[test]
    fn another_name_is_the_name_of_the_parameter_too() {
        let table = RouteTable::new("SID", ["a"]);
        let on = Found::Known { position: 0, current: true };
        assert_eq!(table.find([b"SID=1.a".as_slice()], b"/"), on);
        assert_eq!(table.find([], b"/;SID=1.a"), on);
        assert_eq!(table.find([b"JSESSIONID=1.a".as_slice()], b"/;jsessionid=1.a"), Found::Absent);
    }

    #[test]
    fn only_so_many_dots_are_looked_at() {
        let session = |dots: usize| format!("JSESSIONID={}.wk-1", ".x".repeat(dots - 1));
        assert_eq!(find(&[&session(MOST_DOTS)], "/").position(), Some(0));
        assert_eq!(find(&[&session(MOST_DOTS + 1)], "/"), Found::Gone);
    }
}
