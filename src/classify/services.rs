//! What lies under `/services`: the operator's own services, and Carbon's admin services.

use std::sync::Arc;

use ahash::AHashSet;

use super::segments::{after_each, is, is_end, is_plain, split};
use crate::admin_services::{AdminTable, fold, parts};
use crate::config::Services;

/// Tenants in a row that are skipped behind `services`. Carbon knows one; the bound keeps the work linear in the length
/// of the path, and what has more of them is taken for an admin service.
const MOST_TENANTS: usize = 8;

/// What `/services/NAME` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// No name: Carbon answers with a list of its services.
    Listing,
    /// An admin service; `exact` if it is spelled as Carbon spells it.
    Admin {
        /// Whether the spelling is the table's, or the pattern's (`*Admin*`).
        exact: bool,
    },
    /// A service that workers may be asked for.
    Allowed,
    /// Neither on a table nor on the operator's list.
    Unlisted,
}

/// How the services of one cluster are told apart.
#[derive(Debug)]
pub(super) struct ServiceRules {
    built_in: Arc<AdminTable>,
    own: AdminTable,
    /// `None`: all but admin services.
    allowed: Option<AHashSet<Box<[u8]>>>,
}

impl ServiceRules {
    pub(super) fn new(services: &Services, own_admin: &[String], built_in: Arc<AdminTable>) -> Self {
        let allowed = match services {
            Services::Only(names) => Some(names.iter().map(|name| name.as_bytes().into()).collect()),
            Services::AnyButAdmin => None,
        };
        ServiceRules { built_in, own: AdminTable::of(own_admin.iter().map(String::as_str)), allowed }
    }

    /// Judges what follows a `services` segment, tenants (`/t/{tenant}`) skipped. Every candidate on the way is looked
    /// at: in `/t/LogViewer`, `t` could be a service and `LogViewer` its operation, and the other way round.
    pub(super) fn judge(&self, mut tail: &[u8]) -> Judgement {
        for _ in 0..MOST_TENANTS {
            let Some((name, after)) = split(tail).filter(|_| !is_end(tail)) else { return Judgement::Listing };
            let judgement = self.judge_name(name);
            let tenant = if is(name, b"t") { split(after).filter(|(tenant, _)| !tenant.is_empty()) } else { None };
            match tenant {
                Some((_, rest)) if !matches!(judgement, Judgement::Admin { .. }) => tail = rest,
                _ => return judgement,
            }
        }
        Judgement::Admin { exact: false }
    }

    fn judge_name(&self, name: &[u8]) -> Judgement {
        let folded = fold(name);
        if let Some(spelled) = self.own.find(&folded).or_else(|| self.built_in.find(&folded)) {
            return Judgement::Admin { exact: parts(name).any(|part| part == spelled) };
        }
        match &self.allowed {
            Some(names) if names.contains(name) => return Judgement::Allowed,
            Some(names) if endpoint_owner(name).is_some_and(|owner| names.contains(owner)) => {
                return Judgement::Allowed;
            }
            _ => {}
        }
        if after_each(&folded, b"admin").next().is_some() {
            return Judgement::Admin { exact: name.windows(5).any(|window| window == b"Admin") };
        }
        if self.allowed.is_some() { Judgement::Unlisted } else { Judgement::Allowed }
    }

    /// Whether Axis2 could find an admin service in a segment that is not `services` but contains the word, or in the
    /// segment behind it.
    ///
    /// Axis2 searches the **whole address** for the last occurrence of `services`, skips one character and takes what
    /// follows up to the next `/` or `?` for the name of a service: `/x/services/UserAdmin`, `/myservices/UserAdmin`
    /// and `/services-UserAdmin` all name `UserAdmin`. Inside one segment only the tables count, since `*Admin*` would
    /// hit ordinary words.
    pub(super) fn hidden_admin(&self, segment: &[u8], tail: &[u8]) -> bool {
        if segment.len() < b"services".len() {
            return false; // folding never makes it longer
        }
        let folded;
        let segment = if is_plain(segment) {
            segment
        } else {
            folded = fold(segment);
            &folded
        };
        after_each(segment, b"services").any(|behind| match behind.split_first() {
            None => matches!(self.judge(tail), Judgement::Admin { .. }),
            Some((_, name)) => {
                let folded = fold(name);
                self.own.find(&folded).or_else(|| self.built_in.find(&folded)).is_some()
            }
        })
    }

    /// Whether Axis2, searching the whole address as in [`ServiceRules::hidden_admin`], could find an admin service in
    /// the query. Its search minds the case, so that every occurrence counts: a `SERVICES` behind it hides none. The one
    /// character that it skips can be the question mark.
    pub(super) fn admin_in_query(&self, path: &[u8], query: &[u8]) -> bool {
        let ends_in_services = after_each(path, b"services").next().is_some_and(<[u8]>::is_empty);
        let behind_path = Some(query).filter(|_| ends_in_services);
        let inside = after_each(query, b"services").map(|behind| behind.get(1..).unwrap_or_default());
        behind_path.into_iter().chain(inside).any(|behind| {
            let name = behind.split(|b| matches!(b, b'/' | b'?' | b'&')).next().unwrap_or_default();
            matches!(self.judge_name(name), Judgement::Admin { .. })
        })
    }
}

