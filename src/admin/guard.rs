//! Who may use the API, and from which web pages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use log::{error, warn};
use parking_lot::Mutex;
use pingora::http::RequestHeader;
use pingora::tls::hash::hmac_sha256;

use super::api::Request;
use super::problem::{Kind, Problem};
use crate::config::{Permission, Scope, Token};
use crate::ids::{ClusterName, Role};
use crate::observe::metrics::Metrics;

/// How often, at most, refusals are logged.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// What a browser says about where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets those in who have a token.
pub(super) struct Guard {
    known: ArcSwap<Known>,
    metrics: Arc<Metrics>,
    quiet: Quiet,
}

type Digest = [u8; 32];

const OUT_OF_SCOPE: Kind = Kind("out-of-scope", "The token is not good for this");

/// The tokens of a configuration.
struct Known {
    tokens: Vec<Token>,
    /// Each with the position of its token.
    digests: Vec<(usize, Digest)>,
}

/// Somebody with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The position of the token in the configuration, from 1: what the log says in place of the token.
    pub(super) token: usize,
    pub(super) scope: Scope,
}

/// Why a request may not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Nobody can have a token.
    NoTokens,
    /// It has none.
    Missing,
    /// It has something else than one bearer token.
    Malformed,
    /// It has a token that nobody was given.
    Wrong,
    /// A browser sent it for a web page of somebody else.
    CrossSite,
    /// Its token is not good for it.
    OutOfScope,
}

impl Known {
    fn new(tokens: &[Token]) -> Self {
        let tokens = tokens.to_vec();
        let digests: Vec<_> =
            (0..).zip(&tokens).filter_map(|(i, token)| Some((i, digest(token.secret.expose())?))).collect();
        if digests.len() < tokens.len() {
            error!("admin: {} tokens cannot be used for lack of memory", tokens.len() - digests.len());
        }
        Known { tokens, digests }
    }

    /// Digests are compared, so that the time tells nothing of a token's length, and all of each of them, so that it does
    /// not tell how much of one was right.
    fn find(&self, offered: &[u8]) -> Option<Caller> {
        let offered = digest(offered)?;
        let differences = |known: &Digest| known.iter().zip(&offered).fold(0, |bits, (a, b)| bits | (a ^ b));
        let found = self.digests.iter().fold(None, |found, (position, known)| {
            if std::hint::black_box(differences(known)) == 0 { Some(*position) } else { found }
        })?;
        Some(Caller { token: found + 1, scope: self.tokens.get(found)?.scope.clone() })
    }
}

