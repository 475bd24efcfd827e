//! The cookie of our own that keeps a session on its member.

use http::HeaderValue;

use super::token::{TokenTable, TokenText};
use super::{Found, header};
use crate::config::{AffinityCookie, Secret, Secure};
use crate::ids::{ClusterName, NodeId, Role};

/// A pool's cookie: which members clients name with it, and what they are sent.
#[derive(Debug)]
pub struct CookieAffinity {
    name: String,
    tokens: TokenTable,
    /// By position; what is sent over clear text, and over TLS.
    set_cookie: Vec<Option<[HeaderValue; 2]>>,
    /// Whether it ends some time after it was sent.
    expires: bool,
}

impl CookieAffinity {
    /// For a pool with these members, whose positions are those in the iterator; `keys` as for [`TokenTable::new`].
    pub fn new<'m>(
        settings: &AffinityCookie,
        keys: &[Secret],
        cluster: &ClusterName,
        role: Role,
        members: impl IntoIterator<Item = &'m NodeId>,
    ) -> Self {
        let members: Vec<_> = members.into_iter().collect();
        let tokens = TokenTable::new(keys, cluster, role, members.iter().copied());
        let both = |token| Some([set_cookie(settings, token, false)?, set_cookie(settings, token, true)?]);
        let set_cookie = (0..members.len()).map(|position| tokens.token(position).and_then(both)).collect();
        CookieAffinity { name: settings.name.clone(), tokens, set_cookie, expires: settings.lifetime.is_some() }
    }

    /// What the values of all `Cookie` headers of a request tell.
    pub fn find<'h>(&self, cookies: impl IntoIterator<Item = &'h [u8]>) -> Found {
        self.tokens.find(header::values(cookies, &self.name))
    }

    /// The `Set-Cookie` for an answer of the member at `position` to a request that told `found`. `None` if the client
    /// needs none: it has this one, and it does not expire. One that expires is sent with each answer, so that a session
    /// in use does not move. `tls`: the client came over TLS.
    pub fn set_cookie(&self, found: Found, position: usize, tls: bool) -> Option<&HeaderValue> {
        let has_it = !self.expires && found == Found::Known { position, current: true };
        let values = self.set_cookie.get(position).filter(|_| !has_it)?.as_ref()?;
        values.get(usize::from(tls))
    }
}

/// `None` if the name or path of the settings cannot stand in a header.
fn set_cookie(settings: &AffinityCookie, token: &TokenText, tls: bool) -> Option<HeaderValue> {
    let token = std::str::from_utf8(token).ok()?;
    let mut value = format!("{}={token}; Path={}", settings.name, settings.path);
    if let Some(lifetime) = settings.lifetime {
        // Zero would delete it.
        value.push_str(&format!("; Max-Age={}", lifetime.as_secs().max(1)));
    }
    // No script has a use for it.
    value.push_str("; HttpOnly");
    if let Some(same_site) = settings.same_site {
        value.push_str("; SameSite=");
        value.push_str(same_site.in_header());
    }
    if settings.secure == Secure::Always || settings.secure == Secure::Auto && tls {
        value.push_str("; Secure");
    }
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::SameSite;
    use crate::ids::Name;

    fn affinity(settings: &AffinityCookie, keys: &[&str], members: &[&str]) -> CookieAffinity {
        let keys: Vec<_> = keys.iter().map(|key| Secret::new(key.as_bytes())).collect();
        let members: Vec<_> = members.iter().map(|id| Name::parse(id).unwrap()).collect();
        CookieAffinity::new(settings, &keys, &Name::parse("is").unwrap(), Role::Manager, &members)
    }

    fn cookie(affinity: &CookieAffinity, position: usize) -> String {
        let value = affinity.set_cookie(Found::Absent, position, false).unwrap();
        value.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_client_comes_back_to_its_member_and_needs_no_second_cookie() {
        let affinity = affinity(&AffinityCookie::of(Role::Manager), &["k"], &["a", "b"]);
        let sent = format!("x=1; {}", cookie(&affinity, 1));
        let found = affinity.find([b"y=2".as_slice(), sent.as_bytes()]);
        assert_eq!(found, Found::Known { position: 1, current: true });
        assert_eq!(affinity.set_cookie(found, 1, true), None);
        assert!(affinity.set_cookie(found, 0, true).is_some(), "it was moved");
        assert!(affinity.set_cookie(Found::Gone, 1, true).is_some());
        assert!(affinity.set_cookie(Found::Known { position: 1, current: false }, 1, true).is_some(), "an old key");
        assert_eq!(affinity.set_cookie(Found::Absent, 2, true), None, "no such member");
    }

    #[test]
    fn a_cookie_that_expires_is_sent_with_each_answer() {
        let settings = AffinityCookie { lifetime: Some(Duration::from_secs(900)), ..AffinityCookie::of(Role::Manager) };
        let affinity = affinity(&settings, &["k"], &["a"]);
        assert!(affinity.set_cookie(Found::Known { position: 0, current: true }, 0, false).is_some());
    }

    #[test]
    fn attributes_are_as_configured() {
        let default = || AffinityCookie::of(Role::Manager);
        let [plain, secure] =
            ["CARBON_ELB=T; Path=/; HttpOnly; SameSite=Lax", "CARBON_ELB=T; Path=/; HttpOnly; SameSite=Lax; Secure"];
        for (settings, expected) in [
            (default(), [plain, secure]),
            (AffinityCookie { secure: Secure::Always, ..default() }, [secure, secure]),
            (AffinityCookie { secure: Secure::Never, ..default() }, [plain, plain]),
            (
                AffinityCookie {
                    name: "S".to_owned(),
                    path: "/app".to_owned(),
                    secure: Secure::Never,
                    same_site: Some(SameSite::Strict),
                    lifetime: Some(Duration::from_secs(3600)),
                },
                ["S=T; Path=/app; Max-Age=3600; HttpOnly; SameSite=Strict"; 2],
            ),
            (
                AffinityCookie { same_site: None, lifetime: Some(Duration::from_millis(10)), ..default() },
                ["CARBON_ELB=T; Path=/; Max-Age=1; HttpOnly", "CARBON_ELB=T; Path=/; Max-Age=1; HttpOnly; Secure"],
            ),
        ] {
            let affinity = affinity(&settings, &["k"], &["a"]);
            let token = std::str::from_utf8(affinity.tokens.token(0).unwrap()).unwrap();
            let sent = [false, true].map(|tls| affinity.set_cookie(Found::Absent, 0, tls).unwrap().to_str().unwrap());
            assert_eq!(sent.map(|value| value.replace(token, "T")), expected);
        }
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_not_sent() {
        let settings = AffinityCookie { path: "/\r\nX: 1".to_owned(), ..AffinityCookie::of(Role::Manager) };
        assert_eq!(affinity(&settings, &["k"], &["a"]).set_cookie(Found::Absent, 0, false), None);
    }
}
