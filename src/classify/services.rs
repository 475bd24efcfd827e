//! What lies under `/services`: the operator's own services, and Carbon's admin services.

use std::sync::Arc;

use ahash::AHashSet;

use super::Reason;
use super::segments::{after_each, is, is_end, is_plain, split};
use crate::admin_services::{AdminTable, fold, lower, parts};
use crate::config::Services;

/// Tenants in a row that are skipped behind `services`. Carbon knows one; the bound keeps the work linear in the length
/// of the path, and what has more of them is taken for an admin service.
const MOST_TENANTS: usize = 8;

/// Occurrences of `services` in a segment or query that are looked at. What follows each is read to its end, so that more
/// of them would cost a client little and the balancer the square of it; they are taken for an admin service, too.
const MOST_OCCURRENCES: usize = 16;

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
                // A second reader cuts `/services/t/x%3Fy/echo` to the list of a tenant's services.
                Some((tenant, _)) if tenant.iter().any(|b| matches!(b, b'?' | b'#')) => {
                    return Judgement::Admin { exact: false };
                }
                Some((_, rest)) if !matches!(judgement, Judgement::Admin { .. }) => tail = rest,
                _ => return judgement,
            }
        }
        Judgement::Admin { exact: false }
    }

    fn judge_name(&self, name: &[u8]) -> Judgement {
        let folded = fold(name);
        if name.iter().any(|b| matches!(b, b'?' | b'#')) {
            // A second reader cuts the name there, and `/services/%3Fx` to the list of all services. No service has such a name.
            return Judgement::Admin { exact: false };
        }
        if let Some(spelled) = self.find_admin(&folded) {
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
        // Services of Synapse's and Carbon's own, which hand on whatever they get: `__SynapseService`.
        if name.starts_with(b"__") {
            return Judgement::Admin { exact: false };
        }
        if self.allowed.is_some() { Judgement::Unlisted } else { Judgement::Allowed }
    }

    /// The name as a table has it, if a part of `folded` is on one.
    fn find_admin(&self, folded: &[u8]) -> Option<&[u8]> {
        self.own.find(folded).or_else(|| self.built_in.find(folded))
    }

    /// Whether Axis2 could find an admin service in a segment that contains `services`, or in the segment behind it.
    ///
    /// Axis2 searches the **whole address** for `services`: old versions for the last occurrence, WSO2's for the first. It
    /// skips one character and takes what follows up to the next `/` or `?` for the name of a service:
    /// `/x/services/UserAdmin`, `/myservices/UserAdmin` and `/services-UserAdmin` all name `UserAdmin`. Synapse's
    /// handlers of GET skip none. Inside one segment only the tables count, since `*Admin*` would hit ordinary words.
    pub(super) fn hidden_admin(&self, segment: &[u8], tail: &[u8]) -> bool {
        if segment.len() < b"services".len() {
            return false; // folding never makes it longer
        }
        if is_plain(segment) {
            return self.hidden_in(segment, tail);
        }
        // Who reads the raw address does not cut it at an encoded `?`; who decodes it first may.
        self.hidden_in(&lower(segment), tail) || self.hidden_in(&fold(segment), tail)
    }

    fn hidden_in(&self, segment: &[u8], tail: &[u8]) -> bool {
        let names_admin = |behind: &[u8]| match skip_character(behind) {
            None => matches!(self.judge(tail), Judgement::Admin { .. }),
            Some(skipped) => {
                // `services-t/TENANT/NAME`
                let tenant = if is(skipped, b"t") { split(tail) } else { None };
                [behind, skipped].iter().any(|name| self.find_admin(&fold(name)).is_some())
                    || tenant.is_some_and(|(_, rest)| matches!(self.judge(rest), Judgement::Admin { .. }))
            }
        };
        let mut occurrences = after_each(segment, b"services").enumerate();
        occurrences.any(|(count, behind)| count >= MOST_OCCURRENCES || names_admin(behind))
    }

    /// Refuses a query in which Axis2, searching the whole address as in [`ServiceRules::hidden_admin`], would find a
    /// service. Every occurrence counts: which one is taken depends on the version, and a `SERVICES` behind it hides none.
    ///
    /// Only admin services count, unless `all` do. For others the search is exact (`/services/`, as WSO2's Axis2 has it),
    /// since this is not about management, and query strings with the word are common.
    pub(super) fn check_query(&self, path: &[u8], query: &[u8], all: bool) -> Result<(), Reason> {
        // The one character that is skipped can be the question mark. Some readers drop a slash at the end of a path.
        let behind_path = after_each(path, b"services").next().filter(|behind| is_end(behind)).map(|_| query);
        if behind_path.is_some_and(|query| self.admin_behind(query)) {
            return Err(Reason::AdminServiceInQuery);
        }
        for (count, behind) in after_each(query, b"services").enumerate() {
            if count >= MOST_OCCURRENCES {
                return Err(Reason::AdminServiceInQuery);
            }
            let admin = match skip_character(behind) {
                // Most often the name of a parameter, so that only the tables count.
                Some(name) if behind.starts_with(b"&") => self.find_admin(&fold(first_name(name))).is_some(),
                Some(name) => self.admin_behind(name),
                None => false,
            };
            if admin {
                return Err(Reason::AdminServiceInQuery);
            }
            let before = query.get(..query.len() - behind.len()).unwrap_or_default();
            let end = behind.iter().position(|b| matches!(b, b'?' | b'&')).unwrap_or(behind.len());
            let unlisted = self.judge(behind.get(..end).unwrap_or_default()) == Judgement::Unlisted;
            if unlisted && all && before.ends_with(b"/services") && behind.starts_with(b"/") {
                return Err(Reason::ServiceInQueryNotListed);
            }
        }
        Ok(())
    }

    /// Whether the name at the begin of `behind` is an admin service, tenants (`t/{tenant}/`) skipped as in
    /// [`ServiceRules::judge`].
    fn admin_behind(&self, mut behind: &[u8]) -> bool {
        for _ in 0..MOST_TENANTS {
            let name = first_name(behind);
            if matches!(self.judge_name(name), Judgement::Admin { .. }) {
                return true;
            }
            let tenant = behind.get(name.len()..).and_then(split).filter(|_| is(name, b"t"));
            let Some(rest) = tenant.and_then(|(_, rest)| rest.get(1..)) else { return false };
            behind = rest;
        }
        true
    }
}

