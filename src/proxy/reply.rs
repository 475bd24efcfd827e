//! Answers of our own. They are short, and tell nothing of the nodes or of this program.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{ErrorType, OrErr, Result};

/// When a client may try again after a 503, in seconds: about one round of health checks.
const RETRY_AFTER_SECONDS: &str = "5";

/// The header of an answer with `status`; its body is the status in words.
pub(super) fn header(status: u16, retry_after: Option<u64>) -> Result<ResponseHeader> {
    let status = StatusCode::from_u16(status).or_err(ErrorType::InternalError, "not a status code")?;
    let mut header = ResponseHeader::build(status, Some(8))?;
    header.insert_header(CONTENT_TYPE, "text/plain")?;
    header.insert_header(CONTENT_LENGTH, text(status).len().to_string())?;
    header.insert_header(CACHE_CONTROL, "no-store")?;
    match retry_after {
        Some(seconds) => header.insert_header(RETRY_AFTER, seconds.to_string())?,
        None if status == StatusCode::SERVICE_UNAVAILABLE => header.insert_header(RETRY_AFTER, RETRY_AFTER_SECONDS)?,
        None => {}
    }
    Ok(header)
}

/// Answers with `header` and the status in words.
pub(super) async fn send(session: &mut Session, header: ResponseHeader) -> Result<()> {
    let text = text(header.status);
    let head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(header), head).await?;
    if !head {
        session.write_response_body(Some(Bytes::from(text)), true).await
    } else if session.is_http2() {
        // The framework does not end the stream with the header, and resets it if nobody ends it.
        session.as_downstream_mut().finish_body().await
    } else {
        Ok(())
    }
}

fn text(status: StatusCode) -> String {
    format!("{} {}\n", status.as_str(), status.canonical_reason().unwrap_or("Error"))
}
