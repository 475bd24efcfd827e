//! What answers of nodes lose and get before clients see them, as the listener's `response` says.

use std::time::Duration;

use http::header::{
    HeaderName, HeaderValue, REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::config::{CookieSettings, ResponseSettings};
use crate::cookies;

/// A listener's settings, with the values made once.
#[derive(Debug, Default)]
pub(super) struct Harden {
    hide: Vec<HeaderName>,
    /// Added unless the node sent its own.
    add: Vec<(HeaderName, HeaderValue)>,
    /// Added for clients that came over TLS.
    hsts: Option<HeaderValue>,
    cookies: CookieSettings,
}

impl Harden {
    pub(super) fn new(settings: &ResponseSettings) -> Self {
        let fixed = HeaderValue::from_static;
        let add = [
            (X_CONTENT_TYPE_OPTIONS, settings.nosniff.then(|| fixed("nosniff"))),
            (X_FRAME_OPTIONS, settings.frame_options.map(|word| fixed(word.in_header()))),
            (REFERRER_POLICY, settings.referrer_policy.map(|word| fixed(word.in_header()))),
        ];
        let max_age = |age: Duration| HeaderValue::from_str(&format!("max-age={}", age.as_secs())).ok();
        Harden {
            // The configuration holds names of headers only.
            hide: settings.hide.iter().filter_map(|name| name.parse().ok()).collect(),
            add: add.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            hsts: settings.hsts.and_then(max_age),
            cookies: settings.cookies,
        }
    }

    /// Hides, adds, and hardens the cookies of managers. `secure`: the client came over TLS.
    pub(super) fn apply(&self, response: &mut ResponseHeader, secure: bool, manager: bool) -> Result<()> {
        for name in &self.hide {
            response.remove_header(name);
        }
        self.add(response, secure)?;
        if secure && manager && (self.cookies.secure || self.cookies.same_site.is_some()) {
            self.harden_cookies(response)?;
        }
        Ok(())
    }

    /// Adds what answers of our own get too.
    pub(super) fn add(&self, response: &mut ResponseHeader, secure: bool) -> Result<()> {
        for (name, value) in &self.add {
            if !response.headers.contains_key(name) {
                response.insert_header(name.clone(), value.clone())?;
            }
        }
        if let Some(hsts) = self.hsts.as_ref().filter(|_| secure) {
            // The edge knows for how long there will be TLS; a node does not.
            response.insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())?;
        }
        Ok(())
    }

    fn harden_cookies(&self, response: &mut ResponseHeader) -> Result<()> {
        let hardened: Vec<_> = response
            .headers
            .get_all(SET_COOKIE)
            .iter()
            .map(|value| cookies::harden(value.as_bytes(), self.cookies).unwrap_or_else(|| value.as_bytes().to_vec()))
            .collect();
        response.remove_header(&SET_COOKIE);
        hardened.into_iter().try_for_each(|value| response.append_header(SET_COOKIE, value).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FrameOptions, ReferrerPolicy, SameSite};

    fn harden() -> Harden {
        let settings = ResponseSettings {
            hsts: Some(Duration::from_secs(3600)),
            nosniff: true,
            frame_options: Some(FrameOptions::SameOrigin),
            referrer_policy: Some(ReferrerPolicy::SameOrigin),
            hide: vec!["server".into(), "x-powered-by".into()],
            cookies: CookieSettings { secure: true, same_site: Some(SameSite::Strict) },
        };
        Harden::new(&settings)
    }

    fn apply(harden: &Harden, fields: &[(&'static str, &'static str)], secure: bool, manager: bool) -> Vec<String> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        fields.iter().for_each(|(name, value)| _ = response.append_header(*name, *value).unwrap());
        harden.apply(&mut response, secure, manager).unwrap();
        let mut left: Vec<_> =
            response.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn answers_are_hardened_as_configured() {
        let node = [
            ("Server", "WSO2 Carbon Server"),
            ("X-Powered-By", "x"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2; Secure"),
        ];
        let everywhere =
            ["referrer-policy: same-origin", "x-content-type-options: nosniff", "x-frame-options: SAMEORIGIN"];
        let (frame, rest) = (everywhere[2], &everywhere[..1]);
        let plain = apply(&harden(), &node, false, true);
        assert_eq!(plain, [rest, &["set-cookie: a=1", "set-cookie: b=2; Secure"], &everywhere[1..]].concat());
        let secure = apply(&harden(), &node, true, true);
        let cookies = ["set-cookie: a=1; Secure; SameSite=Strict", "set-cookie: b=2; Secure; SameSite=Strict"];
        assert_eq!(secure, [rest, &cookies, &["strict-transport-security: max-age=3600"], &everywhere[1..]].concat());
        let worker = apply(&harden(), &[("Set-Cookie", "a=1")], true, false);
        assert!(worker.contains(&"set-cookie: a=1".to_owned()), "workers' cookies are their services' business");
        let own = apply(&harden(), &[("X-Frame-Options", "DENY")], false, true);
        assert!(own.contains(&"x-frame-options: DENY".to_owned()) && !own.contains(&frame.to_owned()));
        assert_eq!(apply(&Harden::default(), &[("Server", "x")], true, true), ["server: x"]);
    }
}