/// `NAME` of `NAME.NAME` + `Http|Https` + ``|`Soap11`|`Soap12` + `Endpoint`, exactly so.
fn endpoint_owner(segment: &[u8]) -> Option<&[u8]> {
    let rest = segment.strip_suffix(b"Endpoint")?;
    let rest = rest.strip_suffix(b"Soap11").or_else(|| rest.strip_suffix(b"Soap12")).unwrap_or(rest);
    let rest = rest.strip_suffix(b"Https").or_else(|| rest.strip_suffix(b"Http"))?;
    let (name, dotted) = rest.split_at_checked(rest.len() / 2)?;
    (dotted.strip_prefix(b".")? == name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(services: Services) -> ServiceRules {
        ServiceRules::new(&services, &["SecretTool".to_owned()], Arc::new(AdminTable::built_in()))
    }

    #[test]
    fn names_are_judged_by_table_then_list_then_pattern() {
        use Judgement::{Admin, Allowed, Listing, Unlisted};
        let only = rules(Services::Only(vec!["echo".into(), "MyAdminThing".into(), "LogViewer".into(), "a.b".into()]));
        let any = rules(Services::AnyButAdmin);
        for (tail, by_list, by_table) in [
            ("", Listing, Listing),
            ("/", Listing, Listing),
            ("/t/x", Listing, Listing), // a tenant's listing
            ("/t/x/", Listing, Listing),
            ("/t", Unlisted, Allowed), // a service called t
            ("/echo", Allowed, Allowed),
            ("/echo/op", Allowed, Allowed),
            ("/Echo", Unlisted, Allowed), // the list is exact
            ("/t/x/echo", Allowed, Allowed),
            ("/t/x/t/y/echo", Allowed, Allowed),
            ("/echo.echoHttpsSoap12Endpoint", Allowed, Allowed),
            ("/echo.echoHttpEndpoint/op", Allowed, Allowed),
            ("/a.b.a.bHttpSoap11Endpoint", Allowed, Allowed), // a dot in the name
            ("/echo.otherHttpsSoap12Endpoint", Unlisted, Allowed), // not its own endpoint
            ("/echo.echoLocalEndpoint", Unlisted, Allowed),   // no transport for clients
            ("/MyAdminThing", Allowed, Admin { exact: true }), // the list beats the pattern
            ("/myadminthing", Admin { exact: false }, Admin { exact: false }), // but only exactly
            ("/LogViewer", Admin { exact: true }, Admin { exact: true }), // the table beats the list
            ("/logviewer", Admin { exact: false }, Admin { exact: false }),
            ("/SecretTool", Admin { exact: true }, Admin { exact: true }), // the operator's own table
            ("/SECRETTOOL.x", Admin { exact: false }, Admin { exact: false }),
            ("/x.LogViewerHttpEndpoint", Admin { exact: true }, Admin { exact: true }), // any part counts
            ("/t/LogViewer", Listing, Listing),                                         // a tenant of this name
            ("/t/x/LogViewer", Admin { exact: true }, Admin { exact: true }),
            ("/T/x/LogViewer", Admin { exact: true }, Admin { exact: true }),
        ] {
            assert_eq!(only.judge(tail.as_bytes()), by_list, "list: {tail}");
            assert_eq!(any.judge(tail.as_bytes()), by_table, "table: {tail}");
        }
    }

    #[test]
    fn axis2_searches_for_the_word_everywhere() {
        let rules = rules(Services::AnyButAdmin);
        for (segment, tail, hidden) in [
            ("services", "/UserAdmin", true),
            ("myservices", "/UserAdmin", true),
            ("MyServices", "/t/x/LogViewer", true),
            ("services-UserAdmin", "", true),
            ("xservices.logviewer", "/op", true),
            ("xservices.UserAdmin.SERVICES", "", true), // a decoy behind it
            ("services-administration", "", false),     // inside a segment only the tables count
            ("services", "/echo", false),
            ("service", "/UserAdmin", false),
        ] {
            assert_eq!(rules.hidden_admin(segment.as_bytes(), tail.as_bytes()), hidden, "{segment}{tail}");
        }
        for (query, hidden) in [
            ("wsdl", false),
            ("x=/services/UserAdmin", true),
            ("x=services/LogViewer/op&y=1", true),
            ("back=/services/echo", false),
            ("services", false),
        ] {
            assert_eq!(rules.admin_in_query(b"/services/echo", query.as_bytes()), hidden, "{query}");
        }
        for (path, query, hidden) in [
            ("/services/echo", "x=services/UserAdmin/op&y=SERVICES/echo", true), // the last one is not what is found
            ("/services/echo", "x=SERVICES/UserAdmin", true),                    // not found by Axis2, and no loss
            ("/api/services", "UserAdmin/op", true),                             // the question mark is skipped
            ("/api/Services", "UserAdmin", true),
            ("/api/services", "wsdl", false),
            ("/api/servicesx", "UserAdmin", false),
        ] {
            assert_eq!(rules.admin_in_query(path.as_bytes(), query.as_bytes()), hidden, "{path}?{query}");
        }
    }
}