impl Guard {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Guard { known: ArcSwap::from_pointee(Known::new(&[])), metrics, quiet: Quiet::default() }
    }

    /// Whose token the headers have, if it is one of these; they may have changed since the last request.
    pub(super) fn check_token(&self, tokens: &[Token], headers: &HeaderMap) -> Result<Caller, Refused> {
        if self.known.load().tokens != tokens {
            self.known.store(Arc::new(Known::new(tokens)));
        }
        let known = self.known.load();
        if known.digests.is_empty() {
            return Err(Refused::NoTokens);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(Refused::Missing)?;
        let token = bearer(value.as_bytes()).filter(|_| values.next().is_none()).ok_or(Refused::Malformed)?;
        known.find(token).ok_or(Refused::Wrong)
    }

    /// Whether a token is good for something, wherever that is.
    pub(super) fn check_permission(
        &self,
        caller: &Caller,
        needs: Permission,
        client: Option<SocketAddr>,
        now: Instant,
    ) -> Result<(), Problem> {
        if caller.scope.permits(needs) {
            return Ok(());
        }
        let detail = format!("the token is not good for {}: its scope lacks may: [{}]", needs.as_str(), needs.as_str());
        Err(self.out_of_scope(caller, detail, [format!("may: [{}]", needs.as_str())], client, now))
    }

    /// Whether a token is good for all pools of these roles of a cluster.
    pub(super) fn check_pools(
        &self,
        request: &Request<'_>,
        cluster: &ClusterName,
        roles: &[Role],
    ) -> Result<(), Problem> {
        let caller = request.caller;
        let missing: Vec<String> = roles
            .iter()
            .filter(|role| !caller.scope.covers(cluster, **role))
            .map(|role| format!("{cluster}/{role}"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let detail = format!("the token is not good for {}: its scope lacks pools: [{0}]", missing.join(", "));
        let needed = missing.iter().map(|pool| format!("pools: [{pool}]")).collect::<Vec<_>>();
        Err(self.out_of_scope(caller, detail, needed, request.client, request.now))
    }

    fn out_of_scope(
        &self,
        caller: &Caller,
        detail: String,
        needed: impl IntoIterator<Item = String>,
        client: Option<SocketAddr>,
        now: Instant,
    ) -> Problem {
        self.count(Refused::OutOfScope, Some(caller), client, now);
        Problem::new(StatusCode::FORBIDDEN, OUT_OF_SCOPE, detail).allowed(needed)
    }

    /// Counts and logs a refusal, and puts it in words.
    pub(super) fn refuse(&self, refused: Refused, client: Option<SocketAddr>, now: Instant) -> Problem {
        self.count(refused, None, client, now);
        refused.into()
    }

    fn count(&self, refused: Refused, caller: Option<&Caller>, client: Option<SocketAddr>, now: Instant) {
        self.metrics.admin_refused(refused.as_str());
        if let Some(left_out) = self.quiet.speak(now) {
            let client = client.map_or_else(|| "a client".to_owned(), |client| client.to_string());
            let token = caller.map(|caller| format!(" with token {}", caller.token)).unwrap_or_default();
            warn!("admin: refused a request of {client}{token}: {} (and {left_out} before it)", refused.as_str());
        }
    }
}

impl Refused {
    /// The word used in logs and metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Refused::NoTokens => "no_tokens",
            Refused::Missing => "missing",
            Refused::Malformed => "malformed",
            Refused::Wrong => "wrong",
            Refused::CrossSite => "cross_site",
            Refused::OutOfScope => "out_of_scope",
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        const NO_TOKENS: Kind = Kind("no-tokens", "The API is switched off");
        const UNAUTHORIZED: Kind = Kind("unauthorized", "A token is needed");
        const CROSS_SITE: Kind = Kind("cross-site", "The request comes from another site");
        let unauthorized = |detail: &str| {
            Problem::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED, detail)
                .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        };
        match refused {
            Refused::NoTokens => Problem::new(
                StatusCode::FORBIDDEN,
                NO_TOKENS,
                "no tokens are configured: set admin.tokens or admin.token_file in the configuration file",
            ),
            Refused::Missing => unauthorized("send the header Authorization: Bearer TOKEN"),
            Refused::Malformed => unauthorized("the header Authorization is not one Bearer TOKEN"),
            Refused::Wrong => unauthorized("the token is none of those in admin.tokens or admin.token_file"),
            Refused::CrossSite => Problem::new(
                StatusCode::FORBIDDEN,
                CROSS_SITE,
                "Origin or Sec-Fetch-Site tell that a web page of another site sends this",
            ),
            Refused::OutOfScope => Problem::new(StatusCode::FORBIDDEN, OUT_OF_SCOPE, "the token is not good for this"),
        }
    }
}

/// What a token is compared by. `None` if the library fails, which it does only for lack of memory.
fn digest(token: &[u8]) -> Option<Digest> {
    hmac_sha256(b"carbon-elb admin token 1", token).ok()?.first_chunk().copied()
}

/// The token of a value `Bearer TOKEN`; the scheme has no case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("Bearer".len())?;
    let token = rest.trim_ascii();
    let separated = rest.first() == Some(&b' ') && !token.is_empty() && !token.contains(&b' ');
    (scheme.eq_ignore_ascii_case(b"Bearer") && separated).then_some(token)
}