/// What follows the first character, which may take several bytes; `None` if there is none.
fn skip_character(text: &[u8]) -> Option<&[u8]> {
    let (_, rest) = text.split_first()?;
    let end = rest.iter().position(|b| !matches!(b, 0x80..=0xbf)).unwrap_or(rest.len());
    rest.get(end..)
}

/// What is in front of the first `/`, `?` or `&`.
fn first_name(query: &[u8]) -> &[u8] {
    query.split(|b| matches!(b, b'/' | b'?' | b'&')).next().unwrap_or_default()
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
            ("/__SynapseService", Admin { exact: false }, Admin { exact: false }),      // hands on what it gets
            ("/__SynapseService.x/op", Admin { exact: false }, Admin { exact: false }),
            ("/_private", Unlisted, Allowed),
            ("/t/LogViewer", Listing, Listing), // a tenant of this name
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
            ("servicesUserAdmin", "", true), // nothing is skipped by some
            ("servicesuseradmin.x", "", true),
            ("xservices.logviewer", "/op", true),
            ("xservices.UserAdmin.SERVICES", "", true), // a decoy behind it
            ("services-t", "/x/UserAdmin", true),
            ("services／t", "/x/UserAdmin", true), // one character, three bytes
            ("#services", "/LogViewer", true),     // no end for who does not decode
            ("a?b-services", "/t/x/LogViewer", true),
            ("services?UserAdmin", "", true), // the question mark is skipped
            ("services?", "/UserAdmin", true),
            ("#services", "/echo", false),
            ("services-t", "/UserAdmin", false),    // a tenant of this name
            ("services-administration", "", false), // inside a segment only the tables count
            ("servicesAdmin", "", false),
            ("services", "/echo", false),
            ("service", "/UserAdmin", false),
        ] {
            assert_eq!(rules.hidden_admin(segment.as_bytes(), tail.as_bytes()), hidden, "{segment}{tail}");
        }
    }

    #[test]
    fn many_occurrences_cost_no_more_than_a_few() {
        let rules = rules(Services::AnyButAdmin);
        for (count, refused) in [(MOST_OCCURRENCES, false), (MOST_OCCURRENCES + 1, true), (100_000, true)] {
            let text = "services".repeat(count);
            assert_eq!(rules.hidden_admin(text.as_bytes(), b""), refused, "{count}");
            assert_eq!(rules.check_query(b"/x", text.as_bytes(), true).is_err(), refused, "{count}");
        }
    }

    #[test]
    fn a_query_can_name_a_service() {
        let admin = Err(Reason::AdminServiceInQuery);
        let unlisted = Err(Reason::ServiceInQueryNotListed);
        let only = rules(Services::Only(vec!["echo".into()]));
        let any = rules(Services::AnyButAdmin);
        for (path, query, by_list, by_table) in [
            ("/services/echo", "wsdl", Ok(()), Ok(())),
            ("/services/echo", "services", Ok(()), Ok(())),
            ("/services/echo", "x=/services/UserAdmin", admin, admin),
            ("/services/echo", "x=services/LogViewer/op&y=1", admin, admin),
            ("/services/echo", "x=/services/t/wso2.com/LogViewer", admin, admin), // behind a tenant
            ("/services/echo", "x=/services/__SynapseService", admin, admin),
            ("/services/echo", "x=services/UserAdmin/op&y=SERVICES/echo", admin, admin), // the last one is not what is found
            ("/services/echo", "x=/services/echo&y=/services/UserAdmin", admin, admin),  // nor the first
            ("/services/echo", "x=SERVICES/UserAdmin", admin, admin), // not found by Axis2, and no loss
            ("/api/services", "UserAdmin/op", admin, admin),          // the question mark is skipped
            ("/api/Services", "UserAdmin", admin, admin),
            ("/api/services", "t/wso2.com/UserAdmin", admin, admin),
            ("/api/services", "t/wso2.com", Ok(()), Ok(())),
            ("/pizza", "x=services?UserAdmin", admin, admin), // whichever character is skipped
            ("/pizza", "x=services?t/wso2.com/UserAdmin", admin, admin),
            ("/pizza", "x=services&UserAdmin/op", admin, admin),
            ("/pizza", "x=services&isAdmin=true", Ok(()), Ok(())), // a parameter
            ("/api/services", "wsdl", Ok(()), Ok(())),
            ("/api/services", "limit=10", Ok(()), Ok(())), // ordinary words are no names of services
            ("/api/servicesx", "UserAdmin", Ok(()), Ok(())),
            ("/services/echo", "back=/services/echo", Ok(()), Ok(())),
            ("/services/echo", "back=/services/echo/op&x=1", Ok(()), Ok(())),
            ("/services/echo", "back=/services", Ok(()), Ok(())), // no name
            ("/pizza", "x=/services/Secret", unlisted, Ok(())),   // the list holds for the query, too
            ("/pizza", "x=http://h/services/Secret&y", unlisted, Ok(())),
            ("/pizza", "x=/services/t/wso2.com/Secret", unlisted, Ok(())),
            ("/pizza", "x=/SERVICES/Secret", Ok(()), Ok(())), // exactly
            ("/pizza", "x=/myservices/Secret", Ok(()), Ok(())),
        ] {
            let (path, query) = (path.as_bytes(), query.as_bytes());
            assert_eq!(only.check_query(path, query, true), by_list, "list: {}", query.escape_ascii());
            assert_eq!(any.check_query(path, query, true), by_table, "table: {}", query.escape_ascii());
            let admin_only = if by_list == unlisted { Ok(()) } else { by_list };
            assert_eq!(only.check_query(path, query, false), admin_only, "admin only: {}", query.escape_ascii());
        }
    }
}
