//! Bodies of requests to the API: read up to a limit, and as one JSON object without anything unknown in it.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, EXPECT};
use pingora::Result;
use pingora::protocols::http::ServerSession;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::problem::{Kind, Problem};

/// The largest body, in bytes.
pub(super) const LARGEST: usize = 64 << 10;

/// Reads a body to its end, or says that it is too large; then the connection ends with the answer.
///
/// # Errors
/// The connection broke.
pub(super) async fn read(session: &mut ServerSession) -> Result<std::result::Result<Vec<u8>, Problem>> {
    // The edge has seen to it that it is a number.
    let length = session.get_header(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        return Ok(Err(too_large()));
    }
    if session.get_header(EXPECT).is_some() {
        session.write_continue_response().await?;
    }
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() + chunk.len() > LARGEST {
            return Ok(Err(too_large()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Ok(body))
}

fn too_large() -> Problem {
    let kind = Kind("body-too-large", "The body is too large");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, kind, format!("a body may have {LARGEST} bytes"))
}

/// Reads a JSON object that may have exactly `fields`.
pub(super) fn object<T: DeserializeOwned>(body: &[u8], fields: &[&str]) -> std::result::Result<T, Problem> {
    // A list of the values of all fields would be taken for an object, too.
    if body.trim_ascii_start().first().is_some_and(|&byte| byte == b'[') {
        return Err(not_as_expected("a list, where an object is expected").allowed(fields));
    }
    serde_json::from_slice(body).map_err(|e| {
        let problem = match e.classify() {
            Category::Data => not_as_expected(e.to_string()).allowed(fields),
            Category::Syntax | Category::Eof | Category::Io => {
                Problem::new(StatusCode::BAD_REQUEST, Kind("not-json", "The body is not JSON"), e.to_string())
            }
        };
        problem.at(e.line(), e.column())
    })
}

/// A body that is JSON, but not what the route takes.
pub(super) fn not_as_expected(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, Kind("body-not-as-expected", "The body is not what is expected here"), detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::admin::reply::Reply;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Body {
        state: String,
    }

    fn read(body: &[u8]) -> std::result::Result<String, serde_json::Value> {
        object::<Body>(body, &["state"])
            .map(|body| body.state)
            .map_err(|problem| serde_json::from_slice(&Reply::from(problem).body).unwrap())
    }

    #[test]
    fn an_object_is_read_and_all_else_is_refused_with_its_place() {
        assert_eq!(read(b" {\"state\": \"ready\"}\n").unwrap(), "ready");
        let unlike = "body-not-as-expected";
        for (body, kind, says, place) in [
            ("", "not-json", "EOF", Some((1, 0))),
            ("{\n  \"state\": ready}", "not-json", "expected", Some((2, 12))),
            ("{\"state\": \"ready\"", "not-json", "EOF", Some((1, 17))),
            ("{\"state\": \"ready\"} x", "not-json", "trailing", Some((1, 20))),
            ("{\"state\": \"ready\", \"force\": true}", unlike, "force", Some((1, 26))),
            ("{\"state\": \"ready\", \"state\": \"ready\"}", unlike, "duplicate", Some((1, 26))),
            ("{}", unlike, "missing field `state`", Some((1, 2))),
            ("{\"state\": 1}", unlike, "integer", Some((1, 11))),
            ("\"ready\"", unlike, "string", Some((1, 7))),
            ("null", unlike, "null", Some((1, 4))),
            (" [\"ready\"]", unlike, "list", None),
        ] {
            let problem = read(body.as_bytes()).unwrap_err();
            assert_eq!(problem["type"], format!("urn:carbon-elb:problem:{kind}"), "{body}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains(says), "{body}: {problem}");
            let found = problem["line"].as_u64().zip(problem["column"].as_u64());
            assert_eq!(found, place, "{body}: {problem}");
            assert_eq!(problem["allowed"].is_array(), kind == unlike, "{body}: {problem}");
        }
        let long = format!("{{\"{}\": 1}}", "ä".repeat(30_000));
        let problem = read(long.as_bytes()).unwrap_err();
        assert!(problem["detail"].as_str().unwrap().len() < 500, "what is quoted is bounded");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }
    }
}