/// Keeps out what a browser sends for a web page of somebody else: [`Refused::CrossSite`]. Tools other than browsers do
/// not say where they come from.
pub(super) fn check_origin(request: &RequestHeader) -> Result<(), Refused> {
    let headers = &request.headers;
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let host = host.or_else(|| request.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let is_ours = |origin: &HeaderValue| {
        // A proxy in front may speak TLS.
        let origin = origin.as_bytes();
        let name = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        name.zip(host).is_some_and(|(name, host)| name.eq_ignore_ascii_case(host))
    };
    let is_near = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    let good = headers.get_all(ORIGIN).iter().all(is_ours) && headers.get_all(SEC_FETCH_SITE).iter().all(is_near);
    if good { Ok(()) } else { Err(Refused::CrossSite) }
}

/// Keeps a flood of refusals from becoming a flood of lines.
#[derive(Debug, Default)]
struct Quiet(Mutex<(Option<Instant>, u64)>);

impl Quiet {
    /// Whether a line may be written now: then how many were left out before it.
    fn speak(&self, now: Instant) -> Option<u64> {
        let (last, left_out) = &mut *self.0.lock();
        if last.is_some_and(|last| now.saturating_duration_since(last) < LOG_EVERY) {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    fn token(text: &str) -> Token {
        Token::unlimited(Secret::new(text.as_bytes()))
    }

    #[test]
    fn only_a_token_that_was_given_out_lets_in() {
        let tokens = ["first-token-of-all", "second-token-of-all"].map(token);
        let guard = Guard::new(Arc::new(Metrics::new().unwrap()));
        for (values, expected) in [
            (&["Bearer first-token-of-all"] as &[_], Ok(1)),
            (&["bearer   second-token-of-all "], Ok(2)),
            (&[], Err(Refused::Missing)),
            (&["Bearer first-token-of-al"], Err(Refused::Wrong)),
            (&["Bearer first-token-of-all2"], Err(Refused::Wrong)),
            (&["Bearer First-token-of-all"], Err(Refused::Wrong)),
            (&["Bearer "], Err(Refused::Malformed)),
            (&["Bearer"], Err(Refused::Malformed)),
            (&["Bea"], Err(Refused::Malformed)),
            (&["Bearerfirst-token-of-all"], Err(Refused::Malformed)),
            (&["Bearer first-token-of-all x"], Err(Refused::Malformed)),
            (&["Basic first-token-of-all"], Err(Refused::Malformed)),
            (&["first-token-of-all"], Err(Refused::Malformed)),
            (&["Bearer first-token-of-all", "Bearer first-token-of-all"], Err(Refused::Malformed)),
        ] {
            let pairs: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            assert_eq!(guard.check_token(&tokens, &headers(&pairs)).map(|caller| caller.token), expected, "{values:?}");
        }
        let bearer = |text: &str| headers(&[("authorization", &format!("Bearer {text}"))]);
        assert_eq!(
            guard.check_token(&[], &bearer("first-token-of-all")),
            Err(Refused::NoTokens),
            "they were taken away"
        );
        let other = [token("third-token-of-all")];
        assert_eq!(guard.check_token(&other, &bearer("first-token-of-all")), Err(Refused::Wrong));
        assert_eq!(guard.check_token(&other, &bearer("third-token-of-all")).unwrap().token, 1);
    }

    #[test]
    fn web_pages_of_others_are_kept_out() {
        for (pairs, good) in [
            (&[("host", "elb:9601")] as &[_], true),
            (&[("host", "elb:9601"), ("origin", "http://elb:9601"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "elb:9601"), ("origin", "https://ELB:9601")], true),
            (&[("host", "elb:9601"), ("sec-fetch-site", "none")], true),
            (&[("host", "elb:9601"), ("origin", "http://elb:9602")], false),
            (&[("host", "elb:9601"), ("origin", "http://evil.test")], false),
            (&[("host", "elb:9601"), ("origin", "http://elb:9601.evil.test")], false),
            (&[("host", "elb:9601"), ("origin", "null")], false),
            (&[("host", "elb:9601"), ("origin", "http://elb:9601"), ("origin", "http://evil.test")], false),
            (&[("host", "elb:9601"), ("sec-fetch-site", "same-site")], false),
            (&[("host", "elb:9601"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "http://elb:9601")], false),
        ] {
            let mut request = RequestHeader::build("PUT", b"/api/v1/members", None).unwrap();
            for (name, value) in pairs.iter().copied() {
                request.append_header(name, value).unwrap();
            }
            assert_eq!(check_origin(&request).is_ok(), good, "{pairs:?}");
        }
    }

    #[test]
    fn a_flood_of_refusals_is_a_line_a_second() {
        let (quiet, begin) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.speak(begin), Some(0));
        assert_eq!((quiet.speak(begin), quiet.speak(begin + LOG_EVERY / 2)), (None, None));
        assert_eq!(quiet.speak(begin + LOG_EVERY), Some(2));
        assert_eq!(quiet.speak(begin + LOG_EVERY * 2), Some(0));
    }
}
