//! What went wrong, in the one form that the API tells it in: RFC 9457.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde::Serialize;

use super::reply::Reply;

/// Bytes of a detail; it may quote what the client has sent.
const LONGEST: usize = 400;

/// A request to the API that cannot be answered as the client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    kind: Kind,
    detail: String,
    /// Boxed, so that results are small.
    lists: Box<Lists>,
    /// Where in the body it is.
    position: Option<Position>,
    /// Boxed, so that results are small.
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// What kind of problem it is: the last part of `type`, and `title`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) &'static str, pub(super) &'static str);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lists {
    /// What there is instead.
    allowed: Vec<String>,
    /// What is wrong, one by one, if it is not in the request.
    problems: Vec<String>,
}

/// A place in a body; both count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Position {
    line: usize,
    column: usize,
}

#[derive(Serialize)]
struct Written<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    allowed: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    problems: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(flatten)]
    position: Option<Position>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: Kind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|&end| detail.is_char_boundary(end)).unwrap_or(0);
            detail.truncate(end);
            detail.push('…');
        }
        Problem { status, kind, detail, lists: Box::default(), position: None, header: None }
    }

    /// Names what is allowed.
    pub(super) fn allowed<T: ToString>(mut self, allowed: impl IntoIterator<Item = T>) -> Self {
        self.lists.allowed = allowed.into_iter().map(|one| one.to_string()).collect();
        self
    }

    /// Says what is wrong, one by one.
    pub(super) fn problems(mut self, problems: Vec<String>) -> Self {
        self.lists.problems = problems;
        self
    }

    /// Says where in the body it is.
    pub(super) fn at(self, line: usize, column: usize) -> Self {
        Problem { position: Some(Position { line, column }), ..self }
    }

    /// Adds a header to the answer.
    pub(super) fn header(self, name: HeaderName, value: HeaderValue) -> Self {
        Problem { header: Some(Box::new((name, value))), ..self }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let Kind(name, title) = problem.kind;
        let written = Written {
            r#type: format!("urn:carbon-elb:problem:{name}"),
            title,
            status: problem.status.as_u16(),
            detail: &problem.detail,
            allowed: &problem.lists.allowed,
            problems: &problem.lists.problems,
            position: problem.position,
        };
        Reply::json(problem.status, "application/problem+json", &written).with(problem.header.map(|header| *header))
    }
}
