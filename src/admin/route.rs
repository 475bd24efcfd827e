//! A route of the API: a method, a path with parameters in it, and what answers.

use http::Method;

use crate::config::Permission;

/// A route. `H` is what answers.
#[derive(Debug)]
pub(super) struct Route<H: 'static> {
    /// HEAD is answered as GET.
    pub(super) method: Method,
    /// Segments in braces take any text.
    pub(super) path: &'static str,
    /// Whether it changes something: then web pages of others are kept out.
    pub(super) changes: bool,
    /// What a token has to be good for; `None`: any will do.
    pub(super) needs: Option<Permission>,
    pub(super) handler: H,
}

/// Where a method and a path lead.
#[derive(Debug)]
pub(super) enum Found<H: 'static> {
    /// To this route, with the texts that its parameters have.
    Route(&'static Route<H>, Vec<String>),
    /// The path is known, but takes other methods: these.
    OtherMethods(Vec<&'static str>),
    /// Nowhere.
    Nothing,
}

/// Looks a request up.
pub(super) fn find<H>(routes: &'static [Route<H>], method: &Method, path: &str) -> Found<H> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in routes {
        match parameters(route.path, path) {
            Some(parameters) if route.method == method => return Found::Route(route, parameters),
            Some(_) => others.push(route.method.as_str()),
            None => {}
        }
    }
    if others.contains(&"GET") {
        others.push("HEAD");
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The texts that stand in a path where a pattern has parameters; `None` if the path is another one.
fn parameters(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut segments = path.split('/');
    let mut parameters = Vec::new();
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') && !segment.is_empty() {
            parameters.push(segment.to_owned());
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        for (pattern, path, expected) in [
            ("/a/b", "/a/b", Some(vec![])),
            ("/a/b", "/a/b/", None),
            ("/a/b", "/a", None),
            ("/a/b", "//a/b", None),
            ("/a/{x}/c/{y}", "/a/1/c/2.x", Some(vec!["1", "2.x"])),
            ("/a/{x}", "/a/", None),
            ("/a/{x}", "/a/{x}", Some(vec!["{x}"])),
            ("/a/{x}", "/a/1/2", None),
        ] {
            let expected = expected.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(parameters(pattern, path), expected, "{pattern} {path}");
        }
    }
}
