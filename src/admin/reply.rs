//! An answer of the admin listener, before it is sent.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use log::error;
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Serialize;

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    content_type: &'static str,
    /// A header that this answer has besides the usual ones.
    header: Option<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(status: StatusCode, text: String) -> Self {
        Reply { status, content_type: "text/plain; version=0.0.4", header: None, body: text.into() }
    }

    pub(super) fn document(content_type: &'static str, text: &'static str) -> Self {
        Reply { status: StatusCode::OK, content_type, header: None, body: Bytes::from_static(text.as_bytes()) }
    }

    /// `value` as JSON.
    pub(super) fn json(status: StatusCode, content_type: &'static str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Reply { status, content_type, header: None, body: body.into() }
            }
            // Only maps with keys that are no text fail, and there are none.
            Err(e) => {
                error!("an answer of the admin API cannot be written: {e}");
                Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "see the log\n".to_owned())
            }
        }
    }

    pub(super) fn with(self, header: Option<(HeaderName, HeaderValue)>) -> Self {
        Reply { header, ..self }
    }

    pub(super) async fn send(self, session: &mut ServerSession) -> Result<()> {
        let head = session.req_header().method == Method::HEAD;
        let mut header = ResponseHeader::build(self.status, Some(5))?;
        header.insert_header(CONTENT_TYPE, self.content_type)?;
        header.insert_header(CONTENT_LENGTH, self.body.len().to_string())?;
        header.insert_header(CACHE_CONTROL, "no-store")?;
        header.insert_header(X_CONTENT_TYPE_OPTIONS, "nosniff")?;
        if let Some((name, value)) = self.header {
            header.insert_header(name, value)?;
        }
        session.write_response_header(Box::new(header)).await?;
        match head {
            false => session.write_response_body(self.body, true).await,
            // The framework does not end an HTTP/2 stream with its header.
            true if session.is_http2() => session.finish_body().await,
            true => Ok(()),
        }
    }
}
