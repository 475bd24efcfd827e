//! Which requests may be SOAP, as Axis2 and Synapse see it.
//!
//! Axis2 asks several dispatchers in turn for the service that a message is for, and the path is only the first of them:
//!
//! 1. the URI: a deployed service behind `services/`. If there is one, it is final;
//! 2. the WS-Addressing header `To` **in the message**, and `RelatesTo` for answers. The addressing module is engaged on
//!    every Carbon server;
//! 3. the namespace of the first element **in the message's body**, if it looks like the URI of a service. This works for
//!    any XML, with an envelope or without;
//! 4. Synapse's main sequence and APIs (pass-through ports), or the dispatcher for tenants.
//!
//! So a message to a path that names no deployed service can say in itself that it is for `UserAdmin`. Bodies are never
//! parsed here. Instead, what may be SOAP goes to a worker only where the path says what it is for: a service under
//! `/services` that may be called, or a path that the operator listed (on servlet ports also one of the product's web
//! applications, which never give their requests to Axis2). It must say so in plain spelling, as Axis2 and Synapse compare
//! the raw URI: without needless escapes, and without session id.
//!
//! # What may be SOAP
//!
//! The builders that Axis2 has without any configuration for `text/xml`, `application/soap+xml`, `application/xop+xml`,
//! `multipart/related` and `application/xml` read SOAP or XML; its names for Fast Infoset, Hessian and Badgerfish (XML as
//! JSON, also as `text/javascript`) do so too. On pass-through ports every other type is read as XML without an envelope,
//! or not read at all, unless the **whole** header, parameters included, contains `text/xml` or `application/soap+xml`; so
//! a type counts if `xml` is anywhere in it. `action=` in the type is SOAP 1.2 for what `SOAPAction` is in 1.1. Of two
//! types Synapse takes the first and another reader may take the last. A body without a type gets the default type of the
//! server, which is configurable. What is no media type has no builder, and readers differ about it.
//!
//! # What remains
//!
//! * A service on the list that is **not deployed** on the node that is asked, or is stopped: step 1 finds nothing, and
//!   the message decides. The same goes for the service of a tenant, which is looked for in step 4, after the message had
//!   its say. With `services: any-but-admin` a client can name a service that never existed; then this rule protects
//!   nothing below `/services`. Prefer a list.
//! * An API that the operator listed: Synapse honours WS-Addressing when it builds the message, and an API that sends to
//!   the address in the message (a `send` without endpoint) can be sent elsewhere (CVE-2026-2053).
//! * XML under a name that says nothing of it (`text/plain`) has no envelope for Axis2, and so no header; but step 3 works
//!   on the old non-blocking transport, which builds every message before it is dispatched.
//!
//! What protects then is Carbon itself: an admin service asks for a login and a permission, and a node that was started
//! with `-DworkerNode=true` refuses admin services altogether. A dual node does not. Where nobody needs WS-Addressing,
//! operators should take it away on the workers and on the dual node: `disable_addressing = true` under `[server]` in
//! `deployment.toml` (or no `<module ref="addressing"/>` in `axis2.xml`), and no `SOAPMessageBodyBasedDispatcher` in the
//! phases of `axis2.xml`. (Micro Integrator lists its modules under `[transport]`.)

use super::segments::after_each;
use crate::http1::is_token;

/// Words that make a content type one of XML, wherever in the header they are. In lower case.
const WORDS: [&[u8]; 6] = [b"xml", b"soap", b"infoset", b"hessian", b"badgerfish", b"multipart/related"];

/// Whether a request may be SOAP.
///
/// `content_types` are the values of all `Content-Type` fields, `soap_action` says whether there is any `SOAPAction` field,
/// also an empty one, and `has_body` whether there is a body.
pub fn looks_like_soap<'h>(
    mut content_types: impl Iterator<Item = &'h [u8]>,
    soap_action: bool,
    has_body: bool,
) -> bool {
    let first = content_types.next();
    soap_action || content_types.next().is_some() || first.map_or(has_body, may_be_soap)
}

fn may_be_soap(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    !is_media_type(media_type)
        || media_type.eq_ignore_ascii_case(b"text/javascript")
        || WORDS.iter().any(|word| after_each(content_type, word).next().is_some())
        || after_each(content_type, b"action").any(|behind| behind.trim_ascii_start().starts_with(b"="))
}

/// `type/subtype`, both of them tokens (RFC 9110, 8.3.1). A list of several is none.
fn is_media_type(text: &[u8]) -> bool {
    let is_token = |part: &[u8]| !part.is_empty() && part.iter().all(|&byte| is_token(byte));
    let mut parts = text.splitn(2, |&b| b == b'/');
    parts.next().is_some_and(is_token) && parts.next().is_some_and(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_that_may_be_soap() {
        for content_type in [
            "text/xml",
            "TEXT/XML; charset=utf-8",
            "application/soap+xml; charset=utf-8; action=\"urn:x\"",
            "application/xop+xml",
            "application/xml",
            "application/atom+xml", // no builder of its own: plain XML to Axis2
            "multipart/related; boundary=b; type=\"text/xml\"",
            "Multipart/Related; boundary=b",
            "application/soap+fastinfoset",
            "application/fastinfoset",
            "x-application/hessian",
            "application/json/badgerfish",
            "text/javascript",                 // Badgerfish by default
            "application/json; type=text/xml", // the whole header is searched
            "application/json; action=urn:x",
            "application/json; ACTION = \"urn:x\"",
            "application/octet-stream;action=",
            "application/json, text/plain", // two in one field
            "application/json,multipart/related",
            "", // what cannot be told
            " ",
            ";application/json",
            "json",
            "/json",
            "application/",
            "application/json text",
            "appl\u{131}cation/json",
        ] {
            assert!(looks_like_soap([content_type.as_bytes()].into_iter(), false, true), "{content_type:?}");
            assert!(looks_like_soap([content_type.as_bytes()].into_iter(), false, false), "{content_type:?}");
        }
        assert!(looks_like_soap([&b"text/\xff"[..]].into_iter(), false, true));
    }

    #[test]
    fn content_types_that_are_something_else() {
        for content_type in [
            "application/json",
            "application/json ; charset=utf-8",
            "application/scim+json",
            "application/vnd.transaction+json", // `action`, but not `action=`
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=----x",
            "multipart/mixed; boundary=b", // OData batches
            "application/octet-stream",
            "text/plain; charset=utf-8",
            "text/csv",
            "image/png",
            "application/grpc",
        ] {
            assert!(!looks_like_soap([content_type.as_bytes()].into_iter(), false, true), "{content_type:?}");
            assert!(looks_like_soap([content_type.as_bytes()].into_iter(), true, true), "SOAPAction, {content_type:?}");
        }
    }

    #[test]
    fn fields_that_are_missing_or_repeated() {
        let json: &[u8] = b"application/json";
        for (content_types, soap_action, has_body, soap) in [
            (&[][..], false, false, false), // an ordinary GET
            (&[], true, false, true),       // also with an empty SOAPAction
            (&[], false, true, true),       // the server's default type
            (&[json], false, true, false),
            (&[json], false, false, false),
            (&[json, json], false, true, true),
            (&[json, json], false, false, true),
        ] {
            let fields = content_types.iter().copied();
            assert_eq!(
                looks_like_soap(fields, soap_action, has_body),
                soap,
                "{content_types:?} {soap_action} {has_body}"
            );
        }
    }
}
